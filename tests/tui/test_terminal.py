"""The terminal is left as it was, however the app ends, and nothing but the app draws on it."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest
from in_terminal import in_pty, in_tmux, needs_tmux

from flas_tui.console import EXIT_DEFECT
from flas_tui.terminal import TerminalError, refuse_unusable_terminal

if TYPE_CHECKING:
    from pathlib import Path

APP = "tests/tui/guarded_app.py"
SECRET = "hf_abcdefghijklmnopqrst"
HANG_UP_SECONDS = 5.0
"""What a lost line may cost a machine that others wait for."""


def logged(home: Path) -> str:
    return "\n".join(path.read_text() for path in (home).rglob("*.log"))


def last_mode(output: bytes, mode: int) -> str:
    """`h` when the mode was last switched on, `l` when off."""
    return re.findall(rf"\x1b\[\?{mode}([hl])".encode(), output)[-1].decode()


def assert_left_clean(output: bytes) -> None:
    for mode in (1049, 1000, 1003, 1006, 1004, 2004):
        assert last_mode(output, mode) == "l", mode
    assert last_mode(output, 25) == "h"
    assert last_mode(output, 7) == "h"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_clean_terminal(tmp_path: Path, number: int, code: int) -> None:
    with in_pty(APP, "idle", home=tmp_path) as program:
        program.read_until(b"READY")
        program.signal(number)
        assert program.wait() == code
        assert_left_clean(program.output)
        assert b"AFTERWARDS" in program.output.rpartition(b"\x1b[?1049l")[2]


def test_a_signal_before_the_app_runs_is_not_lost(tmp_path: Path) -> None:
    with in_pty(APP, "idle", home=tmp_path) as program:
        program.read_until(b"\x1b[?1049h")
        program.signal(signal.SIGTERM)
        assert program.wait() == 143
        assert_left_clean(program.output)


def test_a_signal_that_another_thread_gets_wakes_the_idle_app(tmp_path: Path) -> None:
    with in_pty(APP, "signalled-elsewhere", home=tmp_path) as program:
        program.read_until(b"READY")
        assert program.wait() == 143
        assert_left_clean(program.output)


def test_quitting_leaves_a_clean_terminal_and_code_0(tmp_path: Path) -> None:
    with in_pty(APP, "idle", home=tmp_path) as program:
        program.read_until(b"READY")
        program.type("q")
        assert program.wait() == 0
        assert_left_clean(program.output)


def test_a_crash_is_one_line_with_the_log_and_no_secret(tmp_path: Path) -> None:
    with in_pty(APP, "crash", home=tmp_path) as program:
        assert program.wait() == EXIT_DEFECT
        assert_left_clean(program.output)
        after = program.output.rpartition(b"\x1b[?25h")[2].decode()
    assert "defect (ValueError: something broke ␛[31m [secret])" in after.replace("\r\n", "")
    assert ".log" in after
    assert "Traceback" not in program.output.decode()
    assert "ValueError" in logged(tmp_path)
    assert SECRET not in logged(tmp_path)
    assert SECRET.encode() not in program.output


def test_an_app_that_is_stuck_is_ended_with_the_terminal_restored(tmp_path: Path) -> None:
    with in_pty(APP, "stuck", home=tmp_path) as program:
        program.read_until(b"READY")
        program.signal(signal.SIGTERM)
        assert program.wait() == 143
        assert_left_clean(program.output)


def test_stray_output_goes_to_the_log_and_not_to_the_screen(tmp_path: Path) -> None:
    with in_pty(APP, "stray", home=tmp_path) as program:
        program.read_until(b"READY")
        program.type("q")
        assert program.wait() == 0
    assert b"STRAY" not in program.output
    log = logged(tmp_path)
    for word in ("STRAY-ONE", "STRAY-TWO", "STRAY-NATIVE", "STRAY-PRINT", "STRAY-THREAD"):
        assert word in log
    assert SECRET not in log
    assert not list(tmp_path.rglob("stray-*"))


def test_a_killed_app_leaves_its_stray_output_to_the_next_one(tmp_path: Path) -> None:
    with in_pty(APP, "stray", home=tmp_path) as program:
        program.read_until(b"READY")
        program.signal(signal.SIGKILL)
        program.wait()
    assert "STRAY-NATIVE" not in logged(tmp_path)
    with in_pty(APP, "idle", home=tmp_path) as program:
        program.read_until(b"READY")
        program.type("q")
        program.wait()
    assert "STRAY-NATIVE" in logged(tmp_path)
    assert not list(tmp_path.rglob("stray-*"))


def test_a_hang_up_without_a_signal_ends_the_app(tmp_path: Path) -> None:
    with in_pty(APP, "idle", home=tmp_path, ignores_hangup=True) as program:
        program.read_until(b"READY")
        began = time.monotonic()
        program.hang_up()
        assert program.wait() == 129
        assert time.monotonic() - began < HANG_UP_SECONDS


@pytest.mark.parametrize("redirection", ["< /dev/null", "> output.txt", "| cat"])
def test_no_terminal_is_refused_with_a_hint_and_code_2(tmp_path: Path, redirection: str) -> None:
    # A shell inside the pseudo-terminal, so that all but the redirected stream is a terminal.
    script = f"cd {tmp_path}; set -o pipefail; $0 {os.getcwd()}/{APP} idle {redirection}"  # noqa: PTH109
    launch = f"import os, sys; os.execvp('bash', ['bash', '-c', {script!r}, sys.executable])"
    with in_pty("-c", launch, home=tmp_path) as program:
        assert program.wait() == 2
    assert b"flas-tui generate" in program.output
    assert b"\x1b" not in program.output


def test_a_dumb_terminal_is_refused_with_code_2(tmp_path: Path) -> None:
    with in_pty(APP, "idle", home=tmp_path, TERM="dumb") as program:
        assert program.wait() == 2
    assert b"TERM=dumb" in program.output
    assert b"\x1b" not in program.output


def test_a_test_runner_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    del capfd  # makes standard output a file
    with pytest.raises(TerminalError, match="needs a terminal"):
        refuse_unusable_terminal()


@needs_tmux
def test_suspending_and_resuming_in_tmux_keeps_shell_and_app_apart(tmp_path: Path) -> None:
    with in_tmux(tmp_path) as tmux:
        tmux.type(f"$PYTHON {APP} stray", "Enter")
        tmux.wait_for("READY")
        assert tmux.modes() == (True, True)
        tmux.type("C-z")
        tmux.wait_for("Stopped")
        assert tmux.modes() == (False, False)
        tmux.type("echo shell-$((40 + 2))", "Enter")
        tmux.wait_for("shell-42")
        tmux.type("fg", "Enter")
        tmux.wait_for("READY")
        assert tmux.modes() == (True, True)
        tmux.type("q")
        screen = tmux.wait_for("AFTERWARDS")
        assert tmux.modes() == (False, False)
        assert "STRAY" not in screen


@needs_tmux
def test_sigterm_in_tmux_leaves_the_shell_usable(tmp_path: Path) -> None:
    with in_tmux(tmp_path) as tmux:
        tmux.type(f"$PYTHON {APP} idle & wait_for=$!; fg", "Enter")
        tmux.wait_for("READY")
        tmux.run("run-shell", f"pkill -TERM -P {tmux.shell_pid()}")
        tmux.wait_for("AFTERWARDS")
        assert tmux.modes() == (False, False)
        tmux.type("echo code-$?", "Enter")
        tmux.wait_for("code-143")


@needs_tmux
def test_the_app_follows_the_window_size(tmp_path: Path) -> None:
    with in_tmux(tmp_path, columns=100, rows=30) as tmux:
        tmux.type(f"$PYTHON -c 'import shutil; print(shutil.get_terminal_size())'; $PYTHON {APP} idle", "Enter")
        tmux.wait_for("READY")
        tmux.run("resize-window", "-x", "60", "-y", "15")
        tmux.wait_for("READY")
        tmux.type("q")
        tmux.wait_for("AFTERWARDS")
