"""What a report of an evaluation says, as plain data, which `summarise` fills and every form of a report shows.

All numbers are means over concepts, with intervals over concepts. Knows nothing of files and of how it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flas_engine.evaluation.bootstrap import Estimate
    from flas_engine.evaluation.results import JudgeInfo
    from flas_engine.evaluation.scores import Column, Concept, EvaluatedText, Scores
    from flas_engine.evaluation.selection import Choice

BEST_LABEL = "best T each"
"""The row in which every concept has the flow time that its first half chose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """Four means over the same concepts, or four mean differences."""

    hm: Estimate
    concept: Estimate
    instruction: Estimate
    fluency: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnSummary:
    """One column over all prompts, or one way of choosing on the halves that score."""

    label: str
    column: Column | None
    """None where every concept has a flow time of its own."""
    means: Means | None
    """None where no text counts."""
    to_prompting: Means | None
    """This less prompting, prompt by prompt; None for prompting itself and where there is none."""
    to_baseline: Means | None
    num_texts: int
    num_missing: int
    """Of these texts, those that do not count."""
    hm_missing_as_zero: float | None
    """The mean HM if every text that does not count had 0; None where there is no text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How much there is, and how much of it could be counted."""

    num_concepts: int
    least_prompts: int
    most_prompts: int
    """Of a concept."""
    num_seeds: int
    num_texts: int
    num_counted: int
    """Texts with all three ratings."""
    num_unjudged: int
    """Texts that the judge has not been asked about on all aspects."""
    num_failed: int
    """Texts that were asked about and have an aspect without a rating."""
    failures: Mapping[str, int]
    """Judgements without a rating, by reason, the most frequent first."""
    num_not_written: int
    """Texts that the plan still lacks."""
    prompt_tokens: int
    completion_tokens: int
    """What the judge read and wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConceptRow:
    """One concept in every column, in the columns' order."""

    concept: Concept
    scores: tuple[Scores | None, ...]
    """None where no text counts."""
    num_texts: tuple[int, ...]
    num_missing: tuple[int, ...]
    """Of these texts, those that do not count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """What was written for one prompt, column by column."""

    prompt: str
    texts: tuple[EvaluatedText, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownConcept:
    """A concept with texts of its first prompts."""

    concept: Concept
    scores: Scores
    """In the column by which concepts are ranked."""
    examples: tuple[Example, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that is reported of one evaluation under one judge."""

    name: str
    made: str
    """When, as an ISO date with minutes, in UTC."""
    judge: JudgeInfo
    facts: tuple[tuple[str, str], ...]
    """Of the plan: model, flow, prompts, sampling and so on, by name."""
    counts: Counts
    columns: tuple[ColumnSummary, ...]
    """Over all prompts."""
    halves: tuple[ColumnSummary, ...]
    """On the halves that score: the best T each, the best single T, prompting, baseline."""
    best_to_fixed: Means | None
    """What choosing for each concept is worth over the single T."""
    choices: tuple[Choice, ...]
    num_single: int
    """Concepts with one prompt, which cannot choose."""
    num_unscored: int
    """Concepts of whose choosing half no steered text counts."""
    concepts: tuple[ConceptRow, ...]
    ranked_by: Column | None
    """The column by which concepts are the best and the worst; None where no text counts."""
    best: tuple[ShownConcept, ...]
    worst: tuple[ShownConcept, ...]
    """The worst first."""
    resamples: int
    level: float
    """Of the intervals."""

    @property
    def is_estimate(self) -> bool:
        """Whether no judge but the base model itself rated the texts."""
        return self.judge.kind == "offline"
