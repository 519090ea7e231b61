"""How a text is seen to show a concept, for the concepts of which that can be counted: styles, named things, themes.

The name of a concept (`style:pirate`, `noun:whales`) says what to look for. Knows nothing of how texts are made.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from flas_engine.data.concepts import Concept, concept_of_theme, concept_of_topic, shows_concept
from flas_engine.data.lists import themes
from flas_engine.data.rewrites import Style, shows, styles

if TYPE_CHECKING:
    from collections.abc import Callable


def find_marker(concept_id: str) -> Callable[[str], bool] | None:
    """Return what tells whether a text shows the concept; None when that cannot be counted."""
    kind, _, name = concept_id.partition(":")
    if kind in {"style", "s"} and (style := _styles().get(name)) is not None:
        return lambda text: shows(style, text)
    if kind in {"noun", "n"} and name:
        topic = concept_of_topic(name)
        return lambda text: shows_concept(topic, text)
    if (theme := _themes().get(concept_id)) is not None:
        return lambda text: shows_concept(theme, text)
    return None


@cache
def _styles() -> dict[str, Style]:
    return {style.key: style for style in styles()}


@cache
def _themes() -> dict[str, Concept]:
    concepts = [concept_of_theme(theme) for theme in themes()]
    return {concept.concept_id: concept for concept in concepts if concept.words}
