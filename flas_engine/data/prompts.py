"""Prompts to answer: bundled ones without end, AlpacaEval's, or the user's file.

Knows nothing of who answers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flas_engine.data.drawing import shuffled
from flas_engine.data.lists import questions, read_lines, templates, topics
from flas_engine.errors import DataError
from flas_engine.paths import user_path

if TYPE_CHECKING:
    from pathlib import Path

BUNDLED = "bundled"
ALPACA_EVAL = "alpaca-eval"
_JSON_FIELDS = ("prompt", "instruction", "input")


def gather_prompts(source: str, num_prompts: int, seed: int) -> list[str]:
    """Return up to `num_prompts` different prompts of `source`.

    `bundled` is everyday questions, then instructions on topics in an order by `seed`; `alpaca-eval` what
    `data download` fetched; else a file with one a line, or JSON (lines) with a `prompt` or `instruction` each.
    """
    if source == BUNDLED:
        return bundled_prompts(num_prompts, seed)
    if source == ALPACA_EVAL:
        from flas_engine.data.published import find_published

        path = find_published(ALPACA_EVAL)[0]
    else:
        path = user_path(source)
    return list(dict.fromkeys(_read_prompts(path)))[:num_prompts]


def bundled_prompts(num_prompts: int, seed: int) -> list[str]:
    """Return `num_prompts` neutral prompts; there are more than 100,000."""
    on_topics = (template.replace("{topic}", topic) for template in templates() for topic in topics())
    return [*questions(), *shuffled(on_topics, seed, "prompts")][:num_prompts]


def _read_prompts(path: Path) -> list[str]:
    if path.suffix not in (".json", ".jsonl", ".ndjson"):
        return read_lines(path)
    try:
        text = path.read_text(encoding="utf-8")
        records = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); give one prompt a line, or JSON") from None
    return [_prompt_of(record, f"{path} entry {number}") for number, record in enumerate(records, 1)]


def _prompt_of(record: object, place: str) -> str:
    if isinstance(record, str) and record.strip():
        return record.strip()
    if isinstance(record, dict):
        for name in _JSON_FIELDS:
            value = record.get(name)
            if isinstance(value, str) and value.strip():
                return value.strip()
    raise DataError(f'{place} has no text "prompt" or "instruction"')
