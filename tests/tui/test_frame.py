"""What all screens share: help, palette, keys, notices, theme, and the prompt for a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from app_pilot import app_on
from scripted_engine import ScriptedEngine
from textual.widgets import Input

from flas_tui.screens.help import HelpScreen
from flas_tui.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path


async def test_f1_opens_the_help_and_closes_it() -> None:
    async with app_on() as screen:
        for expected in (True, False):
            await screen.press("f1")
            await screen.until(lambda: isinstance(screen.app.screen, HelpScreen) is expected)  # noqa: B023


async def test_notices_at_the_start_are_all_read() -> None:
    async with app_on(settings=Settings(theme="none-such", keys={"fly": "f9"})) as screen:
        assert "no theme 'none-such'" in screen.status()
        assert "keys to 'fly'" in screen.status()


async def test_the_theme_that_is_chosen_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAS_CONFIG_DIR", str(tmp_path))
    async with app_on() as screen:
        screen.app.theme = "nord"
        await screen.until(lambda: load_settings().theme == "nord")


@pytest.mark.parametrize("path", ["~nobody-of-that-name", "x" * 300])
async def test_a_path_that_nothing_can_be_at_is_told(path: str) -> None:
    async with app_on() as screen:
        await screen.press("escape", "w", *path[:30])
        screen.app.screen.query_one("#folder-field", Input).value = path
        await screen.press("enter")
        await screen.until(lambda: "no folder" in screen.frame() or "cannot be read" in screen.frame())


async def test_every_action_is_in_the_help_and_in_the_palette() -> None:
    from flas_tui.frame import NOT_IN_PALETTE
    from flas_tui.keymap import ACTIONS

    async with app_on(size=(120, 120)) as screen:
        commands = " ".join(command.title for command in screen.app.get_system_commands(screen.compare))
        await screen.press("escape", "question_mark")
        await screen.pilot.pause()
        shown = screen.frame()
        for action in ACTIONS:
            assert f"{action.title}." in shown, action.id
            assert action.title in commands or action.id in NOT_IN_PALETTE, action.id


async def test_keys_can_be_changed_in_the_settings() -> None:
    engine = ScriptedEngine()
    async with app_on(engine, settings=Settings(keys={"rerun": "f5"})) as screen:
        await screen.press("enter")
        await screen.until_over()
        await screen.press("f5")
        await screen.until_over()
        assert len(engine.requests) == 2


async def test_no_action_takes_a_key_that_terminals_keep_for_themselves() -> None:
    from flas_tui.keymap import ACTIONS

    taken = {"ctrl+b", "ctrl+a", "ctrl+enter", "shift+enter"}
    for action in ACTIONS:
        assert not taken & set(action.keys.split(","))
        assert "alt+" not in action.keys
