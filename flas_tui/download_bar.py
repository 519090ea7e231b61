"""Shows how far a download, or work in pieces, is on stderr: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from flas_tui.console import is_terminal, say
from flas_tui.safe_text import visible_text

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from flas_engine.progress import Progress

LINE_SECONDS = 15.0


class DownloadBar:
    """A `ReportProgress` that draws while it is entered."""

    def __init__(self) -> None:
        self._rich: RichProgress | None = _make_bar() if is_terminal(sys.stderr) else None
        self._task: TaskID | None = None
        self._activity = ""
        self._said_at = 0.0

    def __enter__(self) -> DownloadBar:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def __call__(self, progress: Progress) -> None:
        """Show how far the work is."""
        if self._rich is None:
            self._say(progress)
        elif self._task is None:
            self._task = self._rich.add_task(
                visible_text(progress.activity), total=progress.total, completed=progress.done, unit=progress.unit
            )
        else:
            self._rich.update(
                self._task,
                description=visible_text(progress.activity),
                completed=progress.done,
                total=progress.total,
                unit=progress.unit,
            )

    def _say(self, progress: Progress) -> None:
        """One line a file, and one every `LINE_SECONDS` while it lasts."""
        now = time.monotonic()
        if progress.activity == self._activity and now - self._said_at < LINE_SECONDS:
            return
        self._activity, self._said_at = progress.activity, now
        say(f"{progress.activity}{_share(progress)}")


def _share(progress: Progress) -> str:
    if not progress.total:
        return ""
    if progress.unit == "bytes":
        return f" ({progress.done / 1e6:.0f} of {progress.total / 1e6:.0f} MB)"
    return f" ({progress.done:,} of {progress.total:,})"


def _make_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Task, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Share(DownloadColumn):
        def render(self, task: Task) -> Text:
            if task.fields["unit"] == "bytes":
                return super().render(task)
            return Text(f"{task.completed:,.0f} of {task.total:,.0f}" if task.total else "")

    class Speed(TransferSpeedColumn):
        def render(self, task: Task) -> Text:
            return super().render(task) if task.fields["unit"] == "bytes" else Text("")

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Share(),
        Speed(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
