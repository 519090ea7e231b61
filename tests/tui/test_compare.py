"""The compare screen as a person uses it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from app_pilot import Gate, app_on
from scripted_engine import SCRIPTED_INFO, ScriptedEngine

from flas_engine.concept_library import LibraryConcept
from flas_engine.errors import RequestError
from flas_engine.events import FinishReason
from flas_engine.worker import RunEnded
from flas_tui.options import AppOptions
from flas_tui.session import BASELINE, STEERED
from flas_tui.settings import Settings
from flas_tui.widgets.flow_time_slider import FlowTimeSlider

if TYPE_CHECKING:
    from pathlib import Path


async def test_enter_alone_shows_steering_beside_the_baseline() -> None:
    async with app_on() as screen:
        await screen.press("enter")
        await screen.until_over()
        assert "pirate" in screen.text("steered")
        assert screen.text("baseline")
        assert "pirate" not in screen.text("baseline")
        assert screen.run.setup.prompt == "Tell me about your day."


async def test_what_the_command_line_says_is_in_the_inputs() -> None:
    options = AppOptions(concept="formal", prompt="Hi", flow_time=2.0, seed=5)
    engine = ScriptedEngine()
    async with app_on(engine, options=options) as screen:
        await screen.press("enter")
        await screen.until_over()
        request = engine.requests[0]
        assert request.lanes[STEERED].concepts[0].text == "formal"
        assert request.lanes[STEERED].flow_time == 2.0
        assert (request.seed, screen.run.setup.prompt) == (5, "Hi")


async def test_a_new_seed_is_another_run_of_the_same_setting() -> None:
    engine = ScriptedEngine()
    async with app_on(engine) as screen:
        await screen.press("enter")
        await screen.until_over()
        await screen.press("R")
        await screen.until_over()
        assert engine.requests[1].lanes == engine.requests[0].lanes
        assert screen.run.setup.seed == engine.requests[1].seed


@pytest.mark.parametrize("key", ["space", "ctrl+c"])
async def test_stop_keeps_the_text(key: str) -> None:
    gate = Gate(8)
    async with app_on(ScriptedEngine(before_pass=gate)) as screen:
        await screen.press("enter")
        await screen.until(gate.waiting.is_set)
        await screen.until(lambda: len(screen.text("steered").split()) == 8)
        before = screen.text("steered")
        await screen.press(key)
        gate.open()
        await screen.until_over()
        assert screen.text("steered") == before
        assert screen.run.lanes[STEERED].finish_reason is FinishReason.CANCELLED


async def test_a_stale_run_draws_nothing() -> None:
    gate = Gate(4)
    async with app_on(ScriptedEngine(before_pass=gate)) as screen:
        await screen.press("enter")
        await screen.until(gate.waiting.is_set)
        old = screen.run
        await screen.press("r")
        gate.open()
        await screen.until_over()
        assert screen.run.run_id != old.run_id
        assert screen.text("steered") == screen.run.lanes[STEERED].text
        assert not list(screen.app.workbench.session.fold(RunEnded(run_id=old.run_id), now=0.0))


async def test_brackets_and_letters_are_text_in_an_input_and_f8_moves_t() -> None:
    async with app_on() as screen:
        await screen.press("i", "r", "left_square_bracket", "f8")
        assert screen.compare.setup.prompt == "ir["
        assert screen.compare.setup.flow_time == 1.55


async def test_the_first_difference_is_marked_in_both_panes() -> None:
    engine = ScriptedEngine(answers={BASELINE: ["The", " day", " was"], STEERED: ["The", " sea", " lay"]})
    async with app_on(engine) as screen:
        await screen.press("enter")
        await screen.until_over()
        assert screen.run.parted is not None
        assert screen.run.parted.offsets == (3, 3)
        underlined = [
            segment.text
            for strip in screen.app.screen._compositor.render_strips()
            for segment in strip
            if segment.style and segment.style.underline and segment.text.strip() in {"day", "sea"}
        ]
        assert underlined == ["day", "sea"]


async def test_panes_scroll_in_lock_step() -> None:
    async with app_on(size=(80, 24)) as screen:
        await screen.press("enter")
        await screen.until_over()
        views = [pane.view for pane in screen.compare._deck.panes]
        await screen.press("g", "j", "j")
        await screen.until(lambda: [view.scroll_offset.y for view in views] == [2, 2], "both at row 2")


async def test_an_error_is_one_line_and_the_focus_stays() -> None:
    async with app_on() as screen:
        screen.compare._controls.prompt.value = " "
        await screen.press("enter")
        assert "the prompt is empty" in screen.status()
        assert screen.app.focused is screen.compare._controls.prompt


async def test_an_engine_that_refuses_is_heard() -> None:
    async with app_on(ScriptedEngine(failure=RequestError("the prompt has 9 tokens too many"))) as screen:
        await screen.press("enter")
        await screen.until(lambda: "9 tokens too many" in screen.status())


@pytest.mark.parametrize(("key", "field"), [("i", "prompt"), ("c", "concept"), ("slash", "search")])
async def test_what_is_typed_in_one_burst_behind_a_key_is_text(key: str, field: str) -> None:
    async with app_on() as screen:
        await screen.press("escape")
        await screen.press_in_one_burst(key, *"retiCe")
        await screen.until(lambda: "retiCe" in screen.compare.query_one(f"#{field}").value, "the text")  # type: ignore[attr-defined]
        assert screen.app.screen is screen.compare


async def test_a_search_of_the_runs_typed_in_one_burst_arrives_whole() -> None:
    async with app_on() as screen:
        await screen.press("escape")
        await screen.press_in_one_burst("H", "slash", *"wha/x")
        await screen.until(lambda: screen.compare.query_one("#run-search").value == "wha/x", "the search")  # type: ignore[attr-defined]


async def test_concepts_fill_survive_a_restart_and_come_back_with_their_t(tmp_path: Path) -> None:
    async with app_on(folder=tmp_path) as screen:
        await screen.press("right_square_bracket") if screen.app.focused is None else await screen.press("f8")
        await screen.press("enter")
        await screen.until_over()
        assert "talk like a pirate" in screen.frame()
    options = AppOptions(concept="formal", prompt="Hi", flow_time=0.5)
    async with app_on(folder=tmp_path, options=options) as screen:
        await screen.press("escape", "C", "enter")
        await screen.pilot.pause()
        assert screen.compare.setup.concept == "talk like a pirate"
        assert screen.compare.setup.flow_time == 1.55
        assert screen.compare.setup.prompt == "Hi"


async def test_a_run_comes_back_exactly_after_a_restart(tmp_path: Path) -> None:
    gate = Gate(5)
    async with app_on(ScriptedEngine(before_pass=gate), folder=tmp_path, options=AppOptions(seed=11)) as screen:
        await screen.press("enter")
        await screen.until(gate.waiting.is_set)
        await screen.press("right_curly_bracket")
        gate.open()
        await screen.until_over()
        frames, first = [screen.text("baseline"), screen.text("steered")], screen.run
    async with app_on(folder=tmp_path, options=AppOptions(prompt="Hi", seed=1)) as screen:
        await screen.press("escape", "H", "enter")
        await screen.until(lambda: screen.text("steered"))
        assert [screen.text("baseline"), screen.text("steered")] == frames
        assert screen.compare.setup == first.setup
        assert screen.run.parted == first.parted
        assert screen.run.lanes[STEERED].moves == first.lanes[STEERED].moves
        assert "⟨T\u00a01.75⟩" in screen.frame()


async def test_a_run_under_way_is_kept_when_the_app_ends(tmp_path: Path) -> None:
    gate = Gate(5)
    async with app_on(ScriptedEngine(before_pass=gate), folder=tmp_path) as screen:
        await screen.press("enter")
        await screen.until(gate.waiting.is_set)
        await screen.until(lambda: screen.text("steered"))
        written = screen.text("steered")
    gate.open()
    async with app_on(folder=tmp_path) as screen:
        history = screen.app.workbench.history
        assert history is not None
        assert history.runs(1)[0].lanes[STEERED].text == written


async def test_history_is_searched(tmp_path: Path) -> None:
    async with app_on(folder=tmp_path) as screen:
        for prompt in ("alpha", "omega"):
            screen.compare._controls.prompt.value = prompt
            await screen.press("enter") if prompt == "alpha" else await screen.press("r")
            await screen.until_over()
        await screen.press("H", "slash", *"omega", "enter", "enter")
        await screen.pilot.pause()
        assert screen.run.setup.prompt == "omega"
        assert "alpha" not in screen.frame()


LIBRARY = (
    LibraryConcept(concept_id="noun:cats", concept="cats", group="noun", prompt="What is rain?", flow_time=1.5),
    LibraryConcept(concept_id="style:formal", concept="formal", group="style", prompt="Why sleep?", flow_time=1.0),
)


def engine_with_library() -> ScriptedEngine:
    """A model whose flow says what it does well."""
    return ScriptedEngine(info=replace(SCRIPTED_INFO, library=LIBRARY))


async def test_concepts_that_the_flow_does_well_can_be_tried_from_the_rail() -> None:
    async with app_on(engine_with_library(), size=(120, 40)) as screen:
        await screen.until_ready()
        await screen.until(lambda: "cats" in screen.frame(), "the library")
        screen.compare.action_show_rail("concepts")
        await screen.press("down", "enter")
        await screen.press("enter")
        await screen.until_over()
        setup = screen.run.setup
        assert (setup.concept, setup.prompt, setup.flow_time) == ("formal", "Why sleep?", 1.0)


async def test_trying_a_concept_of_the_library_leaves_a_typed_prompt_alone() -> None:
    async with app_on(engine_with_library(), size=(120, 40)) as screen:
        await screen.until_ready()
        await screen.press("ctrl+u", *"Hi")
        await screen.until(lambda: "cats" in screen.frame(), "the library")
        screen.compare.action_show_rail("concepts")
        await screen.press("enter")
        assert screen.compare.setup.prompt == "Hi"
        assert screen.compare.setup.concept == "cats"


async def test_resizing_shows_rail_inspector_one_pane_or_a_card_and_keeps_the_text() -> None:
    async with app_on(size=(200, 60)) as screen:
        await screen.press("enter")
        await screen.until_over()
        written = screen.text("steered")
        seen = {}
        for size in ((200, 60), (120, 40), (80, 24), (60, 20), (45, 10), (200, 60)):
            await screen.pilot.resize_terminal(*size)
            await screen.pilot.pause()
            seen[size] = screen.frame()
        assert "reproduce" in seen[200, 60]
        assert "reproduce" not in seen[120, 40]
        assert "Concepts" in seen[120, 40]
        assert "Concepts" not in seen[80, 24]
        assert "baseline" in seen[80, 24]
        assert "baseline" not in seen[60, 20]
        assert "needs 50 x 12" in seen[45, 10]
        assert screen.text("steered") == written


async def test_tab_flips_the_panes_where_only_one_shows() -> None:
    async with app_on(size=(60, 20)) as screen:
        await screen.press("enter")
        await screen.until_over()
        await screen.press("tab")
        await screen.pilot.pause()
        assert "baseline" in screen.frame()
        await screen.press("tab")
        await screen.pilot.pause()
        assert "talk like a pirate · T" in screen.frame()


async def test_zoom_shows_one_pane_and_both_again() -> None:
    async with app_on(size=(80, 24)) as screen:
        await screen.press("escape", "h", "z")
        await screen.pilot.pause()
        assert "pirate · T" not in screen.frame()
        await screen.press("z")
        await screen.pilot.pause()
        assert "pirate · T" in screen.frame()


async def test_hostile_text_reaches_no_title_list_or_pane_as_control(tmp_path: Path) -> None:
    hostile = "\x1b]52;c;AAAA\x07[bold]\x9b31m\u202e[/x"
    engine = ScriptedEngine(answers={BASELINE: [hostile], STEERED: [hostile]})
    async with app_on(engine, folder=tmp_path, size=(200, 60)) as screen:
        screen.compare._controls.concept.value = hostile
        await screen.press("enter")
        await screen.until_over()
        await screen.press("H")
        await screen.pilot.pause()
        shown = screen.frame()
        assert "[bold]" in shown
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)


async def test_both_texts_are_saved_with_the_command_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with app_on() as screen:
        await screen.press("escape", "S")
        assert "nothing is written" in screen.status()
        await screen.press("enter")
        await screen.until_over()
        await screen.press("S")
        (markdown,), (data,) = tmp_path.glob("*.md"), tmp_path.glob("*.json")
        assert screen.text("steered").strip() in markdown.read_text()
        assert "flas-tui generate" in markdown.read_text()
        import json

        assert json.loads(data.read_text())["lanes"][STEERED]["token_ids"] == screen.run.lanes[STEERED].token_ids


async def test_the_slider_is_where_the_settings_say() -> None:
    async with app_on(settings=Settings(flow_time_range=(-2.0, 2.0))) as screen:
        await screen.press("escape", "T", "home")
        assert screen.compare.query_one(FlowTimeSlider).value == -2.0


async def test_text_is_found_in_both_panes_and_escape_brings_the_slider_back() -> None:
    engine = ScriptedEngine(answers={BASELINE: ["the sea"], STEERED: ["the sea, the Sea"]})
    async with app_on(engine) as screen:
        await screen.press("enter")
        await screen.until_over()
        await screen.press("slash", *"sea")
        await screen.until(lambda: "3 found" in screen.status())
        assert not screen.compare.query_one(FlowTimeSlider).display
        await screen.press("enter")
        await screen.until(lambda: screen.compare.query_one(FlowTimeSlider).display)
        assert screen.app.focused is screen.compare._deck.panes[STEERED].view
        await screen.press("slash", "ctrl+u", *"Sea")
        await screen.until(lambda: "1 found" in screen.status())
        await screen.press("escape")
        await screen.until(lambda: screen.compare.query_one(FlowTimeSlider).display)


async def test_a_concept_from_the_rail_leaves_the_text_under_way_alone(tmp_path: Path) -> None:
    async with app_on(folder=tmp_path, options=AppOptions(concept="formal", flow_time=0.5)) as screen:
        await screen.press("enter")
        await screen.until_over()
    gate = Gate(5)
    options = AppOptions(concept="talk like a pirate", flow_time=1.5)
    async with app_on(ScriptedEngine(before_pass=gate), folder=tmp_path, options=options) as screen:
        await screen.press("enter")
        await screen.until(gate.waiting.is_set)
        await screen.press("C", "enter")
        assert screen.compare.setup.concept == "formal"
        assert "talk like a pirate · T 1.50" in screen.frame()
        gate.open()
        await screen.until_over()
        assert screen.run.lanes[STEERED].moves == []
