"""What every screen looks like, as plain text, at the sizes it is designed for.

Set FLAS_UPDATE_SNAPSHOTS=1 to write the goldens anew, and look at what changed before committing them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from app_pilot import Screen, app_on
from scripted_engine import ScriptedEngine

from flas_tui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

GOLDENS = Path(__file__).parent / "snapshots"
SIZES = ((80, 24), (120, 40), (200, 60))
ANSWERS = {
    0: "My day was quiet . I walked along the river , read a little , and cooked some soup in the evening .".split(" "),  # noqa: SIM905
    1: "My day was grand , matey ! I sailed the seven seas , drank me rum , and buried a chest o' gold .".split(" "),  # noqa: SIM905
}


def compare_with_golden(name: str, frame: str) -> None:
    path = GOLDENS / f"{name}.txt"
    if os.environ.get("FLAS_UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(frame + "\n", encoding="utf-8")
    assert frame == path.read_text(encoding="utf-8").rstrip("\n")


def scripted() -> ScriptedEngine:
    return ScriptedEngine(answers={lane: [f"{word} " for word in words] for lane, words in ANSWERS.items()})


async def show_answer(screen: Screen) -> None:
    """Run to the end, and take what depends on the machine's speed and load off the screen."""
    await screen.press("enter")
    await screen.until_over()
    screen.run.started_at = screen.run.updated_at = 0.0
    screen.compare._show_facts()
    await screen.pilot.pause()


async def show_help(screen: Screen) -> None:
    await screen.press("escape", "question_mark")
    await screen.pilot.pause()


async def show_nothing(screen: Screen) -> None:
    await screen.pilot.pause()


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flas_tui.widgets.inspector.process_bytes", lambda: 123_000_000)
    monkeypatch.setattr("flas_tui.screens.help.default_settings_path", lambda: Path("settings.toml"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize(
    ("name", "show"), [("first", show_nothing), ("answer", show_answer), ("help", show_help)], ids=lambda value: value
)
async def test_the_screen_looks_as_it_was_looked_at(
    name: str, show: Callable[[Screen], Awaitable[None]], size: tuple[int, int]
) -> None:
    async with app_on(scripted(), size=size, settings=Settings(lite=True)) as screen:
        await show(screen)
        compare_with_golden(f"{name}-{size[0]}x{size[1]}", screen.frame())


@pytest.mark.parametrize(("theme", "golden"), [("flas-light", "answer-80x24"), ("flas-ansi", "answer-80x24-ansi")])
async def test_the_answer_looks_as_it_was_looked_at_in_other_themes(theme: str, golden: str) -> None:
    async with app_on(scripted(), size=(80, 24), settings=Settings(theme=theme, lite=True)) as screen:
        await show_answer(screen)
        assert screen.app.theme == theme
        compare_with_golden(golden, screen.frame())


async def test_no_color_leaves_no_colour_and_keeps_the_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with app_on(scripted(), size=(80, 24), settings=Settings(lite=True)) as screen:
        await show_answer(screen)
        styles = [
            (segment.text, segment.style)
            for strip in screen.app.screen._compositor.render_strips()
            for segment in strip.apply_filter(screen.app._filters[-1], screen.app.screen.background_colors[1])
            if segment.style
        ]
        assert not {style.color.name for _, style in styles if style.color} - {"default"}
        assert any(style.underline and "grand" in text for text, style in styles)
        compare_with_golden("answer-80x24-ansi", screen.frame())


async def test_the_sixteen_colour_theme_names_only_the_terminals_own_colours() -> None:
    async with app_on(scripted(), size=(120, 40), settings=Settings(theme="flas-ansi", lite=True)) as screen:
        await show_answer(screen)
        used = {
            colour
            for strip in screen.app.screen._compositor.render_strips()
            for segment in strip
            if segment.style
            for colour in (segment.style.color, segment.style.bgcolor)
            if colour is not None
        }
        assert not [colour for colour in used if colour.triplet is not None]
