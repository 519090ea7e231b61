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
        self.graphs = LaunchGraphs(device)
        self.workspace = None if functions.is_compiled else Workspace(base, num_lanes)
        num_rows = self.workspace.num_rows if self.workspace else num_lanes
        self.tokens = torch.zeros(num_rows, 1, dtype=torch.long, device=device)
        self.live = torch.arange(num_lanes, device=device)
        self._steps = torch.ones(num_lanes, dtype=torch.long, device=device)
        self._positions = torch.tensor(positions, device=device)
        self.places = self._positions + torch.arange(num_lanes, device=device) * capacity
        """[B]: where in the lanes' slots, one lane after the other, they write."""
        heads = torch.arange(num_lanes * a.num_kv_heads, device=device).view(num_lanes, a.num_kv_heads)
        self._heads = heads * capacity
        """[B, K]: where the caches' rows begin."""
        self._slots = torch.arange(capacity, device=device)
        self._rotary = rotation(a.rotary, self._slots[:, None], base.dtype)
        same = a.sliding_rotary is a.rotary
        self._sliding_rotary = self._rotary if same else rotation(a.sliding_rotary, self._slots[:, None], base.dtype)
        self._bias = _Bias(num_lanes, capacity, device, base.dtype)
        self._sliding_window = a.sliding_window if a.sliding_layers and a.sliding_window else None
        self._sliding_bias = _Bias(num_lanes, capacity, device, base.dtype) if self._sliding_window else self._bias
        self._show_past(self.live, self._positions)

    def set_live(self, live: list[int]) -> None:
        """Let only these lanes move on."""
        self.graphs.forget()
        self.live = torch.tensor(live, device=self.live.device)
        self._steps.zero_().index_fill_(0, self.live, 1)

    def place(self, lanes: list[int], positions: list[int]) -> None:
        """Let these lanes read their next token at `positions`, with all that stands before it in their slots."""
        index = torch.tensor(lanes, device=self.live.device)
        positions_B = torch.tensor(positions, device=self.live.device)
        self._positions.index_copy_(0, index, positions_B)
        self.places.index_copy_(0, index, positions_B + index * self.capacity)
        self._show_past(index, positions_B)

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
            slots=self._heads + self._positions[:, None],
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

    def _show_past(self, lanes: torch.Tensor, positions_B: torch.Tensor) -> None:
        """Make visible to lanes what is before their positions, as far as a window reaches."""
        visible_BS = self._slots < positions_B[:, None]
        self._bias.put(lanes, visible_BS)
        if self._sliding_window:
            self._sliding_bias.put(lanes, visible_BS & (self._slots >= positions_B[:, None] - self._sliding_window))

    def _rotation(self, table: Rotation) -> Rotation:
        cos, sin = (part.index_select(0, self._positions) for part in (table.cos, table.sin))
        return Rotation(cos=cos, sin=sin)


class _Bias:
    """What is added to attention logits, [B, 1, 1, S]: 0 on visible slots and -inf on the others."""

    def __init__(self, num_lanes: int, capacity: int, device: torch.device, dtype: torch.dtype) -> None:
        self.nowhere = num_lanes * capacity
        self._flat = torch.full((self.nowhere + 1,), float("-inf"), dtype=dtype, device=device)
        self._values = self._flat[:-1].view(num_lanes, 1, 1, capacity)

    def put(self, lanes: torch.Tensor, visible_BS: torch.Tensor) -> None:
        """Make these slots of `lanes` visible, and no others."""
        bias = torch.zeros(visible_BS.shape, dtype=self._flat.dtype, device=self._flat.device)
        self._values.index_copy_(0, lanes, bias.masked_fill_(~visible_BS, float("-inf"))[:, None, None])

    def of(self, num_slots: int) -> torch.Tensor:
        """Return what applies to the first slots."""
        return self._values[..., :num_slots].contiguous()

    def show(self, places: torch.Tensor) -> None:
        """Make slots visible."""
        self._flat.index_fill_(0, places, 0.0)

    def hide(self, places: torch.Tensor) -> None:
        """Make slots invisible; `nowhere` is the place of no slot."""
        self._flat.index_fill_(0, places, float("-inf"))
