"""Writes the texts that are missing: one request whose lanes take each other's places, each kept as its lane ends.

Knows nothing of plans' origins and of what becomes of the texts.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, cast

from flas_engine.control import RunControl
from flas_engine.errors import EvaluationError
from flas_engine.evaluation.wanted import lane_of
from flas_engine.events import Finished, FinishReason
from flas_engine.progress import Progress, ignore_progress
from flas_engine.request import Request

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from flas_engine.engine import Engine
    from flas_engine.evaluation.results import Generation, Plan
    from flas_engine.evaluation.wanted import Wanted
    from flas_engine.events import Event
    from flas_engine.progress import ReportProgress
    from flas_engine.record_log import RecordLog

ACTIVITY = "writing texts"


def longest_first(engine: Engine, wanted: Sequence[Wanted]) -> tuple[list[Wanted], int]:
    """Sort texts by the length of their prompts, and return the longest length in tokens.

    So a run that fits the memory at its start goes on to fit it, and lanes of one prompt are read together. Raises
    `EvaluationError` naming a prompt that leaves no room for an answer.
    """
    lengths: dict[str, int] = {}
    for each in wanted:
        conversation = lane_of(each).conversation[-1].content
        if conversation not in lengths:  # rendering a template takes a millisecond, and flow times share it
            lengths[conversation] = len(engine.render(lane_of(each)))
            if lengths[conversation] >= engine.info.context_length:
                raise EvaluationError(
                    f"prompt {each.input_id} of {each.concept[:60]!r} is {lengths[conversation]:,} tokens long; "
                    f"{engine.info.name} reads {engine.info.context_length:,} at most, its answer included"
                )
    ordered = sorted(wanted, key=lambda each: -lengths[lane_of(each).conversation[-1].content])  # stable
    return ordered, max(lengths.values(), default=0)


def write_texts(
    engine: Engine,
    plan: Plan,
    missing: Sequence[Wanted],
    log: RecordLog[Generation],
    *,
    max_live: int,
    num_done: int = 0,
    control: RunControl | None = None,
    progress: ReportProgress = ignore_progress,
) -> bool:
    """Write `missing`, in this order; returns whether all of it is there. `num_done` others count as progress.

    False when `control` was cancelled: lanes under way are dropped. Raises `EvaluationError` when a text cannot be
    kept.
    """
    control = control or RunControl()
    missing = [each for each in missing if log.get(each.key) is None]  # another process was faster
    total, num_left = num_done + len(missing), len(missing)
    if not missing:
        return True
    request = Request(
        lanes=tuple(lane_of(each) for each in missing),
        sampling=plan.sampling,
        limits=plan.limits,
        solver=plan.solver,
        num_steps=plan.num_steps,
        max_live=max_live,
    )
    stream = cast("Generator[Event]", engine.stream(request, control))
    with closing(stream) as events:  # a full disk ends the batch too
        for event in events:
            if isinstance(event, Finished) and event.reason is not FinishReason.CANCELLED:
                log.append(missing[event.lane].become(event))
                num_left -= 1
            progress(Progress(activity=ACTIVITY, done=total - num_left, total=total))
    return num_left == 0
