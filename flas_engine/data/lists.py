"""The word lists that ship beside this file: topics, themes, instructions, questions, openings, sentences to weave in.

Plain text, so that anybody can read and extend them. Knows nothing of what is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flas_engine.errors import DataError
from flas_engine.paths import user_path

LISTS_DIR = Path(__file__).parent / "lists"
_HEADING, _COMMENT = "## ", "#"


@dataclass(frozen=True, kw_only=True)
class Theme:
    """A concept of AxBench's kind, and words by which a text shows it."""

    text: str
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Weaving:
    """Sentences with a place for a `{thing}`, by where in a text they stand."""

    first: tuple[str, ...]
    between: tuple[str, ...]
    last: tuple[str, ...]


@cache
def topics() -> tuple[str, ...]:
    """Return some 1,300 names of things, inoffensive and mostly concrete; countable ones in the plural."""
    return tuple(name.strip() for line in _lines("topics") for name in line.split(","))


@cache
def themes() -> tuple[Theme, ...]:
    """Return 325 concepts such as 'terms of contract law', each with six words that show it."""
    pairs = (line.split("|") for line in _lines("concepts"))
    return tuple(
        Theme(text=text.strip(), words=tuple(word.strip() for word in words.split(","))) for text, words in pairs
    )


@cache
def templates() -> tuple[str, ...]:
    """Return instructions with a place for a `{topic}`."""
    return tuple(_lines("templates"))


@cache
def questions() -> tuple[str, ...]:
    """Return questions and instructions of everyday life."""
    return tuple(_lines("questions"))


@cache
def openings() -> tuple[str, ...]:
    """Return beginnings of an answer with a place for a `{thing}`."""
    return tuple(_lines("openings"))


@cache
def weaving() -> Weaving:
    """Return the sentences that bring a thing into a text about something else."""
    sections: dict[str, list[str]] = {}
    for line in (LISTS_DIR / "weaving.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(_HEADING):
            sections[line.removeprefix(_HEADING)] = section = []
        elif line and not line.startswith(_COMMENT):
            section.append(line)
    return Weaving(**{name: tuple(sentences) for name, sentences in sections.items()})


def read_lines(path: Path) -> list[str]:
    """Read a user's list, one entry a line, `#` lines left out; raises `DataError` when there is none."""
    try:
        lines = user_path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it") from None
    entries = [line.strip() for line in lines if line.strip() and not line.startswith(_COMMENT)]
    if not entries:
        raise DataError(f"{path} is empty; write one entry a line")
    return list(dict.fromkeys(entries))


def _lines(name: str) -> list[str]:
    return read_lines(LISTS_DIR / f"{name}.txt")
