"""How long the app takes to its first paint, and a key press to show while both panes stream: measured for real.

The app runs in a pseudo-terminal of its own, on an engine that costs nothing and writes at a given pace, or on a real
one at full speed (`measured_app`); what is measured is everything between the key's bytes going in and the new flow
time's digits coming out, but not the terminal's own drawing.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import psutil

from flas_engine.errors import FlasError
from flas_engine.paths import cache_dir, config_dir
from flas_tui.measured_app import FIRST_FLOW_TIME, READY, STEADY, Load, TokenCount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flas_engine.info import LoadSpec

F8 = b"\x1b[19~"
"""Moves T up by 0.05, from anywhere."""
MOST_PRESSES = 70
"""Each press shows a number not shown before; the slider ends at 4."""
COLUMNS, ROWS = 120, 40
WARM_TOKENS = 100
"""What a real engine writes before the first press."""
SMALLEST_APP = """
from textual.app import App
from textual.widgets import Static
class Smallest(App):
    def compose(self):
        yield Static("prompt")
Smallest().run()
"""
PATIENCE_SECONDS = 30.0
LOAD_PATIENCE_SECONDS = 300.0


class LatencyError(FlasError):
    """The app could not be measured here."""


@dataclass(frozen=True, kw_only=True)
class KeyToPaint:
    """Seconds from key to paint, one for each press, and what the app cost meanwhile."""

    seconds: tuple[float, ...]
    tokens_per_second: float
    """Written meanwhile in each of the two panes."""
    cpu_share: float
    """Of one core."""
    bytes_per_token: float
    """Written to the terminal, for each token of either pane, the answers to the keys included."""

    @property
    def median_seconds(self) -> float:
        """Half of the presses were faster."""
        return quantiles(self.seconds, n=2)[0]

    @property
    def p95_seconds(self) -> float:
        """19 of 20 presses were faster."""
        return quantiles(self.seconds, n=20)[-1]


def measure_key_to_paint(load: Load | LoadSpec | None = None, *, presses: int = 60) -> KeyToPaint:
    """Press a key `presses` times while the app streams; raises `LatencyError` when it does not come to that.

    `load` is the pace of an engine that costs nothing, or a model whose engine streams as fast as it can.
    """
    if not 2 <= presses <= MOST_PRESSES:
        raise LatencyError(f"{presses} key presses; between 2 and {MOST_PRESSES} can be measured")
    load = load or Load()
    with tempfile.TemporaryDirectory() as home:
        count = TokenCount(Path(home) / "count")
        arguments = [type(load).__name__, json.dumps(asdict(load)), str(count.path)]
        screen = _Screen([sys.executable, "-m", "flas_tui.measured_app", *arguments], Path(home), _model_folders())
        try:
            screen.read_until(READY, LOAD_PATIENCE_SECONDS)
            screen.write(b"\r")
            if isinstance(load, Load):
                screen.read_until(STEADY)
            screen.read_while(lambda: count.value < WARM_TOKENS)
            return _measure(screen, count, presses)
        finally:
            screen.close()


def _model_folders() -> dict[str, str]:
    """Return where the app finds this user's models although it has a home of its own."""
    hub = os.environ.get("HF_HOME", str(Path("~/.cache/huggingface").expanduser()))
    return {"FLAS_CACHE_DIR": str(cache_dir()), "FLAS_CONFIG_DIR": str(config_dir()), "HF_HOME": hub}


@dataclass(frozen=True, kw_only=True)
class FirstPaint:
    """Median seconds from the start of the process to the first paint."""

    seconds: float
    smallest_seconds: float
    """Of Textual's own smallest app, which shows one word."""


def measure_first_paint(*, starts: int = 5) -> FirstPaint:
    """Start the app and Textual's smallest app in turn; raises `LatencyError` when one does not paint."""
    ours, smallest = [], []
    for _ in range(starts):
        smallest.append(_seconds_to_paint([sys.executable, "-c", SMALLEST_APP]))
        ours.append(_seconds_to_paint([sys.executable, "-m", "flas_tui"]))
    return FirstPaint(seconds=median(ours), smallest_seconds=median(smallest))


@dataclass(frozen=True, kw_only=True)
class Help:
    """Median seconds that `flas-tui --help` takes as a whole process."""

    help_seconds: float
    libraries_seconds: float
    """Of a process that imports Typer and Rich, and no more."""


def measure_help(*, starts: int = 9) -> Help:
    """Run `--help` and the imports alone in turn."""
    ours, libraries = [], []
    for _ in range(starts):
        libraries.append(_seconds_of([sys.executable, "-c", "import typer, rich"]))
        ours.append(_seconds_of([sys.executable, "-m", "flas_tui", "--help"]))
    return Help(help_seconds=median(ours), libraries_seconds=median(libraries))


def _seconds_of(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _seconds_to_paint(command: Sequence[str]) -> float:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        started = time.perf_counter()
        screen = _Screen(command, Path(home))
        try:
            screen.read_until("prompt")
            return time.perf_counter() - started
        finally:
            screen.close()


def _measure(screen: _Screen, count: TokenCount, presses: int) -> KeyToPaint:
    pauses = random.Random(0)  # off the beat of the app's own clock
    process = psutil.Process(screen.pid)
    began, cpu_began = time.perf_counter(), sum(process.cpu_times()[:2])
    bytes_began, tokens_began = screen.num_bytes, count.value
    seconds = []
    for press in range(1, presses + 1):
        screen.read_for(pauses.uniform(0.1, 0.2))
        pressed = time.perf_counter()
        screen.write(F8)
        screen.read_until(f"{FIRST_FLOW_TIME + press * 0.05:.2f}")
        seconds.append(time.perf_counter() - pressed)
    elapsed, num_tokens = time.perf_counter() - began, count.value - tokens_began
    return KeyToPaint(
        seconds=tuple(seconds),
        tokens_per_second=num_tokens / 2 / elapsed,
        cpu_share=(sum(process.cpu_times()[:2]) - cpu_began) / elapsed,
        bytes_per_token=(screen.num_bytes - bytes_began) / num_tokens,
    )


class _Screen:
    """A program and the other end of its terminal."""

    def __init__(self, command: Sequence[str], home: Path, variables: Mapping[str, str] | None = None) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "FLAS_"))}
        environment |= {"HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(variables or {})}
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execve(command[0], list(command), environment)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.num_bytes = 0

    def write(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read_until(self, text: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Return as soon as `text` comes out, whatever came before the call not counted."""
        seen, wanted, deadline = b"", text.encode(), time.perf_counter() + patience_seconds
        while wanted not in seen:
            seen += self._read(0.1)
            if time.perf_counter() > deadline:
                raise LatencyError(f"the app did not show {text!r} within {patience_seconds:g} s")

    def read_while(self, is_waiting: Callable[[], bool]) -> None:
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while is_waiting():
            self._read(0.1)
            if time.perf_counter() > deadline:
                raise LatencyError(f"the app does not stream within {PATIENCE_SECONDS:g} s; its log may say why")

    def read_for(self, seconds: float) -> None:
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            self._read(left)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self._master)
        os.waitpid(self.pid, 0)

    def _read(self, seconds: float) -> bytes:
        if not select.select([self._master], [], [], seconds)[0]:
            return b""
        try:
            data = os.read(self._master, 65536)
        except OSError as error:  # the other end is closed
            raise LatencyError("the app that was to be measured ended by itself; its log may say why") from error
        self.num_bytes += len(data)
        return data
