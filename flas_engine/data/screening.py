"""Which answers make rows: whole sentences that answer, neither refusals nor echoes nor loops.

Every rejection has a reason in a few words, to be counted. Knows nothing of models and files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flas_engine.data.concepts import shows_concept

if TYPE_CHECKING:
    from flas_engine.data.answer_log import Answer
    from flas_engine.data.concepts import Concept

LEAST_WORDS = 5
LEAST_VARIETY = 0.5
"""Share of different word triples below which a text goes in circles."""
_REFUSALS = re.compile(
    r"^\W*(?:(?:i'?m|i am) (?:very |really |so )?(?:sorry|afraid|unable|not able)\b|sorry,? but\b|i apologi[sz]e"
    r"|i (?:can ?not|can'?t|won'?t|will not|do not|don'?t) (?:help|assist|provide|answer|fulfil|comply|create|write"
    r"|generate|engage|have (?:access|the ability))"
    r"|as an? (?:ai|artificial|language model)\b|unfortunately,? (?:i|as)\b)",
    re.IGNORECASE,
)
_ASSISTANT_TALK = re.compile(r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?][\"')\]*]*(?=\s|$)")
_LIST_NUMBER = re.compile(r"(?:^|\s)\d+\.$")
_WORD = re.compile(r"\w+")


class Rejected(Exception):
    """Why an answer makes no row."""


def screen(answer: Answer, prompt: str, concept: Concept | None) -> str:
    """Return the text of a row; raises `Rejected` with the reason when the answer makes none."""
    if answer.refusal:
        raise Rejected("refused by the endpoint")
    text = answer.text.strip()
    if not text:
        raise Rejected("empty")
    if is_refusal(text) or _ASSISTANT_TALK.search(text):
        raise Rejected("refusal")
    if answer.is_cut:
        text = cut_to_sentences(text)
    words = _words(text)
    if len(words) < LEAST_WORDS:
        raise Rejected("too short")
    _reject_echo(words, prompt, answer.asked, concept)
    triples = list(zip(words, words[1:], words[2:], strict=False))
    if len(set(triples)) < LEAST_VARIETY * len(triples):
        raise Rejected("goes in circles")
    if concept is not None and not shows_concept(concept, text):
        raise Rejected("does not show the concept")
    return text


def is_refusal(text: str) -> bool:
    """Whether `text` begins as models do that decline."""
    return _REFUSALS.search(text.replace("\u2019", "'")) is not None


def cut_to_sentences(text: str) -> str:
    """Return `text` up to the end of its last whole sentence; raises `Rejected` when it has none."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text) if not _LIST_NUMBER.search(text[: match.end()])]
    if not ends:
        raise Rejected("cut off")
    return text[: ends[-1]]


def _reject_echo(words: list[str], prompt: str, asked: str, concept: Concept | None) -> None:
    """Refuse a text that begins with the question, is a piece of it, or is the concept and little else."""
    for question in (_words(prompt), _words(asked)):
        if len(question) >= LEAST_WORDS and words[: len(question)] == question:
            raise Rejected("echo of the prompt")
        if _contains(question, words):
            raise Rejected("echo of the prompt")
    instruction = _words(asked.removeprefix(prompt))[:LEAST_WORDS]  # "begin your answer with the"
    if len(instruction) == LEAST_WORDS and _contains(words, instruction):
        raise Rejected("echo of the instruction")
    for wording in concept.wordings if concept is not None else ():
        named = _words(wording)
        if words[: len(named)] == named and len(words) - len(named) < LEAST_WORDS:
            raise Rejected("echo of the concept")


def _contains(words: list[str], piece: list[str]) -> bool:
    return f" {' '.join(piece)} " in f" {' '.join(words)} "


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
