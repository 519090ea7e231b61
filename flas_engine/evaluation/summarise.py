"""From an evaluated set to a report: means with intervals, paired differences, choices of T, counts and examples.

A difference is taken prompt by prompt, over the prompts that count in both columns, then averaged within the concept;
so it compares the same concepts and prompts even where judgements are missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.bootstrap import LEVEL, RESAMPLES, estimate_means
from flas_engine.evaluation.report import BEST_LABEL, ColumnSummary, ConceptRow, Counts, Means, Report
from flas_engine.evaluation.results import ASPECTS, BASELINE, PROMPTING
from flas_engine.evaluation.scores import MEASURES, Column, Scores, mean_scores
from flas_engine.evaluation.selection import part_scores, prompts_of, select_flow_times
from flas_engine.evaluation.shown import ranking_column, show_extremes

if TYPE_CHECKING:
    from flas_engine.evaluation.bootstrap import Estimate
    from flas_engine.evaluation.scores import Concept, EvaluatedSet, Prompt
    from flas_engine.evaluation.selection import Selection

PROMPTING_COLUMN = Column(method=PROMPTING)
BASELINE_COLUMN = Column(method=BASELINE)
ZERO = Scores(hm=0.0, concept=0.0, instruction=0.0, fluency=0.0)

Part = Mapping["Concept", tuple[Column, "Sequence[Prompt]"]]
"""For each concept that takes part: its column, and the prompts on which it is scored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """What one row of a table is about, before anything is counted."""

    label: str
    column: Column | None
    part: Part


def summarise(
    evaluated: EvaluatedSet,
    *,
    name: str,
    facts: tuple[tuple[str, str], ...] = (),
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Report:
    """Count all that a report says; raises `EvaluationError` when nothing has been judged."""
    if evaluated.judge is None:
        raise EvaluationError(
            f"{name} has no judgements; run flas-tui judge on it first, without a key or a network with --offline"
        )
    selection = select_flow_times(evaluated)
    prompts = {concept: prompts_of(evaluated, concept) for concept in evaluated.concepts}
    whole = [
        _Row(label=column.label, column=column, part={concept: (column, prompts[concept]) for concept in prompts})
        for column in evaluated.columns
    ]
    halves = _half_rows(evaluated, selection)
    gain = _paired(evaluated, halves[0].part, halves[1].part) if len(halves) > 1 and selection.fixed else []
    columns, scored_halves, (best_to_fixed,) = _count(evaluated, whole, halves, gain, resamples, level)
    ranked_by = ranking_column(evaluated, selection.fixed)
    best, worst = show_extremes(evaluated, ranked_by)
    return Report(
        name=name,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        judge=evaluated.judge,
        facts=facts,
        counts=_counts(evaluated, prompts),
        columns=columns,
        halves=scored_halves,
        best_to_fixed=best_to_fixed,
        choices=selection.choices,
        num_single=selection.num_single,
        num_unscored=selection.num_unscored,
        concepts=tuple(
            ConceptRow(
                concept=concept, scores=tuple(evaluated.scores(concept, column) for column in evaluated.columns)
            )
            for concept in evaluated.concepts
        ),
        ranked_by=ranked_by,
        best=best,
        worst=worst,
        resamples=resamples,
        level=level,
    )
