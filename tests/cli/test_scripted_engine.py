"""The scripted engine keeps the contract that the real one keeps."""

from __future__ import annotations

import pytest
from scripted_engine import ScriptedEngine

from flas_engine.control import RunControl
from flas_engine.errors import RequestError
from flas_engine.events import Finished, FinishReason, Token
from flas_engine.request import Lane, Limits, Message, Request, WeightedConcept

PROMPT = (Message(role="user", content="Tell me about your day."),)
PIRATE = (WeightedConcept(text="talk like a pirate"),)


def request(*flow_times: float, **limits: object) -> Request:
    lanes = tuple(Lane(conversation=PROMPT, concepts=PIRATE, flow_time=flow_time) for flow_time in flow_times)
    return Request(lanes=lanes, seed=7, limits=Limits(**{"max_new_tokens": 20, **limits}))  # type: ignore[arg-type]


def texts(events: list[object]) -> dict[int, str]:
    return {event.lane: event.text for event in events if isinstance(event, Finished)}


def test_pieces_and_tail_join_to_the_text() -> None:
    engine = ScriptedEngine(answers={0: ["ab", "c STO", "x", "y ST", "OP z"]})
    events = list(engine.stream(request(1.0, stop=("STOP",))))
    joined = "".join(event.text for event in events if isinstance(event, Token))
    (end,) = [event for event in events if isinstance(event, Finished)]
    assert joined + end.tail == end.text == "abc STOxy "
    assert end.reason is FinishReason.STOP_STRING


def test_equal_lanes_give_equal_text_and_steering_changes_it() -> None:
    answers = texts(list(ScriptedEngine().stream(request(0.0, 1.5, 1.5))))
    assert answers[1] == answers[2] != answers[0]


def test_a_change_of_flow_time_acts_on_the_next_token() -> None:
    control = RunControl()
    engine = ScriptedEngine(before_pass=lambda index: control.set_flow_time(0, 2.0) if index == 5 else None)
    tokens = [event for event in engine.stream(request(0.5), control) if isinstance(event, Token)]
    assert [token.flow_time for token in tokens] == [0.5] * 5 + [2.0] * 15


def test_a_cancel_ends_every_lane_before_its_next_token() -> None:
    control = RunControl()
    engine = ScriptedEngine(before_pass=lambda index: control.cancel() if index == 3 else None)
    ends = [event for event in engine.stream(request(0.0, 1.0), control) if isinstance(event, Finished)]
    assert [(end.reason, len(end.token_ids)) for end in ends] == [(FinishReason.CANCELLED, 3)] * 2


def test_a_prompt_over_the_context_is_refused_with_the_numbers() -> None:
    lane = Lane(conversation=(Message(role="user", content="word " * 3000),))
    with pytest.raises(RequestError, match=r"3000 tokens.*2048"):
        list(ScriptedEngine().stream(Request(lanes=(lane,))))
