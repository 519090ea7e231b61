"""Rewrite styles as concepts to make rows for."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from flas_engine.data.concepts import EVERYTHING, Concept
from flas_engine.data.rewrites import FAMILIES, styles
from flas_engine.errors import DataError

if TYPE_CHECKING:
    from flas_engine.data.rewrites import Style


def choose_styles(names: str) -> dict[str, Style]:
    """Return the styles that `names` lists (keys and families parted by commas, or `all`), by their concept's id."""
    wanted = [name.strip() for name in names.split(",")]
    keys, families = {style.key for style in styles()}, set(FAMILIES)
    if unknown := [name for name in wanted if name not in keys | families | {EVERYTHING}]:
        near = difflib.get_close_matches(unknown[0], sorted(keys), n=5, cutoff=0.4)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise DataError(f"there is no style {unknown[0]!r}; there are the families {', '.join(FAMILIES)}{hint}")
    chosen = [style for style in styles() if {style.key, style.family, EVERYTHING} & set(wanted)]
    return {f"style:{style.key}": style for style in chosen}


def concepts_of_styles(chosen: dict[str, Style]) -> list[Concept]:
    """Return a concept for each style; those that take any words are a group of their own."""
    return [
        Concept(
            concept_id=concept_id, wordings=style.wordings, group="phrase" if style.family == "phrases" else "style"
        )
        for concept_id, style in chosen.items()
    ]
