"""The transform h' = h + integral of the mixed field, for the steered lanes of a batch.

A lane's field is the mix v = sum_i w_i v(h, t, c_i); every (lane, concept) pair is one row of the velocity field.
Example: lanes [T 0; T 1 with one concept; T 2 with two] have rows 1, 2, 3 of lanes 1, 2, 2; lane 0 never enters.

Shapes: B lanes, M steered lanes, R rows of steered lanes, E evaluations, L new tokens, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from flas_engine.cache import KVCache
from flas_engine.field import batch_conditions
from flas_engine.layers import Rotation, make_window
from flas_engine.solvers import evaluation_times, integrate

if TYPE_CHECKING:
    from flas_engine.field import ConceptKeysValues, Conditions, VelocityField
    from flas_engine.layers import Window
    from flas_engine.solvers import Solver

Mix = tuple[tuple["ConceptKeysValues", float], ...]
"""Encoded concepts and their weights."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Tensors of the present flow times, made anew when one changes and not once a token."""

    lanes: torch.Tensor | None
    """[M]; None when every lane is steered."""
    row_lanes: torch.Tensor
    """[R], the lane of each row."""
    row_of: torch.Tensor | None
    """[R], the row's index among the steered lanes; None when every steered lane has one concept."""
    weights: torch.Tensor | None
    """[R, 1, 1]; None when all are 1."""
    flow_time: torch.Tensor
    """[M, 1, 1]"""
    time_embedding: torch.Tensor
    """[E, R, D]"""
    conditions: Conditions
    cache_rows: torch.Tensor | None
    """[R], None when all rows of the cache are used in order."""


class Steering:
    """Flow times, concept mixes and trajectories' keys and values of the lanes of one batch."""

    def __init__(
        self,
        field: VelocityField,
        mixes: list[Mix],
        flow_times: list[float],
        solver: Solver,
        num_steps: int,
    ) -> None:
        self._field = field
        self._mixes = list(mixes)
        self._flow_times = list(flow_times)
        self._solver = solver
        self._num_steps = num_steps
        self._device = field.device
        self._times = torch.tensor(evaluation_times(solver, num_steps), device=self._device)
        self._cache = self._make_cache()
        self._plan = self._make_plan()

    @property
    def flow_times(self) -> list[float]:
        """T of every lane."""
        return self._flow_times

    @property
    def needs_history(self) -> bool:
        """Whether a lane that leaves T = 0 needs its earlier activations (`adopt`)."""
        return self._cache is not None

    @property
    def num_bytes(self) -> int:
        """Memory that the trajectories' keys and values take."""
        return self._cache.num_bytes if self._cache is not None else 0

    def set_flow_time(self, lane: int, flow_time: float) -> None:
        """Let `lane` go on under another flow time; what it read before stays as it was read."""
        self._flow_times[lane] = flow_time
        self._plan = self._make_plan()

    def reserve(self, slots: int) -> None:
        """Make room for positions below `slots`."""
        if self._cache is not None:
            self._cache.reserve(slots)

    def keep(self, lanes: list[int]) -> None:
        """Go on with `lanes` only, in that order."""
        if self._cache is not None:
            rows = [row for lane in lanes for row in self._rows_of(lane)]
            self._cache.select(self._index(rows))
        self._mixes = [self._mixes[lane] for lane in lanes]
        self._flow_times = [self._flow_times[lane] for lane in lanes]
        self._plan = self._make_plan()

    def transform(self, h_BLD: torch.Tensor, window: Window) -> torch.Tensor:
        """Return the activations with every steered lane carried to its flow time; baseline lanes are not touched."""
        plan = self._plan
        if plan is None:
            return h_BLD
        carried = self._carry(h_BLD if plan.lanes is None else h_BLD[plan.lanes], window, plan).to(h_BLD.dtype)
        return carried if plan.lanes is None else h_BLD.index_copy(0, plan.lanes, carried)

    def adopt(self, lane: int, h_LD: torch.Tensor, slots: slice) -> None:
        """Fill a lane's trajectories for positions `slots`, read at T = 0, where they stand still at h and t = 0."""
        assert self._cache is not None
        if not self._mixes[lane] or not len(h_LD):
            return
        field, rows = self._field, self._index(list(self._rows_of(lane)))
        positions = torch.arange(slots.start, slots.stop, device=self._device)[None]
        window = make_window(field.architecture, positions, slots, slots.stop, field.dtype)
        conditions = batch_conditions([concept for concept, _ in self._mixes[lane]])
        z_RLD = field.enter(h_LD).expand(len(rows), -1, -1)
        still = field.time_embed(torch.zeros(len(rows), device=self._device))
        self.reserve(slots.stop)
        for evaluation in range(len(self._times)):
            field(z_RLD, still, conditions, window, self._cache, evaluation, rows)

    def _carry(self, h_MLD: torch.Tensor, window: Window, plan: _Plan) -> torch.Tensor:
        field, rows = self._field, _select(window, plan.row_lanes)

        def velocity(z_MLD: torch.Tensor, evaluation: int) -> torch.Tensor:
            z_RLD = z_MLD if plan.row_of is None else z_MLD[plan.row_of]
            embedding = plan.time_embedding[evaluation]
            v_RLD = field(z_RLD, embedding, plan.conditions, rows, self._cache, evaluation, plan.cache_rows)
            if plan.weights is not None:
                v_RLD = v_RLD * plan.weights
            return v_RLD if plan.row_of is None else torch.zeros_like(z_MLD).index_add(0, plan.row_of, v_RLD)

        return field.leave(integrate(velocity, field.enter(h_MLD), plan.flow_time, self._solver, self._num_steps))

    def _make_cache(self) -> KVCache | None:
        num_rows = sum(len(mix) for mix in self._mixes)
        if not self._field.needs_cache or not num_rows:
            return None
        a = self._field.architecture
        return KVCache(
            num_layers=len(self._times) * len(self._field.blocks),
            rows=num_rows,
            num_kv_heads=a.num_kv_heads,
            head_dim=a.head_dim,
            device=self._device,
            dtype=self._field.dtype,
        )

    def _rows_of(self, lane: int) -> range:
        first = sum(len(mix) for mix in self._mixes[:lane])
        return range(first, first + len(self._mixes[lane]))

    def _make_plan(self) -> _Plan | None:
        steered = [lane for lane, flow_time in enumerate(self._flow_times) if flow_time != 0.0]
        if not steered:
            return None
        pairs = [(index, lane, row) for index, lane in enumerate(steered) for row in self._rows_of(lane)]
        weights = [weight for lane in steered for _, weight in self._mixes[lane]]
        row_times = torch.tensor([self._flow_times[lane] for _, lane, _ in pairs], device=self._device)
        num_rows = sum(len(mix) for mix in self._mixes)
        return _Plan(
            lanes=None if len(steered) == len(self._mixes) else self._index(steered),
            row_lanes=self._index([lane for _, lane, _ in pairs]),
            row_of=None if len(pairs) == len(steered) else self._index([index for index, _, _ in pairs]),
            weights=None
            if all(w == 1.0 for w in weights)
            else torch.tensor(weights, device=self._device)[:, None, None],
            flow_time=torch.tensor([self._flow_times[lane] for lane in steered], device=self._device)[:, None, None],
            time_embedding=self._field.time_embed(self._times[:, None] * row_times),
            conditions=batch_conditions([concept for lane in steered for concept, _ in self._mixes[lane]]),
            cache_rows=None if len(pairs) == num_rows else self._index([row for _, _, row in pairs]),
        )

    def _index(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, device=self._device, dtype=torch.long)  # said, because there may be no values


def _select(window: Window, lanes: torch.Tensor) -> Window:
    """Return the window as the rows see it; what is common to all lanes is common to all rows."""

    def of_rows(x: torch.Tensor) -> torch.Tensor:
        return x if len(x) == 1 else x[lanes]

    if len(window.positions) == len(window.bias) == 1:
        return window
    slots = window.slots if isinstance(window.slots, slice) else window.slots[lanes]
    rotary = Rotation(cos=of_rows(window.rotary.cos), sin=of_rows(window.rotary.sin))
    return replace(window, positions=of_rows(window.positions), slots=slots, rotary=rotary, bias=of_rows(window.bias))
