"""Markdown from texts that may hold anything: whatever they hold, it shows as text. Knows nothing of what they say."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ACTIVE = re.compile(r"([\\`*_\[\]<|~&$])")
"""What Markdown, GitHub's too, acts on within a line; what acts at the beginning of one never stands there."""
_JOINERS = "\u200c\u200d"
"""Not printable, but parts of words and of emoji."""


def inline(text: str) -> str:
    """Return a text that stays in its line and its cell and acts on nothing."""
    return _ACTIVE.sub(r"\\\1", " ".join(_printable(text).split()))


def fenced(text: str, language: str = "text") -> str:
    """Return a text in a code block that nothing in it can end."""
    runs = [len(run) for run in re.findall(r"`+", text)]
    fence = "`" * max(3, 1 + max(runs, default=0))
    return f"{fence}{language}\n{_printable(text)}\n{fence}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already; the first column is to the left, numbers are to the right."""
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(columns) - 1), *lines[1:]])


def _printable(text: str) -> str:
    return "".join(each if _is_printable(each) else "\ufffd" for each in text)


def _is_printable(character: str) -> bool:
    return character.isprintable() or character in f"\n\t{_JOINERS}" or unicodedata.category(character) == "Zs"
