"""An evaluation as a whole: what of a plan is missing in a folder, what it takes, and writing it.

    work = survey(engine, plan, prompts, folder, shard)
    room = choose_lanes(engine, work)
    run(engine, work, room.num_lanes)

The same call again goes on where the last one was stopped or killed. Knows nothing of how plans come about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.plan import check_plan, require_plan
from flas_engine.evaluation.results import Generation, find_generations, generations_path
from flas_engine.evaluation.wanted import list_wanted, of_shard
from flas_engine.evaluation.writing import longest_first, write_texts
from flas_engine.progress import ignore_progress
from flas_engine.record_log import RecordLog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flas_engine.control import RunControl
    from flas_engine.engine import Engine
    from flas_engine.evaluation.results import Plan
    from flas_engine.evaluation.shards import Shard
    from flas_engine.evaluation.wanted import Wanted
    from flas_engine.progress import ReportProgress


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one shard of a plan has to do."""

    plan: Plan
    folder: Path
    shard: Shard
    num_texts: int
    """Of the shard."""
    missing: tuple[Wanted, ...]
    """Longest prompts first."""
    longest_prompt: int
    """In tokens; 0 when nothing is missing."""
    lane_tokens: int
    """How long a lane can grow: the longest prompt and the limit of new tokens, or the context's end."""

    @property
    def num_done(self) -> int:
        """How many texts are there."""
        return self.num_texts - len(self.missing)


def survey(engine: Engine, plan: Plan, prompts: Sequence[str], folder: Path, shard: Shard) -> Work:
    """See what is missing; raises `EvaluationError` when the folder holds another plan, or a prompt is too long.

    Nothing is written.
    """
    check_plan(folder, plan)
    wanted = of_shard(list_wanted(plan, prompts), shard.index, shard.count)
    done = find_generations(folder)
    missing, longest = longest_first(engine, [each for each in wanted if each.key not in done])
    return Work(
        plan=plan,
        folder=folder,
        shard=shard,
        num_texts=len(wanted),
        missing=tuple(missing),
        longest_prompt=longest,
        lane_tokens=min(longest + plan.limits.max_new_tokens, engine.info.context_length),
    )


def run(
    engine: Engine,
    work: Work,
    num_lanes: int,
    control: RunControl | None = None,
    progress: ReportProgress = ignore_progress,
) -> bool:
    """Write what is missing, `num_lanes` at once; returns whether all is there, False when it was called off.

    Raises `EvaluationError` when the folder is in use or cannot be written.
    """
    require_plan(work.folder, work.plan)
    path = generations_path(work.folder, work.shard.index, work.shard.count)
    with RecordLog(path, Generation, EvaluationError) as log:
        return write_texts(
            engine,
            work.plan,
            work.missing,
            log,
            max_live=num_lanes,
            num_done=work.num_done,
            control=control,
            progress=progress,
        )
