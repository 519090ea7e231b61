"""From generations and the judgements of one judge to a table: concepts down, columns across, a cell of texts in each.

A text counts once all three aspects are rated; C, I, F and HM are then means over the same texts. Texts without all
three are left out of the means and counted. The seeds of a prompt are averaged first, then the prompts of a concept,
so that no prompt and no concept weighs more for having more texts. Reads an evaluation's folder; knows nothing of how
tables are drawn.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.results import (
    ASPECTS,
    BASELINE,
    MAX_RATING,
    METHODS,
    PROMPTING,
    STEERING,
    read_generations,
    read_judgements,
    read_judges,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from flas_engine.evaluation.results import Aspect, Generation, JudgeInfo, Judgement, Method

MEASURES = ("hm", *ASPECTS)
"""The fields of `Scores`."""
_PLACES: Mapping[Method, int] = {BASELINE: 0, STEERING: 1, PROMPTING: 2}

Prompt = tuple[int, str]
"""A prompt of a concept: its place among them, and its text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Three ratings from 0 to 2 and their harmonic mean; of one text, or the means of several."""

    hm: float
    concept: float
    instruction: float
    fluency: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Concept:
    """What was steered towards; `genre` is empty when unknown."""

    concept_id: str
    concept: str
    genre: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A way in which every concept was tried: steering at one flow time, prompting, or the baseline."""

    method: Method
    flow_time: float = 0.0

    @property
    def label(self) -> str:
        """For people: baseline, T 1.5, prompting."""
        return f"T {self.flow_time:g}" if self.method == STEERING else self.method

    @property
    def place(self) -> tuple[int, float]:
        """Where it stands: the baseline, steering by flow time, prompting."""
        return _PLACES[self.method], self.flow_time


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatedText:
    """A text, what the judge said of it, and its scores once all of it is rated."""

    generation: Generation
    judgements: Mapping[Aspect, Judgement]
    scores: Scores | None

    @property
    def prompt(self) -> Prompt:
        """The prompt it answers."""
        return self.generation.input_id, self.generation.input

    @property
    def column(self) -> Column:
        """Where it stands."""
        return Column(method=self.generation.method, flow_time=self.generation.flow_time)

    @property
    def failures(self) -> tuple[str, ...]:
        """Why aspects of it could not be rated."""
        return tuple(each.failure or "no rating" for each in self.judgements.values() if each.rating is None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """The texts of one concept in one column, by prompt and seed."""

    texts: tuple[EvaluatedText, ...]
    prompts: Mapping[Prompt, Scores | None]
    """Means over the seeds of each prompt; None where no text of it counts."""
    means: Scores | None
    """Over the prompts; None where no text counts."""
    num_missing: int
    """Texts that do not count: not judged, or not on all aspects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatedSet:
    """All texts of an evaluation, as one judge sees them."""

    judge: JudgeInfo | None
    """None while nothing has been judged."""
    judges: tuple[JudgeInfo, ...]
    """All who judged these texts."""
    concepts: tuple[Concept, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[Concept, Column], Cell]
    """A pair that was never written for is not in it."""

    def scores(self, concept: Concept, column: Column) -> Scores | None:
        """Return the means of a cell; None where there are none."""
        cell = self.cells.get((concept, column))
        return None if cell is None else cell.means

    def texts(self) -> Iterator[EvaluatedText]:
        """Yield all texts, cell after cell."""
        for cell in self.cells.values():
            yield from cell.texts


def load_evaluation(folder: Path, judge: str | None = None) -> EvaluatedSet:
    """Read an evaluation and the judgements of `judge` (a slug), or of the only one there is.

    Without any judge the texts come unrated. Raises `EvaluationError` when the judge is unknown, when there are several
    and none is named, and when a file is missing or damaged.
    """
    judges = read_judges(folder)
    chosen = _choose(folder, judges, judge)
    judgements = [] if chosen is None else read_judgements(folder, chosen.slug)
    return score(read_generations(folder), judgements, judge=chosen, judges=judges)


def score(
    generations: Iterable[Generation],
    judgements: Iterable[Judgement],
    *,
    judge: JudgeInfo | None = None,
    judges: tuple[JudgeInfo, ...] = (),
) -> EvaluatedSet:
    """Put texts into their cells with what one judge said of them; of an aspect judged twice the last counts.

    Raises `EvaluationError` for a method or a rating that is none.
    """
    of_text: dict[str, dict[Aspect, Judgement]] = defaultdict(dict)
    for judgement in judgements:
        _check(judgement)
        of_text[judgement.generation][judgement.aspect] = judgement
    genres: dict[Concept, str] = {}
    texts: dict[tuple[Concept, Column], list[EvaluatedText]] = defaultdict(list)
    for generation in generations:
        if generation.method not in METHODS:
            raise EvaluationError(f"generation {generation.key} has no known method: {generation.method!r}")
        concept = Concept(concept_id=generation.concept_id, concept=generation.concept, genre=generation.genre)
        genres[concept] = genres.get(concept) or generation.genre
        text = _evaluate(generation, of_text.get(generation.key, {}))
        texts[concept, text.column].append(text)
    concepts = sorted(
        (Concept(concept_id=each.concept_id, concept=each.concept, genre=genre) for each, genre in genres.items()),
        key=_natural_order,
    )
    columns = sorted({column for _, column in texts}, key=lambda column: column.place)
    pairs = ((concept, column) for concept in concepts for column in columns)
    return EvaluatedSet(
        judge=judge,
        judges=judges,
        concepts=tuple(concepts),
        columns=tuple(columns),
        cells={pair: _cell(texts[pair]) for pair in pairs if pair in texts},
    )


def harmonic_mean(concept: float, instruction: float, fluency: float) -> float:
    """Return 3 / (1/C + 1/I + 1/F), 0 when any is 0."""
    ratings = (concept, instruction, fluency)
    return 3.0 / sum(1.0 / rating for rating in ratings) if all(ratings) else 0.0


def mean_scores(scores: Iterable[Scores | None]) -> Scores | None:
    """Return the mean of what there is, measure by measure; None of nothing. The order makes no difference."""
    known = [each for each in scores if each is not None]
    if not known:
        return None
    return Scores(
        hm=_mean([each.hm for each in known]),
        concept=_mean([each.concept for each in known]),
        instruction=_mean([each.instruction for each in known]),
        fluency=_mean([each.fluency for each in known]),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _choose(folder: Path, judges: tuple[JudgeInfo, ...], slug: str | None) -> JudgeInfo | None:
    names = ", ".join(judge.slug for judge in judges)
    if slug is not None:
        found = next((judge for judge in judges if judge.slug == slug), None)
        if found is None:
            raise EvaluationError(
                f"{folder} has no judgements by {slug!r}; it has {names or 'none'} (see: flas-tui judge --help)"
            )
        return found
    if len(judges) > 1:
        raise EvaluationError(f"{folder} was judged by {names}; choose one with --judge, they are never mixed")
    return judges[0] if judges else None


def _check(judgement: Judgement) -> None:
    rating = judgement.rating
    if rating is not None and not (isinstance(rating, int | float) and 0.0 <= rating <= MAX_RATING):
        raise EvaluationError(
            f"judgement {judgement.key} rates {judgement.aspect} as {rating!r}, not from 0 to {MAX_RATING:g}; "
            f"take its line out of the judgements of {judgement.judge}, then judge again"
        )


def _evaluate(generation: Generation, judgements: Mapping[Aspect, Judgement]) -> EvaluatedText:
    ratings = [judgements[aspect].rating for aspect in ASPECTS if aspect in judgements]
    known = [rating for rating in ratings if rating is not None]
    scores = None
    if len(known) == len(ASPECTS):
        concept, instruction, fluency = known
        scores = Scores(hm=harmonic_mean(*known), concept=concept, instruction=instruction, fluency=fluency)
    return EvaluatedText(generation=generation, judgements=judgements, scores=scores)


def _cell(texts: Sequence[EvaluatedText]) -> Cell:
    in_order = sorted(texts, key=lambda text: (text.prompt, text.generation.seed, text.generation.key))
    of_prompt: dict[Prompt, list[Scores | None]] = defaultdict(list)
    for text in in_order:
        of_prompt[text.prompt].append(text.scores)
    prompts = {prompt: mean_scores(scores) for prompt, scores in of_prompt.items()}
    return Cell(
        texts=tuple(in_order),
        prompts=prompts,
        means=mean_scores(prompts.values()),
        num_missing=sum(text.scores is None for text in in_order),
    )


def _natural_order(concept: Concept) -> tuple[tuple[bool, int], str, str]:
    """Sort numbered concepts by their number, before all others."""
    digits = concept.concept_id.isascii() and concept.concept_id.isdigit()
    return (not digits, int(concept.concept_id) if digits else 0), concept.concept_id, concept.concept
