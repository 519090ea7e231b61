"""Which concepts and texts a report shows: the best and the worst ones by one column, on their first prompts.

Concepts are ranked by their mean HM; the prompts are the first ones drawn, whatever came of them, so that no text is
picked for its look. Knows nothing of how they are laid out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.evaluation.report import Example, ShownConcept
from flas_engine.evaluation.results import BASELINE, PROMPTING, STEERING
from flas_engine.evaluation.scores import Column, mean_scores
from flas_engine.evaluation.selection import TIE_DIGITS, prompts_of

if TYPE_CHECKING:
    from flas_engine.evaluation.scores import Concept, EvaluatedSet, Scores

NUM_SHOWN = 4
"""Best concepts, and worst ones."""
NUM_EXAMPLES = 2
"""Prompts of each."""


def ranking_column(evaluated: EvaluatedSet, fixed: Column | None) -> Column | None:
    """Return the column to rank concepts by: the chosen single T, else the best steered one, else the best one."""
    if fixed is not None:
        return fixed
    means = {
        column: mean_scores(evaluated.scores(concept, column) for concept in evaluated.concepts)
        for column in evaluated.columns
    }
    known = {column: mean.hm for column, mean in means.items() if mean is not None}
    steered = {column: hm for column, hm in known.items() if column.method == STEERING}
    candidates = steered or known
    return max(candidates, key=lambda column: round(candidates[column], TIE_DIGITS), default=None)


def show_extremes(
    evaluated: EvaluatedSet, column: Column | None
) -> tuple[tuple[ShownConcept, ...], tuple[ShownConcept, ...]]:
    """Return the best and the worst concepts in `column`; none is in both."""
    if column is None:
        return (), ()
    pairs = [(concept, evaluated.scores(concept, column)) for concept in evaluated.concepts]
    ranked = sorted(
        ((concept, scores) for concept, scores in pairs if scores is not None),
        key=lambda pair: -round(pair[1].hm, TIE_DIGITS),
    )
    num_best = min(NUM_SHOWN, (len(ranked) + 1) // 2)
    num_worst = min(NUM_SHOWN, len(ranked) - num_best)
    worst = ranked[len(ranked) - num_worst :][::-1]
    shown = [_show(evaluated, column, *pair) for pair in (*ranked[:num_best], *worst)]
    return tuple(shown[:num_best]), tuple(shown[num_best:])


def _show(evaluated: EvaluatedSet, column: Column, concept: Concept, scores: Scores) -> ShownConcept:
    columns = dict.fromkeys((column, Column(method=PROMPTING), Column(method=BASELINE)))
    cells = [cell for each in columns if (cell := evaluated.cells.get((concept, each))) is not None]
    examples = []
    for prompt in prompts_of(evaluated, concept)[:NUM_EXAMPLES]:
        firsts = (next((text for text in cell.texts if text.prompt == prompt), None) for cell in cells)
        examples.append(Example(prompt=prompt[1], texts=tuple(text for text in firsts if text is not None)))
    return ShownConcept(concept=concept, scores=scores, examples=tuple(examples))
