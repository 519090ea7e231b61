"""The flow time chosen on the first half of the prompts and scored on the other, worked out by hand."""

from __future__ import annotations

import pytest
from hand_table import T1, T2, A, B, D, hand_set
from judged_evaluation import make_generation, rate

from flas_engine.evaluation.scores import Column, EvaluatedSet, score
from flas_engine.evaluation.selection import halve, select_flow_times


def of_ratings(table: dict[float, str]) -> EvaluatedSet:
    """Return one concept with these ratings, C I F for each prompt, at each flow time."""
    texts, judgements = [], []
    for time, row in table.items():
        for input_id, digits in enumerate(row.split()):
            texts.append(make_generation("x", input_id, flow_time=time))
            judgements += rate(texts[-1], [float(digit) for digit in digits] if digits != "-" else [])
    return score(texts, judgements)


def test_each_concept_chooses_on_its_first_half_and_scores_on_the_other() -> None:
    selection = select_flow_times(hand_set())
    chosen = {each.concept: each for each in selection.choices}
    assert {concept: each.column for concept, each in chosen.items()} == {A: T1, B: T2, D: T1}
    assert {concept: each.chosen_with.hm for concept, each in chosen.items()} == {A: 1.5, B: 1.2, D: 1.0}
    scored = {concept: None if each.scores is None else each.scores.hm for concept, each in chosen.items()}
    assert scored == {A: 0.75, B: 1.0, D: 1.0}


def test_the_single_flow_time_has_the_best_mean_over_first_halves() -> None:
    selection = select_flow_times(hand_set())  # T 1: (1.5 + 1 + 1) / 3, T 2: (1.5 + 1.2 + 0) / 3
    assert selection.fixed == T1
    scored = {each.concept: None if each.with_fixed is None else each.with_fixed.hm for each in selection.choices}
    assert scored == {A: 0.75, B: 2.0, D: 1.0}


def test_a_concept_with_one_prompt_chooses_nothing_and_is_counted() -> None:
    selection = select_flow_times(hand_set())
    assert selection.num_single == 1
    assert selection.num_unscored == 0
    assert len(selection.choices) == 3


@pytest.mark.parametrize(("count", "first"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)])
def test_of_an_odd_number_of_prompts_the_greater_half_scores(count: int, first: int) -> None:
    prompts = [(place, "a prompt") for place in range(count)]
    chooses, scores = halve(prompts)
    assert len(chooses) == first
    assert [*chooses, *scores] == prompts


@pytest.mark.parametrize("times", [(0.5, 1.0), (1.0, 0.5), (-0.5, 1.0), (0.5, -1.0)])
def test_of_equal_flow_times_the_one_nearest_to_zero_is_taken(times: tuple[float, float]) -> None:
    (choice,) = select_flow_times(of_ratings(dict.fromkeys(times, "111 222"))).choices
    assert abs(choice.column.flow_time) == 0.5


def test_zeros_everywhere_are_a_tie_too() -> None:
    selection = select_flow_times(of_ratings({2.0: "022 220", 1.0: "202 222"}))
    assert selection.fixed == Column(method="steering", flow_time=1.0)


def test_equal_means_of_other_ratings_are_a_tie() -> None:
    """Six times 1.2 and a 0, and six times 1 and a 1.2, are 7.2 over 7 both, but for rounding."""
    other_half = " 111" * 7
    table = {2.0: "111 111 111 111 111 111 211" + other_half, 1.0: "211 211 211 211 211 211 022" + other_half}
    (choice,) = select_flow_times(of_ratings(table)).choices
    assert choice.column.flow_time == 1.0


def test_what_is_judged_does_not_move_the_halves() -> None:
    """Prompts 0 and 1 choose, although nothing of prompt 0 is judged."""
    (choice,) = select_flow_times(of_ratings({1.0: "- 111 222 222", 2.0: "- 222 000 000"})).choices
    assert choice.column.flow_time == 2.0
    assert choice.scores is not None
    assert choice.scores.hm == 0.0


def test_a_concept_without_a_judged_first_half_chooses_nothing_and_is_counted() -> None:
    selection = select_flow_times(of_ratings({1.0: "- - 222 222"}))
    assert selection.choices == ()
    assert selection.fixed is None
    assert (selection.num_single, selection.num_unscored) == (0, 1)


def test_a_choice_whose_other_half_is_unjudged_has_no_score() -> None:
    (choice,) = select_flow_times(of_ratings({1.0: "222 -", 2.0: "111 111"})).choices
    assert choice.column.flow_time == 1.0
    assert choice.scores is None
