"""Output that is nobody's: what native libraries and stray prints write to file descriptors 1 and 2.

While a full-screen program runs, such output would paint over it. Here both descriptors are pointed at a file, and
what is found there goes into the log, without secrets. A program that is killed leaves its file behind, with the last
words of whatever killed it; the next one to start takes it into the log. Knows nothing of the app.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flas_tui.safe_text import visible_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

MAX_KEPT_BYTES = 200_000
"""Of a longer file the end is kept: the last words say most."""

_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@contextmanager
def stray_output_logged(folder: Path) -> Iterator[None]:
    """Send what is written to descriptors 1 and 2 to the log instead; `folder` holds it in the meantime."""
    for path in folder.glob("stray-*.txt"):
        if not _is_running(path):
            _log_and_remove(path)
    path = folder / f"stray-{os.getpid()}.txt"
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    saved = [(number, os.dup(number)) for number in (1, 2)]
    _flush_streams()
    for number, _ in saved:
        os.dup2(target, number)
    os.close(target)
    try:
        yield
    finally:
        _flush_streams()
        for number, original in saved:
            os.dup2(original, number)
            os.close(original)
        _log_and_remove(path)


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the terminal behind it may be gone
            stream.flush()


def _is_running(path: Path) -> bool:
    try:
        os.kill(int(path.stem.removeprefix("stray-")), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    return True


def _log_and_remove(path: Path) -> None:
    try:
        text = path.read_bytes()[-MAX_KEPT_BYTES:].decode("utf-8", "replace").strip()
        path.unlink(missing_ok=True)  # another app that starts at the same time may take it in too
    except OSError as error:
        log.warning("stray output in %s could not be taken in: %s", path, error)
        return
    if text:
        log.warning("stray output:\n%s", visible_text(_COLOURS.sub("", text)))
