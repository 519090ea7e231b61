"""Tells the person at the terminal how long work goes: done, of how many, how fast, how long still."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from flas_tui.console import is_terminal, say

if TYPE_CHECKING:
    from types import TracebackType

    from flas_engine.progress import Progress

_REDRAW_SECONDS = 0.2
_LINE_SECONDS = 30.0
_CLEAR_LINE = "\r\x1b[K"


class WorkNarrator:
    """A `ReportProgress` on stderr: one live line at a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._is_live = is_terminal(sys.stderr)
        self._began: dict[str, tuple[float, int]] = {}
        self._shown_at = float("-inf")

    def __enter__(self) -> WorkNarrator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_live:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()

    def __call__(self, progress: Progress) -> None:
        """Show how far the work is, not too often."""
        now = time.monotonic()
        began = self._began.setdefault(progress.activity, (now, progress.done))
        if now - self._shown_at < (_REDRAW_SECONDS if self._is_live else _LINE_SECONDS):
            return
        self._shown_at = now
        line = work_line(progress, now - began[0], progress.done - began[1])
        if self._is_live:
            sys.stderr.write(f"{_CLEAR_LINE}{line[:78]}")
            sys.stderr.flush()
        else:
            say(line)


def work_line(progress: Progress, seconds: float, num_done: int) -> str:
    """Say 'writing answers: 120 of 5,000, 3.1 a second, 26 min left'; `num_done` is what `seconds` have brought."""
    line = f"{progress.activity}: {progress.done:,}"
    if progress.total is None:
        return line
    line += f" of {progress.total:,}"
    if seconds <= 0 or num_done <= 0:
        return line
    rate = num_done / seconds
    minutes = (progress.total - progress.done) / rate / 60
    return f"{line}, {rate:.1f} a second, {minutes:.0f} min left"
