"""`flas-tui` without a command: what reaches the app, and where it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flas_tui import app, terminal
from flas_tui.options import AppOptions

if TYPE_CHECKING:
    from command_line import Run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[AppOptions]:
    """Collect the options of every start of the app, at what passes for a terminal."""
    options: list[AppOptions] = []

    def record(given: AppOptions) -> int:
        options.append(given)
        return 0

    monkeypatch.setattr(app, "run_app", record)
    monkeypatch.setattr(terminal, "refuse_unusable_terminal", lambda: None)
    return options


def test_the_options_reach_the_app(run: Run, started: list[AppOptions]) -> None:
    outcome = run(
        *("-m", "demo", "--base", "b", "--flow", "f", "--device", "cpu", "--dtype", "float32", "--lite"),
        *("--concept", "talk like a pirate", "--prompt", "Hi", "-T", "-1.5", "--seed", "7"),
    )
    assert outcome.exit_code == 0
    assert started == [
        AppOptions(
            model="demo",
            base="b",
            flow="f",
            device="cpu",
            dtype="float32",
            lite=True,
            concept="talk like a pirate",
            prompt="Hi",
            flow_time=-1.5,
            seed=7,
        )
    ]


def test_without_options_the_app_is_left_to_choose(run: Run, started: list[AppOptions]) -> None:
    run()
    assert started == [AppOptions()]


def test_a_bad_flow_time_is_told_before_the_app_starts(run: Run, started: list[AppOptions]) -> None:
    outcome = run("-T", "much")
    assert "flow time 'much' is not a number" in outcome.err
    assert (outcome.exit_code, started) == (1, [])


def test_options_before_a_command_are_refused_rather_than_dropped(run: Run) -> None:
    outcome = run("--model", "demo", "generate", "Hi")
    assert outcome.exit_code == 2
    assert "flas-tui generate --model" in outcome.err


def test_without_a_terminal_the_app_is_refused_with_a_hint(run: Run) -> None:
    outcome = run()
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert "flas-tui chat" in outcome.err


def test_the_version_is_shown(run: Run) -> None:
    outcome = run("--version")
    assert outcome.exit_code == 0
    assert outcome.out.startswith("flas-tui 0.")


def test_an_unknown_command_is_a_usage_error(run: Run) -> None:
    outcome = run("generat")
    assert outcome.exit_code == 2
    assert "Did you mean 'generate'" in outcome.err


def test_a_dumb_terminal_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr("os.isatty", lambda descriptor: descriptor in {0, 1})
    monkeypatch.setenv("TERM", "dumb")
    outcome = run()
    assert outcome.exit_code == 2
    assert "TERM=dumb" in outcome.err
    assert "flas-tui chat" in outcome.err
