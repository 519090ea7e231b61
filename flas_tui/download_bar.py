"""Shows a download on stderr: a bar with rate and time left on a terminal, now and then a line elsewhere."""

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
            self._task = self._rich.add_task(visible_text(progress.activity), total=progress.total)
        else:
            self._rich.update(
                self._task,
                description=visible_text(progress.activity),
                completed=progress.done,
                total=progress.total,
            )

    def _say(self, progress: Progress) -> None:
        """One line a file, and one every `LINE_SECONDS` while it lasts."""
        now = time.monotonic()
        if progress.activity == self._activity and now - self._said_at < LINE_SECONDS:
            return
        self._activity, self._said_at = progress.activity, now
        share = f" ({progress.done / 1e6:.0f} of {progress.total / 1e6:.0f} MB)" if progress.total else ""
        say(f"{progress.activity}{share}")


def _make_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
