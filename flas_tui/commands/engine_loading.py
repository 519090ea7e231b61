"""Gets the commands their engine, and tells the person at the terminal how the loading goes.

`load_function` is the one seam: what it returns is what every command runs on.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from flas_tui.console import is_terminal, say
from flas_tui.garbage import paused_collection

if TYPE_CHECKING:
    from flas_engine.info import EngineInfo, EngineProtocol, LoadFunction, LoadSpec
    from flas_engine.progress import Progress

REDRAW_SECONDS = 0.1
_CLEAR_LINE = "\r\x1b[K"


def load_function() -> LoadFunction:
    """Return what loads an engine; torch is imported here at the earliest."""
    with paused_collection():
        from flas_engine.engine import load_engine

    return load_engine


def open_engine(spec: LoadSpec, *, quiet: bool = False) -> EngineProtocol:
    """Load an engine, narrating on stderr unless `quiet`; raises `FlasError` when it cannot be loaded."""
    from flas_engine.progress import ignore_progress
    from flas_tui.logs import start_logging
    from flas_tui.notices import notice_for

    start_logging()
    if quiet:
        return load_function()(spec, progress=ignore_progress)
    narrator = LoadNarrator()
    narrator.begin("loading the model")
    try:
        engine = load_function()(spec, progress=narrator)
    finally:
        narrator.end()
    say(describe(engine.info))
    notice = notice_for(engine.info)
    if notice is not None:
        say(notice)
    return engine


def describe(info: EngineInfo) -> str:
    """One line on what is loaded."""
    layer = f", steered at layer {info.layer} of {info.num_layers}" if info.flow_id is not None else ""
    return f"{info.name} on {info.device} in {info.dtype}{layer}"


class LoadNarrator:
    """Shows progress on stderr: a line that is redrawn on a terminal, else one line an activity."""

    def __init__(self) -> None:
        self._is_live = is_terminal(sys.stderr)
        self._activity = ""
        self._drawn_at = 0.0

    def begin(self, activity: str) -> None:
        """Show `activity` before anything is known of how far it is."""
        if self._is_live:
            self._draw(activity)

    def __call__(self, progress: Progress) -> None:
        """Show how far the work is, a few times a second at most."""
        is_new = progress.activity != self._activity
        self._activity = progress.activity
        if not self._is_live:
            if is_new:
                say(progress.activity)
        elif is_new or time.monotonic() - self._drawn_at >= REDRAW_SECONDS:
            self._draw(progress_line(progress))

    def end(self) -> None:
        """Take the live line away."""
        if self._is_live:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()

    def _draw(self, line: str) -> None:
        from flas_tui.safe_text import visible_text

        self._drawn_at = time.monotonic()
        sys.stderr.write(f"{_CLEAR_LINE}{visible_text(line)[:78]}")
        sys.stderr.flush()


def progress_line(progress: Progress) -> str:
    """Say how far `progress` is: '... 42 %', '... 12 MB', or the activity alone."""
    if progress.total:
        return f"{progress.activity} {min(100, 100 * progress.done // progress.total)} %"
    if progress.done and progress.unit == "bytes":
        return f"{progress.activity} {progress.done / 1e6:.0f} MB"
    return progress.activity
