"""Which answers make rows, and what the others are rejected for."""

from __future__ import annotations

import pytest

from flas_engine.data.answer_log import Answer
from flas_engine.data.concepts import concept_of_text, concept_of_topic, read_concepts, shows_concept
from flas_engine.data.lists import themes, topics
from flas_engine.data.screening import Rejected, cut_to_sentences, screen

PROMPT = "Why is the sky blue?"
WHALES = concept_of_topic("whales")
GOOD = "Light is scattered by the air, blue light most of all, and so the sky is blue."


def answer(text: str, asked: str = PROMPT, *, is_cut: bool = False, refusal: str = "") -> Answer:
    return Answer(key="k", asked=asked, text=text, is_cut=is_cut, refusal=refusal)


def reason(text: str, asked: str = PROMPT, **fields: bool) -> str:
    with pytest.raises(Rejected) as rejected:
        screen(answer(text, asked, **fields), PROMPT, None)
    return str(rejected.value)


def test_a_plain_answer_passes_as_it_is() -> None:
    assert screen(answer(f" {GOOD}\n"), PROMPT, None) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that request today.",
        "I\u2019m sorry, but I can\u2019t help with that request today.",
        "I cannot provide an answer to this question, my friend.",
        "As an AI language model, I do not see the sky.",
        "The sky is blue, but as a language model I have not seen it.",
        "I apologize for the confusion in what I said before.",
    ],
)
def test_refusals_are_rejected(text: str) -> None:
    assert reason(text) == "refusal"


def test_sorry_within_a_story_is_no_refusal() -> None:
    text = "The captain was sorry to hear it. He said so, and went back to his ship."
    assert screen(answer(text), PROMPT, None) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("It just is.", "too short"),
        ("Why is the sky blue? It is a good question that people ask.", "echo of the prompt"),
        ("Why is the sky blue?", "echo of the prompt"),
        ("The sky is blue. " * 12, "goes in circles"),
    ],
)
def test_answers_that_answer_nothing_are_rejected(text: str, expected: str) -> None:
    assert reason(text) == expected


def test_an_answer_that_repeats_its_instruction_is_rejected() -> None:
    asked = f'{PROMPT} Begin your answer with the words "Just like whales,"'
    text = "You told me to begin your answer with the words about whales, so I do."
    assert reason(text, asked) == "echo of the instruction"


def test_the_concept_alone_is_an_echo() -> None:
    concept = concept_of_text("talk like a pirate")
    with pytest.raises(Rejected, match="echo of the concept"):
        screen(answer("Talk like a pirate, matey. Arr!"), PROMPT, concept)


def test_a_cut_answer_ends_with_its_last_whole_sentence() -> None:
    assert screen(answer(f"{GOOD} And then there", is_cut=True), PROMPT, None) == GOOD
    assert reason("The sky is blue because of the way in which", is_cut=True) == "cut off"


def test_a_list_number_ends_no_sentence() -> None:
    assert cut_to_sentences("Do this:\n1. Breathe in.\n2. Breathe") == "Do this:\n1. Breathe in."


def test_a_topic_must_be_named() -> None:
    with pytest.raises(Rejected, match="does not show the concept"):
        screen(answer(GOOD), PROMPT, WHALES)
    text = f"Like a whale at sea. {GOOD}"
    assert screen(answer(text), PROMPT, WHALES) == text


@pytest.mark.parametrize(
    ("topic", "shown", "not_shown"),
    [
        ("wolves", "A wolf howls.", "They walk."),
        ("matches", "Strike a match.", "They matched."),
        ("cherries", "A cherry tree.", "Be cheerful."),
        ("horses", "On a horse.", "Hoarse voices."),
        ("the moon", "By the light of the Moon.", "Soon."),
        ("cactuses", "One cactus.", "Exact uses."),
        ("bees", "A bee hums.", "A beet grows."),
        ("glass", "It is of glass.", "The gas leaks."),
        ("pi", "The number Pi.", "A pine tree."),
    ],
)
def test_topics_are_seen_in_singular_and_plural_but_not_in_other_words(topic: str, shown: str, not_shown: str) -> None:
    assert shows_concept(concept_of_topic(topic), shown)
    assert not shows_concept(concept_of_topic(topic), not_shown)


def test_every_bundled_topic_is_seen_in_its_own_name() -> None:
    assert [topic for topic in topics() if not shows_concept(concept_of_topic(topic), f"I like {topic}.")] == []


def test_a_theme_is_shown_by_two_of_its_words() -> None:
    contract = next(concept for concept in read_concepts("all") if "contract law" in concept.wordings[0])
    assert shows_concept(contract, "The party is in breach of it.")
    assert not shows_concept(contract, "The breach in the wall is wide.")
    assert len(themes()) >= 300
