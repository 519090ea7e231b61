"""What the compare screen knows, as a fold over the worker's events: model, run, lanes, and where the panes part.

Pure state: nothing here draws, waits, reads a clock or touches a tensor. `Session.fold` takes one worker event and
answers with the changes that a front end has to draw, in order; events of an older run are dropped by their run id.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from flas_engine.events import Prefilled, Token
from flas_engine.request import Lane, Limits, Message, Request, Sampling, WeightedConcept
from flas_engine.worker import Loaded, LoadFailed, Loading, RunEnded, RunEvent, WorkerEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.errors import FlasError
    from flas_engine.events import Event, FinishReason
    from flas_engine.info import EngineInfo, LoadSpec
    from flas_engine.progress import Progress

BASELINE, STEERED = 0, 1
LANES = (BASELINE, STEERED)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Everything that decides a comparison's text; equal setups under one model give equal text."""

    prompt: str
    concept: str = ""
    flow_time: float = 0.0
    seed: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    solver: str = "euler"
    num_steps: int | None = None
    """Of the solver; None is the checkpoint's own number."""


def to_request(setup: Setup, before: Comparison | None = None) -> Request:
    """Ask for both lanes; raises `RequestError` for an empty prompt or a T without a concept.

    What a comparison `before` wrote, under another concept or T only, is the draft of the steered lane. The baseline
    knows neither, and goes on where it was.
    """
    conversation = (Message(role="user", content=setup.prompt),)
    concepts = (WeightedConcept(text=setup.concept),) if setup.concept.strip() else ()
    given, draft = (tuple(lane.token_ids) for lane in before.lanes) if before is not None else ((), ())
    lanes = (
        Lane(conversation=conversation, given=given),
        Lane(conversation=conversation, concepts=concepts, flow_time=setup.flow_time, draft=draft),
    )
    return Request(
        lanes=lanes,
        sampling=setup.sampling,
        seed=setup.seed,
        limits=setup.limits,
        solver=setup.solver,
        num_steps=setup.num_steps,
    )


@dataclass(frozen=True, kw_only=True)
class Writer:
    """The model that wrote a comparison, as it was loaded."""

    name: str
    spec: LoadSpec


def command_line(setup: Setup, writer: Writer | None) -> str:
    """Return the shell command that writes the same two texts; T is the one that the run began with."""
    words = ["flas-tui", "generate"]
    words += _model_options(writer) if writer is not None else []
    words += ["--concept", setup.concept] if setup.concept.strip() else []
    words += ["--flow-time", "0"]
    words += ["--flow-time", f"{setup.flow_time:g}"] if setup.flow_time else []
    words += ["--prompt", setup.prompt, "--seed", str(setup.seed)]
    words += ["--temperature", f"{setup.sampling.temperature:g}", "--max-tokens", str(setup.limits.max_new_tokens)]
    return shlex.join([*words, *_unusual_options(setup)])


def _model_options(writer: Writer) -> Iterator[str]:
    spec = writer.spec
    name = spec.model or (None if spec.base or spec.flow else writer.name)
    for option, value in (("--model", name), ("--base", spec.base), ("--flow", spec.flow), ("--dtype", spec.dtype)):
        if value:
            yield from (option, value)


def _unusual_options(setup: Setup) -> Iterator[str]:
    """Yield what the app never sets by itself; runs that came from an evaluation may have it."""
    sampling, usual = setup.sampling, Sampling()
    for name in ("top_k", "top_p", "min_p", "repetition_penalty"):
        if (value := getattr(sampling, name)) != getattr(usual, name):
            yield from ("--" + name.replace("_", "-"), f"{value:g}")
    for text in setup.limits.stop:
        yield from ("--stop", text)
    if setup.solver != "euler":
        yield from ("--solver", setup.solver)
    if setup.num_steps is not None:
        yield from ("--steps", str(setup.num_steps))


@dataclass(frozen=True, kw_only=True, slots=True)
class TextAppended:
    """A lane's text grew."""

    lane: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowTimeMoved:
    """From here on a lane's tokens are chosen under another flow time."""

    lane: int
    offset: int
    """Characters of the lane's text that came before."""
    flow_time: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Parted:
    """The lanes chose different tokens for the first time."""

    offsets: tuple[int, int]
    """Where that token begins in the text of each lane, in characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneEnded:
    """A lane is complete."""

    lane: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStarted:
    """The prompt is read; tokens follow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOver:
    """The run gives nothing more; `error` says why when it failed, or why the model that it waited for did."""

    error: FlasError | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NotKept:
    """The run could not be put into the history."""

    error: FlasError


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChanged:
    """The model is loading, ready, or could not be loaded: see `Session.model`."""


Change = TextAppended | FlowTimeMoved | Parted | LaneEnded | RunStarted | RunOver | NotKept | ModelChanged


@dataclass(kw_only=True)
class LaneText:
    """What one lane has written so far."""

    flow_time: float
    """Of its latest token, or of its start."""
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    num_kept: int = 0
    """How many of the first tokens are from the comparison before."""
    offsets: list[int] = field(default_factory=list)
    """Where each token begins in `text`."""
    moves: list[FlowTimeMoved] = field(default_factory=list)
    finish_reason: FinishReason | None = None


@dataclass(kw_only=True)
class Comparison:
    """One run of a `Setup`: two lanes, and where they part."""

    run_id: int
    setup: Setup
    writer: Writer | None = None
    """None while the run waits for a model."""
    lanes: tuple[LaneText, LaneText] = field(init=False)
    parted: Parted | None = None
    state: Literal["queued", "running", "over"] = "queued"
    error: FlasError | None = None
    started_at: float = 0.0
    """By the clock of whoever folds: when the prompt was read."""
    updated_at: float = 0.0
    is_kept: bool = False
    """Whether it is in the history."""

    def __post_init__(self) -> None:
        self.lanes = (LaneText(flow_time=0.0), LaneText(flow_time=self.setup.flow_time))

    @property
    def num_tokens(self) -> int:
        """Tokens of the longer lane."""
        return max(len(lane.token_ids) for lane in self.lanes)

    @property
    def tokens_per_second(self) -> float:
        """How fast each lane is being written; 0 before it can be told."""
        seconds = self.updated_at - self.started_at
        num_new = max(len(lane.token_ids) - lane.num_kept for lane in self.lanes)
        return num_new / seconds if num_new and seconds > 0 else 0.0

    def is_draft_for(self, setup: Setup, writer: Writer | None) -> bool:
        """Whether `writer` would write the same under `setup`, but for the concept or T."""
        return self.writer == writer and replace(self.setup, concept=setup.concept, flow_time=setup.flow_time) == setup

    def fold(self, event: Event, now: float) -> Iterator[Change]:
        """Take in one engine event that happened at about `now` (seconds, any clock that only goes forward)."""
        if isinstance(event, Prefilled):
            self.state, self.started_at, self.updated_at = "running", now, now
            yield RunStarted()
        elif isinstance(event, Token):
            self.updated_at = now
            yield from self._fold_token(event)
        else:
            lane = self.lanes[event.lane]
            lane.finish_reason, lane.flow_time = event.reason, event.flow_time
            yield from _append(lane, event.lane, event.tail)
            yield LaneEnded(lane=event.lane)

    def _fold_token(self, token: Token) -> Iterator[Change]:
        lane = self.lanes[token.lane]
        if token.flow_time != lane.flow_time:
            lane.flow_time = token.flow_time
            move = FlowTimeMoved(lane=token.lane, offset=len(lane.text), flow_time=token.flow_time)
            lane.moves.append(move)
            yield move
        lane.offsets.append(len(lane.text))
        lane.token_ids.append(token.token_id)
        lane.logprobs.append(token.logprob)
        lane.num_kept += token.is_kept
        yield from _append(lane, token.lane, token.text)
        yield from self._compare_at(token.index)

    def _compare_at(self, index: int) -> Iterator[Change]:
        ours, theirs = self.lanes
        if self.parted is not None or min(len(ours.token_ids), len(theirs.token_ids)) <= index:
            return
        if ours.token_ids[index] != theirs.token_ids[index]:
            self.parted = Parted(offsets=(ours.offsets[index], theirs.offsets[index]))
            yield self.parted


def _append(lane: LaneText, number: int, text: str) -> Iterator[Change]:
    if text:
        lane.text += text
        yield TextAppended(lane=number, text=text)


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """How it stands with the model."""

    phase: Literal["waiting", "loading", "ready", "failed"] = "waiting"
    progress: Progress | None = None
    info: EngineInfo | None = None
    writer: Writer | None = None
    error: FlasError | None = None


@dataclass(kw_only=True)
class Session:
    """The model and the latest comparison."""

    model: ModelState = field(default_factory=ModelState)
    comparison: Comparison | None = None

    @property
    def is_running(self) -> bool:
        """Whether a run is queued or under way."""
        return self.comparison is not None and self.comparison.state != "over"

    def begin(self, run_id: int, setup: Setup) -> Comparison:
        """Put a new run in the place of the one before."""
        self.comparison = Comparison(run_id=run_id, setup=setup, writer=self.model.writer)
        return self.comparison

    def begin_load(self) -> None:
        """Note that a load was asked for; the model before it, if any, is gone."""
        self.model = ModelState(phase="loading")

    def fold(self, event: WorkerEvent, now: float) -> Iterator[Change]:
        """Take in one worker event and yield what changed."""
        if isinstance(event, RunEvent | RunEnded):
            yield from self._fold_run(event, now)
            return
        if isinstance(event, Loading):
            self.model = ModelState(phase="loading", progress=event.progress)
        elif isinstance(event, Loaded):
            writer = Writer(name=event.info.name, spec=event.spec)
            self.model = ModelState(phase="ready", info=event.info, writer=writer)
            if self.comparison is not None and self.comparison.state == "queued":
                self.comparison.writer = writer
        elif isinstance(event, LoadFailed):
            self.model = ModelState(phase="failed", error=event.error)
        yield ModelChanged()

    def _fold_run(self, event: RunEvent | RunEnded, now: float) -> Iterator[Change]:
        run = self.comparison
        if run is None or event.run_id != run.run_id:
            return
        if isinstance(event, RunEvent):
            yield from run.fold(event.event, now)
        else:
            has_waited = run.state == "queued" and event.error is not None
            error = self.model.error if has_waited and self.model.error is not None else event.error
            run.state, run.error = "over", error
            yield RunOver(error=error)
