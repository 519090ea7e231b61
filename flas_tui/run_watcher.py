"""Follows the folder of a training run from a thread of its own, so that no screen ever waits for a disk.

What is known stands in `curves`, to be read under `lock`. Knows nothing of Textual, and of training only what is in
the folder.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flas_engine.errors import FlasError
from flas_engine.training.curves import RunCurves, is_live
from flas_engine.training.metrics import METRICS_FILE, POLL_SECONDS, MetricsReader
from flas_tui.logs import as_flas_error

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.training.curves import RunState


class WatchError(FlasError):
    """A folder that holds no training run."""


class RunWatcher:
    """Start it, read `curves` and the rest under `lock`, and close it; nothing waits for its thread."""

    def __init__(self, run: Path, *, poll_seconds: float = POLL_SECONDS) -> None:
        self.run = run
        self.lock = threading.Lock()
        self.curves = RunCurves()
        self.state: RunState = "waiting"
        self.is_all_read = False
        """Whether the file was read to its end, so that what is known is the present."""
        self.error: FlasError | None = None
        """Why nothing more comes, if so."""
        self.version = 0
        """Another one whenever anything changed."""
        self._poll_seconds = poll_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="flas-run-watcher", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Read no more."""
        self._stop.set()

    def _watch(self) -> None:
        reader = MetricsReader(self.run / METRICS_FILE)
        try:
            while not self._stop.is_set():
                self._look(reader)
                if self.is_all_read:
                    self._stop.wait(self._poll_seconds)
        except Exception as error:  # of a thread: nobody else would ever hear of it
            with self.lock:
                self.error = as_flas_error(error, f"reading {self.run}")
                self.version += 1

    def _look(self, reader: MetricsReader) -> None:
        news = reader.read_new()
        with self.lock:
            if news.is_anew:
                self.curves = RunCurves()
            self.curves.add(news.metrics)
            before = self.state, self.is_all_read
            self.is_all_read = news.is_all
            if news.is_all:
                self.state = self.curves.state(is_live=is_live(self.run, self.curves.last_seconds))
            if news.metrics or news.is_anew or before != (self.state, self.is_all_read):
                self.version += 1


def check_run(run: Path) -> Path:
    """Return `run` when it is the folder of a training run; raises `WatchError` otherwise."""
    if not run.is_dir():
        raise WatchError(f"there is no folder {run}; give the folder that `flas-tui train --out` wrote")
    if not any((run / name).exists() for name in (METRICS_FILE, "config.toml", "run.lock")):
        raise WatchError(f"{run} is no training run: it holds no {METRICS_FILE}; give the folder that --out named")
    return run
