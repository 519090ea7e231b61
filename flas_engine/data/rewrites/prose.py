"""English prose taken apart: sentences, their stops, their first letters, articles, plurals, a text's topic.

Plain rules for plain text, written for short model answers; knows nothing of styles.
"""

from __future__ import annotations

import collections
import re

MIN_WORDS = 6
MIN_LETTERS = 0.7
"""The share of ASCII letters and spaces below which a text is taken for code, a table or another script."""
_CODE = re.compile(r"```|https?://|</?\w+>|^\s*(?:def|import|class|from) |[{}<>|\\=]", re.MULTILINE)
_LIST_MARK = re.compile(r"^\s*(?:#{1,6}\s+|[-*•+]\s+|\d{1,2}[.)]\s+|>\s+)")
_EMPHASIS = re.compile(r"\*+|_{2,}|`+")
_STOP = re.compile(r"[.!?…:;,]+[\"')\]]*$")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|No|approx)|\b[A-Z]|\b\d{1,2})\.[\"')\]]*$"
)
_TERMINAL = re.compile(r"[.!?…]+[\"')\]]*$")


def listed(words: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(words.split())


LOWERED = listed(
    """a an the this that these those it its they their them there here he his him she her we our us you your yours my
    in on at by for from of to with without within under over after before during between among about as into through
    and or but so yet nor if when while where because since although though unless until once whether
    is are was were be been being do does did have has had can could will would shall should may might must not no
    some many most much more few several all any each every both either neither another other such one two three
    first second third finally next then also however therefore moreover additionally furthermore overall instead
    what which who whom whose why how yes please let try make take use start begin keep remember avoid add choose
    people water food music children students plants animals eating drinking reading regular good great small big large
    little long short high low hot cold warm cool fresh dry wet clean dark bright light heavy strong weak hard soft easy
    difficult simple complex common rare early late young old new modern ancient local public private social human
    natural physical mental digital healthy proper true false real clear quick slow fast deep wide better best worse
    only just even still now today tomorrow yesterday sometimes often always never usually perhaps maybe almost about
    around along across against above below behind beside beyond inside outside near far off out up down until like
    unlike despite given based according depending due apart rather whatever whenever wherever whoever someone somebody
    something everyone everybody everything anyone anybody anything nobody nothing half part later soon once
    bread cats dogs birds bees whales books trees flowers houses cars computers scientists researchers doctors teachers
    farmers workers parents men women boys girls kids friends family love life time money work school language words
    health sleep exercise science art history nature air fire oil salt sugar milk tea coffee rice meat fish fruit fruits
    vegetables honey rocks mountains rivers oceans stars planets energy heat electricity sound colors games sports
    mistakes changes steps results studies experts companies countries cities governments users customers players
    readers writers tickets ingredients examples benefits factors methods tools systems programs products services
    technology education research evidence data information communication practice training success happiness"""
)
"""Words that are written small wherever they do not begin a sentence."""

LEANING = listed(
    """a an the of to in on at by for from with and or but if as is are was were be been it its this that these your my
    our their his her than into very too so not no more most because while which who when where some any each every"""
)
"""Words that lean on the next one: nothing is set between the two."""

_STOPLIST = LOWERED | listed(
    """than them just like very even only often used using used helps help make makes made many different important
    people things thing well good better best such know known need needs called based around important include
    includes including provide provides usually typically generally example first time times years year long large
    small high simple common several various process different important known famous popular between because
    always never world means become becomes against still often every early later also being while these those
    about after again part most work works great could would should which where there their other"""
)
_VOWEL_SOUND = re.compile(
    r"(?:[aeio]|u(?!s[aeiu]|ni(?!n|m)|ti))(?!ne\b)(?!u[rck])|hour|honest|honou?r|heir", re.IGNORECASE
)


def sentences(text: str) -> list[str]:
    """Return a text's sentences in order, without list marks and emphasis; an unfinished last one is left out.

    Empty when the text does not suit: code, too few words, mostly other signs than letters.
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
    return found if sum(len(part.split()) for part in found) >= MIN_WORDS else []


def _closed_lines(text: str) -> list[str]:
    """Return the lines that hold words, each list item and heading closed with a full stop."""
    lines = [_EMPHASIS.sub("", _LIST_MARK.sub("", line)).strip() for line in text.splitlines()]
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
    if first is None or first.group() == "I":
        return sentence
    word = first.group().lower()
    if word in LOWERED or (word.endswith(("ing", "ly")) and len(word) > 5):
        return sentence[0].lower() + sentence[1:]
    return sentence


def raised(sentence: str) -> str:
    """Return a sentence with its first letter as a capital."""
    return sentence[:1].upper() + sentence[1:]


def article(word: str) -> str:
    """Return the indefinite article that goes before a word, by its sound."""
    return "an" if _VOWEL_SOUND.match(word) else "a"


def plural(noun: str) -> str:
    """Return a regular noun's plural; of a phrase the last word's."""
    if re.search(r"(?:s|x|z|ch|sh)$", noun):
        return noun + "es"
    return noun[:-1] + "ies" if re.search(r"[^aeiou]y$", noun) else noun + "s"


def topic(text: str) -> str:
    """Return the word, in small letters, that a text says most often, the stop words aside; the longest of equals."""
    words = re.findall(r"[a-z]{4,}", text.lower())
    counts = collections.Counter(word for word in words if word not in _STOPLIST)
    return max(counts, key=lambda word: (counts[word], len(word), word)) if counts else "this"


def content_words(sentence: str) -> list[re.Match[str]]:
    """Return where the words stand that carry meaning: four letters or more, no stop words."""
    return [word for word in re.finditer(r"[A-Za-z]{4,}", sentence) if word.group().lower() not in _STOPLIST]
