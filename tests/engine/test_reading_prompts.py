"""Prompts are read once below the cut, and above it a few lanes at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tiny_engine import (
    LANES,
    PIRATE,
    ROBOT,
    check_equal,
    every_family,
    lane,
    make_engine,
    request,
)

from flas_engine import batch as batch_module
from flas_engine import prompt_passes
from flas_engine.control import RunControl
from flas_engine.events import Finished, FinishReason, Prefilled, Token

if TYPE_CHECKING:
    import torch

    from flas_engine.layers import BaseModel


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
    monkeypatch.setattr(prompt_passes, "ROWS_AT_FULL_SPEED", {"cpu": 10_000})
    at_once = make_engine(family, attends_back).generate(asked)
    monkeypatch.setattr(prompt_passes, "ROWS_AT_FULL_SPEED", {"cpu": num_rows})
    passes = Passes(monkeypatch)
    check_equal(make_engine(family, attends_back).generate(asked), at_once)
    prompts_passes = [shape for shape in passes.upper if shape[1] > 1]
    assert len(prompts_passes) == {1: 6, 60: 4, 120: 2}[num_rows]
    assert all(lanes == 1 or lanes * tokens <= num_rows for lanes, tokens in prompts_passes)


def test_the_first_lane_speaks_before_the_second_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_passes, "ROWS_AT_FULL_SPEED", {"cpu": 1})
    engine, passes = make_engine(), Passes(monkeypatch)
    events = engine.stream(request(*LANES, tokens=2))
    seen = [(type(event), getattr(event, "lane", None), len(passes.upper)) for event in events]
    assert seen[:6] == [(Prefilled, None, 1), (Token, 0, 1), (Token, 1, 2), (Token, 2, 3), (Token, 3, 4), (Token, 0, 5)]
    assert [kind for kind, _, _ in seen].count(Prefilled) == 1


@pytest.mark.parametrize("num_rows", [1, 60, 10_000])
def test_prefilled_comes_first_and_exactly_once(num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_passes, "ROWS_AT_FULL_SPEED", {"cpu": num_rows})
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
    monkeypatch.setattr(prompt_passes, "ROWS_AT_FULL_SPEED", {"cpu": 1})
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
    monkeypatch.setattr(prompt_passes, "CHUNK_TOKENS", 16)
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
