"""Keys and values of the positions already read, for a run of attention layers.

A slot is a position: what lane b read at position p stands in slot p of row b, so lanes of different lengths need no
padding, and a slot beyond a lane's position is simply not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

GROWTH_SLOTS = 256
"""Capacity grows in steps of this many slots, so that it seldom does."""


def round_up(slots: int) -> int:
    """Return the capacity that holds `slots`."""
    return -(-slots // GROWTH_SLOTS) * GROWTH_SLOTS


@dataclass(frozen=True, kw_only=True)
class CacheLayer:
    """Keys and values [B, S, N_kv, H] of one attention layer: views into a `KVCache`."""

    keys: torch.Tensor
    values: torch.Tensor

    def write(self, rows: slice, slots: slice | torch.Tensor, k_BLKH: torch.Tensor, v_BLKH: torch.Tensor) -> None:
        """Store `k` and `v` in `slots` of `rows`.

        `slots` is common to all rows; or, with L = 1, one place a row [B]: slot + row * capacity.
        """
        if isinstance(slots, slice):
            self.keys[rows, slots], self.values[rows, slots] = k_BLKH, v_BLKH
        else:
            self.keys.flatten(0, 1).index_copy_(0, slots, k_BLKH[:, 0])
            self.values.flatten(0, 1).index_copy_(0, slots, v_BLKH[:, 0])

    def read(self, rows: slice, num_slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return views of keys and values [B, num_slots, N_kv, H]: the first slots of `rows`."""
        return self.keys[rows, :num_slots], self.values[rows, :num_slots]


class KVCache:
    """Keys and values [layer, 2, B, S, N_kv, H] in one block of memory that grows in steps."""

    def __init__(
        self, *, num_layers: int, rows: int, num_kv_heads: int, head_dim: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._set(torch.zeros(num_layers, 2, rows, 0, num_kv_heads, head_dim, device=device, dtype=dtype))

    @property
    def rows(self) -> int:
        """Lanes that the cache holds."""
        return self._data.shape[2]

    @property
    def capacity(self) -> int:
        """Slots that can be written without growing."""
        return self._data.shape[3]

    @property
    def num_bytes(self) -> int:
        """Memory that the cache takes."""
        return self._data.numel() * self._data.element_size()

    def reserve(self, slots: int) -> None:
        """Make room for positions below `slots`; what is written stays."""
        if slots <= self.capacity:
            return
        grown = self._data.new_zeros(*self._data.shape[:3], round_up(slots), *self._data.shape[4:])
        grown[:, :, :, : self.capacity] = self._data
        self._set(grown)

    def select(self, rows: torch.Tensor) -> None:
        """Keep `rows` [B] in that order; a row may be taken several times."""
        self._set(self._data.index_select(2, rows))

    def copy_row(self, row: int, source: KVCache, source_row: int, slots: slice) -> None:
        """Take over the `slots` of a row of another cache of the same layers."""
        self._data[:, :, row, slots] = source._data[:, :, source_row, slots]

    def _set(self, data: torch.Tensor) -> None:
        self._data = data
        self.layers = [CacheLayer(keys=layer[0], values=layer[1]) for layer in data]
        """What the attention layers write and read."""
