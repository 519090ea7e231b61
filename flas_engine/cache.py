"""Keys and values of the positions already read, for a run of attention layers.

A slot is a position: what lane b read at position p stands in slot p of row b, so lanes of different lengths need no
padding, and a slot beyond a lane's position is simply not looked at.
"""

from __future__ import annotations

import torch

GROWTH_SLOTS = 256
"""Capacity grows in steps of this many slots, so that it seldom does."""


class KVCache:
    """Keys and values [layer, 2, B, N_kv, S, H] in one block of memory that grows in steps."""

    def __init__(
        self, *, num_layers: int, rows: int, num_kv_heads: int, head_dim: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._data = torch.zeros(num_layers, 2, rows, num_kv_heads, 0, head_dim, device=device, dtype=dtype)
        self._row_indices = torch.arange(rows, device=device)

    @property
    def rows(self) -> int:
        """Lanes that the cache holds."""
        return self._data.shape[2]

    @property
    def capacity(self) -> int:
        """Slots that can be written without growing."""
        return self._data.shape[4]

    @property
    def num_bytes(self) -> int:
        """Memory that the cache takes."""
        return self._data.numel() * self._data.element_size()

    def reserve(self, slots: int) -> None:
        """Make room for positions below `slots`; what is written stays."""
        if slots <= self.capacity:
            return
        rounded = -(-slots // GROWTH_SLOTS) * GROWTH_SLOTS
        grown = self._data.new_zeros(*self._data.shape[:4], rounded, self._data.shape[5])
        grown[..., : self.capacity, :] = self._data
        self._data = grown

    def write(
        self, layer: int, slots: slice | torch.Tensor, k: torch.Tensor, v: torch.Tensor, rows: torch.Tensor | None
    ) -> None:
        """Store `k` and `v` [R, N_kv, L, H] in `slots`: a slice common to all rows, or a slot per row [R] when L is 1.

        `rows` [R] says which rows they belong to; None is all of them in order.
        """
        keys, values = self._data[layer, 0], self._data[layer, 1]
        if isinstance(slots, slice):
            where = (slice(None) if rows is None else rows, slice(None), slots)
            keys[where], values[where] = k, v
        else:
            rows = self._row_indices if rows is None else rows
            keys[rows, :, slots] = k[:, :, 0]
            values[rows, :, slots] = v[:, :, 0]

    def read(self, layer: int, num_slots: int, rows: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values [R, N_kv, num_slots, H] of the first slots; a view when `rows` is None."""
        data = self._data[layer, :, :, :, :num_slots]
        if rows is not None:
            data = data[:, rows]
        return data[0], data[1]

    def select(self, rows: torch.Tensor) -> None:
        """Keep `rows` [R] in that order; a row may be taken several times."""
        self._data = self._data.index_select(2, rows)
        self._row_indices = torch.arange(len(rows), device=self._data.device)
