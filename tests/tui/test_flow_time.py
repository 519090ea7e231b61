"""Moving T: it acts from here on, or on the whole answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from app_pilot import Gate, app_on
from scripted_engine import ScriptedEngine

from flas_tui.session import BASELINE, STEERED
from flas_tui.settings import Settings
from flas_tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from pathlib import Path

RESTEERING = Settings(resteer_on_move=True)


async def test_moving_t_in_mid_run_acts_on_the_next_token_and_is_marked() -> None:
    gate = Gate(5)
    async with app_on(ScriptedEngine(before_pass=gate)) as screen:
        await screen.press("enter")
        await screen.until(gate.waiting.is_set)
        await screen.press("right_square_bracket", "right_square_bracket")
        gate.open()
        await screen.until_over()
        moves = screen.run.lanes[STEERED].moves
        assert [move.flow_time for move in moves] == [1.6]
        assert moves[0].offset == screen.run.lanes[STEERED].offsets[5]
        assert "⟨T\u00a01.60⟩" in screen.frame()
        assert "⟨T" not in screen.text("steered")
        assert screen.run.lanes[BASELINE].moves == []


async def test_t_moved_in_mid_run_makes_no_new_run() -> None:
    gate = Gate(5)
    engine = ScriptedEngine(before_pass=gate)
    async with app_on(engine) as screen:
        await screen.press("enter")
        await screen.until(gate.waiting.is_set)
        await screen.press(*["right_square_bracket"] * 3)
        gate.open()
        await screen.until_over()
        assert len(engine.requests) == 1


async def test_t_moved_after_an_answer_waits_for_r() -> None:
    engine = ScriptedEngine()
    async with app_on(engine) as screen:
        await screen.press("enter")
        await screen.until_over()
        await screen.press("right_curly_bracket")
        assert "r runs this one again" in screen.status()
        assert len(engine.requests) == 1
        await screen.press("r")
        await screen.until_over()
        assert engine.requests[1].lanes[STEERED].flow_time == 1.75
        assert engine.requests[1].seed == engine.requests[0].seed


async def test_ten_slider_keys_make_one_run_under_the_last_value() -> None:
    engine = ScriptedEngine()
    async with app_on(engine, settings=RESTEERING) as screen:
        await screen.press("enter")
        await screen.until_over()
        for _ in range(10):
            screen.compare.action_nudge(0.05)
        await screen.until(lambda: len(engine.requests) == 2)
        await screen.until_over()
        assert engine.requests[1].lanes[STEERED].flow_time == 2.0
        assert len(engine.requests) == 2


async def test_an_answer_is_resteered_when_t_has_moved() -> None:
    """The baseline's text is given, the steered one is the draft; what stays of it is said."""
    engine = ScriptedEngine()
    async with app_on(engine, settings=RESTEERING) as screen:
        await screen.press("enter")
        await screen.until_over()
        before = screen.run.lanes
        await screen.press("right_square_bracket")
        await screen.until(lambda: len(engine.requests) == 2)
        await screen.until_over()
        baseline, steered = engine.requests[1].lanes
        assert baseline.given == tuple(before[BASELINE].token_ids)
        assert steered.draft == tuple(before[STEERED].token_ids)
        assert (baseline.draft, steered.given) == ((), ())
        assert screen.run.lanes[BASELINE].text == before[BASELINE].text == screen.text("baseline")
        assert screen.text("steered") == screen.run.lanes[STEERED].text != before[STEERED].text
        kept = screen.run.lanes[STEERED].num_kept
        assert 0 < kept < len(before[STEERED].token_ids)
        assert f"{kept} kept" in screen.frame()
        assert "T 1.55" in screen.frame()
        assert screen.run.lanes[STEERED].moves == []


async def test_an_answer_is_resteered_when_its_concept_has_changed() -> None:
    """Enter keeps the seed and the baseline's text then; under the same concept it asks for another answer."""
    engine = ScriptedEngine()
    async with app_on(engine, settings=replace(RESTEERING, keep_seed=False)) as screen:
        await screen.press("enter")
        await screen.until_over()
        before = screen.run
        await screen.press("c", "!", "enter")
        await screen.until(lambda: len(engine.requests) == 2)
        await screen.until_over()
        first, second = engine.requests
        baseline, steered = second.lanes
        assert second.seed == first.seed
        assert screen.run.setup.concept == "!"
        assert baseline.given == tuple(before.lanes[BASELINE].token_ids)
        assert steered.draft == tuple(before.lanes[STEERED].token_ids)
        await screen.press("enter")
        await screen.until(lambda: len(engine.requests) == 3)
        await screen.until_over()
        assert engine.requests[2].seed != first.seed
        assert all(lane.given == lane.draft == () for lane in engine.requests[2].lanes)


async def test_an_answer_being_written_is_resteered_too() -> None:
    gate = Gate(5)
    engine = ScriptedEngine(before_pass=gate)
    async with app_on(engine, settings=RESTEERING) as screen:
        await screen.press("enter")
        await screen.until(gate.waiting.is_set)
        await screen.until(lambda: len(screen.run.lanes[STEERED].token_ids) == 5)
        await screen.press("right_curly_bracket")
        await screen.until(lambda: screen.run.setup.flow_time == 1.75)
        assert screen.text("steered")  # what was written shows until the new text is there
        gate.open()
        await screen.until_over()
        assert len(engine.requests[1].lanes[STEERED].draft) == 5
        assert engine.requests[1].lanes[STEERED].flow_time == 1.75


async def test_a_resteered_text_is_the_one_written_from_the_start() -> None:
    async with app_on(settings=RESTEERING) as screen:
        await screen.press("enter")
        await screen.until_over()
        await screen.press("right_square_bracket")
        await screen.until(lambda: screen.run.setup.flow_time == 1.55)
        await screen.until_over()
        resteered = screen.run
        await screen.press("r")
        await screen.until(lambda: screen.run is not resteered)
        await screen.until_over()
        assert screen.run.lanes[STEERED].num_kept == 0
        for ours, fresh in zip(resteered.lanes, screen.run.lanes, strict=True):
            assert ours.text == fresh.text
        assert resteered.parted == screen.run.parted


async def test_a_text_of_another_prompt_is_no_draft() -> None:
    engine = ScriptedEngine()
    async with app_on(engine, settings=RESTEERING) as screen:
        await screen.press("enter")
        await screen.until_over()
        await screen.press("i", "!", "escape", "right_square_bracket")
        await screen.until(lambda: len(engine.requests) == 2)
        await screen.until_over()
        assert all(lane.given == lane.draft == () for lane in engine.requests[1].lanes)


async def test_a_key_switches_between_the_two_and_resteers_at_once() -> None:
    engine = ScriptedEngine()
    async with app_on(engine) as screen:
        await screen.press("enter")
        await screen.until_over()
        await screen.press("right_square_bracket")
        assert "a re-steers it" in screen.status()
        await screen.press("a")
        assert "the whole answer" in screen.status()
        assert ("[ ]", "re-steer") in screen.compare.query_one(StatusLine).hints
        await screen.until(lambda: len(engine.requests) == 2)
        await screen.until_over()
        assert engine.requests[1].lanes[STEERED].flow_time == 1.55
        await screen.press("a")
        assert "from here on" in screen.status()
        assert ("[ ]", "T") in screen.compare.query_one(StatusLine).hints
        await screen.press("right_square_bracket")
        assert "r runs this one again" in screen.status()


async def test_a_run_of_the_history_is_resteered(tmp_path: Path) -> None:
    async with app_on(folder=tmp_path) as screen:
        await screen.press("enter")
        await screen.until_over()
        text = tuple(screen.run.lanes[STEERED].token_ids)
    engine = ScriptedEngine()
    async with app_on(engine, folder=tmp_path, settings=RESTEERING) as screen:
        await screen.press("escape", "H", "enter")
        await screen.until(lambda: screen.text("steered"))
        await screen.press("right_square_bracket")
        await screen.until(lambda: engine.requests)
        await screen.until_over()
        assert engine.requests[0].lanes[STEERED].draft == text


async def test_digits_in_one_burst_behind_the_slider_s_key_move_it() -> None:
    async with app_on() as screen:
        await screen.press("escape")
        await screen.press_in_one_burst("T", "9")
        await screen.until(lambda: screen.compare.query_one("#slider").value > 2, "the slider")  # type: ignore[attr-defined]


@pytest.mark.parametrize(("typed", "expected"), [("2.25", 2.25), ("-3", -3.0), ("nan", 1.5), ("9", 1.5), ("x", 1.5)])
async def test_any_flow_time_can_be_typed_and_a_wrong_one_is_refused(typed: str, expected: float) -> None:
    async with app_on() as screen:
        await screen.press("escape", "t", "ctrl+u", *(("minus" if c == "-" else c) for c in typed), "enter")
        await screen.pilot.pause()
        assert screen.compare.setup.flow_time == expected
        assert ("flow time" in screen.status()) == (expected == 1.5)
