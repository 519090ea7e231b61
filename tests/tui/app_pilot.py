"""The app on the scripted engine, driven by Pilot; waits on what is shown, never on the clock alone."""

from __future__ import annotations

import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from scripted_engine import ScriptedEngine, ScriptedLoader
from textual import events

from flas_tui.app import FlasApp
from flas_tui.history import History
from flas_tui.screens.compare import CompareScreen
from flas_tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from textual.pilot import Pilot

    from flas_engine.info import LoadFunction
    from flas_tui.options import AppOptions
    from flas_tui.session import Comparison
    from flas_tui.settings import Settings

PATIENCE_SECONDS = 20.0
"""For a machine that other work keeps busy."""


class Gate:
    """Holds the engine before chosen token passes until the test lets it on."""

    def __init__(self, *passes: int) -> None:
        self.waiting = threading.Event()
        self._passes = set(passes)
        self._open = threading.Event()

    def __call__(self, index: int) -> None:
        if index in self._passes:
            self.waiting.set()
            assert self._open.wait(20)

    def open(self) -> None:
        """Let the engine go on."""
        self._open.set()


class Screen:
    """What a person sees and does."""

    def __init__(self, app: FlasApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def compare(self) -> CompareScreen:
        """The home screen."""
        screen = self.app.screen_stack[0]
        assert isinstance(screen, CompareScreen)
        return screen

    @property
    def run(self) -> Comparison:
        """The latest run."""
        run = self.app.workbench.session.comparison
        assert run is not None
        return run

    def frame(self) -> str:
        """Everything on the screen, as plain text."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips)

    def text(self, lane: str) -> str:
        """What a pane holds."""
        return str(self.compare.query_one(f"#{lane}-text").text)  # type: ignore[attr-defined]

    def status(self) -> str:
        """What the status line says."""
        return self.compare.query_one(StatusLine).render().plain

    async def press(self, *keys: str) -> None:
        """Press keys."""
        await self.pilot.press(*keys)

    async def press_in_one_burst(self, *keys: str) -> None:
        """Press keys without waiting in between, as a slow line delivers them."""
        for key in keys:
            self.app.post_message(events.Key(key, "/" if key == "slash" else key))
        await self.pilot.pause()

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Let the app work until `condition` holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not in {PATIENCE_SECONDS:g} s: {what}\n{self.frame()}"
            await self.pilot.pause(0.01)
        await self.pilot.pause()

    async def until_over(self) -> None:
        """Wait for the end of the run."""
        session = self.app.workbench.session
        await self.until(lambda: session.comparison is not None and not session.is_running, "the run's end")

    async def until_ready(self) -> None:
        """Wait for the model."""
        await self.until(lambda: self.app.workbench.session.model.phase == "ready", "the model")


@asynccontextmanager
async def app_on(
    engine: ScriptedEngine | None = None,
    *,
    folder: Path | None = None,
    size: tuple[int, int] = (120, 40),
    settings: Settings | None = None,
    options: AppOptions | None = None,
    load: LoadFunction | None = None,
) -> AsyncIterator[Screen]:
    """Run the app; with `folder`, on the history in it."""
    history = History(folder / "history.db") if folder is not None else None
    app = FlasApp(
        load or ScriptedLoader(engine=engine or ScriptedEngine()), history, settings=settings, options=options
    )
    try:
        async with app.run_test(size=size) as pilot:
            screen = Screen(app, pilot)
            if load is None:
                await screen.until_ready()
            yield screen
    finally:
        app.workbench.quit()
        if history is not None:
            history.close()
