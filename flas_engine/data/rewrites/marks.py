"""Whether a text shows a style's marks. Knows patterns and how to count them, not how the text came about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flas_engine.data.rewrites.style import Marks, Style

_SENTENCE = re.compile(r"[^.!?…\n]+[.!?…]*[^\w\s]*")


def shows(style: Style, text: str) -> bool:
    """Return whether a text plainly shows a style: False on plain text, True on the style's own rewrites."""
    marks = style.marks
    if marks.forbids and marks.forbids.search(text):
        return False
    if marks.unit == "hit":
        return sum(len(pattern.findall(text)) for pattern in marks.patterns) >= marks.needs
    units = _units(marks, text)
    hits = sum(any(pattern.search(unit) for pattern in marks.patterns) for unit in units)
    return hits >= marks.needs and hits >= marks.share * len(units)


def _units(marks: Marks, text: str) -> list[str]:
    if marks.unit == "word":
        return [word for word in text.split() if re.search(r"\w", word)]
    if marks.unit == "line":
        return [line for line in text.splitlines() if line.strip()]
    return [sentence.strip() for sentence in _SENTENCE.findall(text) if re.search(r"\w", sentence)]
