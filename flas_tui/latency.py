"""How long the app takes to its first paint, and a key press to show while both panes stream: measured for real.

The app runs in a pseudo-terminal of its own, on an engine that costs nothing and writes at a given pace; what is
measured is everything between the key's bytes going in and the new flow time's digits coming out, but not the
terminal's own drawing. Run as a program, this module is the app that is measured.
"""

from __future__ import annotations

import fcntl
import os
import pty
import random
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import psutil

from flas_engine.control import RunControl
from flas_engine.errors import FlasError
from flas_engine.events import Event, Finished, FinishReason, Prefilled, Token
from flas_engine.info import EngineInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flas_engine.info import LoadSpec
    from flas_engine.progress import ReportProgress
    from flas_engine.request import Request

F8 = b"\x1b[19~"
"""Moves T up by 0.05, from anywhere."""
FIRST_FLOW_TIME = 0.5
MOST_PRESSES = 70
"""Each press shows a number not shown before; the slider ends at 4."""
STEADY = "STEADY"
SMALLEST_APP = """
from textual.app import App
from textual.widgets import Static
class Smallest(App):
    def compose(self):
        yield Static("prompt")
Smallest().run()
"""
PATIENCE_SECONDS = 30.0


class LatencyError(FlasError):
    """The app could not be measured here."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the app is kept busy with."""

    tokens_per_second: float = 100.0
    """In each of the two panes."""
    tokens_shown: int = 4000
    columns: int = 120
    rows: int = 40


@dataclass(frozen=True, kw_only=True)
class KeyToPaint:
    """Seconds from key to paint, one for each press, and what the app cost meanwhile."""

    seconds: tuple[float, ...]
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


def measure_key_to_paint(load: Load | None = None, *, presses: int = 60) -> KeyToPaint:
    """Press a key `presses` times while the app streams; raises `LatencyError` when it does not come to that."""
    if not 2 <= presses <= MOST_PRESSES:
        raise LatencyError(f"{presses} key presses; between 2 and {MOST_PRESSES} can be measured")
    load = load or Load()
    command = [sys.executable, "-m", "flas_tui.latency", str(load.tokens_per_second), str(load.tokens_shown)]
    with tempfile.TemporaryDirectory() as home:
        screen = _Screen(command, Path(home), load)
        try:
            screen.read_until("scripted")
            screen.write(b"\r")
            screen.read_until(STEADY)
            return _measure(screen, load, presses)
        finally:
            screen.close()


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


def _seconds_to_paint(command: Sequence[str]) -> float:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        started = time.perf_counter()
        screen = _Screen(command, Path(home), Load())
        try:
            screen.read_until("prompt")
            return time.perf_counter() - started
        finally:
            screen.close()


def _measure(screen: _Screen, load: Load, presses: int) -> KeyToPaint:
    pauses = random.Random(0)  # off the beat of the app's own clock
    process = psutil.Process(screen.pid)
    began, cpu_began, bytes_began = time.perf_counter(), sum(process.cpu_times()[:2]), screen.num_bytes
    seconds = []
    for press in range(1, presses + 1):
        screen.read_for(pauses.uniform(0.1, 0.2))
        pressed = time.perf_counter()
        screen.write(F8)
        screen.read_until(f"{FIRST_FLOW_TIME + press * 0.05:.2f}")
        seconds.append(time.perf_counter() - pressed)
    elapsed = time.perf_counter() - began
    return KeyToPaint(
        seconds=tuple(seconds),
        cpu_share=(sum(process.cpu_times()[:2]) - cpu_began) / elapsed,
        bytes_per_token=(screen.num_bytes - bytes_began) / (elapsed * load.tokens_per_second * 2),
    )


class _Screen:
    """A program and the other end of its terminal."""

    def __init__(self, command: Sequence[str], home: Path, load: Load) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "FLAS_"))}
        environment |= {"HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execve(command[0], list(command), environment)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", load.rows, load.columns, 0, 0))
        self.num_bytes = 0

    def write(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read_until(self, text: str) -> None:
        """Return as soon as `text` comes out, whatever came before the call not counted."""
        seen, wanted, deadline = b"", text.encode(), time.perf_counter() + PATIENCE_SECONDS
        while wanted not in seen:
            seen += self._read(0.1)
            if time.perf_counter() > deadline:
                raise LatencyError(f"the app did not show {text!r} within {PATIENCE_SECONDS:g} s")

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


INFO = EngineInfo(
    name="scripted",
    base_id="scripted",
    flow_id="scripted",
    family="llama",
    layer=0,
    num_layers=1,
    num_steps=1,
    prompt_format="chat",
    context_length=1_000_000,
    device="cpu",
    dtype="float32",
    weight_bytes=0,
)


@dataclass(frozen=True, kw_only=True)
class _PacedEngine:
    """Writes words: `tokens_shown` at once, then at a pace, until it is stopped."""

    load: Load

    @property
    def info(self) -> EngineInfo:
        return INFO

    def stream(self, request: Request, control: RunControl | None = None) -> Iterator[Event]:
        control = control or RunControl()
        flow_times = [lane.flow_time for lane in request.lanes]
        words = random.Random(request.seed)
        yield Prefilled(prompt_token_ids=((1,),) * len(flow_times), seconds=0.0)
        began, index = time.perf_counter(), 0
        while not control.is_cancelled:
            for lane, flow_time in control.take_flow_times().items():
                flow_times[lane] = flow_time
            word = STEADY if index == self.load.tokens_shown else "".join(words.choices("etaoinshrdlu", k=4))
            for lane, flow_time in enumerate(flow_times):
                yield Token(lane=lane, index=index, token_id=index, text=f" {word}", logprob=-1.0, flow_time=flow_time)
            index += 1
            if index > self.load.tokens_shown:
                due = began + (index - self.load.tokens_shown) / self.load.tokens_per_second
                time.sleep(max(0.0, due - time.perf_counter()))
        for lane, flow_time in enumerate(flow_times):
            yield Finished(
                lane=lane,
                reason=FinishReason.CANCELLED,
                text="",
                tail="",
                token_ids=(),
                logprobs=(),
                flow_time=flow_time,
                seconds=time.perf_counter() - began,
            )


def _show(tokens_per_second: float, tokens_shown: int) -> None:
    """Be the app that is measured."""
    from flas_tui.app import FlasApp
    from flas_tui.options import AppOptions
    from flas_tui.settings import Settings
    from flas_tui.terminal import guarded_terminal

    engine = _PacedEngine(load=Load(tokens_per_second=tokens_per_second, tokens_shown=tokens_shown))

    def load_engine(spec: LoadSpec, *, progress: ReportProgress) -> _PacedEngine:
        del spec, progress
        return engine

    options = AppOptions(flow_time=FIRST_FLOW_TIME, concept="a concept", prompt="a prompt")
    app = FlasApp(load_engine, options=options, settings=Settings(max_new_tokens=1_000_000))
    with guarded_terminal(app):
        app.run()


if __name__ == "__main__":
    _show(float(sys.argv[1]), int(sys.argv[2]))
