"""The file of one judge's judgements in an evaluation, and beside it who that judge is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.results import Judgement, judgements_path, read_judges, write_judge
from flas_engine.record_log import RecordLog

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flas_engine.evaluation.results import JudgeInfo


class JudgementLog(RecordLog[Judgement]):
    """The judgements of `judge` in the evaluation `folder`; raises `EvaluationError`.

    Who judges is written with the first judgement: a run that came to none leaves no judge behind.
    """

    def __init__(self, folder: Path, judge: JudgeInfo) -> None:
        """Take where and who; raises `EvaluationError` when another judge goes by that name there."""
        super().__init__(judgements_path(folder, judge.slug), Judgement, EvaluationError)
        self._folder = folder
        self._judge = judge
        self._is_introduced = _is_known(folder, judge)

    def add(self, records: Iterable[Judgement]) -> None:
        """Write judgements at the end, in the place of earlier ones of their keys."""
        if not self._is_introduced:
            write_judge(self._folder, self._judge)
            self._is_introduced = True
        super().add(records)


def _is_known(folder: Path, judge: JudgeInfo) -> bool:
    for other in read_judges(folder):
        if other == judge:
            return True
        if other.slug == judge.slug:
            raise EvaluationError(
                f"{folder} has judgements named {judge.slug} by {_describe(other)}, not by {_describe(judge)}; keep "
                "them apart with --name"
            )
    return False


def _describe(judge: JudgeInfo) -> str:
    if judge.kind == "offline":
        return f"{judge.model} offline, with calibration {judge.calibration}"
    return f"{judge.model} with the rubric {judge.rubric} ({judge.rubric_hash})"
