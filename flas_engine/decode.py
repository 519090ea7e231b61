"""THE token loop: any number of lanes, decoded together, as a stream of events.

Every pass advances the live lanes of a `LaneBatch` by a token and chooses the next ones. Where a request bounds how
many are live, the next lane takes the place of one that ends: its prompt is read, and the others go on. Nothing else in
the engine makes tokens.

Re-steering is verification. A lane may bring a draft, which was written under another setting: a pass over many of its
tokens says what the lane itself chooses behind each, with the noise of those positions. As far as the two agree the
draft stays, and decoding goes on from there.

Shapes: B live lanes, L tokens read at once, V vocabulary.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

import torch

from flas_engine.detokenize import Detokenizer, StopStrings
from flas_engine.errors import RequestError
from flas_engine.events import Finished, FinishReason, Prefilled, Token
from flas_engine.prompt_passes import num_read_together
from flas_engine.sampling import Scratch, choose, logprobs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from flas_engine.batch import LaneBatch
    from flas_engine.control import RunControl
    from flas_engine.events import Event
    from flas_engine.request import Lane, Request


READ_ON_AT_ONCE = 32
"""A draft is verified in pieces of this many tokens: little is read in vain, and few rows of logits are held."""


@dataclass(kw_only=True)
class _Answer:
    """One lane's answer as it grows."""

    lane: int
    flow_time: float
    seed: int
    given: tuple[int, ...]
    draft: tuple[int, ...]
    """What is given, and what may follow."""
    room: int
    """Tokens that may still come before the limit or the context's end."""
    detokenizer: Detokenizer
    stop_strings: StopStrings
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    num_kept: int = 0
    """Tokens that came with the request."""
    reason: FinishReason | None = None
    began: float | None = None
    """When its prompt had been read."""

    @property
    def agrees(self) -> bool:
        """Whether the draft may go on: the lane is not over, and chose all of it so far."""
        return self.reason is None and 0 < self.num_kept == len(self.token_ids)

    def take(self, token_id: int, logprob: float, end_ids: frozenset[int]) -> Token:
        """Add a chosen token, see whether it ends the lane, and return its event."""
        index = len(self.token_ids)
        self.token_ids.append(token_id)
        is_kept = self.num_kept == index and self.draft[index : index + 1] == (token_id,)
        self.num_kept += is_kept
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
            lane=self.lane,
            index=index,
            token_id=token_id,
            text=text,
            logprob=logprob,
            flow_time=self.flow_time,
            is_kept=is_kept,
        )

    def finish(self, reason: FinishReason, now: float) -> Finished:
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
            num_kept=self.num_kept,
            flow_time=self.flow_time,
            seconds=0.0 if self.began is None else now - self.began,
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request made ready for the loop: prompts in ids, and the first lanes' steering in place."""

    request: Request
    prompts: list[list[int]]
    batch: LaneBatch
    """Of the first lanes, as many as are live at once."""
    make_batch: Callable[[list[Lane], list[list[int]], LaneBatch], LaneBatch]
    """Makes the batch of further lanes from their prompts; it takes over what a batch under way has read."""
    tokenizer: PreTrainedTokenizerBase
    end_ids: frozenset[int]
    context_length: int


@dataclass(kw_only=True)
class _Run:
    """Where a run stands between two tokens."""

    job: Job
    control: RunControl
    started: float
    lanes: list[Lane]
    """All of the request, at their present flow times."""
    waiting: deque[int]
    live: list[_Answer]
    """A row of the batch each; one that has ended keeps it until another takes it, or until the batch closes up."""
    free: list[int] = field(default_factory=list)
    """Rows whose answers have ended and been told of."""
    tokens_B: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    """What the next pass reads."""
    seen_BV: torch.Tensor | None = None
    """What the repetition penalty falls on; None without one."""
    scratch: Scratch = field(default_factory=Scratch)
    is_announced: bool = False
    """Whether `Prefilled` has been given."""


def decode(job: Job, control: RunControl) -> Iterator[Event]:
    """Run a request: a `Token` a live lane and pass, the first ones behind `Prefilled`; a `Finished` as a lane ends.

    A lane's first token comes as soon as its prompt is read; with `max_live`, lanes begin in their order as others end,
    and take no memory but their prompts' until then. A flow time changed through `control` applies from the next token;
    a wish to stop takes effect before it, and ends those that wait too.
    """
    run = _start(job, control)
    yield from _begin(run)
    while True:
        yield from _finish_ended(run)
        if control.is_cancelled:
            yield from _cancel(run)
            return
        _take_flow_times(run)
        if run.free and run.waiting:
            yield from _refill(run)
            continue
        if len(run.free) == len(run.live):
            return
        if run.free:
            _close_up(run)
        yield from _advance(run)


def _start(job: Job, control: RunControl) -> _Run:
    lanes = list(job.request.lanes)
    num_live = min(job.request.max_live or len(lanes), len(lanes))
    return _Run(
        job=job,
        control=control,
        started=time.perf_counter(),
        lanes=lanes,
        waiting=deque(range(num_live, len(lanes))),
        live=[_start_answer(job, number, lane) for number, lane in enumerate(lanes[:num_live])],
    )


def _start_answer(job: Job, number: int, lane: Lane) -> _Answer:
    request = job.request
    return _Answer(
        lane=number,
        flow_time=lane.flow_time,
        seed=request.seed if lane.seed is None else lane.seed,
        given=lane.given,
        draft=lane.given + lane.draft,
        room=min(request.limits.max_new_tokens, job.context_length - len(job.prompts[number])),
        detokenizer=Detokenizer(job.tokenizer),
        stop_strings=StopStrings(request.limits.stop),
    )


def _begin(run: _Run) -> Iterator[Event]:
    """Read the first lanes' prompts and give their first tokens; less when called off."""
    first = yield from _read(run, run.job.batch, run.live)
    if first is not None:
        run.tokens_B, run.seen_BV = first
    elif not run.is_announced:
        yield _prefilled(run)


def _refill(run: _Run) -> Iterator[Event]:
    """Let waiting lanes take free rows, as many as may as well be read together, and give their first tokens."""
    job = run.job
    count = num_read_together((job.prompts[lane] for lane in islice(run.waiting, len(run.free))), run.tokens_B.device)
    rows, run.free = run.free[:count], run.free[count:]
    numbers = [run.waiting.popleft() for _ in rows]
    answers = [_start_answer(job, number, run.lanes[number]) for number in numbers]
    for row, answer in zip(rows, answers, strict=True):
        run.live[row] = answer
    prompts = [job.prompts[number] for number in numbers]
    newcomers = job.make_batch([run.lanes[number] for number in numbers], prompts, job.batch)
    first = yield from _read(run, newcomers, answers)
    if first is None:
        return
    tokens, seen = first
    job.batch.replace(rows, newcomers)
    index = torch.tensor(rows, device=tokens.device)
    run.tokens_B = run.tokens_B.index_copy(0, index, tokens)
    if run.seen_BV is not None and seen is not None:
        run.seen_BV.index_copy_(0, index, seen)


def _read(
    run: _Run, batch: LaneBatch, answers: list[_Answer]
) -> Generator[Event, None, tuple[torch.Tensor, torch.Tensor | None] | None]:
    """Read the prompts of a batch; gives its lanes' first tokens, and what they have seen; None when called off."""
    chosen: list[torch.Tensor] = []
    seen_BV: torch.Tensor | None = None
    for lanes, logits in batch.read_lanes(run.control):
        if seen_BV is None and run.job.request.sampling.repetition_penalty != 1.0:
            seen_BV = _seen_tokens([run.job.prompts[answer.lane] for answer in answers], logits)
        of_lanes = slice(lanes.start, lanes.stop)
        seen = seen_BV[of_lanes] if seen_BV is not None else None
        tokens, values = _choose(run, logits, [(answer, 0) for answer in answers[of_lanes]], seen, batch.rounding)
        if not chosen:
            now = time.perf_counter()
            for answer in answers:
                answer.began = now
            if not run.is_announced:
                yield _prefilled(run)
        chosen.append(tokens)
        yield from _take(run, answers[of_lanes], values)
    if sum(map(len, chosen)) < len(answers):
        return None
    tokens_B = torch.cat(chosen)
    for lane, answer in enumerate(answers):
        if answer.agrees:
            yield from _verify(run, batch, lane, answer, seen_BV[lane] if seen_BV is not None else None)
            tokens_B[lane] = answer.token_ids[-1]
    return tokens_B, seen_BV


def _verify(run: _Run, batch: LaneBatch, lane: int, answer: _Answer, seen_V: torch.Tensor | None) -> Iterator[Token]:
    """Read on in an answer's draft as long as the lane chooses the same."""
    while answer.agrees and not run.control.is_cancelled:
        index = len(answer.token_ids)
        piece = answer.draft[index - 1 : index - 1 + READ_ON_AT_ONCE]
        logits_LV = batch.read_on(lane, piece)
        seen_LV = _seen_behind(piece, seen_V) if seen_V is not None else None
        places = [(answer, index + step) for step in range(len(piece))]
        _, values = _choose(run, logits_LV, places, seen_LV, batch.rounding)
        num_read = 0
        while num_read < len(piece) and answer.agrees:
            yield answer.take(*values[num_read], run.job.end_ids)
            num_read += 1
        batch.take_back(lane, len(piece) - num_read)
        if seen_V is not None and seen_LV is not None:
            seen_V.copy_(seen_LV[num_read - 1])
    run.scratch = Scratch()  # that of a piece is many times what the run needs


def _advance(run: _Run) -> Iterator[Event]:
    """Move every live lane by a token."""
    if run.seen_BV is not None:
        run.seen_BV.scatter_(1, run.tokens_B[:, None], value=True)
    logits_BV = run.job.batch.advance(run.tokens_B, [answer.token_ids[-1] for answer in run.live])
    run.tokens_B, values = _choose(run, logits_BV, [(each, len(each.token_ids)) for each in run.live], run.seen_BV)
    yield from _take(run, run.live, values)


def _choose(
    run: _Run,
    logits_BV: torch.Tensor,
    places: list[tuple[_Answer, int]],
    seen_BV: torch.Tensor | None,
    rounding: float = 0.0,
) -> tuple[torch.Tensor, list[tuple[int, float]]]:
    """Choose the tokens [B] of some answers at some positions; gives them and their log-probabilities on the host too.

    What is given is not asked about; drafts win where `rounding` may have decided against them.
    """
    seeds, positions = [answer.seed for answer, _ in places], [position for _, position in places]
    expected: list[int | None] = []
    if rounding:
        expected = [answer.draft[position] if position < len(answer.draft) else None for answer, position in places]
    sampling, scratch = run.job.request.sampling, run.scratch
    tokens_B, logprobs_B = choose(logits_BV, sampling, seeds, positions, seen_BV, scratch, expected, rounding)
    for row, (answer, position) in enumerate(places):
        if position < len(answer.given):
            tokens_B[row] = answer.given[position]
            logprobs_B[row] = logprobs_of(tokens_B[row, None, None], logits_BV[row, None], scratch)[0]
    # A pass's one synchronisation. Ids are exact in float32 up to 2**24, and MPS has no float64.
    pairs = torch.stack([tokens_B.float(), logprobs_B], dim=1).tolist()
    return tokens_B, [(int(token_id), logprob) for token_id, logprob in pairs]


def _take(run: _Run, answers: list[_Answer], values: list[tuple[int, float]]) -> Iterator[Event]:
    for answer, (token_id, logprob) in zip(answers, values, strict=True):
        yield answer.take(token_id, logprob, run.job.end_ids)


def _prefilled(run: _Run) -> Prefilled:
    run.is_announced = True
    prompts = tuple(map(tuple, run.job.prompts))
    return Prefilled(prompt_token_ids=prompts, seconds=time.perf_counter() - run.started)


def _finish_ended(run: _Run) -> Iterator[Finished]:
    now, free = time.perf_counter(), set(run.free)
    for row, answer in enumerate(run.live):
        if answer.reason is not None and row not in free:
            run.free.append(row)
            yield answer.finish(answer.reason, now)


def _cancel(run: _Run) -> Iterator[Finished]:
    now, free = time.perf_counter(), set(run.free)
    for row, answer in enumerate(run.live):
        if row not in free:
            yield answer.finish(FinishReason.CANCELLED, now)
    for number in run.waiting:
        yield _start_answer(run.job, number, run.lanes[number]).finish(FinishReason.CANCELLED, now)


def _close_up(run: _Run) -> None:
    """Go on without the rows that are free."""
    rows = [row for row, answer in enumerate(run.live) if answer.reason is None]
    run.live, run.free, run.tokens_B = [run.live[row] for row in rows], [], run.tokens_B[rows]
    run.seen_BV = run.seen_BV[rows] if run.seen_BV is not None else None
    run.job.batch.keep(rows)


def _take_flow_times(run: _Run) -> None:
    for lane, flow_time in run.control.take_flow_times().items():
        if lane >= len(run.lanes) or (flow_time != 0.0 and not run.lanes[lane].concepts):
            raise RequestError(
                f"lane {lane} has no concept to steer towards; its flow time cannot become {flow_time:g}"
            )
        run.lanes[lane] = replace(run.lanes[lane], flow_time=flow_time)
        for row, answer in enumerate(run.live):
            if answer.lane == lane and answer.reason is None and answer.flow_time != flow_time:
                run.job.batch.set_flow_time(row, flow_time)
                answer.flow_time = flow_time


def _seen_tokens(prompts: list[list[int]], logits: torch.Tensor) -> torch.Tensor:
    seen_BV = torch.zeros(len(prompts), logits.shape[-1], dtype=torch.bool, device=logits.device)
    for row, prompt in enumerate(prompts):
        seen_BV[row, prompt] = True
    return seen_BV


def _seen_behind(piece: Sequence[int], seen_V: torch.Tensor) -> torch.Tensor:
    """Return what has been seen behind each token of a piece [L, V], with `seen` before it."""
    seen_LV = seen_V.repeat(len(piece), 1)
    for index, token_id in enumerate(piece):
        seen_LV[index:, token_id] = True
    return seen_LV
