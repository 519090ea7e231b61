"""What rows are made for: concepts, with their wordings and with how a text shows that it has one.

Knows nothing of prompts, models and rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from flas_engine.data.drawing import shuffled
from flas_engine.data.lists import Theme, read_lines, themes, topics
from flas_engine.data.rows import name_concept
from flas_engine.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

EVERYTHING = "all"
LEAST_THEME_WORDS = 2
"""So many of a theme's words must be in a text that shows the theme."""
_SEPARATOR = "|"
_TOPIC_WORDINGS = (
    "talk about {}",
    "{}",
    "mentions of {}",
    "references to {}",
    "obsessed with {}",
    "terms related to {}",
    "bring up {}",
    "mentions {}",
    "keeps coming back to {}",
    "text about {}",
    "weave in {}",
    "always thinking of {}",
)
_THEME_WORDINGS = ("{}", "references to {}", "mentions of {}", "text about {}", "words and phrases on {}")


@dataclass(frozen=True, kw_only=True)
class Concept:
    """Something to steer towards."""

    concept_id: str
    wordings: tuple[str, ...]
    """As users would type it; the first one is the plainest."""
    group: str = ""
    topic: str = ""
    """The thing to be named, when that is what the concept is about."""
    words: tuple[str, ...] = ()
    """Words of a theme; a text that shows it has `LEAST_THEME_WORDS` of them."""


def concept_of_text(line: str) -> Concept:
    """Make a concept of a user's line: a wording, or several of one concept parted by `|`."""
    wordings = tuple(dict.fromkeys(wording.strip() for wording in line.split(_SEPARATOR) if wording.strip()))
    if not wordings:
        raise DataError(f"the concept {line!r} is empty; describe it in plain words, for example 'talk like a pirate'")
    return Concept(concept_id=name_concept(wordings[0]), wordings=wordings)


def concept_of_topic(topic: str) -> Concept:
    """Make the concept of naming `topic`."""
    wordings = tuple(pattern.format(topic) for pattern in _TOPIC_WORDINGS)
    return Concept(concept_id=f"noun:{name_concept(topic)}", wordings=wordings, group="noun", topic=topic)


def concept_of_theme(theme: Theme) -> Concept:
    """Make the concept of writing on `theme`."""
    wordings = tuple(pattern.format(theme.text) for pattern in _THEME_WORDINGS)
    return Concept(
        concept_id=f"theme:{name_concept(theme.text)}", wordings=wordings, group="axbench", words=theme.words
    )


def read_concepts(source: Path | str) -> list[Concept]:
    """Read concepts from a file, one a line; `all` is the bundled list of themes."""
    if str(source) == EVERYTHING:
        return [concept_of_theme(theme) for theme in themes()]
    return [concept_of_text(line) for line in read_lines(Path(source))]


def read_topics(source: str, seed: int) -> list[Concept]:
    """Read topics from a file, one a line; `all` is the bundled list, a number that many of it by `seed`."""
    if source == EVERYTHING:
        names = list(topics())
    elif source.isdecimal():
        names = shuffled(topics(), seed, "topics")[: int(source)]
    else:
        names = read_lines(Path(source))
    return [concept_of_topic(name) for name in names]


def require_distinct(concepts: Iterable[Concept]) -> list[Concept]:
    """Return the concepts, each once; raises `DataError` when there are none."""
    distinct = list({concept.concept_id: concept for concept in concepts}.values())
    if not distinct:
        raise DataError("there are no concepts to make rows for; give --concept, --concepts, --topics or --rewrite")
    return distinct


def shows_concept(concept: Concept, text: str) -> bool:
    """Whether `text` names the concept's topic, or has enough of its theme's words; True when neither is known."""
    if concept.topic:
        return _topic_pattern(concept.topic).search(text) is not None
    needed = min(LEAST_THEME_WORDS, len(concept.words))
    return sum(_word_pattern(word).search(text) is not None for word in concept.words) >= needed


@cache
def _topic_pattern(topic: str) -> re.Pattern[str]:
    """Match a topic in the plural as well as in the singular: 'matches' and 'match', 'wolves' and 'wolf'."""
    name = topic.casefold().removeprefix("the ")
    forms = {name}
    if name.endswith("s") and not name.endswith("ss"):
        forms |= {name[:-1]}
        if name.endswith("es"):
            forms |= {name[:-2]}
        if name.endswith("ies"):
            forms |= {name[:-3] + "y"}
        if name.endswith("ves"):
            forms |= {name[:-3] + "f", name[:-3] + "fe"}
    alternatives = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)


@cache
def _word_pattern(word: str) -> re.Pattern[str]:
    """Match a word and what begins with it: 'patien' is 'patience' and 'patiently'."""
    start = r"(?<!\w)" if word[0].isalnum() else ""
    return re.compile(start + re.escape(word), re.IGNORECASE)
