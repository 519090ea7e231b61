"""From prompts and flow times to batches of lanes, and from their events to a writer.

Everything a user can get wrong is checked here before a model is loaded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.control import RunControl
from flas_engine.errors import RequestError
from flas_engine.events import Finished, Prefilled
from flas_engine.request import Lane, Message, Request, Role, WeightedConcept, parse_flow_time
from flas_engine.solvers import find_solver
from flas_tui.commands.interrupts import stopped_by_interrupt
from flas_tui.commands.lanes_output import LaneWriter, NumberedLane
from flas_tui.commands.prompts import check_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flas_engine.info import EngineProtocol
    from flas_engine.request import Limits, Sampling

DEFAULT_FLOW_TIME = 1.5
"""In the middle of the range, 1 to 2.5, in which the released fields were found good."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Lanes that run together."""

    lanes: tuple[NumberedLane, ...]
    request: Request


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a run came to."""

    num_lanes: int
    num_tokens: int
    seconds: float
    is_cancelled: bool

    def __str__(self) -> str:
        rate = self.num_tokens / self.seconds if self.seconds > 0 else 0.0
        lanes = "1 lane" if self.num_lanes == 1 else f"{self.num_lanes} lanes"
        stopped = ", stopped" if self.is_cancelled else ""
        return f"{lanes}, {self.num_tokens} tokens in {self.seconds:.1f} s ({rate:.1f} tokens/s){stopped}"


def mix_concepts(texts: Sequence[str], weights: Sequence[float]) -> tuple[WeightedConcept, ...]:
    """Pair concepts with their weights in order; raises `RequestError` when the counts differ."""
    if weights and len(weights) != len(texts):
        raise RequestError(
            f"the number of weights ({len(weights)}) differs from that of concepts ({len(texts)}); "
            "give --weight once for each --concept, in their order, or not at all"
        )
    for text in texts:
        check_text(text, "the concept")
    return tuple(
        WeightedConcept(text=text, weight=weight)
        for text, weight in zip(texts, weights or [1.0] * len(texts), strict=True)
    )


def choose_flow_times(given: Sequence[str], concepts: Sequence[WeightedConcept]) -> tuple[float, ...]:
    """Return the flow times as given, else a baseline and, where there is a concept, a steered lane beside it."""
    if given:
        return tuple(parse_flow_time(text) for text in given)
    return (0.0, DEFAULT_FLOW_TIME) if concepts else (0.0,)


def conversation(prompt: str, system: str | None = None) -> tuple[Message, ...]:
    """Return one user turn, after a system turn if there is one."""
    turns: list[tuple[Role, str]] = [("user", prompt)]
    if system is not None:
        check_text(system, "the system turn")
        turns.insert(0, ("system", system))
    return tuple(Message(role=role, content=content) for role, content in turns)


def number_lanes(
    prompts: Sequence[str],
    flow_times: Sequence[float],
    concepts: tuple[WeightedConcept, ...],
    system: str | None = None,
) -> list[NumberedLane]:
    """Return a lane for every prompt and flow time, numbered prompt by prompt."""
    pairs = [(prompt, flow_time) for prompt in prompts for flow_time in flow_times]
    return [
        NumberedLane(
            number=number,
            prompt=prompt,
            lane=Lane(conversation=conversation(prompt, system), concepts=concepts, flow_time=flow_time),
        )
        for number, (prompt, flow_time) in enumerate(pairs)
    ]


def split_into_batches(
    lanes: Sequence[NumberedLane],
    *,
    num_flow_times: int,
    batch_size: int,
    sampling: Sampling,
    seed: int,
    limits: Limits,
    solver: str,
    num_steps: int | None,
) -> list[Batch]:
    """Cut lanes into requests of at most `batch_size`, keeping a prompt's lanes together where they fit."""
    if batch_size < 1:
        raise RequestError(f"the batch size is {batch_size}; it must be at least 1 (8 lanes at once is usual)")
    find_solver(solver)
    return [
        Batch(
            lanes=tuple(part),
            request=Request(
                lanes=tuple(numbered.lane for numbered in part),
                sampling=sampling,
                seed=seed,
                limits=limits,
                solver=solver,
                num_steps=num_steps,
            ),
        )
        for part in _parts(lanes, num_flow_times, batch_size)
    ]


def _parts(lanes: Sequence[NumberedLane], num_flow_times: int, batch_size: int) -> Iterator[Sequence[NumberedLane]]:
    """5 prompts x 3 flow times at 8 lanes a batch: 6, 6, 3; 1 prompt x 20 flow times: 8, 8, 4."""
    group = max(1, batch_size // num_flow_times) * num_flow_times
    for start in range(0, len(lanes), group):
        together = lanes[start : start + group]
        for offset in range(0, len(together), batch_size):
            yield together[offset : offset + batch_size]


def run_batches(engine: EngineProtocol, batches: Sequence[Batch], writer: LaneWriter) -> Tally:
    """Run the batches one after another into `writer`; Ctrl+C ends them and keeps what is written."""
    control, started = RunControl(), time.perf_counter()
    num_lanes = num_tokens = 0
    with stopped_by_interrupt(control):
        for batch in batches:
            for finished in stream_batch(engine, batch, control, writer):
                num_lanes += 1
                num_tokens += len(finished.token_ids)
            if control.is_cancelled:
                break
    return Tally(
        num_lanes=num_lanes,
        num_tokens=num_tokens,
        seconds=time.perf_counter() - started,
        is_cancelled=control.is_cancelled,
    )


def stream_batch(engine: EngineProtocol, batch: Batch, control: RunControl, writer: LaneWriter) -> list[Finished]:
    """Run one batch into `writer` and return its lanes' ends, in the order in which they came."""
    ends = []
    writer.begin(batch.lanes)
    try:
        for event in engine.stream(batch.request, control):
            if isinstance(event, Prefilled):
                continue
            writer.write(batch.lanes[event.lane], event)
            if isinstance(event, Finished):
                ends.append(event)
    finally:
        writer.end()
    return ends
