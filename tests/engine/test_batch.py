"""The lanes of a batch: what T = 0 keeps bit for bit, and small promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tiny import tiny_flow
from tiny_engine import (
    LANES,
    LAYER,
    ROBOT,
    ROUNDING,
    check_equal,
    concept,
    every_model,
    lane,
    lane_batch,
    make_engine,
    model,
    request,
)

from flas_engine.batch import LaneBatch
from flas_engine.cache import GROWTH_SLOTS
from flas_engine.events import Finished
from flas_engine.kernels.layout import PACKED
from flas_engine.solvers import SOLVERS
from flas_engine.steering import Mix, Steering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.layers import Window


class NotedSteering(Steering):
    """Keeps what comes in and what goes out, by lane, of prompts and of tokens."""

    def transform(self, h_PLD: torch.Tensor, window: Window, lanes: range | None = None, **rest: Any) -> torch.Tensor:
        out_PLD = super().transform(h_PLD, window, lanes, **rest)
        self.noted: list[tuple[range, torch.Tensor, torch.Tensor]] = [
            *getattr(self, "noted", []),
            (lanes or range(len(self._mixes)), h_PLD.clone(), out_PLD.clone()),
        ]
        return out_PLD


@every_model
@torch.inference_mode()
def test_a_lane_at_zero_keeps_its_activations_bit_for_bit_with_or_without_a_concept(
    family: str, attends_back: bool
) -> None:
    """Even where the way into the field's own coordinates and back again is not exact."""
    base, _ = model(family, attends_back)
    options = {"disable_self_attn": not attends_back, "coordinates": "standardised"}
    flow = tiny_flow(base.architecture, layer=LAYER, **options)
    flow.field.freeze(PACKED)
    pirate = flow.field.encode_keys_values(torch.randn(4, 64, generator=torch.Generator().manual_seed(1)))
    mixes: list[Mix] = [(), ((pirate, 1.0),), ((pirate, 1.0),), ((pirate, 2.0), (pirate, -0.5))]
    flow_times = [0.0, 0.0, 1.5, 0.0]
    steering = NotedSteering(flow.field, mixes, flow_times, SOLVERS["rk4"], 2)
    batch = LaneBatch(base, LAYER, steering, [[2, *range(30, 42)]] * 4)
    plain = LaneBatch(base, LAYER, None, [[2, *range(30, 42)]] * 4)
    pairs = [(batch.read_prompts(), plain.read_prompts())]
    for token in (50, 60, 70):
        fed = torch.full((4,), token)
        pairs.append((batch.advance(fed), plain.advance(fed)))
    for lanes, before, after in steering.noted:
        for row, index in enumerate(lanes):
            assert torch.equal(before[row], after[row]) == (flow_times[index] == 0.0)
    for logits, baseline in pairs:
        for index in (0, 1, 3):
            assert torch.equal(logits[index], baseline[index])
        assert not torch.equal(logits[2], baseline[2])


@every_model
@torch.inference_mode()
def test_trajectories_are_there_when_a_flow_time_is_raised_from_zero(family: str, attends_back: bool) -> None:
    """Standing still is the limit of a flow time going to 0: read at 1e-7, then raised, it must be the same."""
    fed = torch.randint(20, 250, (6, 3), generator=torch.Generator().manual_seed(3))

    def raised_from(flow_time: float) -> torch.Tensor:
        base, flow = model(family, attends_back)
        pirate = concept(family, attends_back)
        mixes: list[Mix] = [((pirate, 1.0),), (), ((pirate, 2.0), (pirate, -0.5))]
        steering = Steering(flow.field, mixes, [flow_time, 0.0, flow_time], SOLVERS["euler"], 3)
        batch = LaneBatch(base, LAYER, steering, [[2, *range(30, 42)], [2, 3], [2, *range(30, 38)]])
        batch.read_prompts()
        for tokens in fed[:2]:
            batch.advance(tokens)
        batch.set_flow_time(0, 1.5)
        batch.set_flow_time(2, -1.0)
        return torch.stack([batch.advance(tokens) for tokens in fed[2:]])

    torch.testing.assert_close(raised_from(0.0), raised_from(1e-7), atol=ROUNDING, rtol=ROUNDING)


@torch.inference_mode()
def test_tokens_given_twice_are_read_once() -> None:
    """`advance` may be given the host's copy of the tokens, so that it does not wait for the device."""
    batches = [lane_batch("gemma3", True, [[2, 30, 31], [2, 40]], [1.5, 0.0]) for _ in range(2)]
    for batch in batches:
        batch.read_prompts()
    for step in ([50, 60], [51, 61]):
        with_ids = batches[0].advance(torch.tensor(step), step)
        assert torch.equal(with_ids, batches[1].advance(torch.tensor(step)))


@torch.inference_mode()
def test_num_bytes_counts_caches_activations_and_trajectories() -> None:
    base, flow = model("gemma3", True)
    a = base.architecture
    per_slot = a.num_layers * 2 * a.num_kv_heads * a.head_dim + a.hidden_size
    per_trajectory = 3 * len(flow.field.blocks) * 2 * a.num_kv_heads * a.head_dim  # three evaluations
    batch = lane_batch("gemma3", True, [[2, 30, 31], [2, 40]], [1.5, 0.0])
    assert batch.num_bytes == 4 * GROWTH_SLOTS * (2 * per_slot + per_trajectory)


@torch.inference_mode()
def test_the_tables_of_a_pass_stay_where_they_are_until_the_caches_grow() -> None:
    batch = lane_batch("gemma3", True, [[2, *range(30, 250)], [2, 40]], [1.5, 0.0])
    batch.read_prompts()

    def addresses() -> set[int]:
        tables = batch._tables
        assert tables is not None
        return {tensor.data_ptr() for tensor in (tables.tokens, tables.places, tables.live, batch._activations)}

    batch.advance(torch.tensor([50, 60]))
    at_first = addresses()
    for _ in range(GROWTH_SLOTS - 223):
        batch.advance(torch.tensor([50, 60]))
    assert addresses() == at_first
    batch.advance(torch.tensor([50, 60]))
    assert addresses() != at_first


def test_events_of_interleaved_runs_do_not_mix() -> None:
    """Two streams of one engine taken in turns, as by a caller who begins a run before the last is used up."""
    engine = make_engine()
    requests = [request(*LANES[:2]), request(lane(0.5, ROBOT, prompt="Why?"), LANES[0])]
    alone = [make_engine().generate(asked) for asked in requests]
    streams: list[Iterator[Any]] = [engine.stream(asked) for asked in requests]
    ends: list[list[Finished]] = [[], []]
    for _ in range(50):
        for stream, finished in zip(streams, ends, strict=True):
            event = next(stream, None)
            if isinstance(event, Finished):
                finished.append(event)
    for finished, fresh in zip(ends, alone, strict=True):
        check_equal(tuple(finished), fresh)
