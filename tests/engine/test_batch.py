"""The lanes of a batch: what is read once, a few at a time or not again, and lanes that end while others go on.

Small random models of all families, in float32 and laid out as an engine's are. Whatever is taken over, divided or
cleared away, the numbers must be those of an engine that begins from nothing and reads everything at once.
"""

from __future__ import annotations

import gc
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from byte_tokenizer import CHATML, byte_tokenizer
from tiny import FAMILY_NAMES, tiny_flow, tiny_transformers_model

from flas_engine import batch as batch_module
from flas_engine.base import from_transformers
from flas_engine.batch import SMALL_BATCH, LaneBatch
from flas_engine.cache import GROWTH_SLOTS
from flas_engine.control import RunControl
from flas_engine.engine import Engine
from flas_engine.errors import RequestError
from flas_engine.events import Finished, FinishReason, Prefilled, Token
from flas_engine.kernels import PACKED
from flas_engine.request import GREEDY, Lane, Limits, Message, Request, WeightedConcept
from flas_engine.solvers import SOLVERS
from flas_engine.steering import Mix, Steering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.checkpoint import Flow
    from flas_engine.field import ConceptKeysValues
    from flas_engine.layers import BaseModel, Window

LAYER = 2
ROUNDING = 1e-4  # float32 sums taken in another order
TOKENIZER = byte_tokenizer(CHATML, bos=None, eos="<|im_end|>")
SIZES = {"vocab_size": 288, "tie_word_embeddings": False}  # tied, a random model repeats one token for ever
PIRATE, ROBOT = WeightedConcept(text="talk like a pirate"), WeightedConcept(text="robots", weight=-0.5)

MODELS = [(family, attends_back) for attends_back in (True, False) for family in FAMILY_NAMES]
every_model = pytest.mark.parametrize(("family", "attends_back"), MODELS)
every_family = pytest.mark.parametrize(
    ("family", "attends_back"), [(family, index % 2 == 0) for index, family in enumerate(FAMILY_NAMES)]
)
"""Where the family hardly matters: each once, half of them with a flow that attends back."""


@cache
def model(family: str, attends_back: bool = True) -> tuple[BaseModel, Flow]:
    base = from_transformers(tiny_transformers_model(family, **SIZES), layout=PACKED)
    flow = tiny_flow(base.architecture, layer=LAYER, disable_self_attn=not attends_back)
    flow.field.freeze(PACKED)
    return base, flow


def make_engine(family: str = "gemma3", attends_back: bool = True, end_ids: frozenset[int] = frozenset()) -> Engine:
    base, flow = model(family, attends_back)
    return Engine(
        name="tiny",
        base_id="tests/tiny",
        base=base,
        tokenizer=TOKENIZER,
        end_ids=end_ids,
        flow=flow,
        flow_id="tests/tiny-flow",
    )


def lane(flow_time: float = 0.0, *concepts: WeightedConcept, prompt: str = "The sea?") -> Lane:
    return Lane(conversation=(Message(role="user", content=prompt),), concepts=concepts, flow_time=flow_time)


def request(*lanes: Lane, tokens: int = 4, **fields: Any) -> Request:
    return Request(lanes=lanes, sampling=GREEDY, limits=Limits(max_new_tokens=tokens), **fields)


def num_shared(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def reused(engine: Engine) -> list[int]:
    """Tokens of each prompt that the last run did not have to read."""
    assert engine._last_batch is not None
    return engine._last_batch.num_reused


def all_of_it(engine: Engine, asked: Request) -> list[int]:
    """As much as can be reused: all of the prompts, and with them what chooses the first tokens."""
    return [len(engine.render(each)) for each in asked.lanes]


def check_equal(ours: tuple[Finished, ...], fresh: tuple[Finished, ...]) -> None:
    assert [answer.token_ids for answer in ours] == [answer.token_ids for answer in fresh]
    assert [answer.text for answer in ours] == [answer.text for answer in fresh]
    for answer, other in zip(ours, fresh, strict=True):
        assert answer.logprobs == pytest.approx(other.logprobs, abs=ROUNDING)


def run_and_check(engine: Engine, asked: Request, family: str = "gemma3", attends_back: bool = True) -> list[int]:
    """Run on an engine that ran before and on one that did not; returns how much the first reused."""
    check_equal(engine.generate(asked), make_engine(family, attends_back, engine.end_ids).generate(asked))
    return reused(engine)


LANES = (lane(), lane(1.5, PIRATE), lane(0.0, PIRATE), lane(-1.0, PIRATE, ROBOT))


# --- what a run before has read is not read again ---


@every_model
def test_a_rerun_reads_nothing_of_its_prompts(family: str, attends_back: bool) -> None:
    engine, asked = make_engine(family, attends_back), request(*LANES)
    engine.generate(asked)
    assert reused(engine) == [0] * len(LANES)
    assert run_and_check(engine, asked, family, attends_back) == all_of_it(engine, asked)


@every_model
def test_the_logits_behind_a_reused_prompt_are_those_behind_a_fresh_one(family: str, attends_back: bool) -> None:
    """All of them, and those behind tokens that attend to what was reused; the prompts go on where a lane stopped."""
    fed = torch.randint(20, 250, (12, 2), generator=torch.Generator().manual_seed(2))

    def batch(prompts: list[list[int]], previous: LaneBatch | None = None) -> LaneBatch:
        return lane_batch(family, attends_back, prompts, [0.0, 1.5], previous)

    with torch.inference_mode():
        before = batch([[2, *range(30, 50)]] * 2)
        before.read_prompts()
        for step in fed[:6]:
            before.advance(step)
        prompts = [[2, *range(30, 50), *fed[:6, lane].tolist(), 7, 8, 9] for lane in range(2)]
        again, fresh = batch(prompts, before), batch(prompts)
        assert (again.num_reused, fresh.num_reused) == ([27, 27], [0, 0])
        torch.testing.assert_close(again.read_prompts(), fresh.read_prompts(), atol=ROUNDING, rtol=ROUNDING)
        for step in fed[6:]:
            torch.testing.assert_close(again.advance(step), fresh.advance(step), atol=ROUNDING, rtol=ROUNDING)


@every_model
def test_a_follow_up_turn_reads_only_what_is_new(family: str, attends_back: bool) -> None:
    """Three turns, in which every lane goes on from its own answer."""
    engine = make_engine(family, attends_back)
    lanes = list(LANES)
    texts: list[list[int]] = []
    shortest = 0
    for question in ("And how deep?", "Why?", "More!"):
        asked = request(*lanes)
        prompts = [engine.render(each) for each in lanes]
        amounts = run_and_check(engine, asked, family, attends_back)
        if texts:
            own = [num_shared(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
            below = min(max(num_shared(prompt, text) for text in texts) for prompt in prompts)
            assert amounts == [min(amount, below) for amount in own]
            assert min(amounts) >= shortest
        shortest = min(map(len, prompts))  # a whole conversation up to its last answer
        answers = engine.generate(asked)
        texts = [prompt + list(answer.token_ids[:-1]) for prompt, answer in zip(prompts, answers, strict=True)]
        lanes = [
            Lane(
                conversation=(
                    *each.conversation,
                    Message(role="assistant", content=answer.text),
                    Message(role="user", content=question),
                ),
                concepts=each.concepts,
                flow_time=each.flow_time,
            )
            for each, answer in zip(lanes, answers, strict=True)
        ]


OTHER_STEERING = {
    "flow time": request(lane(), lane(0.7, PIRATE)),
    "concept": request(lane(), lane(1.5, WeightedConcept(text="talk about honey"))),
    "weight": request(lane(), lane(1.5, WeightedConcept(text=PIRATE.text, weight=0.5))),
    "mix": request(lane(), lane(1.5, PIRATE, ROBOT)),
    "solver": request(lane(), lane(1.5, PIRATE), solver="midpoint"),
    "number of steps": request(lane(), lane(1.5, PIRATE), num_steps=5),
    "nothing at all": request(lane(), lane(0.0)),
}


@pytest.mark.parametrize("change", OTHER_STEERING)
@every_family
def test_a_lane_that_is_steered_otherwise_takes_over_nothing_above_the_cut(
    family: str, attends_back: bool, change: str
) -> None:
    engine, asked = make_engine(family, attends_back), OTHER_STEERING[change]
    engine.generate(request(lane(1.5, PIRATE), lane()))
    whole = all_of_it(engine, asked)
    is_baseline = change == "nothing at all"  # which has been read by the lane beside
    assert run_and_check(engine, asked, family, attends_back) == [whole[0], whole[1] if is_baseline else 0]


@every_family
def test_a_lane_whose_flow_time_moved_is_not_taken_over(family: str, attends_back: bool) -> None:
    """What it has read above the cut was read under two flow times; the lane beside it is as good as ever."""
    asked = request(lane(), lane(0.5, PIRATE), tokens=8)
    for moves in ({2: 2.0}, {2: 2.0, 4: 0.5}):
        for then in (0.5, 2.0):
            engine, control = make_engine(family, attends_back), RunControl()
            for event in engine.stream(asked, control):
                if isinstance(event, Token) and event.lane == 1 and event.index in moves:
                    control.set_flow_time(1, moves[event.index])
            amounts = run_and_check(engine, request(lane(), lane(then, PIRATE)), family, attends_back)
            assert amounts == [all_of_it(engine, asked)[0], 0]


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1,), (0, 2), (1, 1, 0, 3, 1, 2, 2, 0)])
@every_family
def test_lanes_in_another_order_fewer_or_more_take_over_from_their_equals(
    family: str, attends_back: bool, order: tuple[int, ...]
) -> None:
    engine, asked = make_engine(family, attends_back), request(*(LANES[index] for index in order))
    engine.generate(request(*LANES))
    assert run_and_check(engine, asked, family, attends_back) == all_of_it(engine, asked)


def test_a_prompt_that_is_new_is_read_from_where_it_differs() -> None:
    """Below the cut all prompts are read from one place on, the first that is new to one of them; above it only those
    that have to be."""
    engine = make_engine()
    engine.generate(request(*LANES))
    other = lane(1.5, PIRATE, prompt="The stars?")
    old, new = engine.render(LANES[0]), engine.render(other)
    amount = num_shared(old, new)
    assert 0 < amount < len(old) - 1
    assert run_and_check(engine, request(LANES[0], other, LANES[3])) == [len(old), amount, len(old)]


def test_a_shorter_prompt_takes_over_its_part_of_a_longer_one() -> None:
    engine = make_engine()
    longer, shorter = ((lane(1.5, PIRATE, prompt=prompt)) for prompt in ("The sea and the stars?", "The sea"))
    engine.generate(request(longer))
    amount = num_shared(engine.render(longer), engine.render(shorter))
    assert run_and_check(engine, request(shorter)) == [amount]


def test_a_prompt_of_several_pieces_and_growths_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "CHUNK_TOKENS", 100)
    engine = make_engine()
    first, more = "deep " * 45, "deep " * 70
    engine.generate(request(lane(prompt=first), lane(1.0, PIRATE, prompt=first), tokens=30))
    asked = request(lane(prompt=more), lane(1.0, PIRATE, prompt=more))
    old, new = (engine.render(lane(prompt=prompt)) for prompt in (first, more))
    assert len(old) < GROWTH_SLOTS < len(new)
    assert run_and_check(engine, asked) == [num_shared(old, new)] * 2


def test_a_run_called_off_while_it_reads_leaves_nothing_to_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "ROWS_AT_FULL_SPEED", {"cpu": 1})
    asked = request(*LANES)
    for events_before in (0, 2):
        engine, control = make_engine(), RunControl()
        if not events_before:
            control.cancel()
        for number, _ in enumerate(engine.stream(asked, control), start=1):
            if number == events_before:
                control.cancel()
        assert run_and_check(engine, asked) == [0] * len(LANES)


@every_family
def test_a_run_called_off_between_two_tokens_is_taken_over(family: str, attends_back: bool) -> None:
    engine, control, asked = make_engine(family, attends_back), RunControl(), request(*LANES, tokens=50)
    for event in engine.stream(asked, control):
        if isinstance(event, Token) and event.index == 2:
            control.cancel()
    asked = request(*LANES)
    assert run_and_check(engine, asked, family, attends_back) == all_of_it(engine, asked)


def test_an_abandoned_run_is_taken_over_as_far_as_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, asked = make_engine(), request(*LANES)
    stream = engine.stream(asked)
    events = [next(stream) for _ in range(1 + 2 * len(LANES))]
    assert isinstance(events[-1], Token)
    stream.close()
    assert run_and_check(engine, asked) == all_of_it(engine, asked)
    monkeypatch.setattr(batch_module, "ROWS_AT_FULL_SPEED", {"cpu": 1})
    engine.forget()
    stream = engine.stream(asked)
    assert [type(next(stream)) for _ in range(2)] == [Prefilled, Token]  # three lanes are not read yet
    stream.close()
    assert run_and_check(engine, asked) == [0] * len(LANES)


def test_a_stream_that_is_never_begun_leaves_what_was_read_before() -> None:
    engine, asked = make_engine(), request(*LANES)
    engine.generate(asked)
    engine.stream(request(lane(prompt="Something else"))).close()
    assert run_and_check(engine, asked) == all_of_it(engine, asked)


def test_a_request_that_is_refused_leaves_what_was_read_before() -> None:
    engine, asked = make_engine(), request(*LANES)
    engine.generate(asked)
    with pytest.raises(RequestError, match="tokens long"):
        engine.generate(request(lane(prompt="word " * 200)))
    assert run_and_check(engine, asked) == all_of_it(engine, asked)


def test_a_run_that_fails_leaves_nothing_to_take_over() -> None:
    engine, control, asked = make_engine(), RunControl(), request(*LANES)
    control.set_flow_time(0, 1.0)
    with pytest.raises(RequestError, match="lane 0 has no concept"):
        list(engine.stream(asked, control))
    engine.generate(asked)
    assert reused(engine) == [0] * len(LANES)


def test_an_engine_that_forgets_frees_what_it_read_and_reads_all_again() -> None:
    engine, asked = make_engine(), request(*LANES)
    engine.generate(asked)
    batch = weakref.ref(engine._last_batch)
    engine.forget()
    gc.collect()
    assert batch() is None
    assert run_and_check(engine, asked) == [0] * len(LANES)


def test_no_more_than_one_run_is_held_while_tokens_come() -> None:
    engine, asked = make_engine(), request(*LANES)
    engine.generate(asked)
    batch = weakref.ref(engine._last_batch)
    stream = engine.stream(asked)
    next(stream)
    gc.collect()
    assert batch() is None
    stream.close()


@every_family
def test_a_batch_that_was_cleared_of_its_dead_is_taken_over(family: str, attends_back: bool) -> None:
    """Lanes that ended early are gone: the others' are taken over by their equals, below the cut by all."""
    prompts = ("The sea?", "The sea?", "How far is the sky?", "Why?", "When?", "Who is there?")
    concepts = ((), (PIRATE,), (PIRATE, ROBOT), (), (PIRATE,), ())
    lanes = [lane(1.5 if each else 0.0, *each, prompt=p) for p, each in zip(prompts, concepts, strict=True)]
    first_tokens = [make_engine(family, attends_back).generate(request(each))[0].token_ids[0] for each in lanes]
    engine = make_engine(family, attends_back, frozenset(first_tokens[2:]))
    ended = engine.generate(request(*lanes))
    assert sum(len(answer.token_ids) == 1 for answer in ended) >= 3
    fresh = make_engine(family, attends_back, engine.end_ids)
    check_equal(engine.generate(request(*lanes)), fresh.generate(request(*lanes)))


# --- prompts are read once below the cut, and above it a few lanes at a time ---


class Passes:
    """The passes over the layers below the cut and above it: lanes and tokens of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lower: list[tuple[int, int]] = []
        self.upper: list[tuple[int, int]] = []
        run_layers = batch_module.run_layers

        def noted(base: BaseModel, h: torch.Tensor, layers: range, *rest: Any) -> torch.Tensor:
            (self.lower if layers.start == 0 else self.upper).append((h.shape[0], h.shape[1]))
            return run_layers(base, h, layers, *rest)

        monkeypatch.setattr(batch_module, "run_layers", noted)


def test_a_prompt_is_read_below_the_cut_once_for_all_lanes_that_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, passes = make_engine(), Passes(monkeypatch)
    other = lane(1.5, PIRATE, prompt="Why?")
    length = len(engine.render(LANES[0]))
    engine.generate(request(*LANES, other, other, tokens=1))
    assert passes.lower == [(2, length)]
    assert sum(lanes for lanes, _ in passes.upper) == 6


@every_family
@pytest.mark.parametrize("num_rows", [1, 60, 120])
def test_lanes_read_a_few_at_a_time_write_what_they_write_read_at_once(
    family: str, attends_back: bool, num_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = (*LANES, lane(2.0, PIRATE, prompt="A longer question about the deep sea."), lane(1.0, ROBOT, prompt="Why?"))
    asked = request(*lanes)
    monkeypatch.setattr(batch_module, "ROWS_AT_FULL_SPEED", {"cpu": 10_000})
    at_once = make_engine(family, attends_back).generate(asked)
    monkeypatch.setattr(batch_module, "ROWS_AT_FULL_SPEED", {"cpu": num_rows})
    passes = Passes(monkeypatch)
    check_equal(make_engine(family, attends_back).generate(asked), at_once)
    prompts_passes = [shape for shape in passes.upper if shape[1] > 1]
    assert len(prompts_passes) == {1: 6, 60: 4, 120: 2}[num_rows]
    assert all(lanes == 1 or lanes * tokens <= num_rows for lanes, tokens in prompts_passes)


def test_the_first_lane_speaks_before_the_second_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "ROWS_AT_FULL_SPEED", {"cpu": 1})
    engine, passes = make_engine(), Passes(monkeypatch)
    events = engine.stream(request(*LANES, tokens=2))
    seen = [(type(event), getattr(event, "lane", None), len(passes.upper)) for event in events]
    assert seen[:6] == [(Prefilled, None, 1), (Token, 0, 1), (Token, 1, 2), (Token, 2, 3), (Token, 3, 4), (Token, 0, 5)]
    assert [kind for kind, _, _ in seen].count(Prefilled) == 1


@pytest.mark.parametrize("num_rows", [1, 60, 10_000])
def test_prefilled_comes_first_and_exactly_once(num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "ROWS_AT_FULL_SPEED", {"cpu": num_rows})
    for cancels in (False, True):
        control = RunControl()
        if cancels:
            control.cancel()
        events = list(make_engine().stream(request(*LANES), control))
        assert [index for index, event in enumerate(events) if isinstance(event, Prefilled)] == [0]
        assert len(events[0].prompt_token_ids) == len(LANES)


@pytest.mark.parametrize("tokens", [1, 4])
def test_called_off_between_two_groups_every_lane_ends_with_its_own_reason(
    tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane whose first token was its last has ended by itself."""
    monkeypatch.setattr(batch_module, "ROWS_AT_FULL_SPEED", {"cpu": 1})
    engine, control, asked = make_engine(), RunControl(), request(*LANES, tokens=tokens)
    passes, finished = Passes(monkeypatch), []
    for event in engine.stream(asked, control):
        if isinstance(event, Token) and event.lane == 1:
            control.cancel()
        if isinstance(event, Finished):
            finished.append(event)
    spoke = FinishReason.LENGTH if tokens == 1 else FinishReason.CANCELLED
    assert [(end.lane, len(end.token_ids), end.reason) for end in finished] == [
        (0, 1, spoke),
        (1, 1, spoke),
        (2, 0, FinishReason.CANCELLED),
        (3, 0, FinishReason.CANCELLED),
    ]
    assert len(passes.upper) <= 3  # at most the one that was under way


@pytest.mark.parametrize("half", ["lower", "upper"])
def test_a_wish_to_stop_waits_for_one_piece_of_a_prompt_at_most(half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `CHUNK_TOKENS` promises: below the cut as above it."""
    monkeypatch.setattr(batch_module, "CHUNK_TOKENS", 16)
    engine, control, passes = make_engine(), RunControl(), Passes(monkeypatch)
    noted = batch_module.run_layers

    def noted_until_called_off(base: BaseModel, h: torch.Tensor, layers: range, *rest: Any) -> torch.Tensor:
        if (layers.start == 0) == (half == "lower"):
            control.cancel()
        return noted(base, h, layers, *rest)

    monkeypatch.setattr(batch_module, "run_layers", noted_until_called_off)
    ends = engine.generate(request(lane(1.0, PIRATE, prompt="deep " * 40)), control)
    assert [end.reason for end in ends] == [FinishReason.CANCELLED]
    assert len(getattr(passes, half)) <= 2
    assert len(passes.upper) <= 1


# --- lanes that end ---


@cache
def concept(family: str, attends_back: bool) -> ConceptKeysValues:
    _, flow = model(family, attends_back)
    return flow.field.encode_keys_values(torch.randn(4, 64, generator=torch.Generator().manual_seed(1)))


def lane_batch(
    family: str,
    attends_back: bool,
    prompts: list[list[int]],
    flow_times: list[float],
    previous: LaneBatch | None = None,
) -> LaneBatch:
    """A batch whose lanes have a concept unless they are at T = 0."""
    base, flow = model(family, attends_back)
    mixes: list[Mix] = [((concept(family, attends_back), 1.0),) if flow_time else () for flow_time in flow_times]
    steering = Steering(flow.field, mixes, flow_times, SOLVERS["euler"], 3)
    return LaneBatch(base, LAYER, steering, prompts, previous)


class Living:
    """A batch that is fed random tokens, and the text of every lane, up to where it ended."""

    def __init__(self, family: str, attends_back: bool, lengths: list[int], flow_times: list[float]) -> None:
        self._case = (family, attends_back)
        self._generator = torch.Generator().manual_seed(5)
        self.flow_times = flow_times
        self.texts = [self._tokens(length).tolist() for length in lengths]
        self.batch = lane_batch(*self._case, self.texts, flow_times)
        self.logits = self.batch.read_prompts()
        self.alive = list(range(len(lengths)))

    def _tokens(self, count: int) -> torch.Tensor:
        return torch.randint(20, 250, (count,), generator=self._generator)

    def advance(self, count: int = 1) -> None:
        for _ in range(count):
            tokens = self._tokens(len(self.alive))
            for index, token in zip(self.alive, tokens.tolist(), strict=True):
                self.texts[index] = [*self.texts[index], token]
            self.logits = self.batch.advance(tokens)

    def let_end(self, *lanes: int) -> None:
        rows = [row for row, index in enumerate(self.alive) if index not in lanes]
        self.alive = [self.alive[row] for row in rows]
        self.batch.keep(rows)

    def check_what_follows(self, lane: int, flow_time: float, num_reused: int) -> None:
        """Hold a batch that goes on from what a lane has read to one that reads it all."""
        prompt = [*self.texts[lane], 7, 8, 9]
        following = lane_batch(*self._case, [prompt], [flow_time], self.batch)
        fresh = lane_batch(*self._case, [prompt], [flow_time])
        assert following.num_reused == [num_reused]
        torch.testing.assert_close(following.read_prompts(), fresh.read_prompts(), atol=ROUNDING, rtol=ROUNDING)

    def check_against_the_lanes_alone(self) -> None:
        assert len(self.logits) == len(self.alive)
        for row, index in enumerate(self.alive):
            alone = lane_batch(*self._case, [self.texts[index]], [self.flow_times[index]]).read_prompts()
            torch.testing.assert_close(self.logits[row], alone[0], atol=ROUNDING, rtol=ROUNDING)


@every_family
@torch.inference_mode()
def test_lanes_of_a_small_batch_end_where_they_are(family: str, attends_back: bool) -> None:
    living = Living(family, attends_back, [5, 9, 3, 12], [0.0, 1.5, -1.0, 2.0])
    num_bytes = living.batch.num_bytes
    for ends in ((), (1,), (0,), (3,)):
        living.let_end(*ends)
        living.advance(2)
        living.check_against_the_lanes_alone()
        assert living.batch.num_bytes == num_bytes


@every_family
@torch.inference_mode()
def test_a_larger_batch_is_cleared_when_half_of_it_is_dead(family: str, attends_back: bool) -> None:
    living = Living(family, attends_back, [5, 9, 3, 12, 7, 4], [0.0, 1.5, -1.0, 2.0, 0.0, 0.5])
    whole = living.batch.num_bytes
    living.let_end(3, 1)
    living.advance(2)
    living.check_against_the_lanes_alone()
    assert living.batch.num_bytes == whole
    living.let_end(0)
    assert living.batch.num_bytes == whole / 2
    living.advance(2)
    living.check_against_the_lanes_alone()
    living.let_end(5)
    living.advance(2)
    living.check_against_the_lanes_alone()
    assert SMALL_BATCH < 6


@torch.inference_mode()
def test_lanes_that_end_with_their_first_token_never_enter_a_decoding_pass() -> None:
    for lengths, ends in (([5, 9, 3, 12], [0, 2]), ([5, 9, 3, 12, 7, 4], [0, 2, 3, 5]), ([5, 9, 3, 12, 7, 4], [1])):
        living = Living("gemma3", True, lengths, [0.0, 1.5, -1.0, 2.0, 0.0, 0.5][: len(lengths)])
        living.let_end(*ends)
        living.advance(3)
        living.check_against_the_lanes_alone()


@every_family
@pytest.mark.parametrize("lengths", [[250, 10, 251], [250, 10, 251, 40, 41, 12]])
@torch.inference_mode()
def test_a_lane_may_end_where_the_caches_are_full_and_the_others_grow_past_it(
    family: str, attends_back: bool, lengths: list[int]
) -> None:
    """Lane 0 ends with every slot of the first capacity written; lane 2, a token longer, ends behind the growth."""
    living = Living(family, attends_back, lengths, [1.5, 0.0, 2.0, 1.0, 0.0, 0.5][: len(lengths)])
    capacity = living.batch.num_bytes
    living.advance(GROWTH_SLOTS - 250 - 1)
    assert len(living.texts[2]) == GROWTH_SLOTS
    living.check_against_the_lanes_alone()
    living.advance()
    assert len(living.texts[0]) == GROWTH_SLOTS
    living.let_end(0)
    living.advance(3)
    assert living.batch.num_bytes > capacity
    living.check_against_the_lanes_alone()
    living.let_end(2)
    living.advance(2)
    living.check_against_the_lanes_alone()


@torch.inference_mode()
def test_a_dead_lane_at_the_last_slot_leaves_room_for_what_means_nothing() -> None:
    """The longest lane dies with the caches full to the last slot, while the only one alive is far from it."""
    living = Living("gemma2", True, [GROWTH_SLOTS - 2, 10], [1.5, 2.0])
    living.advance(2)
    assert len(living.texts[0]) == GROWTH_SLOTS
    living.let_end(0)
    living.advance(5)
    living.check_against_the_lanes_alone()


@torch.inference_mode()
def test_a_lane_behind_a_dead_one_keeps_what_the_dead_one_writes_out_of_its_slots() -> None:
    """A dead lane goes on writing where its next token would stand: never into the lane that follows in memory."""
    living = Living("llama", True, [GROWTH_SLOTS - 1, 3, 3], [1.5, 2.0, 0.0])
    living.advance()
    living.let_end(0)
    for _ in range(4):
        living.advance()
        living.check_against_the_lanes_alone()


@every_family
@torch.inference_mode()
def test_what_a_dead_lane_has_read_can_be_taken_over(family: str, attends_back: bool) -> None:
    """Dead before the first decoding pass, after it, and across a growth: what it writes goes behind what it read."""
    for advances_before, advances_behind in ((0, 3), (2, 3), (2, 10)):
        living = Living(family, attends_back, [20, GROWTH_SLOTS - 10], [1.5, -1.0])
        living.advance(advances_before)
        living.let_end(0)
        living.advance(advances_behind)
        living.check_what_follows(0, 1.5, len(living.texts[0]))


@every_family
@torch.inference_mode()
def test_a_lane_whose_flow_time_moved_is_not_taken_over_when_the_dead_beside_it_are_gone(
    family: str, attends_back: bool
) -> None:
    living = Living(family, attends_back, [5, 9, 3, 12, 7, 4], [0.0, 1.5, -1.0, 2.0, 0.0, 0.5])
    living.advance(2)
    living.batch.set_flow_time(5, 2.0)
    living.flow_times[5] = 2.0
    living.advance()
    living.let_end(0, 1, 3)
    living.advance()
    living.check_what_follows(2, -1.0, len(living.texts[2]))
    living.check_what_follows(4, 0.0, len(living.texts[4]))
    for flow_time in (0.5, 2.0):
        living.check_what_follows(5, flow_time, 0)


# --- T = 0 ---


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


# --- small promises ---


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
