"""Chance by seed: what is drawn for a thing depends on the seed and the thing alone, not on what else there is.

So a corpus can grow, or be made in several files, and what was held out stays held out.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_DRAW_BYTES = 8


def draw(seed: int, *parts: str) -> int:
    """Return a number in [0, 2**64), equally likely over seeds and parts."""
    text = "\0".join((str(seed), *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:_DRAW_BYTES])


def shuffled(items: Iterable[str], seed: int, purpose: str) -> list[str]:
    """Return `items` in an order by chance; leaving one out does not change the order of the others."""
    return sorted(items, key=lambda item: draw(seed, purpose, item))


def choose_some(items: Iterable[str], amount: float, seed: int, purpose: str) -> frozenset[str]:
    """Choose `amount` of `items`: a share of them below 1, each by its own chance, else exactly so many."""
    if amount < 1:
        threshold = amount * 2 ** (8 * _DRAW_BYTES)
        return frozenset(item for item in items if draw(seed, purpose, item) < threshold)
    return frozenset(shuffled(items, seed, purpose)[: int(amount)])
