"""The log file: where it lies, what goes into it, and that no secret does."""

from __future__ import annotations

import atexit
import contextlib
import logging
import logging.handlers
import tempfile
from functools import cache
from pathlib import Path

from flas_engine.errors import FlasError
from flas_engine.paths import log_dir
from flas_tui.secrets import redact

MAX_LOG_BYTES = 1_000_000

log = logging.getLogger(__name__)


def as_flas_error(error: Exception, what: str) -> FlasError:
    """Return what to show for `error`: itself when it was made to be shown, else a line on a defect, which is logged.

    `what` is what was being done.
    """
    if isinstance(error, FlasError):
        return error
    log.error("%s failed", what, exc_info=error)
    return FlasError(f"{what} failed unexpectedly ({type(error).__name__}: {error}); the log has the details")


class RedactingFormatter(logging.Formatter):
    """Formats a record, traceback included, without its secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line or lines."""
        return redact(super().format(record))


@cache
def start_logging() -> Path:
    """Send the log of both packages, and warnings of all others, to the log file; returns the file's path."""
    path, handler = _open_log()
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    for package in ("flas_engine", "flas_tui"):
        logging.getLogger(package).setLevel(logging.INFO)
    return path


def _open_log() -> tuple[Path, logging.Handler]:
    """Open the usual log file, or one among the temporary files where the usual folder cannot be written."""
    try:
        folder = log_dir()
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "flas-tui.log", _rotating(folder / "flas-tui.log")
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="flas-tui-")) / "flas-tui.log"
        atexit.register(_remove_if_empty, path)
        return path, _rotating(path)


def _remove_if_empty(path: Path) -> None:
    """Leave no folder behind for nothing."""
    with contextlib.suppress(OSError):
        if not path.stat().st_size:
            path.unlink()
            path.parent.rmdir()


def _rotating(path: Path) -> logging.Handler:
    return logging.handlers.RotatingFileHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=1, encoding="utf-8")
