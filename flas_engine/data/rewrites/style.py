"""What a style is, and the reading of all styles from the tables beside this file.

A recipe says what is done, marks say how the result is recognised; this module knows neither how a recipe is carried
out (`rewriting`) nor how marks are looked for (`marks`).
"""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from flas_engine.data.rewrites.kinds import filled

FAMILIES = ("typography", "format", "punctuation", "lexicon", "nature", "trades", "tone", "frame", "habit", "phrases")
"""One table (`<family>.toml`) each, in the order in which `styles` lists them."""

Phrases = tuple[str, ...]
Words = tuple[tuple[str, Phrases], ...]
"""What is replaced, and by which alternatives."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is done to a text, in the order of the fields; an empty field does nothing."""

    min_sentences: int = 1
    """Shorter texts do not suit: a list of one item is none."""
    words: Words = ()
    """Words and phrases replaced wherever they occur, their case kept."""
    nouns: Words = ()
    """The same for nouns, given in the singular; the plurals follow."""
    sprinkles: Phrases = ()
    """Set after words within sentences."""
    sprinkle_every: int = 7
    """Words from one sprinkle to the next."""
    openers: Phrases = ()
    """Set before the first sentence. A phrase that ends without a stop lowers the sentence's first letter."""
    starts: Phrases = ()
    """Set before later sentences, and before the first where there are no openers."""
    tails: Phrases = ()
    """Set before a sentence's stop."""
    between: Phrases = ()
    """Sentences set after sentences that are not the last."""
    closers: Phrases = ()
    """Sentences set after the last."""
    density: float = 0.6
    """The share of the places for starts, tails and sentences between that are taken; the first always is."""
    ends: Phrases = ()
    """Replace the stop at a sentence's end."""
    layout: str = ""
    """The name of a function of `layouts` that sets the sentences."""
    lines: Phrases = ()
    """Templates for the sentences in turn, where there is no layout; `templates` lists what they may name."""
    joint: str = " "
    """Stands between sentences."""
    head: Phrases = ()
    """Templates of what stands before everything."""
    foot: Phrases = ()
    """Templates of what stands after everything."""
    letters: str = ""
    """The name of a function of `letters` that everything passes through last."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """How a text is seen to show a style: enough hits, in enough of the text's units, and nothing that forbids it."""

    patterns: tuple[re.Pattern[str], ...]
    unit: Literal["hit", "word", "sentence", "line"] = "hit"
    """What is counted: every match in the text, or the units in which a pattern is found."""
    needs: int = 2
    """How many hits or units there must be at least."""
    share: float = 0.0
    """Which part of all units at least."""
    forbids: re.Pattern[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Style:
    """A way of writing: its key, what users would call it (several wordings of one concept), its marks and recipe."""

    key: str
    family: str
    wordings: tuple[str, ...]
    marks: Marks
    recipe: Recipe = field(repr=False)


@functools.cache
def styles() -> tuple[Style, ...]:
    """Return all styles, family by family, in the order of their tables; keys and wordings are unique."""
    found = []
    for family in FAMILIES:
        table = tomllib.loads((resources.files(__package__) / f"{family}.toml").read_text(encoding="utf-8"))
        found += [_style(*named, family) for key, entry in table.items() for named in filled(key, entry)]
    return tuple(found)


def _style(key: str, entry: dict[str, Any], family: str) -> Style:
    wordings = tuple(entry.pop("wordings"))
    marks = _marks(entry.pop("marks"))
    return Style(key=key, family=family, wordings=wordings, marks=marks, recipe=_recipe(entry))


def _recipe(entry: dict[str, Any]) -> Recipe:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    for name in ("words", "nouns"):
        if name in values:
            values[name] = tuple((word, _alternatives(value)) for word, value in values[name].items())
    return Recipe(**values)


def _alternatives(value: str | list[str]) -> Phrases:
    return (value,) if isinstance(value, str) else tuple(value)


def _marks(entry: dict[str, Any]) -> Marks:
    """Compile an entry's marks: `words` is an alternation of whole words in any case, `patterns` are as they stand."""
    patterns = [re.compile(pattern, re.MULTILINE) for pattern in entry.pop("patterns", ())]
    if "words" in entry:
        patterns.append(re.compile(rf"(?<!\w)(?:{entry.pop('words')})(?!\w)", re.IGNORECASE))
    if "forbids" in entry:
        entry["forbids"] = re.compile(entry["forbids"], re.MULTILINE)
    return Marks(patterns=tuple(patterns), **entry)
