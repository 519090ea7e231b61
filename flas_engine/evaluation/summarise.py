"""From an evaluated set to a report: means with intervals, paired differences, choices of T, counts and examples.

A difference is taken prompt by prompt, over the prompts that count in both columns, then averaged within the concept;
so it compares the same concepts and prompts even where judgements are missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.bootstrap import LEVEL, RESAMPLES, estimate_means
from flas_engine.evaluation.report import BEST_LABEL, ColumnSummary, ConceptRow, Means, Report
from flas_engine.evaluation.results import BASELINE, PROMPTING
from flas_engine.evaluation.scores import MEASURES, Column, Scores, mean_scores
from flas_engine.evaluation.selection import part_scores, prompts_of, select_flow_times
from flas_engine.evaluation.shown import ranking_column, show_extremes
from flas_engine.evaluation.tally import count_texts

if TYPE_CHECKING:
    from flas_engine.evaluation.results import Plan
    from flas_engine.evaluation.scores import Concept, EvaluatedSet, EvaluatedText, Prompt
    from flas_engine.evaluation.selection import Selection

PROMPTING_COLUMN = Column(method=PROMPTING)
BASELINE_COLUMN = Column(method=BASELINE)

Part = Mapping["Concept", tuple[Column, "Sequence[Prompt]"]]
"""For each concept that takes part: its column, and the prompts on which it is scored."""
Series = Sequence["Scores | None"]
"""Scores of all concepts, in their order; None where there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """What one row of a table is about."""

    label: str
    column: Column | None
    part: Part


def summarise(
    evaluated: EvaluatedSet,
    *,
    name: str,
    plan: Plan | None = None,
    facts: Sequence[tuple[str, str]] = (),
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Report:
    """Count all that a report says; raises `EvaluationError` when nothing has been judged."""
    if evaluated.judge is None:
        raise EvaluationError(
            f"{name} has no judgements yet; run flas-tui judge on it, or flas-tui judge --offline without a server"
        )
    selection = select_flow_times(evaluated)
    whole, halves = _whole_rows(evaluated), _half_rows(evaluated, selection)
    rows = [*whole, *halves]
    series = [each for row in rows for each in _row_series(evaluated, row)]
    if halves:
        series.append(_differences(evaluated, halves[0].part, halves[1].part))
    means = iter(_estimate(series, resamples, level))
    summaries = [_summary(evaluated, row, next(means), next(means), next(means)) for row in rows]
    ranked_by = ranking_column(evaluated, selection.fixed)
    best, worst = show_extremes(evaluated, ranked_by)
    return Report(
        name=name,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        judge=evaluated.judge,
        facts=tuple(facts),
        counts=count_texts(evaluated, plan),
        columns=tuple(summaries[: len(whole)]),
        halves=tuple(summaries[len(whole) :]),
        best_to_fixed=next(means, None),
        choices=selection.choices,
        num_single=selection.num_single,
        num_unscored=selection.num_unscored,
        concepts=tuple(_concept_row(evaluated, concept) for concept in evaluated.concepts),
        ranked_by=ranked_by,
        best=best,
        worst=worst,
        resamples=resamples,
        level=level,
    )


def _concept_row(evaluated: EvaluatedSet, concept: Concept) -> ConceptRow:
    cells = [evaluated.cells.get((concept, column)) for column in evaluated.columns]
    return ConceptRow(
        concept=concept,
        scores=tuple(None if cell is None else cell.means for cell in cells),
        num_texts=tuple(0 if cell is None else len(cell.texts) for cell in cells),
        num_missing=tuple(0 if cell is None else cell.num_missing for cell in cells),
    )


def _whole_rows(evaluated: EvaluatedSet) -> list[_Row]:
    """Put every column on all prompts."""
    prompts = {concept: prompts_of(evaluated, concept) for concept in evaluated.concepts}
    return [
        _Row(label=column.label, column=column, part={each: (column, prompts[each]) for each in prompts})
        for column in evaluated.columns
    ]


def _half_rows(evaluated: EvaluatedSet, selection: Selection) -> list[_Row]:
    """Put the best T each, the best single T, prompting and the baseline on the prompts that did not choose."""
    if selection.fixed is None:
        return []
    others = [column for column in (PROMPTING_COLUMN, BASELINE_COLUMN) if column in evaluated.columns]
    best = {each.concept: (each.column, each.other_half) for each in selection.choices}
    return [
        _Row(label=BEST_LABEL, column=None, part=best),
        *(_Row(label=each.label, column=each, part=_instead(best, each)) for each in (selection.fixed, *others)),
    ]


def _instead(part: Part, column: Column) -> Part:
    return {concept: (column, prompts) for concept, (_, prompts) in part.items()}


def _row_series(evaluated: EvaluatedSet, row: _Row) -> list[Series]:
    """Return a row's scores, and what they are above prompting and the baseline."""
    own = [
        None if concept not in row.part else part_scores(evaluated, concept, *row.part[concept])
        for concept in evaluated.concepts
    ]
    others = [
        [] if row.column == other else _differences(evaluated, row.part, _instead(row.part, other))
        for other in (PROMPTING_COLUMN, BASELINE_COLUMN)
    ]
    return [own, *(each or [None] * len(own) for each in others)]


def _differences(evaluated: EvaluatedSet, part: Part, other: Part) -> Series:
    """Return concept by concept the mean of what `part` is above `other`, over the prompts that count in both."""
    found: list[Scores | None] = []
    for concept in evaluated.concepts:
        if concept not in part:
            found.append(None)
            continue
        (column, prompts), (against, _) = part[concept], other[concept]
        cells = evaluated.cells.get((concept, column)), evaluated.cells.get((concept, against))
        ours, theirs = ({} if cell is None else cell.prompts for cell in cells)
        found.append(mean_scores(_difference(ours.get(prompt), theirs.get(prompt)) for prompt in prompts))
    return found


def _difference(ours: Scores | None, theirs: Scores | None) -> Scores | None:
    if ours is None or theirs is None:
        return None
    return Scores(**{measure: getattr(ours, measure) - getattr(theirs, measure) for measure in MEASURES})


def _estimate(series: Sequence[Series], resamples: int, level: float) -> list[Means | None]:
    """Estimate the four means of each series, all from the same resamples of the concepts."""
    rows = [
        [None if scores is None else getattr(scores, measure) for scores in each]
        for each in series
        for measure in MEASURES
    ]
    estimates = iter(estimate_means(rows, resamples=resamples, level=level))
    of_series = [{measure: next(estimates) for measure in MEASURES} for _ in series]
    known = [{name: each for name, each in four.items() if each is not None} for four in of_series]
    return [Means(**four) if len(four) == len(MEASURES) else None for four in known]


def _summary(
    evaluated: EvaluatedSet, row: _Row, means: Means | None, to_prompting: Means | None, to_baseline: Means | None
) -> ColumnSummary:
    texts = {concept: _texts(evaluated, concept, *row.part[concept]) for concept in row.part}
    num_texts = sum(map(len, texts.values()))
    return ColumnSummary(
        label=row.label,
        column=row.column,
        means=means,
        to_prompting=to_prompting,
        to_baseline=to_baseline,
        num_texts=num_texts,
        num_missing=sum(text.scores is None for each in texts.values() for text in each),
        hm_missing_as_zero=fmean(map(_hm_with_zeros, filter(None, texts.values()))) if num_texts else None,
    )


def _texts(
    evaluated: EvaluatedSet, concept: Concept, column: Column, prompts: Sequence[Prompt]
) -> Sequence[EvaluatedText]:
    cell = evaluated.cells.get((concept, column))
    wanted = set(prompts)
    return [] if cell is None else [text for text in cell.texts if text.prompt in wanted]


def _hm_with_zeros(texts: Sequence[EvaluatedText]) -> float:
    """Return the mean HM over seeds, then prompts, with 0 for texts that do not count."""
    of_prompt: dict[Prompt, list[float]] = defaultdict(list)
    for text in texts:
        of_prompt[text.prompt].append(0.0 if text.scores is None else text.scores.hm)
    return fmean(map(fmean, of_prompt.values()))
