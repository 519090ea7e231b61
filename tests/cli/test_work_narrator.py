"""How long work is told: done, rate and time left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.progress import Progress
from flas_tui.commands.work_narrator import WorkNarrator, work_line

if TYPE_CHECKING:
    import pytest


def test_rate_and_time_left_count_from_where_the_run_began() -> None:
    progress = Progress(activity="writing answers", done=120, total=1200)
    assert work_line(progress, 10.0, 60) == "writing answers: 120 of 1,200, 6.0 a second, 3 min left"


def test_nothing_is_guessed_before_anything_is_done() -> None:
    assert work_line(Progress(activity="writing answers", total=5), 10.0, 0) == "writing answers: 0 of 5"
    assert work_line(Progress(activity="looking"), 10.0, 0) == "looking: 0"


def test_outside_a_terminal_there_are_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with WorkNarrator() as narrate:
        for done in range(100):
            narrate(Progress(activity="writing answers", done=done, total=100))
    assert capsys.readouterr().err == "writing answers: 0 of 100\n"
