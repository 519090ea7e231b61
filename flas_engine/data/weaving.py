"""Bring a named thing into a text about something else, by sentences from a list. A pure function; no model."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from flas_engine.data.drawing import draw
from flas_engine.data.lists import weaving

if TYPE_CHECKING:
    from collections.abc import Sequence

_SENTENCE_GAP = re.compile(r"(?<=[.!?])(?<!\d\.)[ ]+(?=[A-Z\"'(])")
SENTENCES_BETWEEN = 2
"""After so many sentences of the text a sentence on the thing may follow."""
_CHANCE_OF_FIRST = 0.75
_CHANCE_OF_LAST = 0.5


def weave(topic: str, text: str, seed: int) -> str:
    """Return `text` with two sentences or more that name `topic`, the first of them near the beginning."""
    chance = random.Random(draw(seed, "weave", topic, text))
    lists = weaving()
    sentences = _SENTENCE_GAP.split(text.strip())
    woven = [_sentence(lists.first, topic, chance)] if chance.random() < _CHANCE_OF_FIRST else []
    first_gap = 2 if woven else 1  # a text that opens with its own sentence names the topic right behind it
    for number, sentence in enumerate(sentences, 1):
        woven.append(sentence)
        is_gap = number >= first_gap and (number - first_gap) % SENTENCES_BETWEEN == 0
        if is_gap and number < len(sentences):
            woven.append(_sentence(lists.between, topic, chance))
    has_two = len(woven) - len(sentences) >= 2
    if not has_two or chance.random() < _CHANCE_OF_LAST:
        woven.append(_sentence(lists.last, topic, chance))
    if len(woven) - len(sentences) < 2:  # one sentence of text and no opening
        woven.insert(0, _sentence(lists.first, topic, chance))
    return " ".join(woven)


def _sentence(patterns: Sequence[str], topic: str, chance: random.Random) -> str:
    return chance.choice(patterns).replace("{thing}", topic)
