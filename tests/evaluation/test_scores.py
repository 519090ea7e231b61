"""From judged texts to cells: harmonic means, seeds within prompts, prompts within concepts, and what is missing."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hand_table import BASELINE, PROMPTING, T1, T2, A, B, C, D, hand_records, hand_set
from hypothesis import given
from hypothesis import strategies as st
from judged_evaluation import JUDGE, OFFLINE, make_generation, rate, write_evaluation

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.scores import Column, Concept, Scores, harmonic_mean, load_evaluation, score

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [((2, 2, 2), 2.0), ((2, 2, 1), 1.5), ((2, 1, 1), 1.2), ((1, 1, 1), 1.0), ((0, 2, 2), 0.0), ((0, 0, 0), 0.0)],
)
def test_the_harmonic_mean_is_the_protocols(ratings: tuple[float, float, float], expected: float) -> None:
    assert harmonic_mean(*ratings) == expected


@given(st.tuples(*[st.just(0.0) | st.floats(1e-6, 2.0)] * 3))
def test_the_harmonic_mean_lies_between_its_ratings_or_is_zero(ratings: tuple[float, float, float]) -> None:
    found = harmonic_mean(*ratings)
    assert found == 0.0 if 0.0 in ratings else min(ratings) * (1 - 1e-12) <= found <= max(ratings) * (1 + 1e-12)


def test_a_cell_is_the_mean_over_its_prompts() -> None:
    assert hand_set().scores(A, T1) == Scores(hm=1.125, concept=1.25, instruction=1.75, fluency=1.5)


def test_a_text_without_all_three_ratings_is_left_out_and_counted() -> None:
    cell = hand_set().cells[B, T1]
    assert cell.means == Scores(hm=1.5, concept=1.5, instruction=1.5, fluency=1.5)
    assert cell.num_missing == 1
    assert [scores is None for scores in cell.prompts.values()] == [False, True, False]
    assert [text.failures for text in cell.texts] == [(), ("no rating",), ()]


def test_seeds_are_averaged_within_a_prompt() -> None:
    cell = hand_set().cells[D, T1]
    assert [None if each is None else each.hm for each in cell.prompts.values()] == [1.0, 1.0]
    assert cell.means is not None
    assert cell.means.hm == 1.0  # over texts it would be (2 + 0 + 1) / 3
    assert cell.num_missing == 1


def test_columns_and_concepts_stand_in_their_order() -> None:
    evaluated = hand_set()
    assert evaluated.columns == (BASELINE, T1, T2, PROMPTING)
    assert [column.label for column in evaluated.columns] == ["baseline", "T 1", "T 2", "prompting"]
    assert evaluated.concepts == (A, B, C, D)
    assert (C, PROMPTING) not in evaluated.cells
    assert evaluated.scores(C, PROMPTING) is None


def test_numbered_concepts_stand_by_their_numbers() -> None:
    texts = [replace(make_generation("x", 0), concept_id=name) for name in ("10", "style-2", "9")]
    assert [concept.concept_id for concept in score(texts, []).concepts] == ["9", "10", "style-2"]


def test_the_order_of_records_makes_no_difference() -> None:
    generations, judgements = hand_records()
    draw = random.Random(0)
    draw.shuffle(generations)
    draw.shuffle(judgements)
    assert score(generations, judgements, judge=JUDGE, judges=(JUDGE,)) == hand_set()


def test_a_genre_belongs_to_the_concept_even_when_some_rows_lack_it() -> None:
    texts = [make_generation("x", 0), replace(make_generation("x", 1), genre="style")]
    (concept,) = score(texts, []).concepts
    assert concept.genre == "style"
    assert concept == Concept(concept_id="x", concept="x")


@pytest.mark.parametrize("rating", [2.5, -1.0, float("nan"), "2"])
def test_a_rating_that_is_none_is_refused(rating: float) -> None:
    text = make_generation("x", 0)
    judgement = replace(rate(text, [1.0])[0], rating=rating)
    with pytest.raises(EvaluationError, match="not from 0 to 2"):
        score([text], [judgement])


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no known method: 'magic'"):
        score([replace(make_generation("x", 0), method="magic")], [])  # type: ignore[arg-type]


def test_judges_are_never_mixed(tmp_path: Path) -> None:
    text = make_generation("x", 0, method="steering", flow_time=1.0)
    said = {JUDGE: rate(text, [2, 2, 2]), OFFLINE: rate(text, [1, 1, 1], judge=OFFLINE.slug)}
    write_evaluation(tmp_path, [text], said)
    with pytest.raises(EvaluationError, match="gpt-4o-mini-flas, offline-demo; choose one with --judge"):
        load_evaluation(tmp_path)
    column, concept = Column(method="steering", flow_time=1.0), Concept(concept_id="x", concept="x")
    for judge, hm in ((JUDGE, 2.0), (OFFLINE, 1.0)):
        evaluated = load_evaluation(tmp_path, judge.slug)
        assert evaluated.judge == judge
        scores = evaluated.scores(concept, column)
        assert scores is not None
        assert scores.hm == hm
    with pytest.raises(EvaluationError, match="no judgements by 'nobody'; it has gpt-4o-mini-flas, offline-demo"):
        load_evaluation(tmp_path, "nobody")


def test_an_evaluation_without_a_judge_has_its_texts_unrated(tmp_path: Path) -> None:
    text = make_generation("x", 0, method="baseline", text="hello")
    evaluated = load_evaluation(write_evaluation(tmp_path, [text], {}))
    assert evaluated.judge is None
    assert [(each.generation.text, each.scores) for each in evaluated.texts()] == [("hello", None)]
