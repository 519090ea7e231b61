"""Work that cannot be interrupted, done so that its caller can walk away from it at once.

A stalled socket, a DNS look-up, a library that parses for ten seconds: none of them asks whether it is still wanted.
So the work runs in a daemon thread of its own and the caller only waits, passing progress on several times a second;
when that raises (`Cancelled`, Ctrl+C), the caller leaves and the work ends at its next `Watch` call. Knows nothing of
what the work is.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from flas_engine.errors import Cancelled
from flas_engine.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flas_engine.progress import ReportProgress

POLL_SECONDS = 0.05
_LOCK_POLL_SECONDS = 0.2

Result = TypeVar("Result")


class Watch:
    """The work's view of its caller: where it reports to, and where it learns that it was called off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._called_off = threading.Event()
        self._latest: Progress | None = None

    def report(self, progress: Progress) -> None:
        """Say how far the work is; raises `Cancelled` when it was called off."""
        self.check()
        self._latest = progress

    def check(self) -> None:
        """Raise `Cancelled` when the work was called off."""
        if self._called_off.is_set():
            raise Cancelled("the work was called off")

    def wait(self, seconds: float) -> None:
        """Let some time pass; raises `Cancelled` as soon as the work is called off."""
        self._called_off.wait(seconds)
        self.check()

    @contextmanager
    def still_wanted(self) -> Iterator[None]:
        """Hold a change to shared files together: it happens before the caller leaves, or not at all."""
        with self._lock:
            self.check()
            yield

    def call_off(self) -> None:
        """Let no change begin any more, after the one under way."""
        with self._lock:
            self._called_off.set()

    def take_report(self) -> Progress | None:
        """Return what was reported since the last call, the newest only."""
        latest, self._latest = self._latest, None
        return latest


def run_watched(work: Callable[[Watch], Result], progress: ReportProgress, first: Progress) -> Result:
    """Return what `work` returns or raise what it raises, `progress` being called all the while.

    `first` is what there is to say before the work reports. Whatever `progress` raises ends the wait within
    `POLL_SECONDS`.
    """
    watch = Watch()
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work(watch))
        except BaseException as error:  # handed over to the caller's thread, whatever it is
            failure.append(error)

    thread = threading.Thread(target=run, name="flas-work", daemon=True)
    latest = first
    progress(latest)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            latest = watch.take_report() or latest
            progress(latest)
    except BaseException:
        watch.call_off()
        raise
    if failure:
        raise failure[0]
    return outcome[0]


@contextmanager
def locked(path: Path, watch: Watch, waiting: str) -> Iterator[None]:
    """Hold the lock file `path`, which one process has at a time; while another has it, report `waiting`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=_LOCK_POLL_SECONDS)
            break
        except Timeout:
            watch.report(Progress(activity=waiting))
    try:
        yield
    finally:
        lock.release()
