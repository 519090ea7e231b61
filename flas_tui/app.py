"""The terminal application: puts worker, history, settings and screens together, and leaves a clean terminal.

Neither this module nor anything it imports touches torch: the model is loaded in the worker's thread, after the first
paint.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from flas_engine.errors import FlasError
from flas_engine.info import LoadSpec
from flas_engine.progress import Progress
from flas_engine.request import Limits
from flas_engine.worker import Worker
from flas_tui.frame import FramedApp
from flas_tui.garbage import paused_collection
from flas_tui.history import History, default_history_path
from flas_tui.options import AppOptions
from flas_tui.recording import to_setup
from flas_tui.screens.compare import CompareScreen
from flas_tui.session import Setup
from flas_tui.settings import Settings, load_settings
from flas_tui.terminal import guarded_terminal, refuse_unusable_terminal
from flas_tui.workbench import Workbench

if TYPE_CHECKING:
    from pathlib import Path

    from textual.screen import Screen

    from flas_engine.info import EngineProtocol, LoadFunction
    from flas_engine.progress import ReportProgress
    from flas_tui.evaluated_run import EvaluatedRun
    from flas_tui.screens.evaluation import EvaluationScreen

FIRST_CONCEPT, FIRST_PROMPT, FIRST_FLOW_TIME = "talk like a pirate", "Tell me about your day.", 1.5
"""What a newcomer finds in the inputs: Enter alone shows steering at work."""
PAINT_SECONDS = 0.1
"""How long the first paint may take before the engine's imports compete with it."""
END_SECONDS = 0.2
"""How long the engine's thread may take to notice that the app is over."""


def load_engine(spec: LoadSpec, *, progress: ReportProgress) -> EngineProtocol:
    """Load the real engine; the first call imports torch, which takes a second or two."""
    progress(Progress(activity="starting the engine"))
    with paused_collection():
        from flas_engine.engine import load_engine as load

    return load(spec, progress=progress)


class FlasApp(FramedApp):
    """The application around the compare screen."""

    def __init__(
        self,
        load: LoadFunction,
        history: History | None = None,
        *,
        options: AppOptions | None = None,
        settings: Settings | None = None,
        notices: tuple[str, ...] = (),
    ) -> None:
        self._options = options or AppOptions()
        settings = settings or Settings()
        super().__init__(settings, is_lite=self._options.lite or bool(settings.lite))
        self.workbench = Workbench(Worker(load), history, spec=self._first_spec())
        self._notices = notices
        self._compare: CompareScreen | None = None
        self._evaluation: EvaluationScreen | None = None

    def on_mount(self) -> None:
        """Paint first, load afterwards: importing torch holds up whatever runs beside it."""
        self.set_timer(PAINT_SECONDS, self._after_paint)

    def get_default_screen(self) -> Screen[None]:
        """Begin with the compare screen or an evaluation: one pushed over an empty screen would be painted later."""
        notices = [*self._notices, *self.complaints]
        if self._options.evaluation is not None:
            return self._make_evaluation(self._options.evaluation, notices)
        return self._make_compare(notices)

    def _after_paint(self) -> None:
        gc.freeze()  # what the start has made stays; no collection needs to look at it again
        gc.enable()
        if self._options.evaluation is None:
            self.workbench.start()

    def _first_spec(self) -> LoadSpec:
        options = self._options
        is_named = options.model or options.base or options.flow
        return LoadSpec(
            model=options.model if is_named else self.settings.model,
            base=options.base,
            flow=options.flow,
            device=options.device,
            dtype=options.dtype,
            compiles=options.compiles,
        )

    # Evaluations: the two screens are kept when they do not show, so that one comes back to where one was

    def _browse_evaluation(self) -> None:
        """Go back to the evaluation, or ask for one."""
        if self._evaluation is not None:
            self._show(self._evaluation)
        else:
            self._ask_for_evaluation("")

    def _ask_for_evaluation(self, suggested: str) -> None:
        from flas_tui.screens.evaluation import EVALUATION_FOLDER
        from flas_tui.screens.folder_prompt import FolderPrompt

        self.push_screen(FolderPrompt(EVALUATION_FOLDER, suggested), self._open_evaluation)

    def _open_evaluation(self, folder: Path | None) -> None:
        if folder is None:
            return
        if self._evaluation is not None:
            self._evaluation.look_at(folder)
            self._show(self._evaluation)
        else:
            self._show(self._make_evaluation(folder, []))

    def _make_evaluation(self, folder: Path, notices: list[str]) -> EvaluationScreen:
        from flas_tui.screens.evaluation import EvaluationScreen

        self._evaluation = EvaluationScreen(
            folder,
            open_run=self._open_run,
            open_other=self._ask_for_evaluation,
            close=self._close_evaluation,
            is_lite=self.is_lite,
            notices=notices,
        )
        self._keep(self._evaluation)
        return self._evaluation

    def _close_evaluation(self) -> None:
        if self._options.evaluation is not None:
            self.exit()
        elif self._compare is not None:
            self._show(self._compare)

    def _open_run(self, run: EvaluatedRun) -> None:
        """Run a text of an evaluation again, side by side with the baseline."""
        compare = self._compare or self._make_compare([])
        self._show(compare)
        compare.call_after_refresh(compare.open_evaluated, run)

    def _show(self, screen: Screen[Any]) -> None:
        """Put a screen on top: it is pushed, or what lies over it is popped."""
        if screen not in self.screen_stack:
            self.push_screen(screen)
        while self.screen is not screen:
            self.pop_screen()

    def _keep(self, screen: Screen[None]) -> None:
        self.install_screen(screen, f"kept-{id(screen)}")

    def _make_compare(self, notices: list[str]) -> CompareScreen:
        self._compare = CompareScreen(
            self.workbench,
            self._first_setup(),
            slider_range=self.settings.flow_time_range,
            resteers=self.settings.resteer_on_move,
            keeps_seed=self.settings.keep_seed,
            marks_difference=self.settings.mark_difference,
            is_lite=self.is_lite,
            notices=notices,
            browse=self._browse_evaluation,
        )
        self._keep(self._compare)
        return self._compare

    def _first_setup(self) -> Setup:
        """Begin with what the command line says, else with the last run, else with something that shows steering."""
        last = self._last_setup()
        options = self._options
        return Setup(
            prompt=last.prompt if options.prompt is None else options.prompt,
            concept=last.concept if options.concept is None else options.concept,
            flow_time=last.flow_time if options.flow_time is None else options.flow_time,
            seed=last.seed if options.seed is None else options.seed,
            limits=Limits(max_new_tokens=self.settings.max_new_tokens),
        )

    def _last_setup(self) -> Setup:
        if self.workbench.history is not None:
            with contextlib.suppress(FlasError):
                for record in self.workbench.history.runs(1):
                    return to_setup(record.request)
        return Setup(prompt=FIRST_PROMPT, concept=FIRST_CONCEPT, flow_time=FIRST_FLOW_TIME)


def run_app(options: AppOptions) -> int:
    """Run the app in this terminal until the user leaves; returns the exit code. Raises `FlasError`."""
    refuse_unusable_terminal()
    gc.disable()  # until the first paint: a start makes much and drops little
    settings = load_settings()
    history, notices = _open_history()
    if os.environ.get("SSH_CONNECTION") and not options.lite and settings.lite is None:
        notices.append("over SSH: if the screen lags, start with --lite or set lite = true in the settings")
    app = FlasApp(load_engine, history, options=options, settings=settings, notices=tuple(notices))
    with guarded_terminal(app) as guard:
        try:
            app.run()
        finally:
            app.workbench.quit()
            if history is not None:
                history.close()
    if not app.workbench.has_ended(END_SECONDS):
        _leave_at_once(guard.exit_code)
    return guard.exit_code


def _open_history() -> tuple[History | None, list[str]]:
    """Open the history; the app goes on without one that cannot be had, and says so."""
    try:
        history = History(default_history_path())
    except FlasError as error:
        return None, [f"{error}; this session is not kept"]
    return history, [history.notice] if history.notice else []


def _leave_at_once(exit_code: int) -> NoReturn:
    """End the process although the engine's thread is busy in native code, which the interpreter would wait for."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
