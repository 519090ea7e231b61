"""Which flow time to steer with: chosen on the first half of each concept's prompts, scored on the other half.

The first half are the first n // 2 of a concept's n prompts, in the order in which they were drawn; so of three prompts
one chooses and two score. A concept with one prompt has nothing to choose on and is left out here, and counted. Of flow
times with equal harmonic means the one nearest to 0 is taken. What is compared stays fair to what needs no choice:
prompting and the baseline are scored on the same other halves. Knows nothing of intervals and of files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.evaluation.results import STEERING
from flas_engine.evaluation.scores import mean_scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flas_engine.evaluation.scores import Column, Concept, EvaluatedSet, Prompt, Scores

TIE_DIGITS = 9
"""Means that agree to so many digits are equal: what differs beyond is rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What one concept's first half chose, and what that came to on the other half."""

    concept: Concept
    column: Column
    chosen_with: Scores
    """On the first half."""
    scores: Scores | None
    """On the other half; None where no text of it counts."""
    with_fixed: Scores | None
    """What the single flow time came to there."""
    other_half: tuple[Prompt, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The choices of all concepts, and the one flow time that suits all first halves best."""

    choices: tuple[Choice, ...]
    fixed: Column | None
    """The flow time with the best mean over these concepts' first halves; None where nothing could be chosen."""
    num_single: int
    """Concepts with one prompt."""
    num_unscored: int
    """Concepts with more, of whose first half no steered text counts."""


def select_flow_times(evaluated: EvaluatedSet) -> Selection:
    """Choose on first halves and score on the others."""
    candidates = [column for column in evaluated.columns if column.method == STEERING]
    chosen: list[tuple[Concept, Column, Scores, Sequence[Prompt]]] = []
    firsts: dict[Column, list[Scores]] = {column: [] for column in candidates}
    num_single = num_unscored = 0
    for concept in evaluated.concepts:
        first, second = halve(prompts_of(evaluated, concept))
        tried = {column: part_scores(evaluated, concept, column, first) for column in candidates}
        known = {column: scores for column, scores in tried.items() if scores is not None}
        if not known:
            num_single += not first
            num_unscored += bool(first)
            continue
        for column, scores in known.items():
            firsts[column].append(scores)
        best = _best(known)
        chosen.append((concept, best, known[best], second))
    means = {column: mean for column in candidates if (mean := mean_scores(firsts[column])) is not None}
    fixed = _best(means) if means else None
    choices = (
        Choice(
            concept=concept,
            column=column,
            chosen_with=scores,
            scores=part_scores(evaluated, concept, column, half),
            with_fixed=None if fixed is None else part_scores(evaluated, concept, fixed, half),
            other_half=tuple(half),
        )
        for concept, column, scores, half in chosen
    )
    return Selection(choices=tuple(choices), fixed=fixed, num_single=num_single, num_unscored=num_unscored)


def prompts_of(evaluated: EvaluatedSet, concept: Concept) -> list[Prompt]:
    """Return all prompts that a concept was tried on, in the order of their places, judged or not."""
    cells = (evaluated.cells.get((concept, column)) for column in evaluated.columns)
    return sorted({prompt for cell in cells if cell is not None for prompt in cell.prompts})


def halve(prompts: Sequence[Prompt]) -> tuple[Sequence[Prompt], Sequence[Prompt]]:
    """Return the half that chooses and the half that scores; of an odd number the greater half scores."""
    middle = len(prompts) // 2
    return prompts[:middle], prompts[middle:]


def part_scores(evaluated: EvaluatedSet, concept: Concept, column: Column, prompts: Iterable[Prompt]) -> Scores | None:
    """Return a cell's means over some of its prompts; None where no text of them counts."""
    cell = evaluated.cells.get((concept, column))
    return None if cell is None else mean_scores(cell.prompts.get(prompt) for prompt in prompts)


def _best(scored: Mapping[Column, Scores]) -> Column:
    return min(scored, key=lambda column: (-round(scored[column].hm, TIE_DIGITS), abs(column.flow_time)))
