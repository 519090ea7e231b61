"""Runs a program in a pseudo-terminal of its own, or in a real tmux, and waits for what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 20.0
"""For a machine that other work keeps busy; a test that passes takes a fraction of it."""

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


def environment(home: Path, **extra: str) -> dict[str, str]:
    """The environment of a user with nothing set up, whose files all lie under `home`."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    return kept | {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
        **extra,
    }


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as `condition` holds; fails when it does not in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in {PATIENCE_SECONDS:g} s: {what}"
        select.select([], [], [], 0.02)


@dataclass
class PtyProgram:
    """A process whose controlling terminal we hold the other end of."""

    pid: int
    master: int
    output: bytes = b""
    exit_code: int | None = field(default=None)

    def read_until(self, text: bytes) -> bytes:
        """Read until `text` was written; returns everything written so far."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.output:
            assert time.monotonic() < deadline, (text, self.output[-2000:])
            assert self._read(0.1), (text, self.output[-2000:])
        return self.output

    def type(self, keys: str) -> None:
        """Send keys."""
        os.write(self.master, keys.encode())

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        os.kill(self.pid, number)

    def hang_up(self) -> None:
        """Close our end of the line."""
        os.close(self.master)
        self.master = -1

    def wait(self) -> int:
        """Wait for the end, reading what is still written; returns the exit code, negative for a signal."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.exit_code is None:
            assert time.monotonic() < deadline, self.output[-2000:]
            if self.master < 0 or not self._read(0.05):
                select.select([], [], [], 0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        while self.master >= 0 and self._read(0.1) and select.select([self.master], [], [], 0.1)[0]:
            pass
        return self.exit_code

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux: the other end is closed
            return False
        self.output += data
        return bool(data)


@contextmanager
def in_pty(
    *arguments: str, home: Path, rows: int = 24, columns: int = 80, ignores_hangup: bool = False, **extra: str
) -> Iterator[PtyProgram]:
    """Run Python with `arguments` in a pseudo-terminal."""
    pid, master = pty.fork()
    if pid == 0:
        if ignores_hangup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, *arguments], environment(home, **extra))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    program = PtyProgram(pid=pid, master=master)
    try:
        yield program
    finally:
        if program.exit_code is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if program.master >= 0:
            os.close(program.master)


@dataclass(frozen=True)
class Tmux:
    """A tmux server of our own with one pane, in which a shell runs."""

    socket: str
    environment: dict[str, str]

    def run(self, *arguments: str) -> str:
        """Give tmux a command and return what it prints."""
        command = ["tmux", "-S", self.socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def type(self, *keys: str) -> None:
        """Send keys, in tmux's names."""
        self.run("send-keys", *keys)

    def screen(self) -> str:
        """What the pane shows."""
        return self.run("capture-pane", "-p")

    def wait_for(self, text: str) -> str:
        """Wait until the pane shows `text`; returns the whole screen."""
        wait_until(lambda: text in self.screen(), f"{text!r} on the screen")
        return self.screen()

    def modes(self) -> tuple[bool, bool]:
        """Whether the alternate screen and any mouse reporting are on."""
        alternate, mouse = self.run("display-message", "-p", "#{alternate_on} #{mouse_any_flag}").split()
        return alternate == "1", mouse == "1"

    def shell_pid(self) -> str:
        """The pid of the pane's shell."""
        return self.run("display-message", "-p", "#{pane_pid}").strip()


@contextmanager
def in_tmux(home: Path, *, columns: int = 80, rows: int = 24) -> Iterator[Tmux]:
    """Start a tmux with a shell in it, and end it."""
    settings = environment(home, TERM="tmux-256color", PYTHON=sys.executable)
    tmux = Tmux(socket=str(home / "tmux"), environment=settings)
    tmux.run(
        "new-session",
        "-d",
        "-x",
        str(columns),
        "-y",
        str(rows),
        "-c",
        str(ROOT),
        "exec env 'PS1=ready> ' bash --norc -i",
    )
    try:
        tmux.wait_for("ready>")
        yield tmux
    finally:
        tmux.run("kill-server")
