"""A draft changes when a text is there, never what it says; what is given stands, whatever the lane would choose."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_engine import (
    LANES,
    PIRATE,
    ROBOT,
    TOKENIZER,
    check_equal,
    every_family,
    every_model,
    lane,
    make_engine,
    request,
    run_and_check,
)

from flas_engine import batch as batch_module
from flas_engine import decode as decode_module
from flas_engine.control import RunControl
from flas_engine.errors import RequestError
from flas_engine.events import FinishReason, Token
from flas_engine.request import GREEDY, Limits, Sampling
from flas_engine.sampling import choose

if TYPE_CHECKING:
    from flas_engine.engine import Engine
    from flas_engine.events import Finished
    from flas_engine.layers import BaseModel
    from flas_engine.request import Lane, Request

SAMPLED = Sampling(temperature=0.9, repetition_penalty=1.2)
NUM_TOKENS = 36
"""More than is verified at once."""


def drafted(lanes: tuple[Lane, ...], drafts: list[tuple[int, ...]]) -> tuple[Lane, ...]:
    return tuple(replace(lane, draft=draft) for lane, draft in zip(lanes, drafts, strict=True))


def texts(answers: tuple[Finished, ...]) -> list[tuple[int, ...]]:
    return [answer.token_ids for answer in answers]


def check_resteered(engine: Engine, asked: Request, plain: tuple[Finished, ...]) -> list[int]:
    """Run a request with drafts and hold it to the run without; returns how many tokens were kept."""
    ours = engine.generate(asked)
    check_equal(ours, plain)
    return [answer.num_kept for answer in ours]


@every_model
def test_a_resteered_answer_is_the_one_written_under_its_flow_time(family: str, attends_back: bool) -> None:
    """Moving T by little and by much, each with the texts of the time before as drafts."""
    engine = make_engine(family, attends_back)

    def asked(*lanes: Lane) -> Request:
        return replace(request(*lanes, tokens=NUM_TOKENS, seed=3), sampling=SAMPLED)

    drafts = texts(engine.generate(asked(*LANES)))
    for flow_time in (1.5001, -2.0):
        lanes = (LANES[0], *(replace(each, flow_time=flow_time) for each in LANES[1:]))
        plain = make_engine(family, attends_back).generate(asked(*lanes))
        kept = check_resteered(engine, asked(*drafted(lanes, drafts)), plain)
        assert kept[0] == NUM_TOKENS  # the baseline's text is the draft itself
        drafts = texts(plain)


@every_family
def test_a_draft_is_kept_up_to_the_first_token_chosen_otherwise(family: str, attends_back: bool) -> None:
    engine = make_engine(family, attends_back)
    asked = request(lane(1.5, PIRATE), tokens=NUM_TOKENS)
    plain = engine.generate(asked)
    (text,) = texts(plain)
    at_once = decode_module.READ_ON_AT_ONCE
    for parted in (0, 1, at_once - 1, at_once, at_once + 1):
        draft = (*text[:parted], (text[parted] + 1) % 256, *text[parted + 1 :])
        assert check_resteered(engine, request(*drafted(asked.lanes, [draft]), tokens=NUM_TOKENS), plain) == [parted]


@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_any_draft_leaves_the_text_as_it_is(data: st.DataObject) -> None:
    """Drafts that begin rightly and go on with anything, in lanes that take each other's places."""
    engine = make_engine("llama")
    lanes = (*LANES, lane(0.7, ROBOT, prompt="And the sky, at night?"))
    fields = {"tokens": 12, "max_live": data.draw(st.sampled_from([None, 1, 2]))}
    asked = replace(request(*lanes, **fields), sampling=SAMPLED)
    plain = make_engine("llama").generate(asked)
    ids = st.lists(st.integers(0, 255), max_size=6)
    drafts = [(*text[: data.draw(st.integers(0, 12))], *data.draw(ids)) for text in texts(plain)]
    check_resteered(engine, replace(asked, lanes=drafted(lanes, drafts)), plain)


def test_what_is_kept_costs_a_pass_a_piece() -> None:
    engine = make_engine()
    asked = request(lane(1.5, PIRATE), tokens=NUM_TOKENS)
    draft = texts(engine.generate(asked))
    events = list(engine.stream(request(*drafted(asked.lanes, draft), tokens=NUM_TOKENS)))
    assert [event.is_kept for event in events if isinstance(event, Token)] == [True] * NUM_TOKENS
    assert engine._last_batch is not None
    assert engine._last_batch._tables is None  # no decoding pass was made ready


@every_family
def test_what_is_resteered_is_not_read_again_below_the_layer(
    family: str, attends_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the last token, which no pass had read before."""
    engine = make_engine(family, attends_back)
    drafts = texts(engine.generate(request(*LANES, tokens=NUM_TOKENS)))
    num_read, embed = [], batch_module.embed

    def counted(base: BaseModel, ids: torch.Tensor) -> torch.Tensor:
        num_read.append(ids.numel())
        return embed(base, ids)

    monkeypatch.setattr(batch_module, "embed", counted)
    again = engine.generate(request(*drafted(LANES, drafts), tokens=NUM_TOKENS))
    assert [answer.num_kept for answer in again] == [NUM_TOKENS] * len(LANES)
    assert sum(num_read) <= len(LANES)


def test_a_tie_within_rounding_is_the_draft_s() -> None:
    """And no more than a tie; the log-probability is the token's own."""
    logits = torch.tensor([[2.0, 10.0, 9.97, 9.9]])
    for expected, chosen in ((2, 2), (3, 1), (0, 1), (None, 1)):
        tokens, logprobs = choose(logits, GREEDY, 0, 0, expected=[expected], rounding=2.0**-8)
        assert tokens.tolist() == [chosen]
        assert logprobs.tolist() == pytest.approx([logits.log_softmax(-1)[0, chosen].item()])


def test_the_next_run_takes_over_what_was_verified() -> None:
    engine = make_engine()
    asked = request(*LANES, tokens=8)
    drafts = [(*text[:5], 7, 7, 7, 7) for text in texts(engine.generate(asked))]
    engine.generate(request(*drafted(LANES, drafts), tokens=8))
    run_and_check(engine, request(*LANES, tokens=8))


@every_family
def test_what_is_given_stands_and_the_answer_goes_on_behind_it(family: str, attends_back: bool) -> None:
    """Whatever the lane would choose; with the log-probabilities that the lane itself gives to it."""
    engine = make_engine(family, attends_back)
    given_ids = tuple(range(65, 65 + NUM_TOKENS - 4))
    each = replace(lane(1.5, PIRATE), given=given_ids)
    (answer,) = engine.generate(request(each, tokens=NUM_TOKENS))
    assert answer.token_ids[: len(given_ids)] == given_ids
    assert answer.num_kept == len(given_ids)
    scored = make_engine(family, attends_back).score_ids([lane(1.5, PIRATE)], [answer.token_ids])
    assert answer.logprobs == pytest.approx(scored[0], abs=1e-4)


def test_a_draft_behind_what_is_given_is_verified() -> None:
    engine = make_engine()
    given_ids = (65, 66, 67)
    (plain,) = engine.generate(request(replace(lane(), given=given_ids), tokens=12))
    draft = (*plain.token_ids[3:9], 1, 2)
    (ours,) = engine.generate(request(replace(lane(), given=given_ids, draft=draft), tokens=12))
    check_equal((ours,), (plain,))
    assert ours.num_kept == 9


def test_an_answer_that_was_over_is_over_at_once() -> None:
    """At an end of turn, at a stop string, or at the limit."""
    (plain,) = make_engine().generate(request(lane(), tokens=12))
    end = plain.token_ids[5]
    ending = make_engine(end_ids=frozenset({end}))
    whole = plain.token_ids[: plain.token_ids.index(end) + 1]
    (ours,) = ending.generate(request(replace(lane(), given=whole), tokens=12))
    assert (ours.token_ids, ours.reason) == (whole, FinishReason.END_OF_TURN)
    (ours,) = ending.generate(request(replace(lane(), draft=plain.token_ids), tokens=12))
    assert (ours.token_ids, ours.reason) == (whole, FinishReason.END_OF_TURN)
    (ours,) = make_engine().generate(request(replace(lane(), given=plain.token_ids), tokens=7))
    assert (ours.token_ids, ours.reason) == (plain.token_ids[:7], FinishReason.LENGTH)
    stopping = Limits(max_new_tokens=12, stop=("C",))
    ids = tuple(TOKENIZER.encode("ABCD", add_special_tokens=False))
    (ours,) = make_engine().generate(replace(request(replace(lane(), given=ids)), limits=stopping))
    assert (ours.text, ours.reason) == ("AB", FinishReason.STOP_STRING)


def test_a_stop_is_heard_between_two_pieces() -> None:
    engine, control = make_engine(), RunControl()
    asked = request(replace(lane(), given=(65,) * 200), tokens=400)
    num_tokens = 0
    for event in engine.stream(asked, control):
        num_tokens += isinstance(event, Token)
        control.cancel()
    assert num_tokens <= 1 + decode_module.READ_ON_AT_ONCE


@pytest.mark.parametrize("field", ["given", "draft"])
def test_ids_of_another_model_are_refused(field: str) -> None:
    engine = make_engine()
    with pytest.raises(RequestError, match="the token id 288: tiny has ids from 0 to 287; give the ids of a text"):
        engine.generate(request(replace(lane(), **{field: (5, 288)})))
