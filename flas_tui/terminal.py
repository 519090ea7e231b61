"""The terminal around the app: entered only when it is fit for it, and left clean however the app ends.

Textual restores the terminal when it exits by itself. What it does not cover is covered here: signals, a line that
hangs up without one, output of others on descriptors 1 and 2, a crash, and a screen that has stopped answering. Knows
of the app only that it can be asked to exit. Modules that are slow to import stay out of here.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import logging
import os
import select
import signal
import sys
import termios
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from flas_engine.errors import FlasError
from flas_tui.console import EXIT_DEFECT
from flas_tui.logs import start_logging
from flas_tui.safe_text import visible_line
from flas_tui.secrets import redact
from flas_tui.stray_output import stray_output_logged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from textual.app import App

log = logging.getLogger(__name__)

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
TEXTUAL_SIGNALS = (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)
"""Textual's driver takes these and does not give them back."""

WATCH_SECONDS = 1.0
"""How often the line is looked at. A hang-up that sends no signal is noticed within this."""

GRACE_SECONDS = 2.5
"""How long the app may take to exit before it is ended from outside; with `WATCH_SECONDS` well under five seconds."""

MODES_OFF = "".join(f"\x1b[?{mode}l" for mode in (1000, 1002, 1003, 1006, 1015, 1016, 1004, 2004, 2026, 2048))
"""Mouse (pixels too, which Textual leaves on), focus, bracketed paste, synchronised output, in-band resize."""

CURSOR_AND_WRAP_ON = "\x1b[?7h\x1b[?25h\x1b[0m"
LEAVE_SCREEN = "\x1b[<u\x1b[?1049l"
"""Keyboard protocol and alternate screen; only where Textual did not do it, since twice is once too many."""


class TerminalError(FlasError):
    """A terminal that the app cannot be shown on."""


def refuse_unusable_terminal() -> None:
    """Raise `TerminalError` unless standard input and output are a terminal that can show the app."""
    if not (os.isatty(0) and os.isatty(1)):
        raise TerminalError(
            "the app needs a terminal, and standard input or output is not one; "
            "use `flas-tui generate` or `flas-tui chat` in scripts and pipes"
        )
    if os.environ.get("TERM") == "dumb":
        raise TerminalError(
            "the app cannot be shown on this terminal (TERM=dumb); use `flas-tui chat`, or set TERM to what it is"
        )


def repaint_on_resume(app: App[Any]) -> None:
    """Have `app` draw itself anew after ctrl+z and `fg`, which Textual leaves to others; call it when it is mounted."""
    app.app_resume_signal.subscribe(app, lambda resumed: resumed.refresh(layout=True))


class TerminalGuard:
    """How the app ended; `exit_code` is for the shell once the guard is left."""

    def __init__(self, app: App[Any], tty: int, modes: list[Any]) -> None:
        self.exit_code = 0
        self._app = app
        self._tty = tty
        self._modes = modes
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._has_left = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="flas-terminal", daemon=True)

    def end(self, signal_number: int, _frame: object = None) -> None:
        """Have the app exit as for `signal_number`; the first reason stands. May be called from a signal handler."""
        if self.exit_code == 0:
            self.exit_code = 128 + signal_number
            os.write(self._waker, b"!")

    def start(self) -> None:
        """Begin to watch the line and the signals; from the main thread."""
        signal.set_wakeup_fd(self._waker)
        self._watcher.start()

    def leave(self) -> None:
        """Stop watching and restore the modes of the terminal."""
        self._has_left.set()
        signal.set_wakeup_fd(-1)
        os.write(self._waker, b".")
        self._watcher.join()
        os.close(self._wake)
        os.close(self._waker)
        self._restore(MODES_OFF + CURSOR_AND_WRAP_ON)

    def _watch(self) -> None:
        """Wait until the app is to exit; until then, let every signal wake it.

        The kernel may hand a signal to any thread. The main thread runs the handler, but while it waits for events it
        does not hear of it: after `fg` the app would stay away until the next key.
        """
        while self.exit_code == 0:
            if select.select([self._wake], [], [], WATCH_SECONDS)[0]:
                os.read(self._wake, select.PIPE_BUF)
                if self._has_left.is_set():
                    return
                if self._app.is_running:
                    with contextlib.suppress(RuntimeError):  # its loop has been closed since
                        self._app.call_later(lambda: None)
            elif not os.isatty(0):
                self.end(signal.SIGHUP)
        log.info("the app is asked to exit, as for %s", signal.Signals(self.exit_code - 128).name)
        threading.Thread(target=self._ask_to_exit, name="flas-exit", daemon=True).start()
        if not self._has_left.wait(GRACE_SECONDS):
            self._exit_by_force()

    def _ask_to_exit(self) -> None:
        while not self._has_left.wait(0.05):
            with contextlib.suppress(RuntimeError):  # the app is not running yet, or not any more
                self._app.call_from_thread(self._app.exit)
                return

    def _exit_by_force(self) -> None:
        """End the process, terminal restored; a line that takes no more output must not hold it up."""
        log.error("the app did not exit in %s s and is ended", GRACE_SECONDS)
        text = MODES_OFF + LEAVE_SCREEN + CURSOR_AND_WRAP_ON
        restoring = threading.Thread(target=self._restore, args=(text,), daemon=True)
        restoring.start()
        restoring.join(0.3)
        os._exit(self.exit_code)

    def _restore(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._tty, text.encode())
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSANOW, self._modes)


@contextmanager
def guarded_terminal(app: App[Any]) -> Iterator[TerminalGuard]:
    """Run `app` inside this, from the main thread, after `refuse_unusable_terminal`.

    SIGTERM, SIGHUP, SIGINT and a hang-up make the app exit; a crash is told in one line with the log's path, and
    swallowed. A `FlasError` passes through. Once left, the terminal is as it was and `exit_code` is set.
    """
    log_path = start_logging()
    tty = os.dup(1)
    guard = TerminalGuard(app, tty, termios.tcgetattr(0))
    failure: BaseException | None = None
    last_words = app.error_console.file = io.StringIO()  # Textual's traceback shows locals, and secrets are among them
    try:
        with _signals_kept(), stray_output_logged(log_path.parent), _drawing_on(tty, app), _faults_shown():
            for number in ENDING_SIGNALS:
                signal.signal(number, guard.end)
            guard.start()
            try:
                yield guard
            except FlasError:
                raise
            except Exception as error:
                failure = error
            finally:
                guard.leave()
    finally:
        os.close(tty)
    failure = failure or getattr(app, "_exception", None)  # Textual catches what is raised while it runs
    if failure is None and last_words.getvalue():
        failure = RuntimeError(last_words.getvalue())
    if failure is not None:
        guard.exit_code = EXIT_DEFECT
        _report(failure, log_path)


class _Tty(io.TextIOBase):
    """The terminal as Textual's writer thread needs it: an error ends the output, not the thread.

    If the thread died, the next thirty writes would fill its queue and the app would wait for ever to exit.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending: list[str] = []
        self._is_gone = False

    def write(self, text: str) -> int:
        self._pending.append(text)
        return len(text)

    def flush(self) -> None:
        data = "".join(self._pending).encode("utf-8", "replace")
        self._pending.clear()
        while data and not self._is_gone:
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                log.warning("the terminal takes no more output: %s", error)
                self._is_gone = True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return True


@contextmanager
def _drawing_on(tty: int, app: App[Any]) -> Iterator[None]:
    """Let Textual draw on `tty`, and let prints go where descriptors 1 and 2 lead.

    Textual's driver takes `sys.__stderr__` to draw on and asks `sys.__stdout__` for the size. It drops what is printed
    to `sys.stdout` while it runs; giving it the streams themselves lets prints reach the log.
    """
    original = sys.__stdout__, sys.__stderr__
    sys.__stdout__ = sys.__stderr__ = cast("Any", _Tty(tty))  # type: ignore[misc]
    for name in ("stdout", "stderr"):
        setattr(app, f"_capture_{name}", getattr(sys, name))
    try:
        yield
    finally:
        sys.__stdout__, sys.__stderr__ = original  # type: ignore[misc]


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back the handlers of all the signals that the guard and Textual take."""
    kept = [(number, signal.getsignal(number)) for number in (*ENDING_SIGNALS, *TEXTUAL_SIGNALS)]
    try:
        yield
    finally:
        for number, handler in kept:
            signal.signal(number, handler)


@contextmanager
def _faults_shown() -> Iterator[None]:
    """Have a fault in native code write where it was to descriptor 2."""
    if faulthandler.is_enabled():
        yield
        return
    faulthandler.enable(2)
    try:
        yield
    finally:
        faulthandler.disable()


def _report(error: BaseException, log_path: Path) -> None:
    log.error("the app crashed", exc_info=error)
    reason = redact(visible_line(f"{type(error).__name__}: {error}"))[:300]
    print(f"flas-tui stopped because of a defect ({reason}); the log has the details: {log_path}", file=sys.stderr)  # noqa: T201
