"""Plan and make a corpus: so many rows for every concept, some prompts, concepts and wordings held out by seed.

Knows nothing of how a text is made (see `makers`) and of where it is written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from flas_engine.data.concepts import shows_concept
from flas_engine.data.drawing import choose_some, shuffled
from flas_engine.data.rows import TRAIN, Row
from flas_engine.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flas_engine.data.concepts import Concept
    from flas_engine.data.makers import Maker

VAL, WORDING, UNSEEN = "val", "wording", "unseen"
"""Splits beside `train`: prompts held out, wordings held out (on such prompts), concepts held out."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How many rows, and what is held out."""

    rows: int = 8
    """Of the train split, for every concept."""
    val_rows: int = 2
    """Of every other split, for every concept."""
    val_prompts: float = 0.0
    """Prompts held out: a share below 1, else a number."""
    unseen_concepts: float = 0.0
    """Concepts held out whole: a share below 1, else a number."""
    unseen_wordings: int = 0
    """Wordings held out of every concept that has more than one."""
    max_tries: int = 3
    """Prompts that are tried for a wanted row, before the concept is left with fewer."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rows", "max_tries"):
            if getattr(self, name) < 1:
                raise DataError(f"{name.replace('_', ' ')} is {getattr(self, name)}; it must be 1 or more")
        for name in ("val_rows", "val_prompts", "unseen_concepts", "unseen_wordings"):
            if not getattr(self, name) >= 0:  # also catches NaN
                raise DataError(f"{name.replace('_', ' ')} is {getattr(self, name)}; it must be 0 or more")
        if self.unseen_wordings and not self.val_prompts:
            raise DataError("unseen wordings are tried on held-out prompts; hold some out too, with --val-prompts 0.05")


@dataclass(kw_only=True)
class Corpus:
    """Rows with the name of who made each, and what came of the rest."""

    rows: list[tuple[Row, str]] = field(default_factory=list)
    rejections: Counter[str] = field(default_factory=Counter)
    num_short: int = 0
    """Concepts with fewer rows than were wanted."""

    def add(self, other: Corpus) -> None:
        """Take over what `other` has."""
        self.rows += other.rows
        self.rejections += other.rejections
        self.num_short += other.num_short


@dataclass(kw_only=True)
class _Want:
    """Rows wanted of one concept in one split."""

    concept: Concept
    split: str
    num_rows: int
    prompts: list[str]
    """Candidates that are still to be tried."""
    texts: dict[str, str] = field(default_factory=dict)
    """What there is, by prompt."""

    def next_prompts(self) -> list[str]:
        """Take as many candidates as rows are missing."""
        missing = self.num_rows - len(self.texts)
        taken, self.prompts = self.prompts[:missing], self.prompts[missing:]
        return taken


def make_corpus(concepts: Sequence[Concept], prompts: Sequence[str], maker: Maker, recipe: Recipe) -> Corpus:
    """Make rows for every one of `concepts` over `prompts`; raises `DataError` when the hold-outs leave nothing."""
    wants = _plan(concepts, prompts, set(prompts if maker.prompts is None else maker.prompts), recipe)
    corpus = Corpus()
    while pairs := [(want, prompt) for want in wants for prompt in want.next_prompts()]:
        outcomes = maker.make([(want.concept, prompt) for want, prompt in pairs])
        for (want, prompt), outcome in zip(pairs, outcomes, strict=True):
            if not outcome.text:
                corpus.rejections[outcome.rejection] += 1
            elif outcome.text in want.texts.values():
                corpus.rejections["duplicate"] += 1
            else:
                want.texts[prompt] = outcome.text
    for want in wants:
        corpus.rows += [(row, maker.name) for row in _rows_of(want, recipe)]
    corpus.num_short = len({want.concept.concept_id for want in wants if len(want.texts) < want.num_rows})
    return corpus


def _plan(concepts: Sequence[Concept], prompts: Sequence[str], able: set[str], recipe: Recipe) -> list[_Want]:
    """Hold out by all `prompts`, so that every way of making rows holds out the same; use those in `able`."""
    held_out = choose_some(prompts, recipe.val_prompts, recipe.seed, "val prompts")
    unseen = choose_some(
        [concept.concept_id for concept in concepts], recipe.unseen_concepts, recipe.seed, "unseen concepts"
    )
    seen_prompts = [prompt for prompt in prompts if prompt in able and prompt not in held_out]
    if not seen_prompts:
        raise DataError(f"no prompt is left to train on: {len(held_out)} of {len(prompts)} are held out or unanswered")
    val_prompts = [prompt for prompt in prompts if prompt in able and prompt in held_out]
    wants = []
    for concept in concepts:
        if concept.concept_id in unseen:
            wants.append(_want(concept, UNSEEN, recipe.val_rows, val_prompts or seen_prompts, recipe))
        else:
            wants.append(_want(concept, TRAIN, recipe.rows, seen_prompts, recipe))
            wants.append(_want(concept, VAL, recipe.val_rows, val_prompts, recipe))
    return [want for want in wants if want.prompts and want.num_rows]


def _want(concept: Concept, split: str, num_rows: int, prompts: Sequence[str], recipe: Recipe) -> _Want:
    """Choose candidates by seed; a prompt that names the topic itself would prove nothing."""
    order = shuffled(prompts, recipe.seed, f"prompts of {concept.concept_id}")
    fit = (prompt for prompt in order if not (concept.topic and shows_concept(concept, prompt)))
    candidates = list(islice(fit, num_rows * recipe.max_tries))
    return _Want(concept=concept, split=split, num_rows=num_rows, prompts=candidates)


def _rows_of(want: _Want, recipe: Recipe) -> Iterator[Row]:
    concept = want.concept
    kept, held_out = _part_wordings(concept, recipe)
    for prompt, text in want.texts.items():
        for split, wordings in _splits_of(want.split, kept, held_out, concept.wordings):
            yield Row(
                prompt=prompt,
                output=text,
                concepts=wordings,
                concept_id=concept.concept_id,
                group=concept.group,
                split=split,
            )


def _splits_of(
    split: str, kept: tuple[str, ...], held_out: tuple[str, ...], wordings: tuple[str, ...]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return the rows that one text gives: a held-out prompt is asked under known and under unseen wordings."""
    if split == UNSEEN:
        return [(UNSEEN, wordings)]
    if split == VAL and held_out:
        return [(VAL, kept), (WORDING, held_out)]
    return [(split, kept)]


def _part_wordings(concept: Concept, recipe: Recipe) -> tuple[tuple[str, ...], tuple[str, ...]]:
    num_held_out = min(recipe.unseen_wordings, len(concept.wordings) - 1)
    held_out = choose_some(concept.wordings, num_held_out, recipe.seed, concept.concept_id) if num_held_out else ()
    kept = tuple(wording for wording in concept.wordings if wording not in held_out)
    return kept, tuple(wording for wording in concept.wordings if wording in held_out)
