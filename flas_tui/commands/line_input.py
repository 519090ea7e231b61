"""Lines from the user: with editing and a history that outlives the program at a terminal, plainly from a pipe."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flas_tui.console import is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_HISTORY_LINES = 1000


def is_interactive() -> bool:
    """Whether a person types and reads here."""
    return is_terminal(sys.stdin) and is_terminal(sys.stdout)


def read_lines(prompt: str) -> Iterator[str]:
    """Yield the lines of standard input until it ends; `prompt` shows to a person only."""
    if not is_interactive():
        for line in sys.stdin or ():
            yield line.rstrip("\n")
        return
    with _kept_history():
        while True:
            try:
                yield input(prompt)
            except EOFError:
                print(file=sys.stderr)  # noqa: T201
                return


@contextmanager
def _kept_history() -> Iterator[None]:
    """Give `input` line editing, and keep its lines in a file that only the user can read."""
    try:
        import readline
    except ImportError:  # some builds of Python come without it
        yield
        return
    path = _history_file()
    if path is not None and path.stat().st_size:
        readline.read_history_file(path)
    readline.set_history_length(MAX_HISTORY_LINES)
    try:
        yield
    finally:
        if path is not None:
            readline.write_history_file(path)
            path.chmod(0o600)  # readline may have made the file anew


def _history_file() -> Path | None:
    """Return the history's file, there and private; None when the folder cannot be written."""
    from flas_engine.paths import state_dir

    try:
        path = state_dir() / "chat_history"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError:
        return None
    return path
