"""A list of a folder's files that tells later whether they are still what was written.

Checked at every start, so it must be cheap: small files are hashed, a large one only when its time has changed, as a
copy's or a damaged file's has. Knows nothing of models.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SEAL_NAME = "flas-seal.json"
_FORMAT = 1
_SMALL_BYTES = 50_000_000
"""Hashing this much takes about 50 ms."""


def seal(folder: Path, origin: str) -> None:
    """List the files of `folder` in a file of their own; `origin` says what they were made from."""
    files = {path.name: _describe(path) for path in sorted(folder.iterdir()) if path.name != SEAL_NAME}
    content = {"format": _FORMAT, "origin": origin, "files": files}
    (folder / SEAL_NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def is_sound(folder: Path, origin: str | None) -> bool:
    """Whether `folder` has a seal and every file on it as it was; with `origin`, whether it was made from that too."""
    try:
        content = json.loads((folder / SEAL_NAME).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT or (origin is not None and content["origin"] != origin):
            return False
        return all(_is_unchanged(folder / name, written) for name, written in content["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no seal, or one that is no longer ours
        return False


def _describe(path: Path) -> dict[str, int | str]:
    status = path.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": _hash(path)}


def _is_unchanged(path: Path, written: dict[str, int | str]) -> bool:
    status = path.stat()
    if status.st_size != written["bytes"]:
        return False
    if status.st_size > _SMALL_BYTES and status.st_mtime_ns == written["mtime_ns"]:
        return True
    return _hash(path) == written["sha256"]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
