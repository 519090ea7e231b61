"""How a command talks to the person at the terminal: on stderr, in lines, never with a traceback.

Stdout belongs to the data. Knows nothing of models and of the app.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

EXIT_USER_ERROR = 1
EXIT_USAGE = 2
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_CLOSED_PIPE = 141  # 128 + SIGPIPE
_OF_THE_MACHINE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENAMETOOLONG}
"""What paths and disks answer, and who runs the command can mend."""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether `stream` is open and a terminal; a stream closed by the caller (`<&-`) is None."""
    return stream is not None and stream.isatty()


def data_stream(*, is_json: bool) -> TextIO:
    """Return stdout, able to carry any text: JSON is UTF-8 whatever the locale, other text escapes what it cannot.

    Raises `FlasError` when the caller closed it.
    """
    if sys.stdout is None:
        from flas_engine.errors import FlasError

        raise FlasError("standard output is closed; what this command says has nowhere to go")
    if isinstance(sys.stdout, io.TextIOWrapper):
        if is_json:
            sys.stdout.reconfigure(encoding="utf-8")
        else:
            sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout


def say(message: str) -> None:
    """Write one message to stderr, free of secrets and of control characters; silent when stderr is gone."""
    from flas_tui.safe_text import visible_text
    from flas_tui.secrets import redact

    lines = [visible_text(line) for line in redact(message).splitlines()]
    try:
        print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):
        return


@contextmanager
def reported_errors() -> Iterator[None]:
    """Turn whatever goes wrong inside into a line on stderr and an exit code."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        _forget_stdout()
        raise SystemExit(EXIT_CLOSED_PIPE) from None
    except Exception as error:
        raise SystemExit(_tell(error)) from None


def _tell(error: Exception) -> int:
    """Say what went wrong and return the exit code for it."""
    from flas_engine.errors import FlasError  # here, because help needs nothing of the engine

    if isinstance(error, FlasError):
        say(f"flas-tui: {error}")
        return EXIT_USER_ERROR
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        say(f"flas-tui: {': '.join(filter(None, (error.filename, error.strerror)))}")
        return EXIT_USER_ERROR
    say(f"flas-tui: unexpected {type(error).__name__}; this is a defect, the log has the details: {_log(error)}")
    return EXIT_DEFECT


def _log(error: Exception) -> str:
    from flas_tui.logs import start_logging

    path = start_logging()
    logging.getLogger(__name__).error("the command failed", exc_info=error)
    return str(path)


def _forget_stdout() -> None:
    """Let the interpreter's last flush go to nowhere, or it would complain about the closed pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
