"""Keys and values of the positions already read, for a run of attention layers.

A slot is a position: what lane b read at position p stands in slot p of row b, so lanes of different lengths need no
padding, and a slot beyond a lane's position is simply not looked at.

Shapes: B lanes, L new tokens, K kv heads, S slots, H head dimension.
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
    """Keys and values [B, K, S, H] of one attention layer: views into a `KVCache`."""

    keys: torch.Tensor
    values: torch.Tensor

    def write(self, rows: slice, slots: slice | torch.Tensor, k_BLKH: torch.Tensor, v_BLKH: torch.Tensor) -> None:
        """Store `k` and `v` in `slots` of `rows`.

        `slots` is common to all rows; or, with L = 1, a place a row and head [B, K]: slot + capacity (head + K row).
        """
        if isinstance(slots, slice):
            self.keys[rows, :, slots], self.values[rows, :, slots] = k_BLKH.transpose(1, 2), v_BLKH.transpose(1, 2)
        else:
            self.keys.flatten(0, 2).index_copy_(0, slots.flatten(), k_BLKH.flatten(0, 2))
            self.values.flatten(0, 2).index_copy_(0, slots.flatten(), v_BLKH.flatten(0, 2))

    def read(self, rows: slice, num_slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return views of keys and values [B, K, num_slots, H]: the first slots of `rows`."""
        return self.keys[rows, :, :num_slots], self.values[rows, :, :num_slots]


class KVCache:
    """Keys and values [2, B, K, S, H] of every layer, in a tensor each.

    What grows or is rearranged is copied layer by layer, so that it never takes more than one layer's memory twice.
    """

    def __init__(
        self, *, num_layers: int, rows: int, num_kv_heads: int, head_dim: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._rows, self._capacity = rows, 0
        shape = (2, rows, num_kv_heads, 0, head_dim)
        self._data = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(num_layers)]
        self.layers = [CacheLayer(keys=data[0], values=data[1]) for data in self._data]
        """What the attention layers write and read."""

    @property
    def rows(self) -> int:
        """Lanes that the cache holds."""
        return self._rows

    @property
    def capacity(self) -> int:
        """Slots that can be written without growing."""
        return self._capacity

    @property
    def num_bytes(self) -> int:
        """Memory that the cache takes."""
        return sum(data.numel() * data.element_size() for data in self._data)

    def reserve(self, slots: int) -> None:
        """Make room for positions below `slots`; what is written stays."""
        if slots <= self._capacity:
            return
        capacity = round_up(slots)
        for index in range(len(self._data)):
            data = self._data[index]
            grown = data.new_zeros(*data.shape[:3], capacity, data.shape[-1])
            grown[..., : self._capacity, :] = data
            self._put(index, grown)
            del data, grown  # or two layers would be held twice while the next one grows
        self._capacity = capacity

    def select(self, rows: torch.Tensor) -> None:
        """Keep `rows` [B] in that order; a row may be taken several times."""
        for index in range(len(self._data)):
            self._put(index, self._data[index].index_select(1, rows))
        self._rows = len(rows)

    def copy_row(self, row: int, source: KVCache, source_row: int, slots: slice) -> None:
        """Take over the `slots` of a row of another cache of the same layers."""
        for data, of_source in zip(self._data, source._data, strict=True):
            data[:, row, :, slots] = of_source[:, source_row, :, slots]

    def _put(self, index: int, data: torch.Tensor) -> None:
        self._data[index] = data
        self.layers[index] = CacheLayer(keys=data[0], values=data[1])
