"""What happens during a training run, as lines of `RUN/metrics.jsonl`: written by the trainer, read by everyone else.

Every line is one JSON object with a `kind`. The trainer appends; a monitor in another process follows the file. Knows
nothing of how training works, and imports nothing heavy.
"""

from __future__ import annotations

import json
import logging
import math
import os
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from flas_engine.errors import FlasError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
"""What the file is called in a run's folder."""
PIECE_BYTES = 1 << 20
"""What a reader takes at once, so that whoever shows a long file can begin with its start."""
POLL_SECONDS = 0.5
"""How often a live file is looked at: updates take longer than that on anything worth watching."""

EndReason = Literal["finished", "early stopping", "interrupted", "failed"]


class MetricsError(FlasError):
    """A metrics file that cannot be read or written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A process begins to train, from the first update or from where another one was stopped."""

    kind: ClassVar[str] = "start"

    update: int
    """Updates done before: 0, or `resumed_from`."""
    seconds: float
    """Unix time, here and below."""
    num_updates: int
    """Updates of the whole run."""
    num_rows: int
    num_concepts: int
    base: str
    device: str
    dtype: str
    resumed_from: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """One update of the flow's weights; losses are in nats a token, before the update."""

    kind: ClassVar[str] = "update"

    update: int
    seconds: float
    loss: float
    lm_loss: float
    learning_rate: float
    gradient_norm: float
    flow_time: float
    tokens: int
    """Trained tokens in this update."""
    tokens_per_second: float
    resident_bytes: int
    diversity: float | None = None
    """None where the term is off, as for `contrast`."""
    contrast: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Losses in nats a token on held-out rows."""

    kind: ClassVar[str] = "validation"

    update: int
    seconds: float
    losses: Mapping[str, float]
    """By flow time, written as `format_flow_time` writes it."""
    shuffled: float
    """At T = 1 with every row under the concept of another one."""
    num_tokens: int
    num_rows: int
    is_best: bool

    @property
    def gap(self) -> float:
        """What the right concept is worth at T = 1, in nats a token; NaN when T = 1 was not measured."""
        return self.shuffled - self.losses.get("1", math.nan)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A text that the flow wrote, and what the model wrote without it."""

    kind: ClassVar[str] = "sample"

    update: int
    seconds: float
    prompt: str
    concept: str
    flow_time: float
    text: str
    baseline: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A checkpoint is written."""

    kind: ClassVar[str] = "checkpoint"

    update: int
    seconds: float
    path: str
    """Relative to the run's folder."""
    val_loss: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """The process stopped training, and why; a process that was killed leaves no such line."""

    kind: ClassVar[str] = "end"

    update: int
    seconds: float
    reason: EndReason
    message: str = ""
    best_update: int | None = None


Metric = Start | Update | Validation | Sample | Checkpoint | End
KINDS: dict[str, type[Metric]] = {kind.kind: kind for kind in (Start, Update, Validation, Sample, Checkpoint, End)}


class Mirror(Protocol):
    """Something else that wants every metric, such as TensorBoard."""

    def write(self, metric: Metric) -> None:
        """Take one metric."""

    def close(self) -> None:
        """Take no more."""


def format_flow_time(flow_time: float) -> str:
    """Write a flow time as a key of `Validation.losses`: 0, 0.5, 1."""
    return f"{flow_time:g}"


def to_line(metric: Metric) -> str:
    """Write a metric as a line of strict JSON, its newline included; what is not finite becomes null."""
    return json.dumps({"kind": metric.kind, **_finite(asdict(metric))}, ensure_ascii=False, allow_nan=False) + "\n"


def from_line(line: str | bytes) -> Metric | None:
    """Read a line; None for a kind of a later version. Raises `ValueError` when it is no metric.

    Fields of a later version are left out, and null is NaN again where a number has to be.
    """
    entry = json.loads(line)
    if not isinstance(entry, dict) or "kind" not in entry:
        raise ValueError("not an object with a kind")
    kind = KINDS.get(entry["kind"])
    if kind is None:
        return None
    values: dict[str, Any] = {}
    for name, is_number, is_required in _FIELDS[kind]:
        if name in entry:
            value = entry[name]
            values[name] = math.nan if value is None and is_number else value
        elif is_required:
            raise ValueError(f"a line of kind {kind.kind} without {name}")
    if kind is Validation:
        losses = {time: math.nan if loss is None else loss for time, loss in values["losses"].items()}
        if not all(math.isfinite(float(time)) for time in losses):
            raise ValueError("losses under flow times that are no numbers")
        values["losses"] = losses
    return kind(**values)


class MetricsWriter:
    """Appends to a metrics file, line by line, each flushed before `write` returns; close it, or use it in a `with`."""

    def __init__(self, path: Path, *, resume_from: int | None = None, mirrors: Iterable[Mirror] = ()) -> None:
        """Begin a new file, or go on in one after update `resume_from`: what it holds of later ones is cut off.

        A mirror that fails is told to the log and gets no more; the file goes on.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if resume_from is not None and path.exists():
                kept = _bytes_until(path, resume_from)
                os.truncate(path, kept)
                self._file = path.open("ab")
            else:
                self._file = path.open("wb")
        except OSError as error:
            raise _not_written(path, error) from error
        self._mirrors = list(mirrors)

    def write(self, metric: Metric) -> None:
        """Append one metric; raises `MetricsError` when it cannot be written."""
        try:
            self._file.write(to_line(metric).encode("utf-8", "replace"))
            self._file.flush()
        except OSError as error:
            raise _not_written(self._path, error) from error
        for mirror in tuple(self._mirrors):
            try:
                mirror.write(metric)
            except Exception:  # whatever another library does, the run goes on
                log.warning("%s failed and gets no more metrics", type(mirror).__name__, exc_info=True)
                self._mirrors.remove(mirror)

    def close(self) -> None:
        """Close file and mirrors; safe to call twice."""
        self._file.close()
        for mirror in self._mirrors:
            with suppress(Exception):
                mirror.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What a look into a metrics file brought."""

    metrics: tuple[Metric, ...]
    is_anew: bool
    """Whether the file was cut since the last look: a run was resumed, and these are its metrics from the start."""
    is_all: bool
    """Whether the file ends here; otherwise the next look brings more at once."""


class MetricsReader:
    """Reads a metrics file piece by piece, also while it grows; a last line that is half written waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._line_number = 0
        self._last_line = b""

    def read_new(self) -> News:
        """Return what came since the last call, at most about a megabyte of it.

        A file that is not there yet is empty; raises `MetricsError` for one that cannot be read or is damaged.
        """
        try:
            with self._path.open("rb") as file:
                is_anew = self._was_cut(file)
                if is_anew:
                    self._position, self._line_number, self._last_line = 0, 0, b""
                file.seek(self._position)
                piece = file.read(PIECE_BYTES)
                while b"\n" not in piece and (more := file.read(PIECE_BYTES)):
                    piece += more
                is_all = not file.read(1)
        except FileNotFoundError:
            is_anew = self._position > 0
            self._position, self._line_number, self._last_line = 0, 0, b""
            return News(metrics=(), is_anew=is_anew, is_all=True)
        except OSError as error:
            raise MetricsError(f"cannot read {self._path} ({error.strerror}); check its permissions") from error
        return News(metrics=tuple(self._take(piece)), is_anew=is_anew, is_all=is_all)

    def _was_cut(self, file: Any) -> bool:
        """Tell whether the last line that was read no longer stands where it did."""
        file.seek(max(0, self._position - len(self._last_line)))
        return bool(file.read(len(self._last_line)) != self._last_line)

    def _take(self, piece: bytes) -> Iterator[Metric]:
        whole = piece[: piece.rfind(b"\n") + 1]
        lines = whole.splitlines(keepends=True)
        for line in lines:
            self._line_number += 1
            try:
                metric = from_line(line)
            except (ValueError, TypeError, AttributeError) as error:
                raise MetricsError(f"{self._path}, line {self._line_number}, is damaged ({error})") from error
            if metric is not None:
                yield metric
        self._position += len(whole)
        self._last_line = lines[-1] if lines else self._last_line


def read_metrics(path: Path) -> tuple[Metric, ...]:
    """Read a metrics file whole; raises `MetricsError` when it is not there, cannot be read or is damaged."""
    if not path.exists():
        raise MetricsError(f"there is no {path}; give the folder of a training run")
    reader = MetricsReader(path)
    metrics: list[Metric] = []
    while True:
        news = reader.read_new()
        metrics += news.metrics
        if news.is_all:
            return tuple(metrics)


def follow(path: Path, stop: threading.Event, *, poll_seconds: float = POLL_SECONDS) -> Iterator[News]:
    """Yield what is in the file and then what is new, as it comes, until `stop` is set; for a thread of its own."""
    reader = MetricsReader(path)
    while not stop.is_set():
        news = reader.read_new()
        if news.metrics or news.is_anew:
            yield news
        if news.is_all:
            stop.wait(poll_seconds)


def _bytes_until(path: Path, update: int) -> int:
    """Return how many bytes come before the first line that training on after `update` will write again.

    The end of the process before and its failed attempts to resume here go too: a run that was stopped and resumed
    leaves the lines of one that was not, and one `Start` for each place where it was resumed.
    """
    kept = 0
    with path.open("rb") as file:
        for line in file:
            try:
                metric = from_line(line) if line.endswith(b"\n") else End(update=0, seconds=0.0, reason="failed")
            except (ValueError, TypeError, AttributeError):
                break
            is_second_start = isinstance(metric, Start) and metric.resumed_from == update
            if metric is not None and (metric.update > update or isinstance(metric, End) or is_second_start):
                break
            kept += len(line)
    return kept


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _not_written(path: Path, error: OSError) -> MetricsError:
    return MetricsError(f"cannot write {path} ({error.strerror}); check its permissions and the free disk space")


_FIELDS = {
    kind: tuple((field.name, field.type == "float", field.default is MISSING) for field in fields(kind))
    for kind in KINDS.values()
}
"""Of each kind, every field's name, whether it is a number that may not be missing, and whether a line must have it."""
