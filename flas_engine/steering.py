"""The transform h' = h + integral of the mixed field, for the steered lanes of a batch.

A lane's field is the mix v = sum_i w_i v(h, t, c_i); every (lane, concept) pair is one row of the velocity field.
Example: lanes with no, one and two concepts have rows 0, 1, 2 of lanes 1, 2, 2; lane 0 never enters. A lane with a
concept goes through the field at T = 0 too, where it stands still and keeps its activations bit for bit, so that the
trajectories that later positions attend to are there when its T is raised.

Flow times, embedded times and concepts live in tensors that are written in place: a pass has the same shapes, and the
same addresses, whatever they are.

Shapes: B lanes, M lanes with concepts, R rows, E evaluations, L new tokens, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from flas_engine.cache import KVCache
from flas_engine.field import VelocityField, batch_conditions
from flas_engine.layers import Rotation
from flas_engine.solvers import evaluation_times, integrate

if TYPE_CHECKING:
    from collections.abc import Callable

    from flas_engine.cache import CacheLayer
    from flas_engine.field import ConceptKeysValues, Conditions
    from flas_engine.layers import Window
    from flas_engine.solvers import Solver

Mix = tuple[tuple["ConceptKeysValues", float], ...]
"""Encoded concepts and their weights."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A run of lanes with concepts, as tensors."""

    lanes: torch.Tensor | None
    """[M], counted from the first lane of the run; None when all have concepts."""
    row_lanes: torch.Tensor
    """[R], the lane of each row, counted from the first of the run."""
    row_of: torch.Tensor | None
    """[R], the row's index among the lanes with concepts; None when every one of them has one concept."""
    cache_rows: slice
    row_shift: torch.Tensor
    """[R], how far a row of the trajectories' cache is from its lane's row of the model's caches."""
    weights: torch.Tensor | None
    """[R, 1, 1]; None when all are 1."""
    flow_time: torch.Tensor
    """[M, 1, 1]"""
    is_steered: torch.Tensor
    """[M, 1, 1], whether the flow time is not 0."""
    time_embedding: torch.Tensor
    """[E, R, 1, D]"""
    conditions: Conditions


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
        self._plan = self._make_plan(range(len(mixes)))

    @property
    def flow_times(self) -> list[float]:
        """T of every lane."""
        return self._flow_times

    @property
    def is_needed(self) -> bool:
        """Whether a pass has to go through the field."""
        return self._plan is not None and self._is_needed(range(len(self._mixes)))

    @property
    def num_bytes(self) -> int:
        """Memory that the trajectories' keys and values take."""
        return self._cache.num_bytes if self._cache is not None else 0

    def identity(self, lane: int) -> tuple[object, ...]:
        """Return what a lane's steering depends on: alike in this, two lanes read one text to the same activations."""
        mix = tuple((id(concept), weight) for concept, weight in self._mixes[lane])
        return (self._flow_times[lane], mix, self._solver.name, self._num_steps) if mix else ()

    def set_flow_time(self, lane: int, flow_time: float) -> None:
        """Let `lane` go on under another flow time; what it read before stays as it was read."""
        self._flow_times[lane] = flow_time
        if self._plan is not None:
            self._write_times(self._plan, range(len(self._mixes)))

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
        self._plan = self._make_plan(range(len(lanes)))

    def replace(self, lanes: list[int], newcomers: Steering, lengths: list[int], capacity: int) -> bool:
        """Give the places of `lanes` to the lanes of `newcomers`, which have read so many positions each.

        `capacity` is that of the model's caches. Returns whether all tensors stay where they are.
        """
        old_rows = [list(self._rows_of(lane)) for lane in range(len(self._mixes))]
        for source, lane in enumerate(lanes):
            if len(newcomers._mixes[source]) != len(old_rows[lane]):
                old_rows[lane] = [0] * len(newcomers._mixes[source])  # whichever: it is written over, or not looked at
            self._mixes[lane] = newcomers._mixes[source]
            self._flow_times[lane] = newcomers._flow_times[source]
        stays = self._arrange_cache([row for rows in old_rows for row in rows], capacity)
        for source, (lane, length) in enumerate(zip(lanes, lengths, strict=True)):
            self.take_over(lane, newcomers, source, slice(0, length))
        plan = self._make_plan(range(len(self._mixes)))
        if self._plan is not None and plan is not None and _write_into(self._plan, plan):
            return stays
        self._plan = plan
        return False

    def _arrange_cache(self, rows: list[int], capacity: int) -> bool:
        """Let the trajectories' cache have these of its rows, in this order; returns whether it stays where it is."""
        if self._cache is None or not self._cache.rows:
            self._cache = self._make_cache()
            if self._cache is not None:
                self._cache.reserve(capacity)
            return self._cache is None
        if rows == list(range(self._cache.rows)):
            return True
        self._cache.select(self._index(rows))
        return False

    def take_over(self, lane: int, source: Steering, source_lane: int, slots: slice) -> None:
        """Take over the trajectories of a lane of the same identity."""
        if self._cache is not None and source._cache is not None:
            for row, source_row in zip(self._rows_of(lane), source._rows_of(source_lane), strict=True):
                self._cache.copy_row(row, source._cache, source_row, slots)

    def transform(
        self,
        h_PLD: torch.Tensor,
        window: Window,
        lanes: range | None = None,
        evaluate: Callable[..., torch.Tensor] = VelocityField.__call__,
    ) -> torch.Tensor:
        """Return the activations with every steered lane carried to its flow time; those at T = 0 are not touched.

        `h` holds the batch's `lanes` (all, unless given), and perhaps rows of padding behind them; `evaluate` is the
        field, or its compiled counterpart.
        """
        plan = self._plan if lanes is None else self._make_plan(lanes)
        if plan is None or not self._is_needed(lanes or range(len(self._mixes))):
            return h_PLD
        is_all = plan.lanes is None and len(plan.flow_time) == len(h_PLD)
        h_MLD = h_PLD if is_all else h_PLD[: len(plan.flow_time)] if plan.lanes is None else h_PLD[plan.lanes]
        carried = torch.where(plan.is_steered, self._carry(h_MLD, window, plan, evaluate).to(h_MLD.dtype), h_MLD)
        if is_all:
            return carried
        if plan.lanes is None:
            return torch.cat([carried, h_PLD[len(carried) :]])
        return h_PLD.index_copy(0, plan.lanes, carried)

    def _is_needed(self, lanes: range) -> bool:
        """Whether a lane is steered, or its trajectory at T = 0 has to be kept."""
        return self._cache is not None or any(self._flow_times[lane] != 0.0 for lane in lanes)

    def _carry(
        self, h_MLD: torch.Tensor, window: Window, plan: _Plan, evaluate: Callable[..., torch.Tensor]
    ) -> torch.Tensor:
        field, window = self._field, self._rows_window(window, plan)

        def velocity(z_MLD: torch.Tensor, evaluation: int) -> torch.Tensor:
            z_RLD = z_MLD if plan.row_of is None else z_MLD[plan.row_of]
            layers = self._layers_of(evaluation)
            v_RLD = evaluate(field, z_RLD, plan.time_embedding[evaluation], plan.conditions, window, layers)
            if plan.weights is not None:
                v_RLD = v_RLD * plan.weights
            return v_RLD if plan.row_of is None else torch.zeros_like(z_MLD).index_add(0, plan.row_of, v_RLD)

        return field.leave(integrate(velocity, field.enter(h_MLD), plan.flow_time, self._solver, self._num_steps))

    def _layers_of(self, evaluation: int) -> list[CacheLayer] | None:
        """Return the cache layers of one evaluation of the field: a layer a block."""
        if self._cache is None:
            return None
        num_blocks = len(self._field.blocks)
        return self._cache.layers[evaluation * num_blocks : (evaluation + 1) * num_blocks]

    def _rows_window(self, window: Window, plan: _Plan) -> Window:
        """Return the window as the field's rows see it; what is common to all lanes is common to all rows."""

        def of_rows(x: torch.Tensor) -> torch.Tensor:
            return x if len(x) == 1 else x[plan.row_lanes]

        slots = window.slots
        if isinstance(slots, torch.Tensor) and self._cache is not None:
            slots = slots[plan.row_lanes] + plan.row_shift[:, None] * (slots.shape[1] * self._cache.capacity)
        rotary = Rotation(cos=of_rows(window.rotary.cos), sin=of_rows(window.rotary.sin))
        return replace(window, slots=slots, rows=plan.cache_rows, rotary=rotary, bias=of_rows(window.bias))

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

    def _make_plan(self, lanes: range) -> _Plan | None:
        with_concepts = [lane for lane in lanes if self._mixes[lane]]
        if not with_concepts:
            return None
        pairs = [(index, lane - lanes.start) for index, lane in enumerate(with_concepts) for _ in self._rows_of(lane)]
        weights = [weight for lane in with_concepts for _, weight in self._mixes[lane]]
        num_lanes, num_rows, D = len(with_concepts), len(pairs), self._field.architecture.hidden_size
        is_whole = len(lanes) == len(self._mixes)
        rows = range(self._rows_of(lanes.start).start, self._rows_of(lanes.stop - 1).stop)
        plan = _Plan(
            lanes=None if num_lanes == len(lanes) else self._index([lane - lanes.start for lane in with_concepts]),
            row_lanes=self._index([lane for _, lane in pairs]),
            row_of=None if num_rows == num_lanes else self._index([index for index, _ in pairs]),
            cache_rows=slice(None) if is_whole else slice(rows.start, rows.stop),
            row_shift=self._index([row - lane for row, (_, lane) in zip(rows, pairs, strict=True)]),
            weights=None
            if all(w == 1.0 for w in weights)
            else torch.tensor(weights, device=self._device)[:, None, None],
            flow_time=torch.zeros(num_lanes, 1, 1, device=self._device),
            is_steered=torch.zeros(num_lanes, 1, 1, device=self._device, dtype=torch.bool),
            time_embedding=torch.zeros(len(self._times), num_rows, 1, D, device=self._device),
            conditions=batch_conditions([concept for lane in with_concepts for concept, _ in self._mixes[lane]]),
        )
        self._write_times(plan, lanes)
        return plan

    def _write_times(self, plan: _Plan, lanes: range) -> None:
        with_concepts = [lane for lane in lanes if self._mixes[lane]]
        lane_times = torch.tensor([self._flow_times[lane] for lane in with_concepts], device=self._device)
        row_times = lane_times.repeat_interleave(self._index([len(self._mixes[lane]) for lane in with_concepts]))
        plan.flow_time.copy_(lane_times[:, None, None])
        plan.is_steered.copy_(plan.flow_time != 0.0)
        plan.time_embedding.copy_(self._field.time_embed(self._times[:, None] * row_times)[:, :, None])

    def _index(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, device=self._device, dtype=torch.long)  # said, because there may be no values


def _write_into(plan: _Plan, values: _Plan) -> bool:
    """Write a plan's values into the tensors of another; False, and nothing is written, where the shapes differ."""
    pairs = list(zip(_tensors_of(plan), _tensors_of(values), strict=True))
    if any((to is None) != (new is None) for to, new in pairs):
        return False
    tensors = [(to, new) for to, new in pairs if to is not None and new is not None]
    if any(to.shape != new.shape for to, new in tensors):
        return False
    for to, new in tensors:
        to.copy_(new)
    return True


def _tensors_of(plan: _Plan) -> list[torch.Tensor | None]:
    steering = [plan.lanes, plan.row_lanes, plan.row_of, plan.row_shift, plan.weights]
    times = [plan.flow_time, plan.is_steered, plan.time_embedding]
    return [*steering, *times, *plan.conditions.keys, *plan.conditions.values, plan.conditions.bias]
