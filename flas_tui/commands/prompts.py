"""Where prompts come from: options, an argument, files, standard input. Knows nothing of lanes."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flas_engine.errors import RequestError
from flas_tui.console import is_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

STDIN = "-"


def gather_prompts(argument: str | None, options: Sequence[str], prompt_file: str | None) -> list[str]:
    """Return every prompt in the order argument, options, file; all of standard input is one when none is named."""
    prompts = [] if argument is None else [_read_whole_stdin() if argument == STDIN else argument]
    prompts += options
    if prompt_file is not None:
        prompts += read_prompt_file(prompt_file)
    if not prompts:
        if is_terminal(sys.stdin):
            raise RequestError("there is no prompt; give one: flas-tui generate 'Tell me about your day.'")
        prompts = [_read_whole_stdin()]
    for prompt in prompts:
        check_text(prompt, "the prompt")
    return prompts


def check_text(text: str, name: str) -> None:
    """Refuse text whose bytes were no UTF-8: no tokenizer and no JSON can carry it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError(f"{name} {text!a} is not valid UTF-8; check the terminal's or the file's encoding") from None


def read_prompt_file(name: str) -> list[str]:
    """Read one prompt a line, or of each line's JSON object the field "prompt"; '-' is standard input."""
    lines = [(number, line.strip()) for number, line in enumerate(_read_text(name).split("\n"), 1) if line.strip()]
    if not lines:
        raise RequestError(f"the prompt file {name} is empty; write one prompt a line")
    if not name.endswith((".jsonl", ".ndjson")) and not _is_prompt_object(lines[0][1]):
        return [line for _, line in lines]
    return [_prompt_of(line, f"{name} line {number}") for number, line in lines]


def _read_text(name: str) -> str:
    try:
        return _stdin().read() if name == STDIN else Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"the prompt file {name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RequestError(f"the prompt file {name} is not UTF-8 (byte {error.start}); convert it") from None


def _read_whole_stdin() -> str:
    try:
        return _stdin().read().strip()
    except UnicodeDecodeError as error:
        raise RequestError(f"standard input is not valid text (byte {error.start}); convert it to UTF-8") from None


def _stdin() -> TextIO:
    """Return standard input, or an empty one when the caller closed it (`<&-`)."""
    return sys.stdin or io.StringIO()


def _is_prompt_object(line: str) -> bool:
    try:
        value = json.loads(line)
    except ValueError:
        return False
    return isinstance(value, dict) and isinstance(value.get("prompt"), str)


def _prompt_of(line: str, place: str) -> str:
    if not _is_prompt_object(line):
        raise RequestError(f'{place} is no JSON object with a text "prompt": {line[:60]!r}')
    prompt: str = json.loads(line)["prompt"]
    return prompt
