"""The letters of a whole text changed: case, spacing, digits for letters. What is said stays.

Every function takes a text and returns one; knows nothing of sentences or styles.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from flas_engine.data.rewrites.english import content_words

if TYPE_CHECKING:
    from collections.abc import Callable

_CUTE = str.maketrans("rlRL", "wwWW")
_LEET = str.maketrans("aeiostAEIOST", "431057431057")


def _title(text: str) -> str:
    return re.sub(r"[A-Za-z][A-Za-z'\u2019]*", lambda word: word.group()[0].upper() + word.group()[1:], text)


def _bare_lower(text: str) -> str:
    return re.sub(r"[^\w\s]", "", re.sub(r"[-\u2013\u2014/]", " ", text)).lower()


def _alternating(text: str) -> str:
    turn = itertools.count()
    return "".join((c.upper() if next(turn) % 2 else c.lower()) if c.isalpha() else c for c in text)


def _spaced(text: str) -> str:
    return "   ".join(" ".join(word) for word in text.split())


def _joined_by(sign: str) -> Callable[[str], str]:
    return lambda text: sign.join(re.sub(r"[^\w\s.'\u2019]", "", re.sub(r"[-\u2013\u2014/]", " ", text)).split())


def _camel(text: str) -> str:
    def one(word: str) -> str:
        return word[:1].upper() + word[1:]

    sentences = re.findall(r"[^.!?]+[.!?]*", re.sub(r"[^\w\s.!?]", "", re.sub(r"[-\u2013\u2014/]", " ", text)))
    return " ".join("".join(map(one, sentence.split())) for sentence in sentences)


def _every_other_word(text: str) -> str:
    words = text.split(" ")
    return " ".join(word.upper() if index % 2 == 0 else word.lower() for index, word in enumerate(words))


def _last_letters(text: str) -> str:
    return re.sub(r"[A-Za-z]{2,}", lambda word: word.group()[:-1].lower() + word.group()[-1].upper(), text)


def _big_vowels(text: str) -> str:
    return re.sub(r"[aeiou]", lambda vowel: vowel.group().upper(), text.lower())


def _stretched(text: str) -> str:
    """Return a text in which content words, and one word in three at least, have their first vowel drawn out."""
    words = text.split(" ")
    for index, word in enumerate(words):
        if index % 3 == 0 or content_words(word):
            words[index] = re.sub(r"([aeiou])(?![aeiou])", r"\1\1\1\1", word, count=1)
    return " ".join(words)


def _without_vowels(text: str) -> str:
    """Return a text whose words keep their first letter and lose the vowels after it."""
    return re.sub(r"(?<=[A-Za-z])[aeiou]", "", text)


def _around_words(left: str, right: str, *, every: int = 1) -> Callable[[str], str]:
    """Return a function that sets signs around every n-th content word, the first included."""

    def wrap(text: str) -> str:
        found = [word for word in content_words(text) if text[: word.start()][-1:] != left[-1:]][::every]
        for word in reversed(found):
            text = f"{text[: word.start()]}{left}{word.group()}{right}{text[word.end() :]}"
        return text

    return wrap


def _hissing(text: str) -> str:
    return re.sub(r"([sS])\1?", lambda s: s.group(1) + "sss", text)


def _loud_words(text: str) -> str:
    for word in content_words(text)[::2]:
        text = text[: word.start()] + word.group().upper() + text[word.end() :]
    return text


LETTERS: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "small": str.lower,
    "bare_small": _bare_lower,
    "title": _title,
    "alternating": _alternating,
    "spaced": _spaced,
    "hyphens": _joined_by("-"),
    "underscores": _joined_by("_"),
    "dots": _joined_by("."),
    "slashes": _joined_by("/"),
    "plus": _joined_by("+"),
    "camel": _camel,
    "every_other_word": _every_other_word,
    "last_letters": _last_letters,
    "big_vowels": _big_vowels,
    "stretched": _stretched,
    "without_vowels": _without_vowels,
    "leet": lambda text: text.translate(_LEET),
    "hissing": _hissing,
    "cute": lambda text: text.translate(_CUTE),
    "loud_words": _loud_words,
    "bold_words": _around_words("**", "**", every=2),
    "italic_words": _around_words("*", "*", every=2),
    "underlined_words": _around_words("_", "_", every=2),
    "struck_words": _around_words("~~", "~~", every=2),
    "code_words": _around_words("`", "`", every=2),
    "quoted_words": _around_words('"', '"', every=2),
    "link_words": _around_words("[[", "]]", every=2),
    "bracketed_words": _around_words("[", "]", every=2),
    "hashtag_words": _around_words("#", "", every=2),
    "starred_words": _around_words("★", "★", every=2),
    "piped_words": lambda text: " | ".join(text.split()),
}
