"""What the rewrites know of English words: which lean, which carry meaning, articles, plurals, a text's topic.

Plain rules and short lists, good enough for short answers in plain language; knows nothing of sentences or styles.
"""

from __future__ import annotations

import collections
import re


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_FUNCTION_WORDS = _listed(
    """a an the this that these those it its they their them there here he his him she her we our us you your yours my
    in on at by for from of to with without within under over after before during between among about as into through
    and or but so yet nor if when while where because since although though unless until once whether
    is are was were be been being do does did have has had can could will would shall should may might must not no
    some many most much more few several all any each every both either neither another other such one two three
    first second third finally next then also however therefore moreover additionally furthermore overall instead
    what which who whom whose why how yes please let try make take use start begin keep remember avoid add choose
    only just even still now today tomorrow yesterday sometimes often always never usually perhaps maybe almost
    around along across against above below behind beside beyond inside outside near far off out up down until like
    unlike despite given based according depending due apart rather whatever whenever wherever whoever someone somebody
    something everyone everybody everything anyone anybody anything nobody nothing half part later soon than very"""
)
_FREQUENT_WORDS = _listed(
    """people things thing used using help helps makes made different important well good better best know known need
    needs called include includes including provide provides typically generally example examples time times years
    year long large small high simple common various process famous popular world means become becomes again early
    being work works great big little short low new old main kind kinds type types number lots wrong
    right hard easy true false clear sure able likely real once away without within"""
)
_COMMON_WORDS = _listed(
    """ask answer analyze bake breathe build buy call check clean close compare connect consider cook cover create cut
    discuss drink drive eat encourage ensure enjoy establish explain explore feed fill find focus follow get give go
    grind grow heat hold identify improve include increase invest invite join know learn leave limit listen look
    maintain measure mix offer open order organize pack pay place plan plant play pour practice prepare press
    provide put read reduce remove repeat research rinse run save seek sell serve set share show sing sit sleep
    speak spend stay stir stop store study support talk teach tell test think touch travel turn understand visit
    wait walk warm wash watch water wear work write hot cold cool fresh dry wet dark bright light heavy strong weak
    hard soft easy difficult complex rare late young modern ancient local public private social human natural
    physical mental digital healthy proper true false real clear quick slow fast deep wide worse regular animals bees
    birds bread books cars cats children cities coffee companies computers countries dogs doctors energy evidence
    exercise experts factors family farmers fire fish flowers food friends fruit fruits games girls boys governments
    happiness health history honey houses information ingredients language life love meat men women methods milk
    mistakes money mountains music nature oceans oil parents plants planets players practice products programs
    readers results rice rivers rocks salt school science scientists services sports stars steps students studies
    success sugar systems tea teachers technology tickets tools training trees users vegetables whales words workers
    eating drinking reading"""
)
LEANING = _listed(
    """a an the of to in on at by for from with and or but if as is are was were be been it its this that these your my
    our their his her than into very too so not no more most because while which who when where some any each every"""
)
"""Words that lean on the next one: nothing is set between the two."""

_VERBAL = re.compile(r"(?:ing|ed|ly)$")
"""Endings of words that seldom name a topic."""
_VOWEL_SOUND = re.compile(
    r"(?!eu|ewe|one\b|once\b|u(?:ni(?![nm])|s[aeu]|ti|bi|fo))[aeiou]|hour|honest|honou?r|heir", re.IGNORECASE
)


def is_common(word: str) -> bool:
    """Return whether a word that begins a sentence would be written small elsewhere; names are not."""
    small = word.lower()
    if small in _FUNCTION_WORDS or small in _FREQUENT_WORDS or small in _COMMON_WORDS:
        return True
    return small.endswith(("ing", "ly")) and len(small) > len("bring")


def carries_meaning(word: str) -> bool:
    """Return whether a word tells what a text is about: four letters or more, and not said in every text."""
    return len(word) >= len("four") and word.lower() not in _FUNCTION_WORDS | _FREQUENT_WORDS


def content_words(sentence: str) -> list[re.Match[str]]:
    """Return where the words stand that carry meaning."""
    return [word for word in re.finditer(r"[A-Za-z]+", sentence) if carries_meaning(word.group())]


def topic(text: str) -> str:
    """Return the word that a text says most often among those that carry meaning; small letters unless it is a name."""
    spellings = [word.group() for word in content_words(text)]
    counts = collections.Counter(word.lower() for word in spellings)
    if not counts:
        return "this"
    word = max(counts, key=lambda word: (not _VERBAL.search(word), counts[word], len(word), word))
    is_name = word not in spellings and re.search(rf"[a-z,] {word.capitalize()}\b", text)
    return word.capitalize() if is_name else word


def article(word: str) -> str:
    """Return the indefinite article that goes before a word, by its sound."""
    return "an" if _VOWEL_SOUND.match(word) else "a"


def plural(noun: str) -> str:
    """Return a regular noun's plural; of a phrase the last word's."""
    if re.search(r"(?:s|x|z|ch|sh)$", noun):
        return noun + "es"
    return noun[:-1] + "ies" if re.search(r"[^aeiou]y$", noun) else noun + "s"
