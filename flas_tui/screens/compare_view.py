"""What the compare screen shows: header, rail, panes, controls, inspector, status line, drawn from the session.

It listens to the engine and draws; what the user can do is in `compare`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from flas_engine.errors import Cancelled
from flas_tui.bindings import KeyScreen
from flas_tui.notices import notice_for
from flas_tui.session import LANES, STEERED, FlowTimeMoved, LaneEnded, ModelChanged, NotKept, RunOver, RunStarted
from flas_tui.summary import describe_lane, describe_machine, hints_for
from flas_tui.widgets.controls import Controls
from flas_tui.widgets.flow_time_slider import FlowTimeSlider
from flas_tui.widgets.header_bar import HeaderBar
from flas_tui.widgets.history_panel import HistoryPanel
from flas_tui.widgets.inspector import Inspector
from flas_tui.widgets.pane_deck import PaneDeck
from flas_tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult

    from flas_engine.concept_library import LibraryConcept
    from flas_engine.errors import FlasError
    from flas_tui.session import Change, ModelState, Setup
    from flas_tui.summary import Place
    from flas_tui.workbench import Workbench

DRAIN_SECONDS, LITE_DRAIN_SECONDS = 1 / 20, 1 / 10
"""How often what the engine has written is drawn."""
FACTS_SECONDS = 0.5
"""How often rates and counts are drawn: more would cost bytes on a slow line and read no better."""
NARROW_COLUMNS, RAIL_COLUMNS, INSPECTOR_COLUMNS = 70, 110, 170
LEAST_COLUMNS, LEAST_ROWS = 50, 12


class CompareView(KeyScreen):
    """The compare screen as far as it only shows."""

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
        resteers: bool,
        marks_difference: bool,
        is_lite: bool,
        notices: list[str],
    ) -> None:
        super().__init__()
        self._workbench = workbench
        self._setup = setup
        self._first_prompt = setup.prompt
        self._resteers = resteers
        self._is_lite = is_lite
        self._notices = notices
        self._controls = Controls(
            concept=setup.concept, prompt=setup.prompt, flow_time=setup.flow_time, slider_range=slider_range
        )
        self._deck = PaneDeck(marks_difference=marks_difference, id="panes")
        self._rail = HistoryPanel(workbench.history, id="rail")
        self._inspector = Inspector(id="inspector")
        self._header = HeaderBar(id="header")
        self._status = StatusLine(id="status")

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
        self._status.note_all(self._notices)

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

    def _drain(self) -> None:
        for change in self._workbench.drain():
            self._draw(change)

    def _draw(self, change: Change) -> None:
        if isinstance(change, RunStarted):
            self._deck.clear()  # not before: a re-steered text begins where the one before it ended
        self._deck.draw(change)
        if isinstance(change, FlowTimeMoved):
            self._show_titles()
        elif isinstance(change, LaneEnded):
            self._show_facts()
        elif isinstance(change, RunOver):
            self._end_run(change)
        elif isinstance(change, NotKept):
            self._status.error(str(change.error))
        elif isinstance(change, ModelChanged):
            self._show_model(self._workbench.session.model)

    def _end_run(self, change: RunOver) -> None:
        run = self._workbench.session.comparison
        if change.error is not None:
            self._say_failure(change.error)
            if run is None or not run.num_tokens:
                self._deck.clear()
        self._rail.reload()
        self._show_facts()
        self._show_hints()

    def _show_model(self, model: ModelState) -> None:
        if model.error is not None:
            self._say_failure(model.error)
        elif model.info is not None and (notice := notice_for(model.info)):
            self._status.note(notice)
        self._rail.suggest(self._library)
        self._show_facts()

    def _say_failure(self, error: FlasError) -> None:
        if isinstance(error, Cancelled):
            self._status.note(str(error))
        else:
            self._status.error(str(error))

    # What is shown

    @property
    def _library(self) -> tuple[LibraryConcept, ...]:
        info = self._workbench.session.model.info
        return info.library if info else ()

    @property
    def setup(self) -> Setup:
        """What would run now."""
        return replace(
            self._setup,
            prompt=self._controls.prompt.value,
            concept=self._controls.concept.value.strip(),
            flow_time=self._controls.slider.value,
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
        """Over the steered text what it was written under; over none what it would be."""
        run, setup = self._workbench.session.comparison, self.setup
        concept, flow_time = (
            (setup.concept, setup.flow_time) if run is None else (run.setup.concept, run.lanes[STEERED].flow_time)
        )
        self._deck.panes[STEERED].show_title(f"{concept.strip() or 'steered'} · T {flow_time:.2f}")

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
            self._place,
            is_running=session.is_running,
            has_run=session.comparison is not None,
            resteers=self._resteers,
        )
