"""An engine without a model: deterministic words in place of a network, for the tests of the front ends.

It keeps the contract of `EngineProtocol` to the letter (events in order, flow times taken up and cancels heeded
between two tokens, limits, stop strings, the property that equal lanes give equal text) and knows nothing of tensors.
Text comes from a script (`answers`, a list of pieces per lane) or else from a word list, in which a lane's share of
its concept's words grows with its flow time.
"""

from __future__ import annotations

import random
import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flas_engine.control import RunControl
from flas_engine.errors import RequestError
from flas_engine.events import Event, Finished, FinishReason, Prefilled, Token
from flas_engine.info import EngineInfo, LoadSpec
from flas_engine.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from flas_engine.progress import ReportProgress
    from flas_engine.request import Lane, Request

SCRIPTED_INFO = EngineInfo(
    name="scripted",
    base_id="tests/scripted-base",
    flow_id="tests/scripted-flow",
    family="llama",
    layer=20,
    num_layers=30,
    num_steps=3,
    prompt_format="chat",
    context_length=2048,
    device="cpu",
    dtype="float32",
    weight_bytes=1_000_000,
)

WORDS = ("the day was long and the sea lay still while we spoke of bread rain and the way home").split()  # noqa: SIM905


@dataclass
class ScriptedEngine:
    """Satisfies `EngineProtocol`; `requests` records every request that was run."""

    answers: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """By lane: the pieces of its answer, after which the model's turn ends. Other lanes take the word list."""
    seconds_per_token: float = 0.0
    """The pace; 0.01 is 100 tokens a second in every lane."""
    before_pass: Callable[[int], None] | None = None
    """Called before token pass `index`: a test waits here for its condition, or changes flow times."""
    failure: Exception | None = None
    """Raised in place of the first token."""
    info: EngineInfo = SCRIPTED_INFO
    requests: list[Request] = field(default_factory=list)

    def stream(self, request: Request, control: RunControl | None = None) -> Iterator[Event]:
        """Run `request` and yield its events as they happen."""
        self.requests.append(request)
        prompts = tuple(self._prompt_ids(lane) for lane in request.lanes)
        yield Prefilled(prompt_token_ids=prompts, seconds=0.01)
        if self.failure is not None:
            raise self.failure
        yield from self._decode(request, control or RunControl())

    def _prompt_ids(self, lane: Lane) -> tuple[int, ...]:
        words = [word for message in lane.conversation for word in message.content.split()]
        if len(words) > self.info.context_length:
            raise RequestError(
                f"the prompt has {len(words)} tokens, the model's context holds {self.info.context_length}; shorten it"
            )
        if not lane.is_baseline and self.info.flow_id is None:
            raise RequestError(f"{self.info.name} has no flow checkpoint; use flow time 0 or give one with --flow")
        return tuple(_token_id(word) for word in words)

    def _decode(self, request: Request, control: RunControl) -> Iterator[Event]:
        lanes = [
            _LaneState(number=number, lane=lane, flow_time=lane.flow_time, script=self.answers.get(number))
            for number, lane in enumerate(request.lanes)
        ]
        started, index = time.perf_counter(), 0
        while live := [state for state in lanes if not state.is_done]:
            if self.before_pass is not None:
                self.before_pass(index)
            if self.seconds_per_token:
                time.sleep(self.seconds_per_token)
            for number, flow_time in control.take_flow_times().items():
                lanes[number].flow_time = flow_time
            for state in live:
                yield from state.advance(request, index, control, started)
            index += 1


@dataclass
class _LaneState:
    number: int
    lane: Lane
    flow_time: float
    script: Sequence[str] | None
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    num_shown: int = 0
    num_kept: int = 0
    is_done: bool = False

    def advance(self, request: Request, index: int, control: RunControl, started: float) -> Iterator[Event]:
        """Choose token `index` and yield it, and the lane's end where it comes."""
        if control.is_cancelled:
            yield self._finish(FinishReason.CANCELLED, started)
            return
        is_end = self.script is not None and index == len(self.script)
        piece = "" if is_end else self._piece(request.seed, index)
        self.token_ids.append(2 if is_end else _token_id(piece))
        expected = self.lane.given + self.lane.draft
        self.num_kept += self.num_kept == index and expected[index : index + 1] == (self.token_ids[-1],)
        self.logprobs.append(-0.25 - index % 4 / 8)
        self.text += piece
        stop_at = min((at for stop in request.limits.stop if (at := self.text.find(stop)) >= 0), default=None)
        if stop_at is not None:
            self.text = self.text[:stop_at]
        yield self._token(index, len(self.text) - (0 if stop_at is not None else self._held_back(request.limits.stop)))
        if is_end:
            yield self._finish(FinishReason.END_OF_TURN, started)
        elif stop_at is not None:
            yield self._finish(FinishReason.STOP_STRING, started)
        elif index + 1 == request.limits.max_new_tokens:
            yield self._finish(FinishReason.LENGTH, started)

    def _piece(self, seed: int, index: int) -> str:
        if self.script is not None:
            return self.script[index]
        noise = random.Random(f"{seed} {index}")  # the same for all lanes: lanes differ by steering alone
        words = WORDS
        if self.lane.concepts and self.flow_time and noise.random() < abs(self.flow_time) / 2:
            words = self.lane.concepts[0].text.split()
        return ("" if index == 0 else " ") + noise.choice(words)

    def _held_back(self, stops: tuple[str, ...]) -> int:
        """How many characters at the end may yet become a stop string."""
        lengths = (length for stop in stops for length in range(1, len(stop)) if self.text.endswith(stop[:length]))
        return max(lengths, default=0)

    def _token(self, index: int, end: int) -> Token:
        shown, self.num_shown = self.text[self.num_shown : end], max(end, self.num_shown)
        return Token(
            lane=self.number,
            index=index,
            token_id=self.token_ids[-1],
            text=shown,
            logprob=self.logprobs[-1],
            flow_time=self.flow_time,
            is_kept=self.num_kept == index + 1,
        )

    def _finish(self, reason: FinishReason, started: float) -> Finished:
        self.is_done = True
        return Finished(
            lane=self.number,
            reason=reason,
            text=self.text,
            tail=self.text[self.num_shown :],
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            flow_time=self.flow_time,
            seconds=time.perf_counter() - started,
            num_kept=self.num_kept,
        )


@dataclass
class ScriptedLoader:
    """A `LoadFunction` that hands out `engine` after two progress reports; `specs` records what was asked for."""

    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    failure: Exception | None = None
    specs: list[LoadSpec] = field(default_factory=list)

    def __call__(self, spec: LoadSpec, *, progress: ReportProgress) -> ScriptedEngine:
        """Hand out the engine, or raise `failure`."""
        self.specs.append(spec)
        for done in (1, 2):
            progress(Progress(activity="reading the weights", done=done, total=2))
        if self.failure is not None:
            raise self.failure
        return self.engine


def _token_id(text: str) -> int:
    return 3 + zlib.crc32(text.encode("utf-8", "surrogatepass")) % 50_000
