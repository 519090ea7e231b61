"""What glibc's allocator does with freed memory; other allocators are left alone."""

from __future__ import annotations

import ctypes
import platform
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BLOCK_BYTES = 1 << 28
RETURNED_BLOCK_BYTES = 1 << 20
USUAL_BLOCK_BYTES = 32 << 20
"""What glibc itself comes to where blocks as large are freed again and again."""


def keep_freed_memory() -> None:
    """Keep what is freed: who asks for the same large blocks again and again need not have them mapped anew."""
    _set_thresholds(KEPT_BLOCK_BYTES, KEPT_BLOCK_BYTES)


@contextmanager
def returning_freed_memory() -> Iterator[None]:
    """Return freed blocks to the system at once: between blocks that stay, they would lie about unused."""
    _set_thresholds(RETURNED_BLOCK_BYTES, 2 * RETURNED_BLOCK_BYTES)
    try:
        yield
    finally:
        _set_thresholds(USUAL_BLOCK_BYTES, 2 * USUAL_BLOCK_BYTES)


def _set_thresholds(mmap_bytes: int, trim_bytes: int) -> None:
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, mmap_bytes)
        mallopt(_M_TRIM_THRESHOLD, trim_bytes)
