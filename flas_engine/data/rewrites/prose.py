"""English prose taken apart: sentences, their stops, their first letters.

Plain rules for plain text, written for short model answers; knows nothing of styles.
"""

from __future__ import annotations

import re

from flas_engine.data.rewrites.english import is_common

MIN_WORDS = 6
MIN_SENTENCE_WORDS = 4.5
"""Mean length below which a text is taken for a list of scraps."""
MIN_LETTERS = 0.7
"""The share of ASCII letters and spaces below which a text is taken for code, a table or another script."""
_CODE = re.compile(r"```|https?://|</?\w+>|^\s*(?:def|import|class|from) |[{}<>|\\=\[\]]", re.MULTILINE)
_LIST_MARK = re.compile(r"^\s*(?:#{1,6}\s+|[-*•+]\s+|\d{1,2}[.)]\s*(?=[A-Z])|>\s+)")
_STRONG = re.compile(r"\*{2,}|_{2,}|`+")
_EMPHASIS = re.compile(r"\*")
_STOP = re.compile(r"[.!?…:;,]+[\"')\]]*$")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|No|approx)|\b[A-Z]|\b\d{1,2})\.[\"')\]]*$"
)
_TERMINAL = re.compile(r"[.!?…]+[\"')\]]*$")


def sentences(text: str) -> list[str]:
    """Return a text's sentences in order, without list marks and emphasis; an unfinished last one is left out.

    Empty when the text does not suit: code, scraps, gaps to fill in, mostly other signs than letters.
    """
    if _CODE.search(text) or len(text.split()) < MIN_WORDS:
        return []
    plain = sum(character == " " or (character.isascii() and character.isalpha()) for character in text)
    if plain < MIN_LETTERS * len(text):
        return []
    found = _split(" ".join(_closed_lines(text)))
    if len(found) > 1 and not _TERMINAL.search(found[-1]):
        found.pop()
    found = [part if _TERMINAL.search(part) else part.rstrip(" ,;:") + "." for part in found]
    num_words = sum(len(part.split()) for part in found)
    return found if num_words >= max(MIN_WORDS, MIN_SENTENCE_WORDS * len(found)) else []


def _closed_lines(text: str) -> list[str]:
    """Return the lines that hold words, each list item and heading closed with a full stop."""
    lines = [_EMPHASIS.sub("", _LIST_MARK.sub("", _STRONG.sub("", line))).strip() for line in text.splitlines()]
    lines = [" ".join(line.split()) for line in lines if re.search(r"[A-Za-z]", line)]
    closed = [re.sub(r"[:;,]$", ".", line) if _STOP.search(line) else line + "." for line in lines[:-1]]
    return closed + lines[-1:]


def _split(text: str) -> list[str]:
    parts, begin = [], 0
    for boundary in _SENTENCE_END.finditer(text):
        part = text[begin : boundary.end()].strip()
        if not _ABBREVIATION.search(part):
            parts.append(part)
            begin = boundary.end()
    rest = text[begin:].strip()
    return [*parts, rest] if rest else parts


def split_stop(sentence: str) -> tuple[str, str]:
    """Return a sentence without its final stop, and the stop with the quotes and brackets after it."""
    stop = _TERMINAL.search(sentence)
    return (sentence[: stop.start()], stop.group()) if stop else (sentence, "")


def lowered(sentence: str) -> str:
    """Return a sentence that goes on after other words: its first letter small unless it may be a name's."""
    first = re.match(r"[A-Za-z]+(?=[ ,])", sentence)
    if first is None or first.group() == "I" or not is_common(first.group()):
        return sentence
    return sentence[0].lower() + sentence[1:]


def raised(sentence: str) -> str:
    """Return a sentence with its first letter as a capital."""
    return sentence[:1].upper() + sentence[1:]
