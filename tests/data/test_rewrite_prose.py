from __future__ import annotations

import random

import pytest

from flas_engine.data.rewrites.english import article, plural, topic
from flas_engine.data.rewrites.phrasing import dress
from flas_engine.data.rewrites.prose import lowered, sentences, split_stop
from flas_engine.data.rewrites.style import Recipe


def dressed(recipe: Recipe, *parts: str, seed: int = 0) -> str:
    return " ".join(dress(recipe, list(parts), random.Random(seed)))


def test_sentences_end_at_stops_but_not_at_abbreviations() -> None:
    text = "Dr. Smith lives in St. Louis. He pays 3.5 dollars, i.e. very little! Does J. R. Ewing pay more?"
    assert sentences(text) == [
        "Dr. Smith lives in St. Louis.",
        "He pays 3.5 dollars, i.e. very little!",
        "Does J. R. Ewing pay more?",
    ]


def test_list_marks_and_emphasis_are_taken_off_and_items_closed() -> None:
    text = "Here is what you need:\n\n1. **Fresh** beans from a good shop\n2) Clean and cold water\n- A little time"
    assert sentences(text) == [
        "Here is what you need.",
        "Fresh beans from a good shop.",
        "Clean and cold water.",
    ]


def test_an_unfinished_last_sentence_is_left_out_and_an_only_one_is_closed() -> None:
    assert sentences("The river is wide and cold. It flows through") == ["The river is wide and cold."]
    assert sentences("The river is wide and cold,") == ["The river is wide and cold."]


def test_gaps_scraps_and_code_do_not_suit() -> None:
    assert sentences("Dear [Name], I hope that you are very well.") == []
    assert sentences("Hammer. Nails. Saw. Wood. Glue. Paint. Brush.") == []
    assert sentences("Call run() as in x = run(3) and print the result.") == []


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("apple", "an"),
        ("hour", "an"),
        ("umbrella", "an"),
        ("unimportant", "an"),
        ("union", "a"),
        ("useful", "a"),
        ("one", "a"),
        ("European", "a"),
        ("dog", "a"),
        ("once", "a"),
        ("honest", "an"),
        ("house", "a"),
    ],
)
def test_articles_follow_the_sound(word: str, expected: str) -> None:
    assert article(word) == expected


def test_plurals_are_regular() -> None:
    assert [plural(noun) for noun in ("boss", "city", "boy", "old friend", "box", "wish")] == [
        "bosses",
        "cities",
        "boys",
        "old friends",
        "boxes",
        "wishes",
    ]


def test_names_keep_their_capital_after_other_words() -> None:
    assert lowered("The cat sleeps.") == "the cat sleeps."
    assert lowered("Learning takes time.") == "learning takes time."
    assert [lowered(s) for s in ("Lisbon is old.", "I sleep.", "NASA knows.")] == [
        "Lisbon is old.",
        "I sleep.",
        "NASA knows.",
    ]


def test_the_stop_takes_quotes_and_brackets_along() -> None:
    assert split_stop('He said "no!"') == ('He said "no', '!"')
    assert split_stop("no stop") == ("no stop", "")


def test_the_topic_is_the_word_said_most() -> None:
    assert topic("The whale swims. A whale is large. Many people like whale songs.") == "whale"
    assert topic("It is so.") == "this"


def test_words_are_replaced_with_their_case_and_their_article() -> None:
    recipe = Recipe(words=(("friend", ("ally",)), ("old", ("mountain-old",))), nouns=(("city", ("port",)),))
    text = "A friend visits an old city. Cities grow, FRIEND, and old-timers befriend."
    assert dressed(recipe, text) == "An ally visits a mountain-old port. Ports grow, ALLY, and old-timers befriend."


def test_an_opener_lowers_what_goes_on_after_it() -> None:
    assert dressed(Recipe(openers=("Arr,",)), "The sea is calm.") == "Arr, the sea is calm."
    assert dressed(Recipe(openers=("Arr,",)), "Lisbon is calm.") == "Arr, Lisbon is calm."
    assert dressed(Recipe(openers=("Arr!",)), "The sea is calm.") == "Arr! The sea is calm."


def test_phrases_come_again_only_after_all_have_come() -> None:
    recipe = Recipe(tails=(", one", ", two", ", three"), density=1.0)
    parts = [f"Sentence {number} is here." for number in range(6)]
    text = dressed(recipe, *parts, seed=3)
    assert {text.count(", one"), text.count(", two"), text.count(", three")} == {2}


def test_questions_after_the_first_sentence_get_no_tail() -> None:
    recipe = Recipe(tails=(", arr",), density=1.0)
    assert dressed(recipe, "You sail.", "Do you sail?", "I sail.") == "You sail, arr. Do you sail? I sail, arr."


def test_nothing_is_set_between_an_article_and_its_noun() -> None:
    recipe = Recipe(sprinkles=("*",), sprinkle_every=2)
    for seed in range(20):
        text = dressed(recipe, "The cat of the house sat on a mat in the sun of the south.", seed=seed)
        assert not [word for word in ("The*", "of*", "the*", "on*", "a*", "in*") if word in text.split()]
