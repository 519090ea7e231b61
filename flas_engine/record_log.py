"""Append-only files of records, one JSON object a line, so that nothing is done twice and a killed run goes on.

A record is a flat frozen dataclass that a `key` names. Knows nothing of what the records are about.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from flas_engine.errors import FlasError


class Keyed(Protocol):
    """A dataclass of strings, numbers, booleans and None."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def key(self) -> str:
        """What was asked; equal keys mean that the record at hand will do."""


R = TypeVar("R", bound=Keyed)


class RecordLog(Generic[R]):
    """The file of records at `path`, open to one process at a time; use it as a context manager.

    It raises `error` for a file that is in use, damaged or cannot be written.
    """

    def __init__(self, path: Path, record_type: type[R], error: type[FlasError]) -> None:
        """Take where the records are, what they are, and the family of the errors; nothing is touched yet."""
        self._path = path
        self._type = record_type
        self._error = error
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        self._records: dict[str, R] = {}

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise self._error(f"{self._path} is in use by another process; wait for it, or write elsewhere") from None
        except OSError as error:
            raise self._error(f"{self._path} cannot be written: {error.strerror}") from None
        try:
            if self._path.exists():
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
        return len(self._records)

    def __iter__(self) -> Iterator[R]:
        return iter(tuple(self._records.values()))

    def get(self, key: str) -> R | None:
        """Return the record called `key`, if there is one."""
        return self._records.get(key)

    def append(self, record: R) -> None:
        """Write one record at the end, as `add` does."""
        self.add((record,))

    def add(self, records: Iterable[R]) -> None:
        """Write `records` at the end, in the place of earlier ones of their keys.

        They are safe from a kill when this returns; when it raises, the file is as it was.
        """
        added = {record.key: record for record in records}
        lines = "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in added.values())
        try:
            with self._path.open("ab") as file:
                size = file.tell()
                try:
                    file.write(lines.encode("utf-8", errors="replace"))  # half a surrogate pair has no other spelling
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.truncate(self._path, size)  # half a line, or the next record would go on in it
                    raise
        except OSError as error:
            raise self._error(
                f"{self._path} cannot be written ({error.strerror}); make room, then run the same command: it goes on"
            ) from None
        self._records |= added

    def _read(self) -> None:
        """Read what there is, and cut off a last line that a kill or a full disk left unfinished."""
        self._records, whole = _read_whole_lines(self._path, self._type, self._error)
        try:
            if whole < self._path.stat().st_size:
                os.truncate(self._path, whole)
        except OSError as error:
            raise self._error(f"{self._path} cannot be written: {error.strerror}") from None


def read_records(path: Path, record_type: type[R], error: type[FlasError]) -> list[R]:
    """Read the records of a file that another process may be writing to; the last one of a key counts.

    A file that does not exist has none; an unfinished last line is left out; raises `error` for a damaged file.
    """
    if not path.exists():
        return []
    records, _ = _read_whole_lines(path, record_type, error)
    return list(records.values())


def _read_whole_lines(path: Path, record_type: type[R], error: type[FlasError]) -> tuple[dict[str, R], int]:
    """Return the records by key, and how many bytes the whole lines take."""
    records: dict[str, R] = {}
    whole = 0
    name = record_type.__name__.lower()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = record_type(**json.loads(line))
                except (ValueError, TypeError):
                    raise error(f"{path} line {number} is no {name}; move the file away, or mend it") from None
                records[record.key] = record
                whole += len(line)
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror}") from None
    return records, whole
