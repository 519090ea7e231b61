"""How many texts are written at once: as many as the memory holds when all of them have grown to their longest.

What a lane takes is counted from shapes; where that comes near the limit it is measured too, and the larger counts.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from flas_engine.benchmark.memory import peak_bytes
from flas_engine.errors import EvaluationError
from flas_engine.evaluation.results import STEERING
from flas_engine.evaluation.wanted import lane_of
from flas_engine.hub.capacity import gigabytes, main_memory
from flas_engine.lane_memory import lane_bytes
from flas_engine.request import Limits, Message, Request
from flas_engine.solvers import EULER

if TYPE_CHECKING:
    from flas_engine.engine import Engine
    from flas_engine.evaluation.run import Work
    from flas_engine.request import Lane

MOST_LANES = {"cpu": 48, "mps": 48}
"""More than this are no faster together."""
MOST_LANES_ELSEWHERE = 512
FREE_SHARE = 0.5
"""Of the free memory, when no limit is given."""
MEASURED_FROM = 0.25
"""Of the limit: lanes that take less by count are not measured, for no error of counting would matter."""
PROBED_LANES = 4
PROBED_TOKENS = 2


@dataclass(frozen=True, kw_only=True)
class Room:
    """How many texts are written at once, and what each may take."""

    num_lanes: int
    lane_bytes: int
    is_measured: bool
    """Whether a probe was run, and not only counted."""


def choose_lanes(
    engine: Engine, work: Work, *, num_lanes: int | None = None, memory_gigabytes: float | None = None
) -> Room:
    """Choose how many lanes run at once, at most `num_lanes` and at most what fits `memory_gigabytes`.

    Raises `EvaluationError` when a limit is none, or not one lane fits.
    """
    if num_lanes is not None and num_lanes < 1:
        raise EvaluationError(f"{num_lanes} texts at once are asked for; give --lanes 1 or more")
    if memory_gigabytes is not None and not memory_gigabytes > 0:  # also catches NaN
        raise EvaluationError(f"the memory for texts is {memory_gigabytes:g} GB; give a number above 0")
    device = engine.base.device
    most = min(num_lanes or MOST_LANES.get(device.type, MOST_LANES_ELSEWHERE), max(1, len(work.missing)))
    num_concepts = int(STEERING in work.plan.methods)
    each = lane_bytes(engine, work.lane_tokens, num_concepts=num_concepts, sampling=work.plan.sampling)
    if num_lanes is not None and memory_gigabytes is None:  # who names a number knows the machine
        return Room(num_lanes=most, lane_bytes=each, is_measured=False)
    limit = memory_gigabytes * 1e9 if memory_gigabytes is not None else FREE_SHARE * free_bytes(device)
    is_doubtful = each * most > MEASURED_FROM * limit or not _is_counted(engine, work)
    is_measured = bool(work.missing) and is_doubtful and each * PROBED_LANES <= limit
    if is_measured:
        each = max(each, measure_lane(engine, work))
    if each > limit:
        raise EvaluationError(
            f"a text of {work.lane_tokens:,} tokens takes about {gigabytes(each)} of memory, and "
            f"{gigabytes(round(limit))} are allowed; lower --max-tokens, or raise --memory-gigabytes"
        )
    fitting = max(1, int(limit // each) - 1)  # a newcomer is read before the lane whose place it takes is forgotten
    return Room(num_lanes=min(most, fitting), lane_bytes=each, is_measured=is_measured)


def _is_counted(engine: Engine, work: Work) -> bool:
    """Whether steering is as `lane_bytes` counts it: Euler, in the checkpoint's own number of steps or fewer."""
    plan = work.plan
    return STEERING not in plan.methods or (
        plan.solver == EULER.name and (plan.num_steps or 0) <= (engine.info.num_steps or 0)
    )


def free_bytes(device: torch.device) -> int:
    """Return what the device can still give out to this process, when others of a launcher take as much."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return main_memory().available_bytes // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def measure_lane(engine: Engine, work: Work) -> int:
    """Run a few lanes of full length and return by how much the memory grew at most, for each of them, in bytes."""
    device = engine.base.device
    lanes = _full_length_lanes(engine, work)
    request = Request(
        lanes=lanes,
        sampling=work.plan.sampling,
        limits=Limits(max_new_tokens=PROBED_TOKENS),
        solver=work.plan.solver,
        num_steps=work.plan.num_steps,
    )
    before = _reset_peak(device)
    engine.generate(request)
    growth = peak_bytes(device) - before
    engine.forget()
    return max(0, growth) // PROBED_LANES


def _full_length_lanes(engine: Engine, work: Work) -> tuple[Lane, ...]:
    """Return lanes, steered ones if there are any, whose prompts are as long as a lane can grow, and begin apart."""
    text = max(work.missing, key=lambda each: bool(each.flow_time))

    def with_words(first: int, num_words: int) -> Lane:
        return replace(lane_of(text), conversation=(Message(role="user", content=f"{first}" + " a" * num_words),))

    few, many = (len(engine.render(with_words(0, count))) for count in (0, 100))
    num_words = (work.lane_tokens - PROBED_TOKENS - few) * 100 // max(1, many - few)
    return tuple(with_words(first, max(0, num_words)) for first in range(PROBED_LANES))


def _reset_peak(device: torch.device) -> int:
    """Forget the peak of before, and return what is in use now, in bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        allocated: int = torch.cuda.memory_allocated(device)
        return allocated
    with suppress(OSError):  # elsewhere than on Linux the peak of the whole process counts: too much, never too little
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    resident: int = psutil.Process().memory_info().rss
    return resident
