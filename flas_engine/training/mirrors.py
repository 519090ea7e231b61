"""Training metrics in TensorBoard and trackio, where they are installed: the same numbers as in `metrics.jsonl`."""

from __future__ import annotations

import logging
import sys
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flas_engine.training.metrics import Mirror, Update, Validation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flas_engine.training.metrics import Metric

log = logging.getLogger(__name__)

TENSORBOARD_FOLDER = "tensorboard"
UPDATE_FIELDS = (
    "loss",
    "lm_loss",
    "diversity",
    "contrast",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "resident_bytes",
)


def scalars(metric: Metric) -> dict[str, float]:
    """Return what can be drawn of a metric, by name; nothing of most kinds."""
    if isinstance(metric, Update):
        values = {f"train/{name}": getattr(metric, name) for name in UPDATE_FIELDS}
        return {name: value for name, value in values.items() if value is not None}
    if isinstance(metric, Validation):
        losses = {f"validation/T {time}": loss for time, loss in metric.losses.items()}
        return losses | {"validation/wrong concept": metric.shuffled, "validation/concept worth": metric.gap}
    return {}


class TensorBoardMirror:
    """Writes into `RUN/tensorboard`."""

    def __init__(self, run: Path, *, resume_from: int | None = None) -> None:
        """Begin, or go on: what was written of updates after `resume_from` is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        purge = None if resume_from is None else resume_from + 1
        self._writer = SummaryWriter(str(run / TENSORBOARD_FOLDER), purge_step=purge)

    def write(self, metric: Metric) -> None:
        """Take one metric."""
        for name, value in scalars(metric).items():
            self._writer.add_scalar(name, value, metric.update, walltime=metric.seconds)

    def close(self) -> None:
        """Take no more."""
        self._writer.close()


class TrackioMirror:
    """Logs to the trackio project `flas-tui`, under the name of the run's folder."""

    def __init__(self, run: Path, *, resume_from: int | None = None) -> None:
        """Begin, or go on in the run of that name."""
        self._trackio: Any = import_module("trackio")
        with redirect_stdout(sys.stderr):  # it prints, and standard output is for data
            self._trackio.init(project="flas-tui", name=run.name, resume="never" if resume_from is None else "allow")

    def write(self, metric: Metric) -> None:
        """Take one metric."""
        if values := scalars(metric):
            self._trackio.log(values, step=metric.update)

    def close(self) -> None:
        """Take no more."""
        with redirect_stdout(sys.stderr):
            self._trackio.finish()


def installed_mirrors(run: Path, *, resume_from: int | None = None) -> Iterator[Mirror]:
    """Make a mirror for each of the two that is installed and can begin."""
    kinds: dict[str, Callable[..., Mirror]] = {"tensorboard": TensorBoardMirror, "trackio": TrackioMirror}
    for package, kind in kinds.items():
        if find_spec(package) is not None:
            try:
                yield kind(run, resume_from=resume_from)
            except Exception:  # whatever it is, the run goes on
                log.warning("%s could not begin and gets no metrics", package, exc_info=True)
