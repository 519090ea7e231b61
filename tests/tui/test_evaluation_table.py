"""The browser's table against values worked out by hand: means, the gain, orders and filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from judged_evaluation import JUDGE, OFFLINE
from scripted_evaluation import PROMPTS, make_plan

from flas_engine.evaluation.results import ASPECTS, BASELINE, PROMPTING, STEERING, Generation, Judgement
from flas_engine.evaluation.scores import score
from flas_engine.evaluation.wanted import list_wanted
from flas_tui.evaluation_summary import choose_judge, count_planned, describe_cell, describe_gain
from flas_tui.evaluation_table import BY_NAME, GAIN, View, make_table
from flas_tui.evaluation_texts import find_beside, find_pairs

if TYPE_CHECKING:
    from flas_engine.evaluation.results import Method
    from flas_engine.evaluation.scores import EvaluatedSet

Ratings = tuple[float, float, float]


def evaluate(ratings: dict[tuple[str, Method, float], list[Ratings | None]]) -> EvaluatedSet:
    """An evaluation with these ratings, a prompt after the other; None is a text that was never judged."""
    generations, judgements = [], []
    for (concept, method, flow_time), of_prompts in ratings.items():
        for number, each in enumerate(of_prompts):
            key = f"{concept} {method} {flow_time} {number}"
            generations.append(
                Generation(
                    key=key,
                    method=method,
                    concept_id=concept,
                    concept=concept,
                    genre="code" if concept == "Loops" else "text",
                    input_id=number,
                    input=f"prompt {number}",
                    flow_time=flow_time,
                    seed=0,
                    checkpoint="",
                    text="",
                    num_tokens=0,
                    finish_reason="length",
                )
            )
            judgements += [
                Judgement(
                    key=f"{key} {aspect}",
                    generation=key,
                    judge="judge",
                    aspect=aspect,
                    rating=rating,
                    failure="",
                    comment="",
                    prompt_tokens=0,
                    completion_tokens=0,
                )
                for aspect, rating in zip(ASPECTS, each or (), strict=False)
            ]
    return score(generations, judgements)


EVALUATED = evaluate(
    {
        ("pirate", BASELINE, 0.0): [(0, 2, 2), (0, 2, 2)],
        ("pirate", STEERING, 1.0): [(1, 1, 1), (2, 2, 2)],
        ("pirate", STEERING, 2.0): [(2, 2, 2), (2, 2, 2)],
        ("pirate", PROMPTING, 0.0): [(1, 1, 1), (1, 1, 1)],
        ("Loops", BASELINE, 0.0): [(0, 2, 2)],
        ("Loops", STEERING, 1.0): [(1, 1, 1)],
        ("Loops", STEERING, 2.0): [(2, 0, 2)],
        ("Loops", PROMPTING, 0.0): [(2, 2, 2)],
        ("whales", BASELINE, 0.0): [None],
        ("whales", STEERING, 1.0): [(2, 2, 2)],
    }
)
"""By HM: pirate 0, 1.5, 2 and 1; Loops 0, 1, 0 and 2; whales nothing, 2. Their order is that of their names."""


def rows(view: View) -> list[str]:
    return [row.title for row in make_table(EVALUATED, view).rows]


def test_cells_and_means_are_those_worked_out_by_hand() -> None:
    table = make_table(EVALUATED, View())
    assert [column.title for column in table.columns] == ["base", "T 1", "T 2", "prompt", "gain"]
    assert {row.title: [cell.value for cell in row.cells] for row in table.rows} == {
        "Loops": [0.0, 1.0, 0.0, 2.0, -1.0],
        "pirate": [0.0, 1.5, 2.0, 1.0, 0.5],
        "whales": [None, 2.0, None, None, None],
    }
    assert [cell.value for cell in table.means.cells] == [0.0, 1.5, 1.0, 1.5, -0.25]
    assert [row.best for row in table.rows] == [3, 2, 1]
    assert [cell.num_written for cell in table.rows[2].cells[:4]] == [1, 1, 0, 0]


def test_the_gain_is_one_flow_times_for_all_concepts() -> None:
    table = make_table(EVALUATED, View())
    assert table.compared is not None
    assert [column.label for column in table.compared] == ["T 1", "prompting"]  # T 2 is better for the pirate alone
    by_concept = make_table(EVALUATED, View(measure="concept"))
    assert by_concept.compared is not None
    assert by_concept.compared[0].label == "T 2"
    pirate = EVALUATED.concepts[1]
    assert describe_gain(EVALUATED, pirate, table.compared, "hm").startswith("T 1 1.50 over prompting 1.00")


def test_without_prompting_the_gain_is_over_the_baseline_and_without_either_there_is_none() -> None:
    steered = {("pirate", STEERING, 1.0): [(1.0, 1.0, 1.0)]}
    assert make_table(evaluate(steered), View()).compared is None
    table = make_table(evaluate({**steered, ("pirate", BASELINE, 0.0): [(0.0, 2.0, 2.0)]}), View())
    assert table.compared is not None
    assert table.compared[1].method == BASELINE
    assert table.rows[0].cells[-1].value == 1.0


@pytest.mark.parametrize(
    ("key", "is_descending", "order"),
    [
        ("T 1", True, ["whales", "pirate", "Loops"]),
        ("T 1", False, ["Loops", "pirate", "whales"]),
        ("T 2", True, ["pirate", "Loops", "whales"]),
        ("T 2", False, ["Loops", "pirate", "whales"]),
        (GAIN, True, ["pirate", "Loops", "whales"]),
        (BY_NAME, False, ["Loops", "pirate", "whales"]),
        (BY_NAME, True, ["whales", "pirate", "Loops"]),
        ("T 9", True, ["Loops", "pirate", "whales"]),
    ],
)
def test_rows_without_a_value_are_last_in_either_order(key: str, is_descending: bool, order: list[str]) -> None:
    assert rows(View(sort=key, is_descending=is_descending)) == order


def test_words_are_looked_for_in_concepts_and_genres_in_any_case() -> None:
    assert rows(View(search="PIR")) == ["pirate"]
    assert rows(View(search="text whal")) == ["whales"]
    assert rows(View(search="Code")) == ["Loops"]
    table = make_table(EVALUATED, View(search="pirate"))
    assert table.means.title == "mean of 1 of 3"
    assert [cell.value for cell in table.means.cells] == [0.0, 1.5, 2.0, 1.0, -0.5 + 1.0]
    nothing = make_table(EVALUATED, View(search="nowhere"))
    assert nothing.rows == ()
    assert len(nothing.means.cells) == len(nothing.columns)


def test_texts_stand_beside_those_of_the_same_prompt_and_seed() -> None:
    base, first, _, prompting = EVALUATED.columns
    pirate = EVALUATED.concepts[1]
    assert find_beside(EVALUATED, first, PROMPTING) == prompting
    assert find_beside(EVALUATED, base, BASELINE) == prompting
    pairs = find_pairs(EVALUATED, pirate, first, base)
    assert [(pair.text.prompt, pair.beside and pair.beside.prompt) for pair in pairs] == [
        ((0, "prompt 0"), (0, "prompt 0")),
        ((1, "prompt 1"), (1, "prompt 1")),
    ]
    assert find_pairs(EVALUATED, EVALUATED.concepts[2], prompting, base) == []


def test_a_cell_says_how_many_texts_it_is_of() -> None:
    base, first, *_ = EVALUATED.columns
    whales, pirate = EVALUATED.concepts[2], EVALUATED.concepts[1]
    assert describe_cell(EVALUATED, whales, base) == "baseline  no text is rated in full  ·  1 text, 1 not judged yet"
    assert describe_cell(EVALUATED, pirate, first) == "T 1  HM 1.50  C 1.50  I 1.50  F 1.50  ·  2 texts"


def test_as_many_texts_are_planned_as_are_wanted() -> None:
    plan = make_plan()
    assert count_planned(plan) == len(list_wanted(plan, PROMPTS))


def test_a_judge_is_looked_at_before_an_estimate() -> None:
    assert choose_judge([OFFLINE, JUDGE]) == JUDGE.slug
    assert choose_judge([OFFLINE]) == OFFLINE.slug
    assert choose_judge([]) is None
