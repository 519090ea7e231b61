"""The home screen: what the user can do with baseline and steered side by side.

It turns keys into calls of the `Workbench`. What a run is, and what is kept of it, is the workbench's business; how it
all looks is in `compare_view`, and how one moves about in it in `compare_moves`.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.widgets import Input

from flas_engine.errors import FlasError
from flas_engine.events import FinishReason
from flas_engine.request import parse_flow_time
from flas_tui.bindings import screen_bindings
from flas_tui.clipboard import copy
from flas_tui.export import save_comparison
from flas_tui.keymap import ACTIONS
from flas_tui.recording import to_setup
from flas_tui.screens.compare_moves import CompareMoves
from flas_tui.session import STEERED, command_line
from flas_tui.summary import describe_machine
from flas_tui.widgets.controls import Controls
from flas_tui.widgets.flow_time_slider import FlowTimeSlider
from flas_tui.widgets.history_panel import HistoryPanel
from flas_tui.widgets.line_input import LineInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.binding import BindingType
    from textual.timer import Timer

    from flas_tui.evaluated_run import EvaluatedRun
    from flas_tui.session import RunOver, Setup
    from flas_tui.workbench import Workbench

INTRODUCTION = (
    "Both panes are one model answering one prompt with the same noise: on the left as it is, on the right with its "
    "activations moved towards your concept for the flow time T. What differs is steering, and nothing else; the first "
    "token that differs is underlined in both.\n\n"
    "T 0 is the baseline. From 1 to 2.5 steering works best (━ on the track); beyond that (╌) the field extrapolates "
    "and the text falls apart. Moved while text runs, T acts on the next token and is marked in the text, ⟨T 1.25⟩. "
    "Press a, and it acts on the whole answer instead: the text stays up to the first word that T changes."
)
REST_SECONDS = 0.15
"""How long T must rest before an answer is re-steered."""
MAX_NEW_SEED = 9999
"""Seeds drawn for the user are short enough to be read out."""


class CompareScreen(CompareMoves):
    """Baseline and steered, side by side."""

    BINDINGS: ClassVar[list[BindingType]] = screen_bindings()
    introduction = INTRODUCTION
    actions = ACTIONS

    def __init__(
        self,
        workbench: Workbench,
        setup: Setup,
        *,
        slider_range: tuple[float, float],
        resteers: bool,
        keeps_seed: bool,
        marks_difference: bool,
        is_lite: bool,
        notices: list[str],
        browse: Callable[[], None],
    ) -> None:
        """Take what the screen begins with; `browse` shows an evaluation in its place."""
        super().__init__(
            workbench,
            setup,
            slider_range=slider_range,
            resteers=resteers,
            marks_difference=marks_difference,
            is_lite=is_lite,
            notices=notices,
        )
        self._keeps_seed = keeps_seed
        self._browse_evaluation = browse
        self._expected: str | None = None
        """The text of an evaluation that the run under way should write again."""
        self._rest: Timer | None = None

    # Running

    def action_generate(self) -> None:
        """Answer the prompt with a new seed, unless it is set; under another concept alone, re-steer the answer."""
        if self._resteers and self._is_of_another_concept():
            self._resteer()
            return
        if not self._keeps_seed and self._workbench.session.comparison is not None:
            self._draw_seed()
        self.action_rerun()

    def _is_of_another_concept(self) -> bool:
        run, writer = self._workbench.session.comparison, self._workbench.session.model.writer
        return run is not None and run.setup.concept != self.setup.concept and run.is_draft_for(self.setup, writer)

    def action_new_seed(self) -> None:
        """Run again with other noise."""
        self._draw_seed()
        self.action_rerun()

    def _draw_seed(self) -> None:
        self._setup = replace(self._setup, seed=random.randint(0, MAX_NEW_SEED))

    def action_rerun(self) -> None:
        """Run under the present setting, with the present seed."""
        self._expected = None
        self._run(self.setup)

    def _resteer(self) -> None:
        """Run under the present setting, and keep as much of the text as it would write again."""
        self._expected = None
        self._run(self.setup, is_resteered=True)

    def _run(self, setup: Setup, *, is_resteered: bool = False) -> None:
        self._stop_resting()
        try:
            (self._workbench.resteer if is_resteered else self._workbench.generate)(setup)
        except FlasError as error:
            self._status.error(str(error))
            return
        self._status.clear()
        if not is_resteered:
            self._deck.clear()
        self._show_titles()
        if isinstance(self.focused, LineInput) or self.focused is None:
            self._deck.focus_lane(STEERED)
        if self._workbench.session.model.phase in {"waiting", "loading"}:
            self._status.note("queued: it runs as soon as the model is loaded")
            self._deck.say_waiting()
        self._show_facts()
        self._show_hints()

    def action_stop(self) -> None:
        """Stop, and keep what is written; with nothing being written, call off the load, and the run that waits."""
        session = self._workbench.session
        if session.is_running and session.model.phase != "loading":
            self._workbench.stop()
            self._status.note("stopped; the text is kept")
        elif session.model.phase == "loading":
            self._workbench.stop()
            self._workbench.cancel_load()
            self._status.note("the load is called off")

    def action_interrupt(self) -> None:
        """Copy what is selected, or stop; what ctrl+c means to most people."""
        field = self.focused
        if isinstance(field, Input) and not field.selection.is_empty and not self._workbench.session.is_running:
            self._copy(field.selected_text, "the selection")
        elif self.get_selected_text():
            self.action_copy()
        elif self._workbench.session.is_running:
            self.action_stop()
        else:
            self._status.note("nothing is running; ^q quits")

    # Flow time

    @on(FlowTimeSlider.Moved)
    def _flow_time_moved(self, event: FlowTimeSlider.Moved) -> None:
        event.stop()
        self._show_titles()
        self._header.state = describe_machine(self._workbench.session, self.setup)
        self._stop_resting()
        if self._workbench.session.comparison is None:
            return
        if self._resteers:
            self._rest = self.set_timer(REST_SECONDS, self._resteer)
        elif self._workbench.session.is_running:
            self._workbench.set_flow_time(event.value)
        else:
            self._status.note(f"T {event.value:.2f} from the next answer on: r runs this one again, a re-steers it")

    def _stop_resting(self) -> None:
        if self._rest is not None:
            self._rest.stop()
            self._rest = None

    def action_nudge(self, by: float) -> None:
        """Move T by a step."""
        self._controls.slider.action_nudge(by)

    def action_type_flow_time(self) -> None:
        """Type any T."""
        self._controls.type_flow_time()

    def action_toggle_resteer(self) -> None:
        """Let T act on the whole answer, at once if it has moved since, or from here on."""
        self._resteers = not self._resteers
        run = self._workbench.session.comparison
        if self._resteers and run is not None and run.lanes[STEERED].flow_time != self.setup.flow_time:
            self._resteer()
        self._show_hints()
        self._status.note(
            "T acts on the whole answer: what it would write again stays" if self._resteers else "T acts from here on"
        )

    @on(Controls.FlowTimeTyped)
    def _flow_time_typed(self, event: Controls.FlowTimeTyped) -> None:
        event.stop()
        try:
            flow_time = parse_flow_time(event.text)
        except FlasError as error:
            self._status.error(str(error))
            return
        self._controls.end_typing()
        self._controls.slider.focus()
        self._status.clear()
        self._controls.slider.move_to(flow_time)

    @on(Controls.Submitted)
    def _submitted(self, event: Controls.Submitted) -> None:
        event.stop()
        self.action_generate()

    @on(Input.Changed, "#concept")
    def _concept_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show_titles()

    # Models

    def action_models(self) -> None:
        """Choose a model."""
        from flas_tui.screens.model_picker import ModelPicker

        self.app.push_screen(ModelPicker(), self._load_model)

    def _load_model(self, name: str | None) -> None:
        if name is not None:
            self._workbench.load(name)
            self._status.note(f"loading {name}; Space calls it off")
            self._show_facts()

    def action_training(self) -> None:
        """Watch a training run."""
        from flas_tui.screens.training import push_monitor

        push_monitor(self.app, is_lite=self._is_lite)

    # History

    @on(HistoryPanel.ConceptPicked)
    def _use_concept(self, event: HistoryPanel.ConceptPicked) -> None:
        event.stop()
        self._controls.show(
            concept=event.use.text, prompt=self._controls.prompt.value, flow_time=event.use.last_flow_time
        )
        self.action_leave()
        self._show_titles()
        self._status.note(f"{event.use.text} at T {event.use.last_flow_time:.2f}: Enter generates")

    @on(HistoryPanel.SuggestionPicked)
    def _try_suggestion(self, event: HistoryPanel.SuggestionPicked) -> None:
        """Fill in a concept of the library, with its prompt unless the user typed one."""
        event.stop()
        entry, prompt = event.entry, self._controls.prompt.value
        is_own = bool(prompt.strip()) and prompt not in {self._first_prompt, *(one.prompt for one in self._library)}
        self._controls.show(concept=entry.concept, prompt=prompt if is_own else entry.prompt, flow_time=entry.flow_time)
        self.action_leave()
        self._show_titles()
        self._status.note(f"{entry.concept} at T {entry.flow_time:.2f}: Enter generates")

    @on(HistoryPanel.RunPicked)
    def _restore_run(self, event: HistoryPanel.RunPicked) -> None:
        event.stop()
        run = self._workbench.restore(event.record)
        self._setup = to_setup(event.record.request)
        self._controls.show(concept=run.setup.concept, prompt=run.setup.prompt, flow_time=run.setup.flow_time)
        self._deck.draw_whole(run)
        self.action_leave()
        self._show_titles()
        self._show_facts()
        self._status.note(f"the run of {event.record.created_at.astimezone():%d %B, %H:%M}, with {event.record.model}")

    @on(HistoryPanel.Failed)
    def _history_failed(self, event: HistoryPanel.Failed) -> None:
        event.stop()
        self._status.error(str(event.error))

    # Evaluations

    def action_evaluations(self) -> None:
        """Go back to the evaluation, or ask for one."""
        self._browse_evaluation()

    def open_evaluated(self, run: EvaluatedRun) -> None:
        """Write a text of an evaluation again, with the model that wrote it, and say whether it is the same."""
        from flas_tui.evaluated_run import is_model_of, spec_of

        model = self._workbench.session.model.info
        self._setup, self._expected = run.setup, run.text
        self._controls.show(concept=run.setup.concept, prompt=run.setup.prompt, flow_time=run.setup.flow_time)
        self._deck.focus_lane(STEERED)
        try:
            if model is None or not is_model_of(run.plan, model):
                self._workbench.load_spec(spec_of(run.plan))
            self._run(run.setup)
        except FlasError as error:
            self._status.error(str(error))
            return
        if self._workbench.session.model.phase == "ready":
            self._status.note("a text of the evaluation, run again; e goes back")
        else:
            self._status.note(f"loading {run.plan.model}, which wrote this text of the evaluation; Space calls it off")

    def _end_run(self, change: RunOver) -> None:
        from flas_tui.evaluated_run import describe_repetition

        super()._end_run(change)
        run, expected = self._workbench.session.comparison, self._expected
        if run is None or expected is None or change.error is not None:
            return
        steered = run.lanes[STEERED]
        if steered.finish_reason == FinishReason.CANCELLED or steered.moves:
            return
        self._expected = None
        self._status.note(describe_repetition(steered.text, expected))

    # Keeping

    def action_copy(self) -> None:
        """Copy the selection, or the focused pane."""
        if selected := self.get_selected_text():
            self._copy(selected, "the selection")
        else:
            self._copy(self._deck.panes[self._deck.front].view.text, "the pane")

    def action_copy_command(self) -> None:
        """Copy the command that reproduces the run."""
        run = self._workbench.session.comparison
        if run is None:
            self._copy(command_line(self.setup, self._workbench.session.model.writer), "the command")
            return
        has_moved = bool(run.lanes[STEERED].moves)
        what = "the command, with the T that the run began with" if has_moved else "the command"
        self._copy(command_line(run.setup, run.writer), what)

    def _copy(self, text: str, what: str) -> None:
        if not text:
            self._status.note("nothing to copy yet")
            return
        try:
            copied = copy(text, self.app.copy_to_clipboard)
        except FlasError as error:
            self._status.error(str(error))
        else:
            self._status.note(f"{what}: {copied.message}")

    def action_save(self) -> None:
        """Write the comparison to files."""
        run = self._workbench.session.comparison
        if run is None or not run.num_tokens:
            self._status.note("nothing is written yet; Enter generates")
            return
        try:
            path = save_comparison(run, datetime.now().astimezone(), Path.cwd())
        except FlasError as error:
            self._status.error(str(error))
        else:
            self._status.note(f"saved {path} and {path.with_suffix('.json').name}")
