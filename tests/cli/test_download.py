"""`flas-tui download` as it is typed: what it prints where, and how it is stopped."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from hub_machine import BASE, COMMAND, FLOW

from flas_engine.progress import Progress
from flas_tui.download_bar import DownloadBar

if TYPE_CHECKING:
    from hub_machine import Machine
    from hub_server import Hub


def test_stdout_is_the_paths_and_stderr_a_line_a_file(machine: Machine) -> None:
    outcome = machine.run("download", FLOW)
    assert outcome.exit_code == 0
    flow, base = (Path(line) for line in outcome.out.splitlines())
    assert flow.name == "flow.safetensors"
    assert (base / "config.json").exists()
    assert f"downloading {BASE}: " in outcome.err
    assert all(line.startswith(("asking the Hub for tiny/", "downloading tiny/")) for line in outcome.err.splitlines())
    assert "\x1b" not in outcome.err
    assert "\r" not in outcome.err


def test_another_base_is_taken_with_base(machine: Machine, hub: Hub) -> None:
    hub.repos["mirror/base"] = hub.repos.pop(BASE)
    outcome = machine.run("download", FLOW, "--base", "mirror/base")
    assert outcome.exit_code == 0, outcome.err
    assert "models--mirror--base" in outcome.out


def test_on_a_terminal_there_is_a_bar(machine: Machine) -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "download", BASE],
        env=machine.env | {"TERM": "xterm", "COLUMNS": "100"},
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    drawn = _read_all(controller)
    assert process.wait(timeout=60) == 0, drawn
    assert b"MB" in drawn
    assert b"Traceback" not in drawn
    assert drawn.rstrip().endswith(b"\x1b[2K") or b"\x1b[?25h" in drawn  # the cursor is back, the bar has gone


def test_ctrl_c_on_a_terminal_gives_the_cursor_back(machine: Machine, hub: Hub) -> None:
    hub.faults.stall_after = 300_000
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "download", BASE],
        env=machine.env | {"TERM": "xterm"},
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    assert hub.stalled.wait(timeout=30)
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)
    drawn = _read_all(controller)
    assert process.wait(timeout=10) == 130
    assert time.monotonic() - pressed < 1.0
    assert drawn.rfind(b"\x1b[?25h") > drawn.rfind(b"\x1b[?25l")
    assert b"Traceback" not in drawn


def test_an_unknown_option_is_a_usage_error(machine: Machine) -> None:
    assert machine.run("download", "demo", "--nosuch").exit_code == 2


def _read_all(controller: int) -> bytes:
    """Everything that is written to a terminal until its last writer closes it."""
    drawn = b""
    with os.fdopen(controller, "rb", buffering=0) as file:
        while True:
            try:
                block = file.read(65536)
            except OSError:  # Linux answers EIO when the other side has gone
                return drawn
            if not block:
                return drawn
            drawn += block


@pytest.mark.parametrize(
    ("unit", "line"), [("bytes", "reading (2 of 7 MB)"), ("items", "reading (2,000,000 of 7,000,000)")]
)
def test_bytes_are_told_as_megabytes_and_pieces_as_a_count(
    unit: Literal["bytes", "items"], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with DownloadBar() as bar:
        bar(Progress(activity="reading", done=2_000_000, total=7_000_000, unit=unit))
    assert capsys.readouterr().err == f"{line}\n"
