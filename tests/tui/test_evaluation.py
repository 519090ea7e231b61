"""The evaluation browser, as a person sees it: drawn from the folder of an evaluation, growing or complete."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from app_pilot import Screen, app_on
from in_terminal import ROOT, in_tmux, needs_tmux, wait_until
from judged_evaluation import JUDGE, OFFLINE
from scripted_engine import SCRIPTED_INFO, ScriptedEngine, ScriptedLoader
from scripted_evaluation import (
    add_text,
    append,
    begin_evaluation,
    judge_text,
    make_plan,
    write_evaluation,
    write_texts,
)
from test_snapshots import SIZES, compare_with_golden

from flas_engine.evaluation.results import (
    BASELINE,
    PROMPTING,
    STEERING,
    generations_path,
    judgements_path,
    write_judge,
    write_plan,
)
from flas_engine.evaluation.scores import Column
from flas_tui.app import FlasApp
from flas_tui.options import AppOptions
from flas_tui.screens.compare import CompareScreen
from flas_tui.screens.evaluation import BOTH_COLUMNS, EvaluationScreen
from flas_tui.settings import Settings
from flas_tui.widgets.score_grid import ScoreGrid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flas_engine.evaluation.results import Generation
    from flas_engine.info import LoadFunction

METHOD_OF = {"baseline": BASELINE, "prompting": PROMPTING}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation with two judges; tests that write make one of their own."""
    return write_evaluation(tmp_path_factory.mktemp("evaluations") / "pirates")


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")


class Browser(Screen):
    """What a person sees and does in the browser."""

    @property
    def grid(self) -> ScoreGrid:
        return self.app.screen.query_one(ScoreGrid)

    def titles(self) -> list[str]:
        """The concepts, in the order of the rows in sight."""
        lines = self.frame().splitlines()[3:]
        return [line[1:19].strip().rstrip("…").strip() for line in lines[: len(self.grid.table.rows)]]

    async def until_shown(self, text: str) -> None:
        await self.until(lambda: text in self.frame(), text)

    async def until_hidden(self, text: str) -> None:
        await self.until(lambda: text not in self.frame(), f"no {text}")


@asynccontextmanager
async def browser_on(
    folder: Path,
    size: tuple[int, int] = (120, 40),
    *,
    load: LoadFunction | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Browser]:
    app = FlasApp(
        load or ScriptedLoader(), None, options=AppOptions(evaluation=folder), settings=settings or Settings(lite=True)
    )
    try:
        async with app.run_test(size=size) as pilot:
            yield Browser(app, pilot)
    finally:
        app.workbench.quit()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_table_and_texts_look_as_they_were_looked_at(folder: Path, size: tuple[int, int]) -> None:
    async with browser_on(folder, size) as browser:
        await browser.until_shown("mean of 8")
        await browser.until_shown("4 texts")
        if size[0] >= BOTH_COLUMNS:
            await browser.until_shown("> Write a short letter")
        compare_with_golden(f"evaluation-{size[0]}x{size[1]}", browser.frame())
        await browser.press("right", "right", "right", "down", "enter", "home")
        await browser.until_shown("> How do I bake bread?")
        await browser.until(lambda: browser.app.screen.focused.id == "texts-prompts", "the prompts")  # type: ignore[union-attr]
        compare_with_golden(f"evaluation-texts-{size[0]}x{size[1]}", browser.frame())


async def test_rows_sort_by_the_column_under_the_cursor_by_gain_and_by_name(folder: Path) -> None:
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 8")
        as_read = browser.titles()
        await browser.press("right", "right", "s")
        await browser.until_shown("T 1▾")
        column = [row.cells[2].value for row in browser.grid.table.rows]
        assert column == sorted(column, reverse=True)  # type: ignore[type-var]
        await browser.press("s")
        await browser.until_shown("T 1▴")
        await browser.press("p")
        await browser.until_shown("gain▾")
        gains = [row.cells[-1].value for row in browser.grid.table.rows]
        assert gains == sorted(gains, reverse=True)  # type: ignore[type-var]
        await browser.press("c")
        await browser.until_shown("concept▴")
        assert browser.titles() == sorted(browser.titles(), key=str.casefold)
        await browser.press("c")
        await browser.until(lambda: browser.titles() == as_read, "the first order")


async def test_the_cursor_stays_with_its_concept_when_rows_move(folder: Path) -> None:
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 8")
        await browser.press("j", "j", "l", "p", "a")
        await browser.until_shown("C concept")
        assert browser.grid.concept is not None
        assert browser.grid.concept.concept == "all capitals"
        assert "▸all capitals" in browser.frame()
        assert browser.grid.column == "T 0.5"


async def test_every_aspect_can_be_seen(folder: Path) -> None:
    async with browser_on(folder) as browser:
        await browser.until_shown("HM harmonic mean")
        for words in ("C concept", "I instruction", "F fluency", "HM harmonic mean"):
            await browser.press("a")
            await browser.until_shown(words)


async def test_judges_are_looked_at_one_by_one_and_an_estimate_says_so(folder: Path) -> None:
    async with browser_on(folder, (80, 24)) as browser:
        await browser.until_shown("judge gpt-4o-mini, one of 2")
        judged = browser.grid.table.means
        await browser.press("J")
        await browser.until_shown("estimate by offline-demo")
        assert browser.grid.table.means != judged
        await browser.press("J")
        await browser.until_shown("judge gpt-4o-mini")
        assert browser.grid.table.means == judged


async def test_a_filter_keeps_the_concepts_that_hold_the_words(folder: Path) -> None:
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 8")
        await browser.press("slash", *"OF ")
        await browser.until_shown("mean of 3 of 8")
        await browser.press("w", "h")
        await browser.until_shown("mean of 1 of 8")
        await browser.press("enter", "a")
        await browser.until_shown("C concept")  # letters act again
        assert "mean of 1 of 8" in browser.frame()
        await browser.press("slash", *"xyz")
        await browser.until_shown("no concept holds these words")
        await browser.press("enter", "enter", "o", "n", "s", "J", "escape")
        await browser.until_shown("mean of 8")


async def test_a_filter_typed_in_one_burst_arrives_whole(folder: Path) -> None:
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 8")
        await browser.press_in_one_burst("slash", *"wha/")
        await browser.until_shown("no concept holds these words")
        assert browser.app.screen.query_one("#evaluation-search").value == "wha/"  # type: ignore[attr-defined]


async def test_texts_stand_beside_those_of_the_baseline_or_of_prompting(folder: Path) -> None:
    async with browser_on(folder, (80, 24)) as browser:
        await browser.until_shown("mean of 8")
        await browser.press("right", "right", "enter")
        await browser.until_shown("─ baseline ─")
        await browser.until_shown("─ T 1 ─")
        await browser.press("b")
        await browser.until_shown("─ prompting ─")
        await browser.press("right")
        await browser.until_shown("─ T 1.5 ─")
        await browser.press("down", "down", "down")
        await browser.until_shown("> What is the capital of France?")
        await browser.press("left", "n")
        await browser.until_shown("mentions of whales")
        assert "> What is the capital of France?" in browser.frame()  # the prompt stays
        await browser.press("escape")
        await browser.until_shown("mean of 8")
        assert browser.grid.column == "T 1"


async def test_the_gain_opens_what_is_compared(folder: Path) -> None:
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 8")
        compared = browser.grid.table.compared
        assert compared is not None
        await browser.press(*["right"] * 9)
        await browser.until_shown(f"{compared[0].label} has the best mean")
        await browser.press("enter")
        await browser.until_shown(f"─ {compared[0].label} ─")
        assert "─ prompting ─" in browser.frame()


async def test_what_models_wrote_shows_and_commands_nothing(folder: Path) -> None:
    async with browser_on(folder, (200, 60)) as browser:
        await browser.until_shown("␛[31mred␇ herrings")
        await browser.press(*["down"] * 5, "right", "right", "enter")
        await browser.until_shown("The concept [/x] is ␛[1mthere␛[0m")
        assert "mentions of whales [/bold]" in browser.frame()
        assert not {character for character in browser.frame() if ord(character) < 32} - {"\n"}


async def test_a_failed_judgement_counts_and_says_why(folder: Path) -> None:
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 8")
        evaluated = browser.app.screen._evaluated  # type: ignore[attr-defined]
        concept, column = next(
            pair for pair, cell in evaluated.cells.items() if any(text.failures for text in cell.texts)
        )
        row = evaluated.concepts.index(concept)
        await browser.press(*["down"] * row, *["right"] * evaluated.columns.index(column))
        await browser.until_shown("could not be rated")
        await browser.press("enter")
        await browser.until_shown("   ·  ")
        for _ in range(4):
            if "not rated: the answer held no rating" in browser.frame():
                break
            await browser.press("down")
            await browser.pilot.pause()
        assert "not rated: the answer held no rating" in browser.frame()


async def test_an_evaluation_is_drawn_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a short name, which no line has to break
    folder = Path("evals")
    folder.mkdir()
    plan = make_plan(3)
    write_plan(folder, plan)
    async with browser_on(folder, settings=Settings()) as browser:
        await browser.until_shown("make some with flas-tui eval")
        texts = list(write_texts(plan))
        for text in texts[:30]:
            append(generations_path(folder), text)
        await browser.until_shown("30 of 84 texts, 0 rated")
        await browser.until_shown(f"not judged yet: flas-tui judge {folder}")
        await browser.press("right", "right")
        for text in texts[30:]:
            append(generations_path(folder), text)
        write_judge(folder, JUDGE)
        for text in texts:
            for judgement in judge_text(text, JUDGE):
                append(judgements_path(folder, JUDGE.slug), judgement)
        await browser.until_shown("judge gpt-4o-mini")
        await browser.until_shown("of 84 texts rated")
        await browser.until_shown("T 1  HM ")
        assert browser.grid.column == "T 1"
        await browser.until_hidden("● growing")


async def test_damage_is_named_and_what_was_read_stays(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, num_concepts=2)
    async with browser_on(folder, settings=Settings()) as browser:
        await browser.until_shown("mean of 2")
        with generations_path(folder).open("a") as file:
            file.write("{}\n")
        await browser.until_shown("is no generation")
        assert "talk like a pirate" in browser.frame()


async def test_a_line_of_the_wrong_types_is_told_too(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, num_concepts=2)
    lines = generations_path(folder).read_text()
    odd = json.loads(lines.splitlines()[0]) | {"key": "x", "input_id": None}
    generations_path(folder).write_text(f"{lines}{json.dumps(odd)}\n")
    async with browser_on(folder, settings=Settings()) as browser:
        await browser.until_shown("failed unexpectedly")


async def test_texts_are_written_again_in_the_compare_screen_from_which_one_comes_back(folder: Path) -> None:
    loader = ScriptedLoader()
    texts = {(text.concept_id, column_of(text), text.input_id): text for text in write_texts(make_plan())}
    async with browser_on(folder, load=loader) as browser:
        await browser.until_shown("mean of 8")
        assert loader.specs == []  # looking takes no model
        await browser.press("down", "enter", "down")
        for column in ("baseline", "T 1.5", "prompting"):
            while browser.grid.column != column:
                await browser.press("right")
            await browser.press("o")
            await browser.until(lambda: isinstance(browser.app.screen, CompareScreen), "the compare screen")
            await browser.until_over()
            await browser.until_shown("the same text as in the evaluation")
            text = texts["1", Column(method=METHOD_OF.get(column, STEERING), flow_time=browser.run.setup.flow_time), 1]
            assert text.input in browser.run.setup.prompt
            assert browser.run.lanes[1].text == text.text
            assert browser.run.setup.concept == text.concept
            await browser.press("escape", "e")
            await browser.until(lambda: isinstance(browser.app.screen, EvaluationScreen), "the browser")
            assert browser.grid.column == column  # where it was left
        (spec,) = loader.specs  # loaded once
        assert (spec.base, spec.flow, spec.dtype) == ("tests/scripted-base", "tests/scripted-flow", "float32")


def column_of(text: Generation) -> Column:
    return Column(method=text.method, flow_time=text.flow_time)


async def test_another_model_is_replaced_by_the_evaluations(folder: Path) -> None:
    other = ScriptedEngine(info=replace(SCRIPTED_INFO, name="other", base_id="tests/other"))
    loader = ScriptedLoader(engine=other)
    async with app_on(load=loader) as screen:
        await screen.until_ready()
        loader.engine = ScriptedEngine()
        await open_evaluation(screen, folder)
        await screen.press("right", "right", "o")
        await screen.until(lambda: screen.app.screen is screen.compare, "the compare screen")
        await screen.until(lambda: "the same text as in the evaluation" in screen.frame(), "the text")
        assert [spec.base for spec in loader.specs] == [None, "tests/scripted-base"]


async def test_a_text_that_comes_out_otherwise_is_told(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, num_concepts=1)
    path = generations_path(folder)
    path.write_text(re.sub(r'("text": ".{5})', r"\1other ", path.read_text()))
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 1")
        await browser.press("o")
        await browser.until_shown("the evaluation's text for 5 characters, then another")


async def test_texts_from_elsewhere_cannot_be_run_again_and_say_so(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, num_concepts=1)
    write_plan(folder, replace(make_plan(1), origin="rows.parquet"))
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 1")
        await browser.press("o")
        await browser.until_shown("came from rows.parquet")
        assert isinstance(browser.app.screen, EvaluationScreen)


async def open_evaluation(screen: Screen, folder: Path) -> None:
    await screen.press("escape", "e")
    await screen.until(lambda: "browse an evaluation" in screen.frame(), "the prompt")
    screen.app.screen.query_one("#folder-field").value = str(folder)  # type: ignore[attr-defined]
    await screen.press("enter")
    await screen.until(lambda: "mean of" in screen.frame(), "the browser")


async def test_it_opens_from_the_app_closes_to_it_and_comes_back_to_where_it_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    second = write_evaluation(tmp_path / "second", num_concepts=2, judges=(OFFLINE,))
    async with app_on() as screen:
        await screen.press("escape", "e")
        await screen.until(lambda: "browse an evaluation" in screen.frame(), "the prompt")
        screen.app.screen.query_one("#folder-field").value = "."  # type: ignore[attr-defined]
        await screen.press("enter")
        await screen.until(lambda: "is no evaluation" in screen.frame(), "the complaint")
        await screen.press("escape")
        await open_evaluation(screen, folder)
        first = screen.app.screen
        await screen.press("down", "right", "escape")
        await screen.until(lambda: screen.app.screen is screen.compare, "the compare screen")
        await screen.press("e")
        await screen.until(lambda: screen.app.screen is first, "the browser")
        assert "▸mentions of whales" in screen.frame()
        await screen.press("O")
        await screen.until(lambda: "browse an evaluation" in screen.frame(), "the prompt")
        screen.app.screen.query_one("#folder-field").value = str(second)  # type: ignore[attr-defined]
        await screen.press("enter")
        await screen.until(lambda: "estimate by offline-demo" in screen.frame(), "the other evaluation")
        await screen.press("escape")
        await screen.until(lambda: screen.app.screen is screen.compare, "the compare screen")


async def test_another_evaluation_replaces_the_one_that_the_app_began_with(folder: Path, tmp_path: Path) -> None:
    second = write_evaluation(tmp_path / "second", num_concepts=2, judges=(OFFLINE,))
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 8")
        await browser.press("O")
        await browser.until_shown("browse an evaluation")
        browser.app.screen.query_one("#folder-field").value = str(second)  # type: ignore[attr-defined]
        await browser.press("enter")
        await browser.until_shown("mean of 2")
        await browser.press("o")
        await browser.until_shown("the same text as in the evaluation")
        await browser.press("escape", "e")
        await browser.until_shown("mean of 2")


async def test_a_click_moves_a_second_one_opens_and_a_title_sorts(folder: Path) -> None:
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 8")
        frame = browser.frame().splitlines()
        row = next(number for number, line in enumerate(frame) if "all capitals" in line)
        x = frame[1].index("T 1.5")
        await browser.pilot.click(offset=(x, row))
        await browser.until_shown("▸all capitals")
        assert browser.grid.column == "T 1.5"
        await browser.pilot.click(offset=(x, 1))
        await browser.until_shown("T 1.5▾")
        await browser.pilot.click(offset=(2, 1))
        await browser.until_shown("concept▴")
        row = next(number for number, line in enumerate(browser.frame().splitlines()) if "all capitals" in line)
        await browser.pilot.click(offset=(x, row))
        await browser.until_shown("─ T 1.5 ─")


async def test_columns_without_room_come_with_the_cursor(tmp_path: Path) -> None:
    times = [0.25 * number for number in range(1, 13)]
    folder = write_evaluation(tmp_path, num_concepts=2, flow_times=times)
    async with browser_on(folder, (80, 24)) as browser:
        await browser.until_shown("mean of 2")
        header = browser.frame().splitlines()[1]
        assert "T 3" not in header
        assert header.rstrip().endswith("▸")
        await browser.press(*["right"] * 14)
        await browser.until_shown("gain")
        header = browser.frame().splitlines()[1]
        assert "T 3" in header
        assert "base" not in header
        assert "◂" in header
        await browser.press(*["left"] * 14)
        await browser.until_shown("base")


async def test_only_rows_in_sight_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_evaluation(tmp_path, num_concepts=64, flow_times=(1.0,), judges=(JUDGE,))
    async with browser_on(folder, (80, 24)) as browser:
        await browser.until_shown("mean of 64")
        drawn = []
        draw = ScoreGrid._draw_row
        monkeypatch.setattr(ScoreGrid, "_draw_row", lambda *args, **options: drawn.append(1) or draw(*args, **options))
        await browser.press("down")
        await browser.pilot.pause()
        assert 0 < len(drawn) <= 2  # the row that was left and the one that is reached
        drawn.clear()
        await browser.press("G")
        await browser.until_shown("▸names of flowers 7")
        assert len(drawn) <= 2 * 24


async def test_help_and_palette_list_what_the_browser_can_do(folder: Path) -> None:
    async with browser_on(folder, (120, 50)) as browser:
        await browser.until_shown("mean of 8")
        await browser.press("question_mark")
        await browser.until_shown("An evaluation, from its folder")
        assert "Sort by gain" in browser.frame()
        assert "Next sample" not in browser.frame()
        await browser.press("escape")
        await browser.press("ctrl+p", *"another eval")
        await browser.until_shown("Another evaluation  (O)")


async def test_colours_are_the_terminals_own_or_none_and_digits_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with browser_on(folder, settings=Settings(theme="flas-ansi", lite=True)) as browser:
        await browser.until_shown("mean of 8")
        styles = [
            segment.style
            for strip in browser.app.screen._compositor.render_strips()
            for segment in strip
            if segment.style
        ]
        used = [colour for style in styles for colour in (style.color, style.bgcolor) if colour is not None]
        assert not [colour for colour in used if colour.triplet is not None]
        frame = browser.frame()
    monkeypatch.setenv("NO_COLOR", "1")
    async with browser_on(folder) as browser:
        await browser.until_shown("mean of 8")
        await browser.until(lambda: browser.frame() == frame, "the same digits")


@needs_tmux
def test_in_tmux_an_evaluation_that_goes_on_is_browsed(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    texts = list(write_texts(begin_evaluation(folder, num_concepts=4)))
    for text in texts[:50]:
        add_text(folder, text)
    with in_tmux(tmp_path, columns=120, rows=40) as tmux:
        tmux.type("clear", "Enter", f"PYTHONPATH={ROOT} $PYTHON -m flas_tui eval browse {folder}", "Enter")
        tmux.wait_for("50 of 112 texts")
        for text in texts[50:]:
            add_text(folder, text)
        tmux.wait_for("of 112 texts rated")
        tmux.run("resize-window", "-x", "80", "-y", "24")
        wait_until(lambda: "texts rated" not in tmux.screen(), "the smaller screen")
        assert "mean of 4" in tmux.screen()
        tmux.type("Right", "Right", "Enter")
        tmux.wait_for("baseline")
        tmux.type("Escape", "Escape")
        wait_until(lambda: tmux.modes() == (False, False), "the shell")
        tmux.type("clear", "Enter", "echo code $?", "Enter")
        tmux.wait_for("code 0")
