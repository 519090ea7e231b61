"""What lines, heads and feet of a style may name in braces, filled in for one text.

For a line: {s} the sentence, {low} the same going on in small letters, {body} without its stop, {on} that going on
after the first line, {last} and {Last} its last word, {n} {left} {roman} {letter} {count} {ordinal} its number in
several spellings, {time} a clock that goes on from line to line. Everywhere: {topic}, {Topic} and {TOPIC} what the text
is about, {title} its first words, {date}, {name} and {signer}, {number}, {year} and {code}, drawn once for a text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flas_engine.data.rewrites.english import topic
from flas_engine.data.rewrites.prose import lowered, split_stop

if TYPE_CHECKING:
    import random

NUM_NAMED = 12
"""How many lines have a spelled number; the number itself stands for later ones."""


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_COUNTS = _listed("one two three four five six seven eight nine ten eleven twelve")
_ORDINALS = _listed("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")
_ROMANS = _listed("I II III IV V VI VII VIII IX X XI XII")
_MONTHS = _listed("January February March April May June July August September October November December")
_NAMES = _listed("Anna Ben Clara David Emma Felix Grace Henry Irene Jack Laura Martin Nora Oscar Paula Simon")
_TITLE_WORDS = 5
_MINUTES_A_DAY = 24 * 60


def general_fields(text: str, rng: random.Random) -> dict[str, str]:
    """Return the fields that hold for a whole text."""
    about = topic(text)
    name, signer = rng.sample(_NAMES, 2)
    return {
        "topic": about,
        "Topic": about.capitalize(),
        "TOPIC": about.upper(),
        "title": title(text),
        "date": f"{rng.choice(_MONTHS)} {rng.randint(1, 28)}",
        "name": name,
        "signer": signer,
        "number": str(rng.randint(2, 99)),
        "year": str(rng.randint(1890, 2020)),
        "code": f"{rng.randint(100, 999)}",
        "minute": str(rng.randint(0, _MINUTES_A_DAY - 1)),
    }


def line_fields(general: dict[str, str], sentence: str, index: int, total: int) -> dict[str, str]:
    """Return the general fields and those of one sentence, `index` counted from 0."""
    body, _ = split_stop(sentence)
    words = re.findall(r"[A-Za-z'\u2019]+", body)
    last = words[-1].lower() if words else ""
    minute = (int(general["minute"]) + 3 * index) % _MINUTES_A_DAY
    return general | {
        "s": sentence,
        "low": lowered(sentence),
        "body": body,
        "on": lowered(body) if index else body,
        "last": last,
        "Last": last.capitalize(),
        "n": str(index + 1),
        "left": str(total - index),
        "roman": _named(_ROMANS, index),
        "letter": "abcdefghijkl"[min(index, NUM_NAMED - 1)],
        "count": _named(_COUNTS, index),
        "Count": _named(_COUNTS, index).capitalize(),
        "ordinal": _named(_ORDINALS, index),
        "Ordinal": _named(_ORDINALS, index).capitalize(),
        "time": f"{minute // 60:02}:{minute % 60:02}",
    }


def title(text: str) -> str:
    """Return a text's first words as a heading, cut where a phrase ends."""
    words = re.findall(r"[\w'\u2019-]+", text)[:_TITLE_WORDS]
    while len(words) > 2 and (len(words[-1]) < 4 or words[-1].lower() in ("with", "from", "that", "their", "such")):
        words.pop()
    return " ".join(word[:1].upper() + word[1:] for word in words)


def _named(names: tuple[str, ...], index: int) -> str:
    return names[index] if index < NUM_NAMED else str(index + 1)
