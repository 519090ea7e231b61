"""Brings shards that were written into folders of their own together into one evaluation, judgements and all.

Shards in one folder need no merging: whoever reads an evaluation reads all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.plan import find_difference, require_plan
from flas_engine.evaluation.results import (
    Generation,
    Judgement,
    generations_path,
    judgements_path,
    read_generations,
    read_judgements,
    read_judges,
    read_plan,
    write_judge,
)
from flas_engine.record_log import RecordLog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def merge(out: Path, folders: Sequence[Path]) -> int:
    """Put the texts and judgements of `folders` into `out`, each once; returns how many texts it has then.

    Raises `EvaluationError` when they are not of one plan, or one judge's name stands for two judges.
    """
    plan = read_plan(folders[0])
    for folder in folders[1:]:
        if difference := find_difference(plan, read_plan(folder)):
            raise EvaluationError(f"{folder} is another evaluation than {folders[0]}: {difference}")
    texts = [(folder, read_generations(folder)) for folder in folders]
    require_plan(out, plan)
    with RecordLog(generations_path(out), Generation, EvaluationError) as log:
        for _, of_folder in texts:
            log.add(text for text in of_folder if log.get(text.key) is None)
    for folder in folders:
        _merge_judgements(out, folder)
    return len(read_generations(out))


def _merge_judgements(out: Path, folder: Path) -> None:
    for judge in read_judges(folder):
        present = {each.slug: each for each in read_judges(out)}
        if present.get(judge.slug, judge) != judge:
            raise EvaluationError(
                f"{judgements_path(folder, judge.slug)} is by another judge than {judgements_path(out, judge.slug)}; "
                "rename its two files"
            )
        write_judge(out, judge)
        with RecordLog(judgements_path(out, judge.slug), Judgement, EvaluationError) as log:
            log.add(each for each in read_judgements(folder, judge.slug) if _is_news(each, log.get(each.key)))


def _is_news(judgement: Judgement, present: Judgement | None) -> bool:
    """Whether a judgement is missing, or rates what failed before."""
    return present is None or (present.rating is None and judgement.rating is not None)
