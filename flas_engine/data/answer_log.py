"""Answers kept in an append-only file, so that none is asked for twice and a killed run goes on.

One JSON object a line, found by a key that says what was asked of whom. Knows nothing of concepts and rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from flas_engine.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType


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


class AnswerLog:
    """The file of answers at `path`, open to one process at a time; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        self._answers: dict[str, Answer] = {}

    def __enter__(self) -> AnswerLog:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise DataError(f"{self._path} is in use by another process; wait for it, or write elsewhere") from None
        except OSError as error:
            raise DataError(f"{self._path} cannot be written: {error.strerror}") from None
        try:
            self._read()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> Answer | None:
        """Return the answer called `key`, if there is one."""
        return self._answers.get(key)

    def add(self, answers: Iterable[Answer]) -> None:
        """Write `answers` at the end; they are safe from a kill when this returns."""
        added = {answer.key: answer for answer in answers}
        lines = "".join(json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in added.values())
        try:
            with self._path.open("ab") as file:
                file.write(lines.encode("utf-8", errors="replace"))  # half a surrogate pair has no other spelling
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(
                f"{self._path} cannot be written ({error.strerror}); make room, then run the same command: it goes on"
            ) from None
        self._answers |= added

    def _read(self) -> None:
        """Read what there is, and cut off a last line that a kill or a full disk left unfinished."""
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                answer = Answer(**json.loads(line))
            except (ValueError, TypeError):
                raise DataError(f"{self._path} line {number} is no answer; move the file away, or mend it") from None
            self._answers[answer.key] = answer
        if whole < len(content):
            os.truncate(self._path, whole)
