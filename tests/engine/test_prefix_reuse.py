"""What a run before has read is not read again, and the answers are those of an engine that reads it all."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest
import torch
from tiny_engine import (
    LANES,
    PIRATE,
    ROBOT,
    ROUNDING,
    all_of_it,
    check_equal,
    every_family,
    every_model,
    lane,
    lane_batch,
    make_engine,
    num_shared,
    request,
    reused,
    run_and_check,
)

from flas_engine import prompt_passes
from flas_engine.cache import GROWTH_SLOTS
from flas_engine.control import RunControl
from flas_engine.errors import RequestError
from flas_engine.events import Prefilled, Token
from flas_engine.request import Lane, Message, WeightedConcept

if TYPE_CHECKING:
    from flas_engine.batch import LaneBatch


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
    monkeypatch.setattr(prompt_passes, "CHUNK_TOKENS", 100)
    engine = make_engine()
    first, more = "deep " * 45, "deep " * 70
    engine.generate(request(lane(prompt=first), lane(1.0, PIRATE, prompt=first), tokens=30))
    asked = request(lane(prompt=more), lane(1.0, PIRATE, prompt=more))
    old, new = (engine.render(lane(prompt=prompt)) for prompt in (first, more))
    assert len(old) < GROWTH_SLOTS < len(new)
    assert run_and_check(engine, asked) == [num_shared(old, new)] * 2


def test_a_run_called_off_while_it_reads_leaves_nothing_to_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_passes, "ROWS_AT_FULL_SPEED", {"cpu": 1})
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
    monkeypatch.setattr(prompt_passes, "ROWS_AT_FULL_SPEED", {"cpu": 1})
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
