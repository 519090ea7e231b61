"""The app as a process on a terminal: what it imports, what it sends, how fast it leaves."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from in_terminal import ROOT, in_pty

if TYPE_CHECKING:
    from pathlib import Path

    from in_terminal import PtyProgram

SCRIPTED = "tests/tui/run_scripted.py"
PATHS = f"{ROOT}:{ROOT / 'tests'}"
QUIT, ENTER = "\x11", "\r"
QUIT_SECONDS = 1.0
"""What the user may be kept waiting, whatever is going on."""
BYTES_PER_TOKEN = 400
FRAMES_PER_SECOND = 25
SYNCHRONISED_OUTPUT_IS_KNOWN = "\x1b[?2026;2$y"
FRAME = b"\x1b[?2026h"

QUITTING_WHILE_LOADING = """
from flas_tui import app
def load(spec, *, progress):
    while True:  # like native code: heeds nobody
        __import__("time").sleep(0.01)
app.load_engine = load
from flas_tui.options import AppOptions
raise SystemExit(app.run_app(AppOptions()))
"""


def seconds_to_quit(program: PtyProgram) -> float:
    started = time.monotonic()
    program.type(QUIT)
    assert program.wait() == 0
    return time.monotonic() - started


def test_the_app_imports_neither_the_engine_nor_what_is_heavy() -> None:
    heavy = "{'torch', 'transformers', 'huggingface_hub', 'flas_engine.engine', 'typer', 'psutil', 'rich.markdown'}"
    program = f"import sys, flas_tui.app; print(*sorted(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_quitting_while_a_load_heeds_nobody_takes_under_a_second(tmp_path: Path) -> None:
    with in_pty("-c", QUITTING_WHILE_LOADING, home=tmp_path) as program:
        program.read_until(b"prompt")
        program.read_until(b"starting the engine")
        assert seconds_to_quit(program) < QUIT_SECONDS
        assert b"\x1b[?1049l" in program.output


def test_quitting_while_torch_is_imported_takes_under_a_second(tmp_path: Path) -> None:
    def quit_once() -> float:
        with in_pty("-m", "flas_tui", home=tmp_path) as program:
            program.read_until(b"starting the engine")
            return seconds_to_quit(program)

    # The least of some: torch's own libraries are read without a break, for as long as a busy disk takes.
    assert min(quit_once() for _ in range(3)) < QUIT_SECONDS


def test_quitting_while_text_runs_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    with in_pty(SCRIPTED, "--history", str(folder), home=tmp_path, PYTHONPATH=PATHS) as program:
        program.read_until(b"seed")
        program.type(ENTER)
        program.read_until(b"pirate")
        program.read_until(b"writing")
        assert seconds_to_quit(program) < QUIT_SECONDS
    from flas_tui.history import History

    history = History(folder / "history.db")
    (run,) = history.runs()
    history.close()
    assert run.lanes[1].text


def test_streaming_sends_few_bytes_and_few_frames(tmp_path: Path) -> None:
    with in_pty(SCRIPTED, "--seconds-per-token", "0.02", home=tmp_path, rows=40, columns=120, PYTHONPATH=PATHS) as app:
        app.type(SYNCHRONISED_OUTPUT_IS_KNOWN)
        app.read_until(b"seed")
        app.type(ENTER)
        app.read_until(b"writing")
        before, started = len(app.output), time.monotonic()
        app.read_until(b"length limit")
        sent, seconds = app.output[before:], time.monotonic() - started
        shown = [int(count) for count in re.findall(rb"(\d+) tokens", app.output)]
        tokens = 2 * (max(shown) - min(shown))
        assert tokens > 100
        assert len(sent) / tokens <= BYTES_PER_TOKEN
        assert sent.count(FRAME) > 0
        assert sent.count(FRAME) / seconds <= FRAMES_PER_SECOND
