"""A file that grows over several tries, its sha256 kept along. Knows nothing of where the bytes come from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_READ_BYTES = 1 << 20


class PartialFile:
    """What there is of a file so far; what an earlier try left is hashed on opening.

    A leftover that is longer than the file can be is dropped. Every appended block is in the system's hands when
    `append` returns, so that a killed process loses nothing.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        if path.exists() and path.stat().st_size > max_bytes:
            path.unlink()
        self.num_bytes = 0
        self._digest = hashlib.sha256()
        self._file = path.open("a+b")
        self._file.seek(0)
        while block := self._file.read(_READ_BYTES):
            self._count(block)

    @property
    def sha256(self) -> str:
        """The sha256 of what there is, in hexadecimal."""
        return self._digest.hexdigest()

    def append(self, block: bytes) -> None:
        """Add `block` at the end."""
        self._file.write(block)
        self._file.flush()
        self._count(block)

    def restart(self) -> None:
        """Drop everything, for a source that can only begin at the beginning."""
        self._file.truncate(0)
        self.num_bytes = 0
        self._digest = hashlib.sha256()

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def _count(self, block: bytes) -> None:
        self.num_bytes += len(block)
        self._digest.update(block)
