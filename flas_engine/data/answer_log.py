"""What models answered, kept as it came: so that none is asked for twice and a killed run goes on.

Found by a key that says what was asked of whom. Knows nothing of concepts and rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.errors import DataError
from flas_engine.record_log import RecordLog

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came of one question."""

    key: str
    asked: str
    text: str
    is_cut: bool
    """Whether the limit of tokens ended it."""
    refusal: str = ""
    """Why there is no text, when whoever was asked would not answer."""


def key_of(answerer: str, asked: str) -> str:
    """Name a question put to an answerer; equal names mean that the answer at hand will do."""
    return hashlib.sha256(f"{answerer}\0{asked}".encode()).hexdigest()[:24]


class AnswerLog(RecordLog[Answer]):
    """The file of answers at `path`; raises `DataError`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Answer, DataError)
