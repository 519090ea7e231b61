"""The model picker: what is here first, what is missing said with numbers, one key to load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app_pilot import app_on
from scripted_engine import ScriptedEngine, ScriptedLoader

from flas_engine.errors import ModelError
from flas_engine.hub.registry import find_entry
from flas_engine.info import LoadSpec
from flas_tui.options import AppOptions
from flas_tui.screens.model_picker import Choice, ModelPicker, Room, describe_needs, look_around

if TYPE_CHECKING:
    from flas_tui.screens.model_picker import Survey

ROOM = Room(device="cpu", memory_bytes=8_000_000_000, disk_bytes=50_000_000_000)


def survey() -> Survey:
    return [
        Choice(entry=find_entry("demo"), is_here=True, fits=True),
        Choice(entry=find_entry("gemma-2-2b-it"), is_here=False, fits=True),
        Choice(entry=find_entry("gemma-2-9b-it"), is_here=False, fits=False),
    ], ROOM


def test_a_gated_model_that_is_missing_names_the_page_and_the_login() -> None:
    lines = describe_needs(survey()[0][1], ROOM)
    assert "https://huggingface.co/google/gemma-2-2b-it" in lines[-1]
    assert "hf auth login" in lines[-1]
    assert any("50.0 GB free" in line for line in lines)


def test_a_model_that_is_here_needs_no_disk_and_names_its_licence() -> None:
    lines = describe_needs(survey()[0][0], ROOM)
    assert not any("downloads" in line for line in lines)
    assert "Apache-2.0" in lines[-1]


def test_looking_around_lists_every_model_with_those_here_first() -> None:
    choices, room = look_around()
    standing = [choice.is_here for choice in choices]
    assert standing == sorted(standing, reverse=True)
    assert {"demo", "gemma-2-2b-it"} <= {choice.entry.name for choice in choices}
    assert room.memory_bytes > 0


async def test_choosing_a_model_loads_it_and_closes_the_picker() -> None:
    loader = ScriptedLoader(engine=ScriptedEngine())
    async with app_on(load=loader) as screen:
        await screen.until_ready()
        screen.app.push_screen(ModelPicker(survey), screen.compare._load_model)
        await screen.until(lambda: "gemma-2-9b-it" in screen.frame())
        assert "too large for this machine" in screen.frame()
        await screen.press("j", "enter")
        await screen.until(lambda: loader.specs[-1].model == "gemma-2-2b-it")
        await screen.until_ready()
        assert screen.app.screen is screen.compare


async def test_a_chosen_model_is_loaded_where_and_how_the_command_line_said() -> None:
    loader = ScriptedLoader(engine=ScriptedEngine())
    options = AppOptions(flow="elsewhere/flow", device="cpu", dtype="int8", compiles=False)
    async with app_on(load=loader, options=options) as screen:
        await screen.until_ready()
        screen.compare._load_model("gemma-2-2b-it")
        await screen.until(lambda: len(loader.specs) == 2)
        assert loader.specs[1] == LoadSpec(model="gemma-2-2b-it", device="cpu", dtype="int8", compiles=False)


async def test_escape_closes_the_picker_and_loads_nothing() -> None:
    loader = ScriptedLoader(engine=ScriptedEngine())
    async with app_on(load=loader) as screen:
        await screen.until_ready()
        screen.app.push_screen(ModelPicker(survey), screen.compare._load_model)
        await screen.until(lambda: "gemma-2-9b-it" in screen.frame())
        await screen.press("escape")
        await screen.until(lambda: screen.app.screen is screen.compare)
        assert len(loader.specs) == 1


async def test_what_cannot_be_found_out_is_said() -> None:
    def fail() -> Survey:
        raise ModelError("the registry models.toml is not valid TOML")

    async with app_on() as screen:
        screen.app.push_screen(ModelPicker(fail))
        await screen.until(lambda: "models.toml is not valid" in screen.frame())
