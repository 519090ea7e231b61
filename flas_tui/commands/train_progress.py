"""How a training run is shown on stderr: a bar with rates and time left on a terminal, elsewhere a line at times."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from flas_engine.training.metrics import Sample, Start, Update, Validation
from flas_tui.commands.engine_loading import LoadNarrator
from flas_tui.console import is_terminal, say

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from flas_engine.progress import Progress
    from flas_engine.training.metrics import Metric

LINE_SECONDS = 15.0
SHOWN_TEXT = 160
"""Characters of a sample that are shown."""


class TrainingBar:
    """Shows loading and then every metric, while it is entered."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._is_quiet = is_quiet
        self._narrator = LoadNarrator()
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._num_updates = 0
        self._has_started = False
        self._said_at = float("-inf")

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._narrator.end()
        if self._bar is not None:
            self._bar.stop()

    def is_training(self) -> bool:
        """Whether training has begun."""
        return self._has_started

    def load(self, progress: Progress) -> None:
        """Show how far the loading is."""
        if not self._is_quiet:
            self._narrator(progress)

    def observe(self, metric: Metric) -> None:
        """Show one metric."""
        self._has_started = True
        if self._is_quiet:
            return
        if isinstance(metric, Start):
            self._start(metric)
        elif isinstance(metric, Update):
            self._show_update(metric)
        elif isinstance(metric, Validation):
            self._say(describe_validation(metric))
        elif isinstance(metric, Sample):
            self._say(f"  {metric.concept!r} at T = {metric.flow_time:g}: {metric.text[:SHOWN_TEXT]!r}")

    def _start(self, start: Start) -> None:
        self._narrator.end()
        self._num_updates = start.num_updates
        resumed = f", from update {start.resumed_from}" if start.resumed_from is not None else ""
        say(
            f"{start.num_updates:,} updates on {start.num_rows:,} rows of {start.num_concepts:,} concepts; "
            f"{start.base} on {start.device} in {start.dtype}{resumed}"
        )
        if is_terminal(sys.stderr):
            self._bar = _make_bar()
            self._task = self._bar.add_task("", total=start.num_updates, completed=start.update, facts="")
            self._bar.start()

    def _show_update(self, update: Update) -> None:
        facts = describe_update(update)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=update.update, facts=facts)
        elif time.monotonic() - self._said_at >= LINE_SECONDS or update.update == self._num_updates:
            self._said_at = time.monotonic()
            say(f"update {update.update} of {self._num_updates}: {facts}")

    def _say(self, line: str) -> None:
        if self._bar is not None:
            from flas_tui.safe_text import visible_text

            self._bar.console.print(visible_text(line), markup=False, highlight=False)
        else:
            say(line)


def describe_update(update: Update) -> str:
    """Say what one update did, in a few words."""
    contrast = "" if update.contrast is None else f", contrast {update.contrast:.2f}"
    return f"loss {update.lm_loss:.3f} nats/token{contrast}, {update.tokens_per_second:.0f} tokens/s"


def describe_validation(validation: Validation) -> str:
    """Say what a validation found: the losses over T, and the gap to shuffled concepts."""
    curve = ", ".join(f"T {flow_time}: {loss:.3f}" for flow_time, loss in validation.losses.items())
    best = "; the best so far" if validation.is_best else ""
    return f"validation after update {validation.update}: {curve}; wrong concept {validation.shuffled:.3f}{best}"


def _make_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
        console=Console(stderr=True),
    )
