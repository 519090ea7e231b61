"""What a training run's metrics add up to: curves, the last validation and samples, how far it is and how it stands.

Filled metric by metric, also from a live file; the monitor and the model card draw from it. Knows nothing of terminals.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import time
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from flas_engine.training.metrics import Checkpoint, End, Sample, Start, Update, Validation

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flas_engine.training.metrics import Metric

LOCK_FILE = "run.lock"
RATE_UPDATES = 200
"""The time left is judged by as many updates as this: enough to hold a validation, few enough to follow a change."""
QUIET_SECONDS = 5.0
"""A file that grew within this time has a living writer; only later is the lock asked."""
LEAST_WINDOW = 20
"""A curve of single updates is a mean over this many or more: flow times are drawn anew for each, and losses jump."""
KEPT_SAMPLES = 64
CURVES = ("loss", "lm_loss", "learning_rate", "gradient_norm", "tokens_per_second", "resident_bytes", "diversity")
"""Fields of `Update` that are curves."""

RunState = Literal["waiting", "running", "finished", "early stopping", "interrupted", "failed", "gone"]


class Curve:
    """A number over the updates, as running sums, so that means over any stretch of it are cheap."""

    def __init__(self) -> None:
        self._updates = array("q")
        self._sums = array("d", [0.0])
        self.last = math.nan

    def __len__(self) -> int:
        return len(self._updates)

    def add(self, update: int, value: float) -> None:
        """Append a value; what is not finite leaves a gap."""
        if math.isfinite(value):
            self._updates.append(update)
            self._sums.append(self._sums[-1] + value)
            self.last = value

    def means(self, num_points: int, first_update: int = 0) -> tuple[list[int], list[float]]:
        """Return at most about `num_points` updates from `first_update` on, and the mean of the stretch before each."""
        start, count = bisect_left(self._updates, first_update), len(self._updates)
        if start >= count:
            return [], []
        stride = max(1, (count - start) // max(1, num_points))
        window = max(stride, min(LEAST_WINDOW, count // LEAST_WINDOW + 1))
        ends = range(count, start, -stride)[::-1]
        means = [(self._sums[end] - self._sums[max(0, end - window)]) / min(window, end) for end in ends]
        return [self._updates[end - 1] for end in ends], means


@dataclass(kw_only=True)
class RunCurves:
    """All that is known of a run; `add` its metrics in their order."""

    start: Start | None = None
    """Of the process that trained last."""
    end: End | None = None
    """None while that process has not said that it stops."""
    update: int = 0
    last_seconds: float = math.nan
    """When the last metric was written, Unix time."""
    curves: dict[str, Curve] = field(default_factory=lambda: {name: Curve() for name in CURVES})
    validations: list[Validation] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    """The last few, the newest last."""
    checkpoints: list[Checkpoint] = field(default_factory=list)
    resumed_from: list[int] = field(default_factory=list)
    num_tokens: int = 0
    """Trained tokens of all updates."""
    _times: array[float] = field(default_factory=lambda: array("d"))

    def add(self, metrics: Iterable[Metric]) -> None:
        """Take more metrics."""
        for metric in metrics:
            self.update, self.last_seconds = metric.update, metric.seconds
            if isinstance(metric, Update):
                self._add_update(metric)
            elif isinstance(metric, Validation):
                self.validations.append(metric)
            elif isinstance(metric, Sample):
                self.samples = [*self.samples[-KEPT_SAMPLES + 1 :], metric]
            elif isinstance(metric, Checkpoint):
                self.checkpoints.append(metric)
            elif isinstance(metric, Start):
                self._begin(metric)
            else:
                self.end = metric

    def _add_update(self, metric: Update) -> None:
        for name, curve in self.curves.items():
            value = getattr(metric, name)
            if value is not None:
                curve.add(metric.update, value)
        self.num_tokens += metric.tokens
        self._times.append(metric.seconds)

    def _begin(self, metric: Start) -> None:
        self.start, self.end = metric, None
        self._times = array("d")  # a rate does not span the time in which nobody trained
        if metric.resumed_from is not None:
            self.resumed_from.append(metric.resumed_from)

    @property
    def best(self) -> Validation | None:
        """The validation with the lowest loss at T = 1."""
        measured = [each for each in self.validations if math.isfinite(each.losses.get("1", math.nan))]
        return min(measured, key=lambda each: each.losses["1"], default=None)

    @property
    def seconds_per_update(self) -> float:
        """How long an update takes of late, validation included; NaN before there are two."""
        times = self._times[-RATE_UPDATES:]
        return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else math.nan

    @property
    def seconds_left(self) -> float:
        """Until the last update at the present rate; NaN when that is not known."""
        if self.start is None:
            return math.nan
        return self.seconds_per_update * max(0, self.start.num_updates - self.update)

    def latest_samples(self) -> list[Sample]:
        """Return the samples that were written last, all after the same update."""
        return [each for each in self.samples if each.update == self.samples[-1].update]

    def state(self, *, is_live: bool) -> RunState:
        """Tell how the run stands; `is_live` is whether a process trains in its folder now."""
        if self.end is not None:
            return self.end.reason
        if self.start is None:
            return "waiting"
        return "running" if is_live else "gone"


def is_live(run: Path, last_seconds: float) -> bool:
    """Tell whether a process trains in the folder `run`, whose last metric was written at `last_seconds` (Unix time).

    The lock is asked only when the file has been quiet: asking takes it for a moment, in which a trainer that starts
    would find its folder in use.
    """
    if time.time() - last_seconds < QUIET_SECONDS:
        return True
    with contextlib.suppress(OSError), (run / LOCK_FILE).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
