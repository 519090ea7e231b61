"""Sentences set as verse, as JSON, HTML, YAML or CSV, and in the other forms that a line template cannot say.

Every function takes sentences, the fields of the text (`templates`) and a random source, and returns the text; what
claims to be JSON, YAML, XML, HTML or CSV parses as such.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from typing import TYPE_CHECKING

from flas_engine.data.rewrites.english import LEANING, content_words
from flas_engine.data.rewrites.prose import lowered, raised, split_stop

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    Layout = Callable[[list[str], dict[str, str], random.Random], str]

_CLAUSE = re.compile(r"(?:, (?:and|but|so|which|or|while|although) |; |: |, )")
_PREDICATE = re.compile(
    r"(?P<who>(?!If |When |Then |While |I )[^,;:]{2,60}?)"
    r" (?P<verb>is|are|was|were|can|should|must|will|may|could|has|have)"
    r" (?P<what>[^,;:]+)(?P<rest>(?:, (?:and|but|so|because|which) .*)?)"
)
MIN_CLAUSE_WORDS = 3
MAX_CLAUSE_WORDS = 7


def _json_object(sentences: list[str], fields: dict[str, str], rng: random.Random) -> str:
    first, rest = rng.choice([("answer", "details"), ("summary", "points"), ("response", "notes"), ("text", "more")])
    value: dict[str, object] = {"topic": fields["topic"], first: sentences[0]}
    if sentences[1:]:
        value[rest] = sentences[1:]
    return json.dumps(value, indent=2, ensure_ascii=False)


def _json_lines(sentences: list[str], _: dict[str, str], __: random.Random) -> str:
    return "\n".join(
        json.dumps({"id": number, "text": sentence}, ensure_ascii=False) for number, sentence in enumerate(sentences, 1)
    )


def _yaml(sentences: list[str], fields: dict[str, str], rng: random.Random) -> str:
    first, rest = rng.choice([("answer", "details"), ("summary", "points"), ("text", "notes")])
    head = [f"topic: {fields['topic']}", f"{first}: {json.dumps(sentences[0], ensure_ascii=False)}"]
    items = [f"  - {json.dumps(sentence, ensure_ascii=False)}" for sentence in sentences[1:]]
    return "\n".join(head + ([f"{rest}:", *items] if items else []))


def _xml(sentences: list[str], fields: dict[str, str], _: random.Random) -> str:
    items = [f"  <point>{html.escape(sentence, quote=False)}</point>" for sentence in sentences]
    return "\n".join(["<answer>", f"  <topic>{fields['topic']}</topic>", *items, "</answer>"])


def _html(sentences: list[str], fields: dict[str, str], rng: random.Random) -> str:
    safe = [html.escape(sentence, quote=False) for sentence in sentences]
    if rng.random() < 0.5:
        body = [f"<p>{sentence}</p>" for sentence in safe]
    else:
        body = ["<ul>", *(f"<li>{sentence}</li>" for sentence in safe), "</ul>"]
    return "\n".join(["<html>", f"<h1>{fields['Topic']}</h1>", *body, "</html>"])


def _csv(sentences: list[str], fields: dict[str, str], _: random.Random) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["number", "topic", "text"])
    writer.writerows([number, fields["topic"], sentence] for number, sentence in enumerate(sentences, 1))
    return table.getvalue().rstrip("\n")


def _print_statements(sentences: list[str], _: dict[str, str], __: random.Random) -> str:
    return "\n".join(f"print({json.dumps(sentence, ensure_ascii=False)})" for sentence in sentences)


def _sql(sentences: list[str], fields: dict[str, str], _: random.Random) -> str:
    safe = [sentence.replace("'", "''") for sentence in sentences]
    return "\n".join(f"INSERT INTO {fields['topic']} VALUES ({n}, '{one}');" for n, one in enumerate(safe, 1))


def _markdown_table(sentences: list[str], fields: dict[str, str], _: random.Random) -> str:
    rows = [f"| {number} | {split_stop(sentence)[0]} |" for number, sentence in enumerate(sentences, 1)]
    return "\n".join([f"| No. | {fields['Topic']} |", "| --- | --- |", *rows])


def _headings(sentences: list[str], fields: dict[str, str], rng: random.Random) -> str:
    names = ["Details", "More", "In practice", "Notes", "Further points", "Summary"]
    parts = [f"# {fields['Topic']}\n\n{sentences[0]}"]
    pairs = [" ".join(sentences[start : start + 2]) for start in range(1, len(sentences), 2)]
    parts += [f"## {names[index % len(names)]}\n\n{pair}" for index, pair in enumerate(pairs)]
    if not pairs:
        parts[0] = f"# {fields['Topic']}\n\n## {rng.choice(['Answer', 'Overview'])}\n\n{sentences[0]}"
    return "\n\n".join(parts)


def _definitions(sentences: list[str], _: dict[str, str], __: random.Random) -> str:
    lines, used = [], set()
    for sentence in sentences:
        words = [word.group() for word in content_words(sentence)] or sentence.split()
        fresh = [word for word in words if word.lower() not in used] or words
        term = max(fresh[:4], key=len).capitalize()
        used.add(term.lower())
        lines.append(f"{term}: {sentence}")
    return "\n".join(lines)


def _footnotes(sentences: list[str], fields: dict[str, str], rng: random.Random) -> str:
    sources = ["see any good handbook", "as is widely known", "compare the chapter on {topic}", "author's own notes"]
    marked = [f"{split_stop(sentence)[0]}[{n}]{split_stop(sentence)[1]}" for n, sentence in enumerate(sentences, 1)]
    notes = [f"[{n}] {raised(rng.choice(sources)).format_map(fields)}." for n in range(1, min(len(sentences), 3) + 1)]
    return " ".join(marked) + "\n\n" + "\n".join(notes)


def _verse(sentences: list[str], _: dict[str, str], rng: random.Random) -> str:
    """Lines of four to six words, in stanzas of four."""
    return "\n\n".join("\n".join(stanza) for stanza in _stanzas(_broken(sentences, (4, 5, 6), rng), 4))


def _haiku(sentences: list[str], _: dict[str, str], rng: random.Random) -> str:
    """Very short lines in threes, which is what readers take for haiku."""
    lines = _broken(sentences, (3, 4, 3), rng)
    return "\n\n".join("\n".join(stanza) for stanza in _stanzas(lines, 3))


def _couplets(sentences: list[str], _: dict[str, str], rng: random.Random) -> str:
    """Lines in twos, every line begun with a capital."""
    lines = [raised(line) for line in _broken(sentences, (6, 7, 6, 7), rng)]
    return "\n\n".join("\n".join(stanza) for stanza in _stanzas(lines, 2))


def _word_column(sentences: list[str], _: dict[str, str], __: random.Random) -> str:
    return "\n".join(" ".join(sentences).split())


def _reversed_order(sentences: list[str], _: dict[str, str], __: random.Random) -> str:
    words = [" ".join(reversed(split_stop(sentence)[0].replace(",", "").split())) + "." for sentence in sentences]
    return " ".join(raised(sentence.lower()) for sentence in words)


def _short_sentences(sentences: list[str], _: dict[str, str], __: random.Random) -> str:
    return " ".join(raised(clause) + "." for sentence in sentences for clause in _clauses(sentence))


def _inverted(sentences: list[str], _: dict[str, str], __: random.Random) -> str:
    """Say what before whom it is said of, where a plain clause allows it: "Ready, the dough is." for a ready dough."""
    turned = []
    for sentence in re.split(r"(?<=[.!?]) ", " ".join(sentences)):
        body, stop = split_stop(sentence)
        parts = _PREDICATE.fullmatch(body)
        if parts:
            body = f"{raised(parts['what'])}, {lowered(parts['who'] + ' ').rstrip()} {parts['verb']}{parts['rest']}"
        turned.append(body + stop)
    return " ".join(turned)


def _terse(sentences: list[str], _: dict[str, str], __: random.Random) -> str:
    """Keep the shortest sentence alone."""
    return min(sentences, key=lambda sentence: len(sentence.split()))


def _staircase(sentences: list[str], _: dict[str, str], rng: random.Random) -> str:
    lines = _broken(sentences, (4, 5), rng)
    return "\n".join("  " * (index % 6) + line for index, line in enumerate(lines))


def _clauses(sentence: str) -> list[str]:
    """Return a sentence's clauses without stops, the longer ones in pieces."""
    found: list[str] = []
    for clause in _CLAUSE.split(split_stop(sentence)[0]):
        if found and len(clause.split()) < MIN_CLAUSE_WORDS:
            found[-1] += f", {clause}"
        else:
            found.append(clause)
    return [piece for clause in found for piece in _pieces(clause.split())]


def _pieces(words: list[str]) -> list[str]:
    """Return words in pieces of about equal length, none of which ends in a word that leans on the next."""
    pieces = []
    while words:
        length = math.ceil(len(words) / math.ceil(len(words) / MAX_CLAUSE_WORDS))
        while 2 < length < len(words) and words[length - 1].lower() in LEANING:
            length -= 1
        pieces.append(" ".join(words[:length]))
        words = words[length:]
    return pieces


def _broken(sentences: list[str], lengths: tuple[int, ...], rng: random.Random) -> list[str]:
    """Return the text in lines of the given numbers of words in turn, begun at a place drawn for the text."""
    words = " ".join(sentences).split()
    lines: list[str] = []
    turn = rng.randrange(len(lengths))
    while words:
        length = lengths[turn % len(lengths)]
        if len(words) - length == 1:
            length += 1
        lines.append(" ".join(words[:length]))
        words, turn = words[length:], turn + 1
    return lines


def _stanzas(lines: list[str], size: int) -> list[list[str]]:
    return [lines[start : start + size] for start in range(0, len(lines), size)]


LAYOUTS: dict[str, Layout] = {
    "json": _json_object,
    "json_lines": _json_lines,
    "yaml": _yaml,
    "xml": _xml,
    "html": _html,
    "csv": _csv,
    "print_statements": _print_statements,
    "sql": _sql,
    "markdown_table": _markdown_table,
    "headings": _headings,
    "definitions": _definitions,
    "footnotes": _footnotes,
    "verse": _verse,
    "haiku": _haiku,
    "couplets": _couplets,
    "word_column": _word_column,
    "reversed_order": _reversed_order,
    "short_sentences": _short_sentences,
    "inverted": _inverted,
    "terse": _terse,
    "staircase": _staircase,
}
