"""What counts as a rating in a judge's answer, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flas_engine.judge.rating import parse_rating


@pytest.mark.parametrize(
    ("answer", "rating"),
    [
        ("It is there. Rating: [[2]]", 2),
        ("Rating: [[0]]", 0),
        ("Rating: [[1]]\n\nI hope this helps; ask me for more.", 1),
        ("At first Rating: [[0]], on reflection Rating: [[2]]", 2),
        ("rating : [[ 1 ]]", 1),
        ("RATING:[[2]].", 2),
        ("**Rating: [[1]]**", 1),
        ("**Rating:** [[1]]", 1),
        ("Rating: **[[1]]**", 1),
        ("Rating: [[**1**]]", 1),
        ("Rating: `[[2]]`", 2),
        ("Rating: [1]", 1),
        ("Rating [[2]]", 2),
        ("Final rating: [[0]]", 0),
        ("Rating:\n[[2]]", 2),
        ("It shows.\nRating: 2", 2),
        ("**Rating: 1.**\n", 1),
        ("Rating: 1\nTo say it again:\nRating: 1", 1),
        ("<think>Rating: [[0]]? no</think>It shows. Rating: [[2]]", 2),
    ],
)
def test_a_rating_is_found_however_it_is_dressed(answer: str, rating: int) -> None:
    assert parse_rating(answer) == rating


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "It is rather good.",
        "Rating: [[3]]",
        "Rating: [[-1]]",
        "Rating: [[1.5]]",
        "Rating: [[10]]",
        "Rating: [[n]]",
        "Rating: [[score]]",
        "Rating: [[]]",
        "Rating: [[1, 2]]",
        "Rating: [[2]] at first, but in the end Rating: [[5]]",
        "Rating: 1.5",
        "Rating: 10",
        "Rating: 0 to 2",
        "Rating: two",
        "Rating: 0\n\nRating: 1\n\nRating: 2",
        "[[2]]",
        "2",
        "overrating: [[2]]",
        "<think>So far Rating: [[2]]",
    ],
)
def test_anything_else_is_no_rating(answer: str) -> None:
    assert parse_rating(answer) is None


@given(before=st.text(), after=st.text(st.characters(exclude_characters="[]")), rating=st.sampled_from([0, 1, 2]))
def test_words_around_it_change_nothing(before: str, after: str, rating: int) -> None:
    assert parse_rating(f"{before}\nRating: [[{rating}]]\n{after}") == rating


@given(st.text())
def test_whatever_a_judge_says_is_a_rating_or_none(answer: str) -> None:
    assert parse_rating(answer) in {None, 0.0, 1.0, 2.0}
