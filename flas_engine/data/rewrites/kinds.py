"""A kind of style, such as to end every sentence with certain words: an entry of a table that is filled in by values.

Knows where a value goes, and nothing of what the entry does with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flas_engine.data.rewrites.english import article

if TYPE_CHECKING:
    from collections.abc import Iterator


def filled(key: str, entry: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the keys and entries that an entry stands for: itself, or one for each of its `values`.

    Its texts name the value as <x>, with a capital as <X>, with its article as <a x>; its marks, which are patterns, as
    <x>.
    """
    values = entry.pop("values", None)
    if values is None:
        yield key, entry
        return
    marks = entry.pop("marks")
    for value in values:
        names = {"<x>": value, "<X>": value[:1].upper() + value[1:], "<a x>": f"{article(value)} {value}"}
        yield _key(key, value), _put(entry, names) | {"marks": _put(marks, {"<x>": re.escape(value)})}


def _key(key: str, value: str) -> str:
    """Name a style by its kind and value; signs without a letter by their code points."""
    words = re.findall(r"\w+", value.lower()) or [f"{ord(character):x}" for character in value]
    return "_".join([key, *words])


def _put(part: Any, names: dict[str, str]) -> Any:  # a TOML value of any type
    if isinstance(part, dict):
        return {name: _put(value, names) for name, value in part.items()}
    if isinstance(part, list):
        return [_put(value, names) for value in part]
    if isinstance(part, str):
        return re.sub("|".join(map(re.escape, names)), lambda match: names[match[0]], part)
    return part
