"""A small real app inside the guard, for the tests that need a process and a terminal: `guarded_app.py BEHAVIOUR`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.widgets import Static

from flas_engine.errors import FlasError
from flas_tui.terminal import guarded_terminal, refuse_unusable_terminal, repaint_on_resume


class GuardedApp(App[None]):
    """Shows READY, and does what its behaviour says."""

    BINDINGS: ClassVar = [("ctrl+z", "suspend_process", "suspend"), ("q", "quit", "quit")]

    def __init__(self, behaviour: str) -> None:
        super().__init__()
        self.behaviour = behaviour

    def compose(self) -> ComposeResult:
        yield Static("", id="state")

    def on_mount(self) -> None:
        repaint_on_resume(self)
        self.set_timer(0.01, self.behave)

    def behave(self) -> None:
        if self.behaviour == "stray":
            os.write(1, b"STRAY-ONE")
            os.write(2, b"STRAY-TWO hf_abcdefghijklmnopqrst\n")
            libc = ctypes.CDLL(None)
            libc.puts(b"STRAY-NATIVE")
            libc.fflush(None)
            print("STRAY-PRINT")  # noqa: T201
            threading.Thread(target=sys.stderr.write, args=("STRAY-THREAD",)).start()
        self.query_one(Static).update("READY")
        if self.behaviour == "crash":
            secret = "hf_abcdefghijklmnopqrst"
            self.call_after_refresh(lambda: self.fail(secret))
        if self.behaviour == "signalled-elsewhere":
            threading.Timer(0.3, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()
        if self.behaviour == "stuck":
            self.call_after_refresh(lambda: time.sleep(60))

    def fail(self, secret: str) -> None:
        raise ValueError(f"something broke \x1b[31m {secret}")


def main() -> int:
    """Run the app as `flas-tui` would."""
    try:
        refuse_unusable_terminal()
    except FlasError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    app = GuardedApp(sys.argv[1])
    with guarded_terminal(app) as guard:
        app.run()
    if os.isatty(1):  # a line that hung up takes nothing more
        sys.stdout.write("AFTERWARDS\n")
    return guard.exit_code


if __name__ == "__main__":
    sys.exit(main())
