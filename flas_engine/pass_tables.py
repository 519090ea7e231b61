"""What a decoding pass looks up or writes: masks, rotations and slots, in tensors kept up to date in place.

Knows nothing of prompts and steering.

Shapes: B lanes, S slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flas_engine.compiled import LaunchGraphs
from flas_engine.layers import Rotation, Window, Workspace, rotation

if TYPE_CHECKING:
    from flas_engine.compiled import Functions
    from flas_engine.layers import BaseModel


class PassTables:
    """All that a decoding pass looks up or writes, in tensors that stay where they are until the caches grow."""

    def __init__(self, base: BaseModel, capacity: int, positions: list[int], functions: Functions) -> None:
        a, device = base.architecture, base.device
        num_lanes = len(positions)
        self.capacity = capacity
        self.graphs = LaunchGraphs()
        self.workspace = None if functions.is_compiled else Workspace(base, num_lanes)
        num_rows = self.workspace.num_rows if self.workspace else num_lanes
        self.tokens = torch.zeros(num_rows, 1, dtype=torch.long, device=device)
        self.live = torch.arange(num_lanes, device=device)
        self._steps = torch.ones(num_lanes, dtype=torch.long, device=device)
        self._positions = torch.tensor(positions, device=device)
        self.places = self._positions + torch.arange(num_lanes, device=device) * capacity
        """[B]: where in the caches' rows, one after the other, the lanes write."""
        slots = torch.arange(capacity, device=device)
        self._rotary = rotation(a.rotary, slots[:, None], base.dtype)
        same = a.sliding_rotary is a.rotary
        self._sliding_rotary = self._rotary if same else rotation(a.sliding_rotary, slots[:, None], base.dtype)
        self._bias = _Bias(slots < self._positions[:, None], base.dtype)
        self._sliding_window = a.sliding_window if a.sliding_layers and a.sliding_window else None
        self._sliding_bias = self._bias
        if self._sliding_window:
            recent = slots >= self._positions[:, None] - self._sliding_window
            self._sliding_bias = _Bias((slots < self._positions[:, None]) & recent, base.dtype)

    def set_live(self, live: list[int]) -> None:
        """Let only these lanes move on."""
        self.graphs.forget()
        self.live = torch.tensor(live, device=self.live.device)
        self._steps.zero_().index_fill_(0, self.live, 1)

    def put(self, tokens: torch.Tensor) -> None:
        """Set the tokens that the live lanes read."""
        self.tokens[:, 0].index_copy_(0, self.live, tokens)

    def window(self, num_slots: int) -> Window:
        """Return the window of the present positions."""
        self._bias.show(self.places)
        if self._sliding_window:
            self._sliding_bias.show(self.places)
            is_past = self._positions >= self._sliding_window
            left = torch.where(is_past, self.places - self._sliding_window, self._sliding_bias.nowhere)
            self._sliding_bias.hide(left)
        rotary = self._rotation(self._rotary)
        same = self._sliding_rotary is self._rotary
        return Window(
            slots=self.places,
            rows=slice(None),
            rotary=rotary,
            sliding_rotary=rotary if same else self._rotation(self._sliding_rotary),
            bias=self._bias.of(num_slots),
            sliding_bias=self._sliding_bias.of(num_slots),
        )

    def step(self) -> None:
        """Move the live lanes to their next position."""
        self._positions.add_(self._steps)
        self.places.add_(self._steps)

    def _rotation(self, table: Rotation) -> Rotation:
        cos, sin = (part.index_select(0, self._positions) for part in (table.cos, table.sin))
        return Rotation(cos=cos, sin=sin)


class _Bias:
    """What is added to attention logits, [B, 1, 1, S]: 0 on visible slots and -inf on the others."""

    def __init__(self, visible_BS: torch.Tensor, dtype: torch.dtype) -> None:
        B, S = visible_BS.shape
        self.nowhere = B * S
        self._flat = torch.full((B * S + 1,), float("-inf"), dtype=dtype, device=visible_BS.device)
        self._values = self._flat[:-1].view(B, 1, 1, S)
        self._values.masked_fill_(visible_BS[:, None, None], 0.0)

    def of(self, num_slots: int) -> torch.Tensor:
        """Return what applies to the first slots."""
        return self._values[..., :num_slots].contiguous()

    def show(self, places: torch.Tensor) -> None:
        """Make slots visible."""
        self._flat.index_fill_(0, places, 0.0)

    def hide(self, places: torch.Tensor) -> None:
        """Make slots invisible; `nowhere` is the place of no slot."""
        self._flat.index_fill_(0, places, float("-inf"))
