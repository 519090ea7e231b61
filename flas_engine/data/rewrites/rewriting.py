"""A plain text rewritten in a style: takes it apart, carries out the recipe, keeps it short, checks that it shows.

Knows the order of things; the things themselves are in `phrasing`, `templates`, `layouts` and `letters`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from flas_engine.data.rewrites.layouts import LAYOUTS
from flas_engine.data.rewrites.letters import LETTERS
from flas_engine.data.rewrites.marks import shows
from flas_engine.data.rewrites.phrasing import dress
from flas_engine.data.rewrites.prose import sentences
from flas_engine.data.rewrites.templates import general_fields, line_fields

if TYPE_CHECKING:
    from flas_engine.data.rewrites.style import Recipe, Style

MAX_GROWTH = 1.6
"""How much longer than its text a rewrite may be: training rows have room for 128 to 200 tokens."""
GRACE = 40
"""Characters that a rewrite may have beyond that, so that a short text has room for a frame."""


def rewrite(style: Style, text: str, seed: int) -> str | None:
    """Return a plain English text in a style, or None when the text does not suit; depends on its arguments alone.

    The result shows the style and is at most MAX_GROWTH times as long as the text (and GRACE characters): where the
    style adds more than that, sentences are left out from the text's end.
    """
    parts = sentences(text)
    room = int(MAX_GROWTH * len(text)) + GRACE
    for kept in range(len(parts), max(style.recipe.min_sentences, 1) - 1, -1):
        drafted = _composed(style.recipe, parts[:kept], random.Random(f"{style.key} {seed} {text}"))
        if len(drafted) <= room:
            return drafted if drafted != text and shows(style, drafted) else None
    return None


def _composed(recipe: Recipe, parts: list[str], rng: random.Random) -> str:
    fields = general_fields(" ".join(parts), rng)
    dressed = dress(recipe, parts, rng)
    if recipe.layout:
        body = LAYOUTS[recipe.layout](dressed, fields, rng)
    else:
        body = recipe.joint.join(_set_lines(recipe, dressed, fields))
    framed = _chosen(recipe.head, fields, rng) + body + _chosen(recipe.foot, fields, rng)
    return LETTERS[recipe.letters](framed) if recipe.letters else framed


def _set_lines(recipe: Recipe, dressed: list[str], fields: dict[str, str]) -> list[str]:
    templates = recipe.lines or ("{s}",)
    return [
        templates[index % len(templates)].format_map(line_fields(fields, sentence, index, len(dressed)))
        for index, sentence in enumerate(dressed)
    ]


def _chosen(templates: tuple[str, ...], fields: dict[str, str], rng: random.Random) -> str:
    return rng.choice(templates).format_map(fields) if templates else ""
