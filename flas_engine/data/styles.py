"""Rewrite styles as concepts to make rows for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.data.concepts import EVERYTHING, Concept
from flas_engine.data.rewrites import styles
from flas_engine.errors import DataError

if TYPE_CHECKING:
    from flas_engine.data.rewrites import Style


def choose_styles(names: str) -> dict[str, Style]:
    """Return the styles that `names` lists (keys parted by commas, or `all`), by the id of their concept."""
    known = {style.key: style for style in styles()}
    keys = list(known) if names == EVERYTHING else [key.strip() for key in names.split(",")]
    if unknown := [key for key in keys if key not in known]:
        raise DataError(f"there is no style {unknown[0]!r}; there are {', '.join(known)}")
    return {f"style:{key}": known[key] for key in keys}


def concepts_of_styles(chosen: dict[str, Style]) -> list[Concept]:
    """Return a concept for each style."""
    return [
        Concept(concept_id=concept_id, wordings=style.wordings, group="style") for concept_id, style in chosen.items()
    ]
