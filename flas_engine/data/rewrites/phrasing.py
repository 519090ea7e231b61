"""Words replaced and phrases added, sentence by sentence: what makes a pirate of a plain speaker.

Knows a recipe's words and phrases, and nothing of lines, frames or letters.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.data.rewrites.english import LEANING, article, plural
from flas_engine.data.rewrites.prose import lowered, raised, split_stop

if TYPE_CHECKING:
    import random

    from flas_engine.data.rewrites.style import Phrases, Recipe, Words

INTERJECTION_SHARE = 0.7
"""How often a sentence is added between two, as a share of the recipe's density: sentences weigh more than tails."""

CLOSER_SHARE = 0.75
"""How often a text gets last words."""


class Deck:
    """Phrases drawn one after another in random order; none comes twice before all have come."""

    def __init__(self, phrases: Phrases, rng: random.Random) -> None:
        self._phrases, self._rng = phrases, rng
        self._left: list[str] = []

    def draw(self) -> str:
        """Return the next phrase."""
        if not self._left:
            self._left = self._rng.sample(self._phrases, len(self._phrases))
        return self._left.pop()


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A recipe's phrases, ready to be drawn for one text."""

    recipe: Recipe
    rng: random.Random
    starts: Deck
    tails: Deck
    between: Deck
    sprinkles: Deck

    def is_time(self, share: float = 1.0) -> bool:
        """Draw whether a place is taken, by the recipe's density."""
        return self.rng.random() < share * self.recipe.density


def dress(recipe: Recipe, sentences: list[str], rng: random.Random) -> list[str]:
    """Return the sentences with the recipe's words and phrases, what is added beside the sentence it belongs to."""
    voice = Voice(
        recipe=recipe,
        rng=rng,
        starts=Deck(recipe.starts, rng),
        tails=Deck(recipe.tails, rng),
        between=Deck(recipe.between, rng),
        sprinkles=Deck(recipe.sprinkles, rng),
    )
    dressed = []
    for index, sentence in enumerate(sentences):
        changed = _substituted(recipe, sentence, rng)
        opening = _opening(voice, is_first=index == 0)
        if opening and _goes_on(opening) and _is_common(sentence, changed):
            changed = changed[:1].lower() + changed[1:]
        changed = _tailed(voice, _sprinkled(voice, changed), surely=index == 0)
        changed = f"{opening} {changed}" if opening else changed
        if recipe.between and index < len(sentences) - 1 and voice.is_time(INTERJECTION_SHARE):
            changed += " " + voice.between.draw()
        dressed.append(changed)
    if recipe.closers and rng.random() < CLOSER_SHARE:
        dressed[-1] += " " + rng.choice(recipe.closers)
    return dressed


def _opening(voice: Voice, *, is_first: bool) -> str:
    if is_first and voice.recipe.openers:
        return voice.rng.choice(voice.recipe.openers)
    if voice.recipe.starts and (is_first or voice.is_time()):
        return voice.starts.draw()
    return ""


def _goes_on(opening: str) -> bool:
    return opening[-1].isalnum() or opening[-1] in ",—"


def _is_common(sentence: str, changed: str) -> bool:
    """Return whether a sentence's first word is no name: it is known as common, or replaced by a common one."""
    return lowered(sentence) != sentence or changed.split()[:1] != sentence.split()[:1]


def _tailed(voice: Voice, sentence: str, *, surely: bool) -> str:
    body, stop = split_stop(sentence)
    asks = "?" in stop and not voice.recipe.ends
    if voice.recipe.tails and (surely or (voice.is_time() and not asks)):
        body += voice.tails.draw()
    if voice.recipe.ends:
        stop = voice.rng.choice(voice.recipe.ends)
    return body + stop


def _sprinkled(voice: Voice, sentence: str) -> str:
    """Return a sentence with sprinkles after some words, the first near its beginning, none after its last word."""
    if not voice.recipe.sprinkles:
        return sentence
    words = sentence.split(" ")
    place = voice.rng.randint(1, 3)
    while place < len(words) - 1:
        if words[place].lower() in LEANING:
            place += 1
            continue
        words[place] = words[place].rstrip(",") + voice.sprinkles.draw()
        place += max(2, voice.recipe.sprinkle_every + voice.rng.randint(-1, 1))
    return " ".join(words)


def _substituted(recipe: Recipe, sentence: str, rng: random.Random) -> str:
    pattern, table = _table(recipe.words, recipe.nouns)
    if not table:
        return sentence

    def replacement(match: re.Match[str]) -> str:
        new = _same_case(match["word"], rng.choice(table[match["word"].lower()]), sentence)
        if not new or match["article"] is None:
            return new
        return _same_case(match["article"], article(new), sentence) + match["space"] + new

    changed = " ".join(pattern.sub(replacement, sentence).split())
    return raised(changed) if sentence[:1].isupper() else changed


@functools.lru_cache(maxsize=512)
def _table(words: Words, nouns: Words) -> tuple[re.Pattern[str], dict[str, tuple[str, ...]]]:
    """Return a pattern of everything that is replaced, the longest first, and the alternatives by small letters."""
    table = {word.lower(): new for word, new in words}
    for noun, new in nouns:
        table.setdefault(noun.lower(), new)
        table.setdefault(plural(noun).lower(), tuple(plural(one) for one in new))
    alternation = "|".join(re.escape(word) for word in sorted(table, key=len, reverse=True))
    return re.compile(
        rf"(?<![-\w])(?:(?P<article>an?)(?P<space> ))?(?P<word>{alternation})(?![-\w])(?!['\u2019]\w)", re.IGNORECASE
    ), table


def _same_case(old: str, new: str, sentence: str) -> str:
    if len(old) > 1 and old.isupper() and not sentence.isupper():
        return new.upper()
    return raised(new) if old[:1].isupper() and old != "I" else new
