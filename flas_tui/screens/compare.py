"""The home screen: baseline and steered side by side, with the concept, the prompt and the flow time under them.

It turns keys into calls of the `Workbench`, and the changes that come back into drawing. What a run is, and what is
kept of it, is the workbench's business.
"""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Input, Static

from flas_engine.errors import FlasError
from flas_engine.request import parse_flow_time
from flas_tui.bindings import screen_bindings
from flas_tui.clipboard import copy
from flas_tui.export import save_comparison
from flas_tui.notices import notice_for
from flas_tui.recording import to_setup
from flas_tui.session import BASELINE, LANES, STEERED, LaneEnded, ModelChanged, NotKept, RunOver, Setup, command_line
from flas_tui.summary import describe_lane, describe_machine, hints_for
from flas_tui.widgets.controls import Controls
from flas_tui.widgets.flow_time_slider import FlowTimeSlider
from flas_tui.widgets.header_bar import HeaderBar
from flas_tui.widgets.history_panel import HistoryPanel
from flas_tui.widgets.inspector import Inspector
from flas_tui.widgets.line_input import LineInput
from flas_tui.widgets.pane_deck import PaneDeck
from flas_tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.timer import Timer

    from flas_tui.session import Change, ModelState
    from flas_tui.summary import Place
    from flas_tui.widgets.history_panel import Tab
    from flas_tui.workbench import Workbench

DRAIN_SECONDS, LITE_DRAIN_SECONDS = 1 / 20, 1 / 10
"""How often what the engine has written is drawn."""
FACTS_SECONDS = 0.5
"""How often rates and counts are drawn: more would cost bytes on a slow line and read no better."""
REST_SECONDS = 0.15
"""How long T must rest before a finished answer is run again."""
NARROW_COLUMNS, RAIL_COLUMNS, INSPECTOR_COLUMNS = 70, 110, 170
LEAST_COLUMNS, LEAST_ROWS = 50, 12
MAX_NEW_SEED = 9999
"""Seeds drawn for the user are short enough to be read out."""


class CompareScreen(Screen[None]):
    """Baseline and steered, side by side."""

    BINDINGS: ClassVar[list[BindingType]] = screen_bindings()
    AUTO_FOCUS = "#prompt"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  (the type is Screen's)
        (0, "-narrow"),
        (NARROW_COLUMNS, "-normal"),
        (RAIL_COLUMNS, "-wide"),
        (INSPECTOR_COLUMNS, "-huge"),
    ]

    def __init__(
        self,
        workbench: Workbench,
        setup: Setup,
        *,
        slider_range: tuple[float, float],
        reruns_on_move: bool,
        keeps_seed: bool,
        marks_difference: bool,
        is_lite: bool,
        notices: list[str],
    ) -> None:
        super().__init__()
        self._workbench = workbench
        self._setup = setup
        self._reruns_on_move = reruns_on_move
        self._keeps_seed = keeps_seed
        self._is_lite = is_lite
        self._notices = notices
        self._rest: Timer | None = None
        self._controls = Controls(
            concept=setup.concept, prompt=setup.prompt, flow_time=setup.flow_time, slider_range=slider_range
        )
        self._deck = PaneDeck(marks_difference=marks_difference, id="panes")
        self._rail = HistoryPanel(workbench.history, id="rail")
        self._inspector = Inspector(id="inspector")
        self._header = HeaderBar(id="header")
        self._status = StatusLine(id="status")

    # Layout

    def compose(self) -> ComposeResult:
        """Header, rail, panes with the controls under them, inspector, status line; and a card for tiny terminals."""
        with Vertical(id="workbench"):
            yield self._header
            with Horizontal(id="body"):
                yield self._rail
                with Vertical(id="center"):
                    yield self._deck
                    yield self._controls
                yield self._inspector
            yield self._status
        yield Static("", id="too-small", markup=False)

    def on_mount(self) -> None:
        """Draw what is known, and begin to listen to the engine."""
        self._show_titles()
        self._show_facts()
        self.set_interval(LITE_DRAIN_SECONDS if self._is_lite else DRAIN_SECONDS, self._drain)
        self.set_interval(FACTS_SECONDS, self._show_facts)
        for field in self.query(Input):
            field.cursor_blink = not self._is_lite
        for notice in self._notices:
            self._status.note(notice)

    def on_resize(self, event: events.Resize) -> None:
        """One pane where there is no room for two; a card where there is no room at all."""
        columns, rows = event.size
        self._deck.set_narrow(columns < NARROW_COLUMNS)
        is_tiny = columns < LEAST_COLUMNS or rows < LEAST_ROWS
        self.set_class(is_tiny, "-tiny")
        if is_tiny:
            self.query_one("#too-small", Static).update(
                f"flas needs {LEAST_COLUMNS} x {LEAST_ROWS} cells\nthese are {columns} x {rows}\n\nwhat runs goes on"
            )

    def on_descendant_focus(self) -> None:
        """Show the keys that matter where the focus is now."""
        self._show_hints()

    def on_descendant_blur(self) -> None:
        """Show the keys that matter where the focus is now."""
        self.call_after_refresh(self._show_hints)

    # From the engine

    def _drain(self) -> None:
        for change in self._workbench.drain():
            self._draw(change)

    def _draw(self, change: Change) -> None:
        self._deck.draw(change)
        if isinstance(change, LaneEnded):
            self._show_facts()
        elif isinstance(change, RunOver):
            self._end_run(change)
        elif isinstance(change, NotKept):
            self._status.error(str(change.error))
        elif isinstance(change, ModelChanged):
            self._show_model(self._workbench.session.model)

    def _end_run(self, change: RunOver) -> None:
        if change.error is not None:
            self._status.error(str(change.error))
        self._rail.reload()
        self._show_facts()
        self._show_hints()

    def _show_model(self, model: ModelState) -> None:
        if model.error is not None:
            self._status.error(str(model.error))
        elif model.info is not None:
            if notice := notice_for(model.info):
                self._status.note(notice)
            else:
                self._status.clear()
        self._show_facts()

    # What is shown

    @property
    def setup(self) -> Setup:
        """What would run now."""
        return Setup(
            prompt=self._controls.prompt.value,
            concept=self._controls.concept.value.strip(),
            flow_time=self._controls.slider.value,
            seed=self._setup.seed,
            sampling=self._setup.sampling,
            limits=self._setup.limits,
        )

    @property
    def _place(self) -> Place:
        focused = self.focused
        if isinstance(focused, Input):
            return "input"
        if focused is self._controls.slider:
            return "slider"
        return "rail" if focused is not None and self._rail in focused.ancestors else "panes"

    @property
    def focused_keys(self) -> tuple[tuple[str, str], ...]:
        """The keys of what has the focus, for the help."""
        return {"slider": FlowTimeSlider.KEYS_HELP, "rail": HistoryPanel.KEYS_HELP}.get(self._place, ())

    def _show_titles(self) -> None:
        concept = self._controls.concept.value.strip() or "steered"
        self._deck.panes[STEERED].show_title(f"{concept} · T {self._controls.slider.value:.2f}")

    def _show_facts(self) -> None:
        session = self._workbench.session
        self._header.state = describe_machine(session, self.setup)
        for lane in LANES:
            self._deck.panes[lane].show_footer(describe_lane(session, lane))
        if self._inspector.region.width:
            self._inspector.show(session)

    def _show_hints(self) -> None:
        session = self._workbench.session
        self._status.hints = hints_for(
            self._place, is_running=session.is_running, has_run=session.comparison is not None
        )

    # Running

    def action_generate(self) -> None:
        """Answer the prompt, under the present setting."""
        self._stop_resting()
        try:
            self._workbench.generate(self.setup)
        except FlasError as error:
            self._status.error(str(error))
            return
        self._status.clear()
        self._deck.clear()
        self._show_titles()
        if isinstance(self.focused, LineInput) or self.focused is None:
            self._deck.focus_lane(STEERED)
        if self._workbench.session.model.phase != "ready":
            self._status.note("queued: it runs as soon as the model is loaded")
        self._show_facts()
        self._show_hints()

    def action_new_seed(self) -> None:
        """Run again with other noise."""
        self._set_seed(random.randint(0, MAX_NEW_SEED))
        self.action_generate()

    def _set_seed(self, seed: int) -> None:
        self._setup = Setup(
            prompt=self._setup.prompt, seed=seed, sampling=self._setup.sampling, limits=self._setup.limits
        )

    def action_stop(self) -> None:
        """Stop, and keep what is written."""
        if self._workbench.session.is_running:
            self._workbench.stop()
            self._status.note("stopped; the text is kept")

    def action_interrupt(self) -> None:
        """Copy what is selected, or stop; what ctrl+c means to most people."""
        field = self.focused
        if isinstance(field, Input) and not field.selection.is_empty and not self._workbench.session.is_running:
            self.app.copy_to_clipboard(field.selected_text)
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
        if self._workbench.session.is_running:
            self._workbench.set_flow_time(event.value)
        elif self._workbench.session.comparison is not None:
            self._rest_or_offer(event.value)

    def _rest_or_offer(self, flow_time: float) -> None:
        """After an answer is done: run again once T rests, or say how to."""
        self._stop_resting()
        if self._reruns_on_move:
            self._rest = self.set_timer(REST_SECONDS, self.action_generate)
        else:
            self._status.note(f"T {flow_time:.2f} from the next answer on: r runs this one again")

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

    def action_toggle_rerun(self) -> None:
        """Run again whenever T has moved and rests, or only when asked."""
        self._reruns_on_move = not self._reruns_on_move
        self._status.note(
            "moving T runs a finished answer again" if self._reruns_on_move else "moving T waits for r to run again"
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

    # Moving about

    def action_focus_field(self, name: str) -> None:
        """Go to the prompt, the concept or the slider."""
        self.query_one(f"#{name}").focus()

    def action_leave(self) -> None:
        """Leave what has the focus for the panes."""
        self._status.clear()
        self._controls.end_typing()
        self.remove_class("-rail-open")
        self._deck.focus_lane(self._deck.front)

    def action_next(self) -> None:
        """Go to the next field; where only one pane shows, to the other pane first."""
        if self._deck.is_single and self._deck.panes[BASELINE].view.has_focus:
            self._deck.focus_lane(STEERED)
        elif self._deck.is_single and self.focused not in {pane.view for pane in self._deck.panes}:
            self.focus_next()
        elif self._deck.is_single:
            self._deck.flip()
        else:
            self.focus_next()

    def action_focus_lane(self, lane: int) -> None:
        """Go to a lane's pane."""
        self._deck.focus_lane(lane)

    def action_show_rail(self, tab: Tab) -> None:
        """Go to the concepts or the runs; where there is no room for them, they lie over the panes until left."""
        if self.size.width < RAIL_COLUMNS:
            self.add_class("-rail-open")
        self._rail.focus_tab(tab)

    @on(LineInput.Browse)
    def _browse(self, event: LineInput.Browse) -> None:
        event.stop()
        self.action_show_rail("concepts")

    def action_zoom(self) -> None:
        """One pane alone, or both."""
        self._deck.toggle_zoom()
        self._deck.focus_lane(self._deck.front)

    def action_stack(self) -> None:
        """One above the other, or side by side."""
        self._deck.toggle_stack()

    def action_toggle_difference(self) -> None:
        """Mark where the panes part, or not."""
        is_marked = self._deck.toggle_difference()
        self._status.note("the first different token is marked" if is_marked else "differences are not marked")

    # History

    @on(HistoryPanel.ConceptPicked)
    def _use_concept(self, event: HistoryPanel.ConceptPicked) -> None:
        event.stop()
        self._controls.concept.value = event.use.text
        self._controls.slider.move_to(event.use.last_flow_time)
        self.action_leave()
        self._status.note(f"{event.use.text} at T {event.use.last_flow_time:.2f}: Enter generates")

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
        self._copy(command_line(run.setup if run else self.setup, self._model_name), "the command")

    def _copy(self, text: str, what: str) -> None:
        if not text:
            self._status.note("nothing to copy yet")
            return
        try:
            how = copy(self.app, text)
        except FlasError as error:
            self._status.error(str(error))
        else:
            self._status.note(f"copied {what} {how}")

    def action_save(self) -> None:
        """Write the comparison to files."""
        run = self._workbench.session.comparison
        if run is None or not run.num_tokens:
            self._status.note("nothing is written yet; Enter generates")
            return
        try:
            path = save_comparison(run, self._model_name or "", datetime.now().astimezone(), Path.cwd())
        except FlasError as error:
            self._status.error(str(error))
        else:
            self._status.note(f"saved {path} and {path.with_suffix('.json').name}")

    @property
    def _model_name(self) -> str | None:
        info = self._workbench.session.model.info
        return info.name if info else None
