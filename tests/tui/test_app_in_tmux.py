"""The app as a person meets it in tmux: suspend and return, resize, SIGTERM, and a history that is there tomorrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from in_terminal import ROOT, in_tmux, needs_tmux, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from in_terminal import Tmux

pytestmark = needs_tmux


def start(tmux: Tmux, folder: Path, seconds_per_token: float = 0.01) -> None:
    paths = f"PYTHONPATH={ROOT}:{ROOT / 'tests'}"
    options = f"--history {folder} --seconds-per-token {seconds_per_token}"
    tmux.type(f"{paths} $PYTHON tests/tui/run_scripted.py {options}", "Enter")
    tmux.wait_for("seed 0")


def test_suspending_gives_the_shell_back_and_fg_the_app(tmp_path: Path) -> None:
    with in_tmux(tmp_path) as tmux:
        start(tmux, tmp_path / "history")
        tmux.type("Enter")
        tmux.wait_for("length limit")
        tmux.type("C-z")
        tmux.wait_for("Stopped")
        assert tmux.modes() == (False, False)
        tmux.type("fg", "Enter")
        assert "length limit" in tmux.wait_for("baseline")


def test_a_run_is_there_after_a_restart(tmp_path: Path) -> None:
    with in_tmux(tmp_path, columns=120, rows=40) as tmux:
        start(tmux, tmp_path / "history")
        tmux.type("Enter")
        tmux.wait_for("length limit")
        tmux.type("C-q")
        wait_until(lambda: tmux.modes() == (False, False), "the shell")
        start(tmux, tmp_path / "history")
        assert "length limit" not in tmux.wait_for("talk like a pirate")
        tmux.type("Escape")
        tmux.wait_for("[ ] T")
        tmux.type("H", "Enter")
        tmux.wait_for("length limit")


def test_the_layout_follows_the_window(tmp_path: Path) -> None:
    with in_tmux(tmp_path, columns=120, rows=40) as tmux:
        start(tmux, tmp_path / "history")
        tmux.wait_for("Concepts")
        tmux.run("resize-window", "-x", "60", "-y", "20")
        wait_until(lambda: "Concepts" not in tmux.screen() and "baseline" not in tmux.screen(), "one pane")
        tmux.run("resize-window", "-x", "45", "-y", "10")
        tmux.wait_for("flas needs 50 x 12")
        tmux.run("resize-window", "-x", "120", "-y", "40")
        tmux.wait_for("Concepts")


def test_sigterm_while_text_runs_leaves_a_clean_terminal_and_keeps_the_run(tmp_path: Path) -> None:
    with in_tmux(tmp_path) as tmux:
        start(tmux, tmp_path / "history", seconds_per_token=0.05)
        tmux.type("Enter")
        tmux.wait_for("writing")
        tmux.run("run-shell", f"pkill -TERM -P {tmux.shell_pid()}")
        wait_until(lambda: tmux.modes() == (False, False), "the shell")
        from flas_tui.history import History

        history = History(tmp_path / "history" / "history.db")
        wait_until(history.runs, "the run, which is written once the terminal is given back")
        (run,) = history.runs()
        history.close()
        assert run.lanes[1].text
