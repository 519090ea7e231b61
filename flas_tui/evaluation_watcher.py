"""Follows the folder of an evaluation from a thread of its own, so that no screen ever waits for a disk.

What is known stands in `evaluated`, to be read under `lock`. The folder may grow all the time, by generations and by
judgements, and a large one takes a while to read: it is read again only when a file has changed, and only so often
that reading takes a small part of the time. Knows nothing of Textual.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError, FlasError
from flas_engine.evaluation.results import plan_path, read_judges, read_plan
from flas_engine.evaluation.scores import load_evaluation
from flas_tui.evaluation_summary import choose_judge, count_planned
from flas_tui.logs import as_flas_error

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.evaluation.scores import EvaluatedSet

POLL_SECONDS = 1.0
READING_SHARE = 0.1
"""Of the time, at most, that reading the folder may take while it grows."""

Signature = tuple[tuple[str, int, int], ...]


class EvaluationWatcher:
    """Start it, read what is known under `lock`, and close it; nothing waits for its thread."""

    def __init__(self, folder: Path, *, poll_seconds: float = POLL_SECONDS) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.evaluated: EvaluatedSet | None = None
        """As it was read last; None before that, and while there is nothing."""
        self.num_planned = 0
        """Texts that the plan asks for; 0 where it does not tell."""
        self.error: FlasError | None = None
        """Why the last reading failed; the next change of the folder is another try."""
        self.is_growing = False
        """Whether the last look found another folder than the one before."""
        self.version = 0
        """Another one whenever anything changed."""
        self._judge: str | None = None
        self._poll_seconds = poll_seconds
        self._is_closed = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="flas-evaluation-watcher", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def choose_judge(self, slug: str) -> None:
        """Read the judgements of another judge."""
        self._judge = slug
        self._wake.set()

    def close(self) -> None:
        """Read no more."""
        self._is_closed = True
        self._wake.set()

    def _watch(self) -> None:
        seen: tuple[Signature, str | None] | None = None
        while not self._is_closed:
            self._wake.clear()
            now = (signature_of(self.folder), self._judge)
            began = time.monotonic()
            if now != seen:
                self._read(now[1], is_growing=seen is not None and seen[0] != now[0])
                seen = now
            elif self.is_growing:
                self._settle()
            self._wake.wait(max(self._poll_seconds, (time.monotonic() - began) / READING_SHARE))

    def _read(self, judge: str | None, *, is_growing: bool) -> None:
        evaluated, num_planned, failure = None, 0, None
        try:
            if plan_path(self.folder).exists():
                num_planned = count_planned(read_plan(self.folder))
            evaluated = load_evaluation(self.folder, judge or choose_judge(read_judges(self.folder)))
        except Exception as error:  # of a thread: nobody else would ever hear of it
            failure = as_flas_error(error, f"reading {self.folder}")
        with self.lock:
            self.evaluated = evaluated if evaluated is not None else self.evaluated
            self.num_planned, self.error, self.is_growing = num_planned, failure, is_growing
            self.version += 1

    def _settle(self) -> None:
        with self.lock:
            self.is_growing = False
            self.version += 1


def signature_of(folder: Path) -> Signature:
    """Return what changes whenever a file of the evaluation does: names, sizes and times."""
    found = []
    for pattern in ("generations*.jsonl", plan_path(folder).name, "judgements/*.json*"):
        for path in folder.glob(pattern):
            try:
                facts = path.stat()
            except OSError:
                continue  # it was there a moment ago; the next look tells
            found.append((path.name, facts.st_size, facts.st_mtime_ns))
    return tuple(sorted(found))


def check_evaluation(folder: Path) -> Path:
    """Return `folder` when it is an evaluation's; raises `EvaluationError` otherwise."""
    if not folder.is_dir():
        raise EvaluationError(f"there is no folder {folder}; give the folder that `flas-tui eval --out` wrote")
    plan = plan_path(folder)
    if not plan.exists() and not any(folder.glob("generations*.jsonl")):
        raise EvaluationError(
            f"{folder} is no evaluation: it holds neither {plan.name} nor generations; give the folder that --out named"
        )
    return folder
