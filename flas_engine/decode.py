"""THE token loop: any number of lanes, decoded together, as a stream of events.

Every pass advances the live lanes of a `LaneBatch` by a token and chooses the next ones. Nothing else in the engine
makes tokens.

Shapes: B live lanes, V vocabulary.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from flas_engine.detokenize import Detokenizer, StopStrings
from flas_engine.errors import RequestError
from flas_engine.events import Finished, FinishReason, Prefilled, Token
from flas_engine.sampling import Scratch, choose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

    from flas_engine.batch import LaneBatch
    from flas_engine.control import RunControl
    from flas_engine.events import Event
    from flas_engine.request import Request


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
    """Run a request: a `Token` a live lane and pass, the first ones behind `Prefilled`; a `Finished` as a lane ends.

    A lane's first token comes as soon as its prompt is read. A flow time changed through `control` applies from the
    next token; a wish to stop takes effect before it.
    """
    answers = [_start_answer(job, lane) for lane in range(len(job.prompts))]
    sampling, seed, scratch = job.request.sampling, job.request.seed, Scratch()
    seen_BV: torch.Tensor | None = None
    chosen: list[torch.Tensor] = []
    ids: list[int] = []
    started = read = time.perf_counter()
    for lanes, logits in job.batch.read_lanes(control):
        if seen_BV is None and sampling.repetition_penalty != 1.0:
            seen_BV = _seen_tokens(job, logits)
        of_lanes = slice(lanes.start, lanes.stop)
        seen = seen_BV[of_lanes] if seen_BV is not None else None
        tokens, logprobs = choose(logits, sampling, seed, 0, seen, scratch)
        values = _to_host(tokens, logprobs)
        if not chosen:
            read = time.perf_counter()
            yield _prefilled(job, read - started)
        chosen.append(tokens)
        for answer, (token_id, logprob) in zip(answers[of_lanes], values, strict=True):
            ids.append(token_id)
            yield answer.take(token_id, logprob, job.end_ids)
    if len(ids) < len(answers):  # called off
        if not chosen:
            yield _prefilled(job, time.perf_counter() - started)
        yield from _cancel(answers, time.perf_counter() - read)
        return
    live, tokens_B, position = answers, torch.cat(chosen), 0
    while True:
        seconds = time.perf_counter() - read
        yield from (answer.finish(answer.reason, seconds) for answer in live if answer.reason is not None)
        rows = [row for row, answer in enumerate(live) if answer.reason is None]
        if control.is_cancelled:
            yield from _cancel([live[row] for row in rows], seconds)
            return
        if not rows:
            return
        if len(rows) < len(live):
            live, ids, tokens_B = [live[row] for row in rows], [ids[row] for row in rows], tokens_B[rows]
            seen_BV = seen_BV[rows] if seen_BV is not None else None
            job.batch.keep(rows)
        if seen_BV is not None:
            seen_BV.scatter_(1, tokens_B[:, None], value=True)
        _take_flow_times(job, control, live)
        logits_BV = job.batch.advance(tokens_B, ids)
        position += 1
        tokens_B, logprobs_B = choose(logits_BV, sampling, seed, position, seen_BV, scratch)
        values = _to_host(tokens_B, logprobs_B)
        ids = [token_id for token_id, _ in values]
        for answer, (token_id, logprob) in zip(live, values, strict=True):
            yield answer.take(token_id, logprob, job.end_ids)


def _to_host(tokens: torch.Tensor, logprobs: torch.Tensor) -> list[tuple[int, float]]:
    """Bring a pass's choices to the host: its one synchronisation."""
    # Ids are exact in float32 up to 2**24, and MPS has no float64.
    return [(int(token_id), logprob) for token_id, logprob in torch.stack([tokens.float(), logprobs], dim=1).tolist()]


def _prefilled(job: Job, seconds: float) -> Prefilled:
    return Prefilled(prompt_token_ids=tuple(map(tuple, job.prompts)), seconds=seconds)


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
        yield answer.finish(answer.reason or FinishReason.CANCELLED, seconds)


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


def _seen_tokens(job: Job, logits: torch.Tensor) -> torch.Tensor:
    seen_BV = torch.zeros(len(job.prompts), logits.shape[-1], dtype=torch.bool, device=logits.device)
    for lane, prompt in enumerate(job.prompts):
        seen_BV[lane, prompt] = True
    return seen_BV
