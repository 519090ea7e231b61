"""Which prompts are read together, and in which pieces: functions of lengths alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    import torch

CHUNK_TOKENS = 512
"""Prompts are read in pieces of this many tokens: bounds the memory of a pass, and how long a stop can take."""
ROWS_AT_FULL_SPEED = {"cpu": 64, "cuda": 2048}
"""Reading more rows at once than this is no faster by the row, so that lanes may as well be read one after another."""


def pieces(start: int, stop: int) -> Iterator[range]:
    """Divide the positions from `start` into pieces of `CHUNK_TOKENS`."""
    for first in range(start, stop, CHUNK_TOKENS):
        yield range(first, min(first + CHUNK_TOKENS, stop))


def runs_below(lengths: Sequence[int], device: torch.device) -> Iterator[range]:
    """Divide prompts into runs that are read together below layer l, where nobody waits for the first of them."""
    return _runs(lengths, max(CHUNK_TOKENS, _rows_at_full_speed(device)))


def runs_above(lengths: Sequence[int], kinds: Sequence[Hashable], device: torch.device) -> Iterator[range]:
    """Divide lanes into runs of one kind that are read together above layer l: few, so that the first speaks soon."""
    return _runs(lengths, _rows_at_full_speed(device), kinds)


def num_read_together(prompts: Iterable[list[int]], device: torch.device) -> int:
    """Return how many of the first prompts may as well be read at once: at least one."""
    return len(next(_runs([len(prompt) for prompt in prompts], _rows_at_full_speed(device))))


def _runs(lengths: Sequence[int], most: int, kinds: Sequence[Hashable] = ()) -> Iterator[range]:
    """Divide lengths into runs that have at most so many places when all are as long as the longest; or one length."""
    first, longest = 0, 0
    for index, length in enumerate(lengths):
        longest = max(longest, length)
        is_other = bool(kinds) and kinds[index] != kinds[first]
        if index > first and (is_other or longest * (index + 1 - first) > most):
            yield range(first, index)
            first, longest = index, length
    yield range(first, len(lengths))


def _rows_at_full_speed(device: torch.device) -> int:
    return ROWS_AT_FULL_SPEED.get(device.type, max(ROWS_AT_FULL_SPEED.values()))
