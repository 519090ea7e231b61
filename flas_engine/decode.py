"""THE token loop: any number of lanes, decoded together, as a stream of events.

Every pass runs `lower` (embedding .. l), the flow, and `upper` (l+1 .. logits) over the live lanes. Prompts are read
below l once for all lanes that share them. A lane that ends leaves the batch. Nothing else in the engine makes tokens.

Shapes: B lanes, U different prompts, L new tokens, S positions read, D hidden, V vocabulary.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from flas_engine.cache import KVCache
from flas_engine.detokenize import Detokenizer, StopStrings
from flas_engine.errors import RequestError
from flas_engine.events import Finished, FinishReason, Prefilled, Token
from flas_engine.layers import embed, make_window, run_layers, to_logits
from flas_engine.sampling import choose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

    from flas_engine.control import RunControl
    from flas_engine.events import Event
    from flas_engine.layers import BaseModel, Window
    from flas_engine.request import Request
    from flas_engine.steering import Steering

CHUNK_TOKENS = 512
"""Prompts are read in pieces of this many tokens: bounds the memory of a pass, and how long a stop can take."""
SLOT_BUCKET = 64
"""Attention looks at a multiple of this many slots, so that shapes seldom change."""


class LaneBatch:
    """The decoding state of the live lanes: what has been read, layer by layer, and the steering that applies."""

    def __init__(self, base: BaseModel, layer: int | None, steering: Steering | None, prompts: list[list[int]]) -> None:
        self._base = base
        self._steering = steering
        self._cut = base.architecture.num_layers if layer is None else layer + 1
        self._prompts = prompts
        self._unique = list(dict.fromkeys(map(tuple, prompts)))
        self._lengths = [len(prompt) for prompt in prompts]
        self._lower = self._make_cache(self._cut, len(self._unique))
        self._upper = self._make_cache(base.architecture.num_layers - self._cut, len(prompts))
        self._history: torch.Tensor | None = None  # [B, S, D]: activations at l, for lanes that leave T = 0
        self._still_since = [0] * len(prompts)  # where a lane at T = 0 came to it; what it read before has been steered

    @property
    def num_bytes(self) -> int:
        """Memory that all caches take."""
        return self._lower.num_bytes + self._upper.num_bytes + (self._steering.num_bytes if self._steering else 0)

    def read(self) -> Iterator[tuple[range, torch.Tensor]]:
        """Read the prompts piece by piece; yields the piece's positions and what the last layer handed on [B, L, D].

        What it yields behind the end of a lane's own prompt means nothing.
        """
        longest = max(self._lengths)
        prompt_of = self._index([self._unique.index(tuple(prompt)) for prompt in self._prompts])
        self._reserve(longest)
        for start in range(0, longest, CHUNK_TOKENS):
            piece = range(start, min(start + CHUNK_TOKENS, longest))
            padded = [[ids[p] if p < len(ids) else 0 for p in piece] for ids in self._unique]
            positions, slots = self._index(list(piece))[None], slice(piece.start, piece.stop)
            window = make_window(self._base.architecture, positions, slots, piece.stop, self._base.dtype)
            h_ULD = self._run_lower(self._index(padded), window)
            yield piece, self._run_upper(h_ULD[prompt_of], window)
        self._lower.select(prompt_of)

    def read_prompts(self, control: RunControl | None = None) -> torch.Tensor | None:
        """Read the prompts and return the logits [B, V] behind each; None when called off on the way."""
        last_hidden: dict[int, torch.Tensor] = {}
        for piece, h_BLD in self.read():
            if control is not None and control.is_cancelled:
                return None
            for lane, length in enumerate(self._lengths):
                if length - 1 in piece:
                    last_hidden[lane] = h_BLD[lane, length - 1 - piece.start]
        return to_logits(self._base, torch.stack([last_hidden[lane] for lane in range(len(self._lengths))]))

    def advance(self, tokens_B: torch.Tensor) -> torch.Tensor:
        """Read one more token a lane and return the logits [B, V] behind it."""
        num_slots = -(-(max(self._lengths) + 1) // SLOT_BUCKET) * SLOT_BUCKET
        self._reserve(num_slots)
        if len(set(self._lengths)) == 1:  # the usual case: one window serves all lanes
            position = self._lengths[0]
            positions = self._index([[position]])
            slots: slice | torch.Tensor = slice(position, position + 1)
        else:
            slots = self._index(self._lengths)
            positions = slots[:, None]
        window = make_window(self._base.architecture, positions, slots, num_slots, self._base.dtype)
        h_B1D = self._run_upper(self._run_lower(tokens_B[:, None], window), window)
        self._lengths = [length + 1 for length in self._lengths]
        return to_logits(self._base, h_B1D[:, 0])

    def set_flow_time(self, lane: int, flow_time: float) -> None:
        """Let the lane at row `lane` go on under another flow time."""
        assert self._steering is not None
        was_baseline, length = self._steering.flow_times[lane] == 0.0, self._lengths[lane]
        if was_baseline and flow_time != 0.0 and self._history is not None:
            still = slice(self._still_since[lane], length)
            self._steering.adopt(lane, self._history[lane, still], still)
        elif not was_baseline and flow_time == 0.0:
            self._still_since[lane] = length
        self._steering.set_flow_time(lane, flow_time)

    def keep(self, rows: list[int]) -> None:
        """Go on with the lanes at `rows` only."""
        index = self._index(rows)
        self._lower.select(index)
        self._upper.select(index)
        self._history = self._history[index] if self._history is not None else None
        self._lengths = [self._lengths[row] for row in rows]
        self._still_since = [self._still_since[row] for row in rows]
        if self._steering is not None:
            self._steering.keep(rows)

    def _run_lower(self, ids_BL: torch.Tensor, window: Window) -> torch.Tensor:
        return run_layers(self._base, embed(self._base, ids_BL), range(self._cut), window, self._lower)

    def _run_upper(self, h_BLD: torch.Tensor, window: Window) -> torch.Tensor:
        if self._steering is not None:
            if self._steering.needs_history:
                self._remember(h_BLD, window)
            h_BLD = self._steering.transform(h_BLD, window)
        layers = range(self._cut, self._base.architecture.num_layers)
        return run_layers(self._base, h_BLD, layers, window, self._upper, self._cut)

    def _remember(self, h_BLD: torch.Tensor, window: Window) -> None:
        if self._history is None or self._history.shape[1] < self._upper.capacity:
            grown = h_BLD.new_zeros(len(h_BLD), self._upper.capacity, h_BLD.shape[-1])
            if self._history is not None:
                grown[:, : self._history.shape[1]] = self._history
            self._history = grown
        if isinstance(window.slots, slice):
            self._history[:, window.slots] = h_BLD
        else:
            self._history[self._index(list(range(len(h_BLD)))), window.slots] = h_BLD[:, 0]

    def _reserve(self, slots: int) -> None:
        self._lower.reserve(slots)
        self._upper.reserve(slots)
        if self._steering is not None:
            self._steering.reserve(slots)

    def _make_cache(self, num_layers: int, rows: int) -> KVCache:
        a = self._base.architecture
        return KVCache(
            num_layers=num_layers,
            rows=rows,
            num_kv_heads=a.num_kv_heads,
            head_dim=a.head_dim,
            device=self._base.device,
            dtype=self._base.dtype,
        )

    def _index(self, values: list[int] | list[list[int]]) -> torch.Tensor:
        return torch.tensor(values, device=self._base.device)


@dataclass(kw_only=True)
class _Answer:
    """One lane's answer as it grows."""

    lane: int
    flow_time: float
    room: int
    """Tokens that may still come before the limit or the context's end."""
    detokenizer: Detokenizer
    stop_strings: StopStrings
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    reason: FinishReason | None = None

    def take(self, token_id: int, logprob: float, end_ids: frozenset[int]) -> Token:
        """Add a chosen token, see whether it ends the lane, and return its event."""
        index = len(self.token_ids)
        self.token_ids.append(token_id)
        self.logprobs.append(logprob)
        text, is_stopped = "", False
        if token_id in end_ids:
            self.reason = FinishReason.END_OF_TURN
        else:
            text, is_stopped = self.stop_strings.push(self.detokenizer.push(token_id))
        if is_stopped:
            self.reason = FinishReason.STOP_STRING
        elif self.reason is None and len(self.token_ids) >= self.room:
            self.reason = FinishReason.LENGTH
        self.pieces.append(text)
        return Token(
            lane=self.lane, index=index, token_id=token_id, text=text, logprob=logprob, flow_time=self.flow_time
        )

    def finish(self, reason: FinishReason, seconds: float) -> Finished:
        """Close the answer: what was held back is let out, unless a stop string cut it off."""
        tail = ""
        if reason is not FinishReason.STOP_STRING:
            kept, is_stopped = self.stop_strings.push(self.detokenizer.flush())
            reason = FinishReason.STOP_STRING if is_stopped else reason
            tail = kept if is_stopped else kept + self.stop_strings.flush()
        return Finished(
            lane=self.lane,
            reason=reason,
            text="".join(self.pieces) + tail,
            tail=tail,
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            flow_time=self.flow_time,
            seconds=seconds,
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request made ready for the loop: prompts in ids, steering in place."""

    request: Request
    prompts: list[list[int]]
    batch: LaneBatch
    tokenizer: PreTrainedTokenizerBase
    end_ids: frozenset[int]
    context_length: int


def decode(job: Job, control: RunControl) -> Iterator[Event]:
    """Run a request: `Prefilled`, then a `Token` a live lane and pass, and a `Finished` as each lane ends.

    A flow time changed through `control` applies from the next token; a wish to stop takes effect before it.
    """
    live = [_start_answer(job, lane) for lane in range(len(job.prompts))]
    started = time.perf_counter()
    logits_BV = job.batch.read_prompts(control)
    read = time.perf_counter()
    yield Prefilled(prompt_token_ids=tuple(map(tuple, job.prompts)), seconds=read - started)
    if logits_BV is None:
        yield from _cancel(live, 0.0)
        return
    seen_BV = _seen_tokens(job, logits_BV) if job.request.sampling.repetition_penalty != 1.0 else None
    position = 0
    while live:
        tokens_B, logprobs_B = choose(logits_BV, job.request.sampling, job.request.seed, position, seen_BV)
        # The pass's one synchronisation; ids are exact in float32 up to 2**24, and MPS has no float64.
        chosen = torch.stack([tokens_B.float(), logprobs_B]).tolist()
        for answer, token_id, logprob in zip(live, *chosen, strict=True):
            yield answer.take(int(token_id), logprob, job.end_ids)
        seconds = time.perf_counter() - read
        for answer in live:
            if answer.reason is not None:
                yield answer.finish(answer.reason, seconds)
        rows = [row for row, answer in enumerate(live) if answer.reason is None]
        if control.is_cancelled:
            yield from _cancel([live[row] for row in rows], seconds)
            return
        if len(rows) < len(live):
            live = [live[row] for row in rows]
            if not live:
                return
            job.batch.keep(rows)
            tokens_B = tokens_B[rows]
            seen_BV = seen_BV[rows] if seen_BV is not None else None
        if seen_BV is not None:
            seen_BV.scatter_(1, tokens_B[:, None], value=True)
        _take_flow_times(job, control, live)
        logits_BV = job.batch.advance(tokens_B)
        position += 1


def _start_answer(job: Job, lane: int) -> _Answer:
    request = job.request
    return _Answer(
        lane=lane,
        flow_time=request.lanes[lane].flow_time,
        room=min(request.limits.max_new_tokens, job.context_length - len(job.prompts[lane])),
        detokenizer=Detokenizer(job.tokenizer),
        stop_strings=StopStrings(request.limits.stop),
    )


def _cancel(answers: list[_Answer], seconds: float) -> Iterator[Finished]:
    for answer in answers:
        yield answer.finish(FinishReason.CANCELLED, seconds)


def _take_flow_times(job: Job, control: RunControl, live: list[_Answer]) -> None:
    for lane, flow_time in control.take_flow_times().items():
        if lane >= len(job.request.lanes) or (flow_time != 0.0 and not job.request.lanes[lane].concepts):
            raise RequestError(
                f"lane {lane} has no concept to steer towards; its flow time cannot become {flow_time:g}"
            )
        for row, answer in enumerate(live):
            if answer.lane == lane and answer.flow_time != flow_time:
                job.batch.set_flow_time(row, flow_time)
                answer.flow_time = flow_time


def _seen_tokens(job: Job, logits_BV: torch.Tensor) -> torch.Tensor:
    seen_BV = torch.zeros_like(logits_BV, dtype=torch.bool)
    for lane, prompt in enumerate(job.prompts):
        seen_BV[lane, prompt] = True
    return seen_BV
