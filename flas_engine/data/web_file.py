"""Bring one file over HTTP into a folder: whole, checked, or not at all; a large one goes on where it stopped.

Only a file whose sha256 is known is taken up again: of others nobody could tell whether two halves belong together.
Knows nothing of what is in the file.
"""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from huggingface_hub import constants
from huggingface_hub.utils import get_session

from flas_engine.errors import DownloadError
from flas_engine.hub.failures import HTTP_ERROR
from flas_engine.hub.partial_file import PartialFile
from flas_engine.hub.watched import locked
from flas_engine.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from flas_engine.hub.watched import Watch

INCOMPLETE = ".incomplete-"
"""Begins the name of a file that is under way; its ending stays, which tells a check its form."""
NUM_RETRIES = 4
"""How often a broken connection is taken up again without a byte having come."""
RETRY_SECONDS = 1.0
_PARTIAL_CONTENT, _LEAST_ERROR = 206, 400
_TRY_AGAIN = {408, 429, 500, 502, 503, 504}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """A file to be brought: from where, to where, and how to know that it is the right one."""

    url: str
    path: Path
    check: Callable[[Path], None]
    """Raises `FlasError` when what arrived is not what is published."""
    sha256: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class _Broken(Exception):
    """The connection ended early, or the server is busy: another try may help."""


def bring(file: WebFile, watch: Watch, *, force: bool = False) -> None:
    """Put `file` in its place unless it is there; raises `DownloadError` and leaves nothing half-written there."""
    if constants.HF_HUB_OFFLINE:
        if file.path.exists() and not force:
            return
        raise DownloadError(f"{file.path.name} is not on this machine and HF_HUB_OFFLINE forbids the network; unset it")
    lock = file.path.with_name(f".{file.path.name}.lock")
    try:
        with locked(lock, watch, f"waiting: another process downloads {file.path.name}"):
            if force or not file.path.exists():
                _bring(file, watch)
    except OSError as error:
        what = "the disk is full" if error.errno in _NO_ROOM else os.strerror(error.errno or 0)
        raise DownloadError(
            f"{file.path} cannot be written ({what}); make room, or set FLAS_CACHE_DIR to another folder"
        ) from None


def _bring(file: WebFile, watch: Watch) -> None:
    partial_path = file.path.with_name(f"{INCOMPLETE}{file.path.name}")
    if file.sha256 is None:
        partial_path.unlink(missing_ok=True)
    with PartialFile(partial_path, sys.maxsize) as partial:
        _fill(file, partial, watch)
    if file.sha256 is not None and partial.sha256 != file.sha256:
        partial_path.unlink()
        raise DownloadError(f"{file.url} arrived damaged (its sha256 is not the publisher's); run the download again")
    try:
        file.check(partial_path)
    except BaseException:
        partial_path.unlink(missing_ok=True)
        raise
    with watch.still_wanted():
        partial_path.replace(file.path)


def _fill(file: WebFile, partial: PartialFile, watch: Watch) -> None:
    """Stream until the server has sent all, over as many connections as that takes."""
    retries = NUM_RETRIES
    while True:
        before = partial.num_bytes
        try:
            _stream(file, partial, watch)
            return
        except (_Broken, HTTP_ERROR) as error:
            reason = str(error) if isinstance(error, _Broken) else type(error).__name__
        retries = NUM_RETRIES if partial.num_bytes > before and file.sha256 else retries - 1
        if retries < 0:
            raise DownloadError(
                f"no whole answer from {file.url} ({reason}); check the network, then run the download again"
            )
        if file.sha256 is None:
            partial.restart()
        watch.wait(RETRY_SECONDS)


def _stream(file: WebFile, partial: PartialFile, watch: Watch) -> None:
    headers = {**file.headers, "Accept-Encoding": "identity"}
    if partial.num_bytes:
        headers["Range"] = f"bytes={partial.num_bytes}-"
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", file.url, headers=headers, timeout=timeout, follow_redirects=True) as response:
        if response.status_code in _TRY_AGAIN:
            raise _Broken(f"it answers {response.status_code}")
        if response.status_code >= _LEAST_ERROR:
            raise DownloadError(_explain(file, response.status_code))
        if response.status_code != _PARTIAL_CONTENT:
            partial.restart()
        length = response.headers.get("Content-Length")
        total = partial.num_bytes + int(length) if length else None
        for block in response.iter_raw():
            with watch.still_wanted():
                partial.append(block)
            activity = f"downloading {file.path.name}"
            watch.report(Progress(activity=activity, done=partial.num_bytes, total=total, unit="bytes"))
    if total is not None and partial.num_bytes < total:
        raise _Broken("it ends too early")


def _explain(file: WebFile, status: int) -> str:
    if status in (401, 403):
        return f"{file.url} is not open to you ({status}); if it is gated, accept its terms and run: hf auth login"
    if status == 404:
        return f"{file.url} is not there (404): it was moved or renamed; look at the publisher's page"
    return f"{file.url} answers {status}; try again later"
