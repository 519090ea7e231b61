"""Lanes that take the places of others: whatever is beside a lane, and whenever it begins, it writes the same.

Small random models of all families, and the embedded one, in float32.
"""

from __future__ import annotations

import gc
import random
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from byte_tokenizer import CHATML, byte_tokenizer
from tiny import FAMILY_NAMES, tiny_flow, tiny_transformers_model

from flas_engine import batch as batch_module
from flas_engine import prompt_passes
from flas_engine.base import from_transformers
from flas_engine.control import RunControl
from flas_engine.engine import Engine, load_engine
from flas_engine.errors import RequestError
from flas_engine.events import Finished, FinishReason, Prefilled, Token
from flas_engine.kernels.layout import PACKED
from flas_engine.paths import assets_dir
from flas_engine.request import GREEDY, Lane, Limits, Message, Request, Sampling, WeightedConcept

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from flas_engine.batch import LaneBatch
    from flas_engine.checkpoint import Flow
    from flas_engine.layers import BaseModel

LAYER = 2
ROUNDING = 1e-4  # float32 sums taken in another order
TOKENIZER = byte_tokenizer(CHATML, bos=None, eos="<|im_end|>")
SIZES = {"vocab_size": 288, "tie_word_embeddings": False}  # tied, a random model repeats one token for ever
END_IDS = frozenset(range(0, 288, 12))
"""So many that random models end their answers, at lengths that differ."""
PIRATE, ROBOT = WeightedConcept(text="talk like a pirate"), WeightedConcept(text="robots", weight=-0.5)
MIXES = ((PIRATE,), (WeightedConcept(text="mention the sea in every sentence"),), (PIRATE, ROBOT), ())
PROMPTS = ("The sea?", "Why?", "How far is it from here to the moon, and who has been there?", "A cat and a dog.")
SAMPLED = Sampling(temperature=1.0)
EVERY_KIND = [(family, attends_back) for attends_back in (True, False) for family in FAMILY_NAMES]
every_model = pytest.mark.parametrize(("family", "attends_back"), EVERY_KIND)


@cache
def model(family: str, attends_back: bool) -> tuple[BaseModel, Flow]:
    base = from_transformers(tiny_transformers_model(family, **SIZES), layout=PACKED)
    flow = tiny_flow(base.architecture, layer=LAYER, disable_self_attn=not attends_back)
    flow.field.freeze(PACKED)
    return base, flow


def make_engine(
    family: str = "gemma3", attends_back: bool = True, end_ids: frozenset[int] = END_IDS, *, has_flow: bool = True
) -> Engine:
    base, flow = model(family, attends_back)
    return Engine(
        name="tiny",
        base_id="tests/tiny",
        base=base,
        tokenizer=TOKENIZER,
        end_ids=end_ids,
        flow=flow if has_flow else None,
        flow_id="tests/tiny-flow",
    )


def lane(flow_time: float = 0.0, *concepts: WeightedConcept, prompt: str = PROMPTS[0], seed: int | None = None) -> Lane:
    conversation = (Message(role="user", content=prompt),)
    return Lane(conversation=conversation, concepts=concepts, flow_time=flow_time, seed=seed)


def mixed_lanes(count: int, prompts: Sequence[str] = PROMPTS, seed: int = 0) -> tuple[Lane, ...]:
    """Lanes with prompts, concepts, flow times and seeds in all combinations, baselines with a concept among them."""
    draw = random.Random(seed)
    lanes = []
    for _ in range(count):
        concepts = draw.choice(MIXES)
        flow_time = draw.choice([0.0, 0.5, 1.5, -1.0]) if concepts else 0.0
        lanes.append(lane(flow_time, *concepts, prompt=draw.choice(prompts), seed=draw.choice([None, 3, 2**40])))
    return tuple(lanes)


def request(*lanes: Lane, tokens: int = 7, **fields: Any) -> Request:
    return Request(lanes=lanes, limits=Limits(max_new_tokens=tokens), **({"sampling": GREEDY} | fields))


def one_at_a_time(engine: Engine, asked: Request) -> list[Finished]:
    """What every lane writes as a request of its own."""
    fields = {"sampling": asked.sampling, "seed": asked.seed, "tokens": asked.limits.max_new_tokens}
    return [engine.generate(request(each, **fields))[0] for each in asked.lanes]


def check_alike(ours: Sequence[Finished], alone: Sequence[Finished]) -> None:
    assert [end.token_ids for end in ours] == [end.token_ids for end in alone]
    assert [(end.text, end.reason) for end in ours] == [(end.text, end.reason) for end in alone]
    for end, other in zip(ours, alone, strict=True):
        assert end.logprobs == pytest.approx(other.logprobs, abs=ROUNDING)


# --- the promise ---


@every_model
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_forty_lanes_write_what_each_writes_alone_however_few_are_live(
    family: str, attends_back: bool, sampling: Sampling
) -> None:
    engine, lanes = make_engine(family, attends_back), mixed_lanes(40)
    alone = one_at_a_time(engine, request(*lanes, sampling=sampling, seed=5))
    lengths = {len(end.token_ids) for end in alone}
    assert len(lengths) > 2
    assert {end.reason for end in alone} == {FinishReason.LENGTH, FinishReason.END_OF_TURN}
    for max_live in (1, 5, 16) if sampling is GREEDY and attends_back else (5, 16):
        asked = request(*lanes, sampling=sampling, seed=5, max_live=max_live)
        check_alike(make_engine(family, attends_back).generate(asked), alone)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_lanes_of_the_embedded_model_write_what_each_writes_alone(sampling: Sampling, demo_model_dir: Path) -> None:
    engine = load_engine(demo_model_dir, flow=str(assets_dir() / "flows" / "demo"), device="cpu", dtype="float32")
    asked = request(*mixed_lanes(8, seed=1), tokens=10, sampling=sampling, seed=7, max_live=3)
    alone = one_at_a_time(engine, asked)
    engine.forget()
    assert [end.token_ids for end in engine.generate(asked)] == [end.token_ids for end in alone]


@pytest.mark.parametrize("max_live", [1, 3, 9, 100])
def test_a_repetition_penalty_and_stop_strings_are_each_lanes_own(max_live: int) -> None:
    engine, lanes = make_engine(end_ids=frozenset()), mixed_lanes(9)
    sampling = Sampling(temperature=1.0, repetition_penalty=1.4, top_p=0.95)
    plain = engine.generate(request(*lanes, sampling=sampling))
    stop = next(text for end in plain for text in end.text if sum(text in other.text for other in plain) in range(3, 7))
    limits = Limits(max_new_tokens=7, stop=(stop,))
    asked = Request(lanes=lanes, sampling=sampling, limits=limits, max_live=max_live)
    alone = [engine.generate(Request(lanes=(each,), sampling=sampling, limits=limits))[0] for each in lanes]
    assert {end.reason for end in alone} == {FinishReason.LENGTH, FinishReason.STOP_STRING}
    check_alike(engine.generate(asked), alone)


def test_a_lane_that_grows_the_caches_leaves_the_others_what_they_read() -> None:
    """Newcomers with prompts longer than what the caches hold, beside lanes that go on."""
    engine = make_engine()
    prompts = ("Why?", "deep " * 50, "far " * 75)
    lanes = mixed_lanes(12, prompts, seed=2)
    asked = request(*lanes, tokens=20, max_live=4)
    check_alike(engine.generate(asked), one_at_a_time(make_engine(end_ids=engine.end_ids), asked))


# --- seeds ---


def test_a_lanes_own_seed_is_as_good_as_the_requests() -> None:
    engine, steered = make_engine(), (1.5, PIRATE)
    own = engine.generate(request(lane(*steered, seed=8), lane(*steered), lane(*steered, seed=9), sampling=SAMPLED))
    for end, seed in zip(own, (8, 0, 9), strict=True):
        (alone,) = engine.generate(request(lane(*steered), sampling=SAMPLED, seed=seed))
        assert end.token_ids == alone.token_ids
    assert len({end.token_ids for end in own}) == 3


# --- what is held ---


class Watched(Engine):
    """Notes what runs: the batches that are made, and the lanes in each."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.sizes: list[int] = []

    def _make_batch(self, request: Request, lanes: Sequence[Lane], *rest: Any) -> LaneBatch:
        self.sizes.append(len(lanes))
        return super()._make_batch(request, lanes, *rest)


def watched() -> Watched:
    base, flow = model("gemma3", True)
    return Watched(name="tiny", base_id="t", base=base, tokenizer=TOKENIZER, end_ids=END_IDS, flow=flow)


def test_waiting_lanes_take_no_memory_but_their_prompts() -> None:
    """A batch has rows for the live ones only, and a concept is encoded when its lane's turn comes."""
    engine = watched()
    words = ("sea", "moon", "bread", "honey", "snow", "iron", "wood", "salt")
    lanes = [lane(1.0, WeightedConcept(text=f"talk about {word}")) for word in words]
    assert engine.concepts is not None
    encoded = []
    sizes = []
    for event in engine.stream(request(*lanes, max_live=2)):
        if isinstance(event, Token) and event.index == 0:
            encoded.append((event.lane, engine.concepts.num_encoded))
        sizes.append(max(engine.sizes))
    assert set(sizes) == {2}
    assert [number for number, _ in encoded] == list(range(8))
    assert all(number + 1 <= count <= max(2, number + 2) for number, count in encoded)
    assert engine._last_batch is not None
    assert len(engine._last_batch._ids) <= 2


def test_concepts_go_with_the_last_lane_that_uses_them() -> None:
    engine = make_engine()
    assert engine.concepts is not None
    held = weakref.ref(engine.concepts.encode(PIRATE.text))
    lanes = [lane(1.0, PIRATE), *(lane(1.0, MIXES[1][0]) for _ in range(3))]
    stream = engine.stream(request(*lanes, max_live=1))
    next(event for event in stream if isinstance(event, Token))
    engine.concepts._kept.clear()
    gc.collect()
    assert held() is not None
    next(event for event in stream if isinstance(event, Token) and event.lane == 2)
    gc.collect()
    assert held() is None
    stream.close()


def test_what_the_lanes_under_way_have_read_below_the_cut_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """All flow times of one prompt read it below the flow's layer once, though they begin one after the other."""
    read: list[int] = []
    run_layers = batch_module.run_layers

    def noted(base: BaseModel, h: torch.Tensor, layers: range, *rest: Any) -> torch.Tensor:
        if layers.start == 0 and h.shape[1] > 1:
            read.append(h.shape[0] * h.shape[1])
        return run_layers(base, h, layers, *rest)

    monkeypatch.setattr(batch_module, "run_layers", noted)
    engine = make_engine()
    lanes = [lane(0.5 * number, PIRATE) for number in range(6)]
    engine.generate(request(*lanes, max_live=2))
    assert sum(read) == len(engine.render(lanes[0]))


# --- events ---


def test_a_lane_begins_only_when_another_has_ended() -> None:
    engine, live, begun = make_engine(), set(), []
    events = list(engine.stream(request(*mixed_lanes(20), max_live=4)))
    assert isinstance(events[0], Prefilled)
    assert len(events[0].prompt_token_ids) == 20
    for event in events[1:]:
        if isinstance(event, Token) and event.index == 0:
            live.add(event.lane)
            begun.append(event.lane)
        elif isinstance(event, Finished):
            live.remove(event.lane)
        assert len(live) <= 4
    assert begun == list(range(20))
    assert not live


def test_tokens_of_a_lane_come_in_order_and_join_to_its_text() -> None:
    events = list(make_engine().stream(request(*mixed_lanes(20), max_live=3)))
    for end in (event for event in events if isinstance(event, Finished)):
        own = [event for event in events if isinstance(event, Token) and event.lane == end.lane]
        assert [token.index for token in own] == list(range(len(own)))
        assert tuple(token.token_id for token in own) == end.token_ids
        assert "".join(token.text for token in own) + end.tail == end.text


# --- the reins ---


@every_model
def test_a_waiting_lane_begins_at_the_flow_time_it_was_given_meanwhile(family: str, attends_back: bool) -> None:
    engine, control = make_engine(family, attends_back, frozenset()), RunControl()
    lanes = [lane(0.5, PIRATE), lane(1.0, PIRATE), lane(0.0, PIRATE), lane()]
    flow_times: dict[int, set[float]] = {}
    ends = {}
    for event in engine.stream(request(*lanes, max_live=1), control):
        if isinstance(event, Token):
            flow_times.setdefault(event.lane, set()).add(event.flow_time)
            if (event.lane, event.index) == (0, 2):
                control.set_flow_time(2, 2.0)
        elif isinstance(event, Finished):
            ends[event.lane] = event.token_ids
    assert flow_times == {0: {0.5}, 1: {1.0}, 2: {2.0}, 3: {0.0}}
    (raised,) = make_engine(family, attends_back, frozenset()).generate(request(lane(2.0, PIRATE)))
    assert ends[2] == raised.token_ids


def test_a_live_lane_takes_a_flow_time_wherever_its_row_is() -> None:
    """Lane 3 lives in the row of lane 0, which ended; the change reaches it and nobody else."""
    engine, control = make_engine(), RunControl()
    lanes = (*mixed_lanes(3, seed=4), *(lane(0.5, PIRATE) for _ in range(3)))
    alone = one_at_a_time(make_engine(), request(*lanes))
    seen: dict[int, list[float]] = {number: [] for number in range(6)}
    ends: dict[int, Finished] = {}
    for event in engine.stream(request(*lanes, max_live=3), control):
        if isinstance(event, Token):
            seen[event.lane].append(event.flow_time)
            if (event.lane, event.index) == (3, 1):
                control.set_flow_time(3, 3.0)
        elif isinstance(event, Finished):
            ends[event.lane] = event
    assert seen[3][:2] == [0.5, 0.5]
    assert set(seen[3][2:]) == {3.0}
    assert all(ends[number].token_ids == alone[number].token_ids for number in (0, 1, 2, 4, 5))


def test_a_run_that_is_called_off_ends_lanes_that_live_and_lanes_that_wait() -> None:
    engine, control = make_engine(), RunControl()
    ends: dict[int, Finished] = {}
    live: set[int] = set()
    for event in engine.stream(request(*mixed_lanes(20), max_live=3), control):
        if isinstance(event, Token):
            live.add(event.lane)
            if event.lane == 6:
                control.cancel()
        elif isinstance(event, Finished):
            assert event.lane not in ends
            ends[event.lane] = event
    assert sorted(ends) == list(range(20))
    waited = [ends[number] for number in range(20) if number not in live]
    assert len(waited) >= 10
    assert all((end.reason, end.token_ids, end.text) == (FinishReason.CANCELLED, (), "") for end in waited)
    assert any(ends[number].reason is not FinishReason.CANCELLED for number in range(6))


def test_called_off_while_newcomers_are_read_nobody_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, control = make_engine(), RunControl()
    run_layers = batch_module.run_layers
    passes = []

    def noted(base: BaseModel, h: torch.Tensor, layers: range, *rest: Any) -> torch.Tensor:
        if h.shape[1] > 1 and layers.start:
            passes.append(h.shape)
            if len(passes) == 4:
                control.cancel()
        return run_layers(base, h, layers, *rest)

    monkeypatch.setattr(batch_module, "run_layers", noted)
    monkeypatch.setattr(prompt_passes, "ROWS_AT_FULL_SPEED", {"cpu": 1})
    ends = engine.generate(request(*mixed_lanes(10), max_live=3), control)
    assert [end.lane for end in ends] == list(range(10))
    assert len(passes) == 4
    assert all(end.reason is FinishReason.CANCELLED for end in ends[4:])


def test_a_run_after_an_abandoned_one_is_as_good_as_any() -> None:
    engine, asked = make_engine(), request(*mixed_lanes(12), max_live=3)
    stream = engine.stream(asked)
    for _ in range(30):
        next(stream)
    stream.close()
    check_alike(engine.generate(asked), one_at_a_time(make_engine(), asked))


# --- requests ---


def test_a_waiting_lane_that_cannot_run_is_refused_before_the_first_is_read() -> None:
    plain = make_engine(has_flow=False)
    with pytest.raises(RequestError, match="loaded without a flow"):
        next(plain.stream(request(lane(), lane(1.0, PIRATE), max_live=1)))
    with pytest.raises(RequestError, match="tokens long"):
        next(make_engine().stream(request(lane(), lane(prompt="word " * 200), max_live=1)))


@pytest.mark.parametrize("max_live", [0, -3])
def test_no_lane_at_once_is_refused(max_live: int) -> None:
    with pytest.raises(RequestError, match=f"the number of lanes at once is {max_live}; it must be at least 1"):
        request(lane(), max_live=max_live)


def test_a_lanes_seed_is_checked() -> None:
    with pytest.raises(RequestError, match="the seed is -1; it must be at least 0"):
        lane(seed=-1)
