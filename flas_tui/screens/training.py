"""The training monitor: a run's curves, numbers and samples, drawn from its folder, live or finished.

What is known of the run is the watcher's; what is said of it is `run_summary`'s. Closing the screen ends the watching
and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widgets import Static

from flas_tui.bindings import training_bindings
from flas_tui.keymap import TRAINING_ACTIONS
from flas_tui.run_summary import (
    CHARTS,
    chart_series,
    describe_numbers,
    describe_setting,
    format_fact,
)
from flas_tui.run_watcher import RunWatcher, check_run
from flas_tui.screens.folder_prompt import FolderKind, FolderPrompt
from flas_tui.widgets.inspector import format_bytes
from flas_tui.widgets.line_chart import LineChart, write_number
from flas_tui.widgets.run_bar import RunBar, RunFacts
from flas_tui.widgets.sample_view import SampleView
from flas_tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual import events
    from textual.app import App, ComposeResult
    from textual.binding import BindingType

    from flas_tui.widgets.status_line import Hints

DRAW_SECONDS, LITE_DRAW_SECONDS = 0.5, 2.0
"""How often what is new is drawn: six charts cost more than a line of text."""
NORMAL_COLUMNS, WIDE_COLUMNS, HUGE_COLUMNS = 70, 110, 170
LEAST_COLUMNS, LEAST_ROWS = 50, 12
WRITERS: dict[str, Callable[[float], str]] = {
    "loss": format_fact,
    "concepts": format_fact,
    "memory": format_bytes,
    "learning-rate": "{:.1e}".format,
    "throughput": "{:,.0f}".format,
}
"""Of a chart, how its legend writes a value."""
RUN_FOLDER = FolderKind(
    title="watch a training run", placeholder="the folder that flas-tui train --out wrote", check=check_run
)
HINTS: Hints = (("c", "charts"), ("z", "zoom"), ("n", "samples"), ("o", "open"), ("Esc", "close"), ("?", "help"))
INTRODUCTION = (
    "A training run, from its folder: live while it trains, and as it ended afterwards. Losses are in nats a token: of "
    "the rows it trains on (a mean over stretches of updates) and, at T 1, of rows held out. What the concept is worth "
    "is how much worse the held-out loss is when every row gets the concept of another one.\n\n"
    "Closing the monitor leaves the training alone."
)


class TrainingScreen(Screen[None]):
    """Watches the folder `run`."""

    AUTO_FOCUS = "#loss PlotWidget"
    BINDINGS: ClassVar[list[BindingType]] = training_bindings()
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  (the type is Screen's)
        (0, "-narrow"),
        (NORMAL_COLUMNS, "-normal"),
        (WIDE_COLUMNS, "-wide"),
        (HUGE_COLUMNS, "-huge"),
    ]
    introduction = INTRODUCTION
    actions = TRAINING_ACTIONS

    def __init__(self, run: Path, *, is_lite: bool, notices: list[str] | None = None) -> None:
        super().__init__(id="training")
        self._is_lite = is_lite
        self._notices = notices or []
        self._watcher = RunWatcher(run)
        self._drawn_version = -1
        self._bar = RunBar(id="run-bar")
        self._facts = RunFacts(id="run-facts")
        self._charts = [LineChart(title, write=WRITERS.get(name, write_number), id=name) for name, title in CHARTS]
        self._second = 1
        """The chart beside the losses where there is room for no more than two."""
        self._samples = SampleView(id="samples")
        self._status = StatusLine(id="status")

    def compose(self) -> ComposeResult:
        """Bar, numbers, charts, samples, status line; and a card for tiny terminals."""
        with Vertical(id="workbench"):
            yield self._bar
            yield self._facts
            with Container(id="charts"):
                yield from self._charts
            yield self._samples
            yield self._status
        yield Static("", id="too-small", markup=False)

    def on_mount(self) -> None:
        """Begin to watch, and to draw what there is."""
        self._status.hints = HINTS
        self._mark_second()
        self._status.note_all(self._notices)
        self._watcher.start()
        self.set_interval(LITE_DRAW_SECONDS if self._is_lite else DRAW_SECONDS, self._draw_news)
        self.set_timer(0.05, self._draw_news)

    def on_unmount(self) -> None:
        """Let the watcher's thread end."""
        self._watcher.close()

    def on_resize(self, event: events.Resize) -> None:
        """Draw for the new size; a card where there is no room at all."""
        columns, rows = event.size
        is_tiny = columns < LEAST_COLUMNS or rows < LEAST_ROWS
        self.set_class(is_tiny, "-tiny")
        self.set_class(rows < 20, "-low")
        if is_tiny:
            self.query_one("#too-small", Static).update(
                f"flas needs {LEAST_COLUMNS} x {LEAST_ROWS} cells\nthese are {columns} x {rows}\n\ntraining goes on"
            )
        self.call_after_refresh(self._draw)

    @property
    def focused_keys(self) -> tuple[tuple[str, str], ...]:
        """The keys of what has the focus, for the help."""
        if isinstance(self.focused, SampleView):
            return SampleView.KEYS_HELP
        return LineChart.KEYS_HELP if any(chart.has_plot_focus for chart in self._charts) else ()

    # Drawing

    def _draw_news(self) -> None:
        if self._watcher.version != self._drawn_version:
            self._draw()

    def _draw(self) -> None:
        watcher = self._watcher
        with watcher.lock:
            self._drawn_version = watcher.version
            run, state = watcher.curves, watcher.state
            self._bar.show(watcher.run.name, run, state, is_reading=not watcher.is_all_read)
            self._facts.show(describe_numbers(run), describe_setting(run))
            self._samples.show(run.latest_samples())
            drawn = [(chart, chart_series(chart.id or "", run, chart.num_points)) for chart in self._charts]
        for chart, series in drawn:
            chart.show(series)
        if watcher.error is not None:
            self._status.error(str(watcher.error))
        elif state == "failed" and run.end is not None:
            self._status.error(run.end.message or "the run failed, and left no word why")

    # What can be done

    def action_go(self, by: int) -> None:
        """Go to the next chart that can be seen; a small screen shows it beside the losses."""
        here = next((index for index, chart in enumerate(self._charts) if chart.has_plot_focus), 0)
        there = (here + by) % len(self._charts)
        if there:
            self._second = there
        self._mark_second()
        if self.has_class("-zoomed"):
            self._mark_zoomed(there)
        self.call_after_refresh(self._draw)
        self.call_after_refresh(self._charts[there].focus_plot)  # only what shows takes the focus

    def action_zoom_chart(self) -> None:
        """Show one chart over the whole screen, or all of them."""
        focused = next((index for index, chart in enumerate(self._charts) if chart.has_plot_focus), 0)
        self.toggle_class("-zoomed")
        self._mark_zoomed(focused)
        self.call_after_refresh(self._draw)

    def _mark_second(self) -> None:
        for index, chart in enumerate(self._charts):
            chart.set_class(index == self._second, "-second")

    def _mark_zoomed(self, zoomed: int) -> None:
        for index, chart in enumerate(self._charts):
            chart.set_class(index == zoomed, "-alone")

    def action_turn(self, by: int) -> None:
        """Show another of the last samples."""
        self._samples.turn(by)

    def action_open_run(self) -> None:
        """Watch another run."""
        ask_for_run(self.app, self.follow, suggested=f"{self._watcher.run.absolute().parent}/")

    def follow(self, run: Path) -> None:
        """Follow another run in the place of the present one."""
        self._watcher.close()
        self._watcher = RunWatcher(run)
        self._watcher.start()
        self._drawn_version = -1
        self._status.clear()

    def action_close_monitor(self) -> None:
        """Go back to the screen before, or leave where there is none."""
        if self.app.screen_stack[0] is self:
            self.app.exit()
        else:
            self.dismiss()


def ask_for_run(app: App[Any], watch: Callable[[Path], None], *, suggested: str = "") -> None:
    """Ask for the folder of a run, and give it to `watch` unless the user thinks better of it."""

    def answer(run: Path | None) -> None:
        if run is not None:
            watch(run)

    app.push_screen(FolderPrompt(RUN_FOLDER, suggested), answer)


def push_monitor(app: App[Any], *, is_lite: bool) -> None:
    """Ask for the folder of a run, and watch it over the screen that shows."""

    def push(run: Path) -> None:
        app.push_screen(TrainingScreen(run, is_lite=is_lite))

    ask_for_run(app, push)
