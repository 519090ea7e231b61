"""Times how fast tokens come, from the engine, from plain transformers, and from two plain streams in turn.

Reading the prompt is timed apart: a rate counts from when every lane has its first token.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from flas_engine.benchmark.subject import CONCEPT, FLOW_TIME, request_at
from flas_engine.events import Token
from flas_engine.hook import steered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from flas_engine.checkpoint import Flow
    from flas_engine.engine import Engine

ALMOST_ZERO = 1e-6
"""A flow time that is run like any other and moves nothing."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One run of one row."""

    passes_per_second: float
    first_token_seconds: float | None = None
    all_lanes_seconds: float | None = None


def time_engine(engine: Engine, flow_times: Sequence[float], new_tokens: int) -> Timing:
    """Time a greedy lane a flow time, prompt read from nothing; concepts that ran before are encoded already."""
    request = request_at(flow_times, new_tokens)
    engine.forget()
    started = time.perf_counter()
    arrivals = [(event.index, time.perf_counter()) for event in engine.stream(request) if isinstance(event, Token)]
    firsts = [arrived for index, arrived in arrivals if index == 0]
    return _timing(started, firsts, arrivals[-1][1], new_tokens)


def time_plain(model: Any, prompt_ids: list[int], new_tokens: int) -> Timing:
    """Time transformers' own greedy generate; its streamer is called once for the prompt and once a token."""
    from transformers.generation.streamers import BaseStreamer

    arrivals: list[float] = []

    class Clock(BaseStreamer):
        def put(self, value: object) -> None:
            del value
            arrivals.append(time.perf_counter())

        def end(self) -> None:
            pass

    ids = torch.tensor([prompt_ids], device=model.device)
    started = time.perf_counter()
    with torch.inference_mode():
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            do_sample=False,
            streamer=Clock(),
        )
    return _timing(started, [arrivals[1]], arrivals[-1], new_tokens)


def time_sequential(
    model: Any, tokenizer: PreTrainedTokenizerBase, flow: Flow, prompt_ids: list[int], new_tokens: int
) -> Timing:
    """Time a pair made the usual way: two plain streams one after the other, the flow run on both.

    Two greedy generates of transformers inside `steered()`, whose hook runs the flow after layer l of every pass: one
    at the usual flow time, and one at a flow time so small that the flow is run and moves nothing, which is how a
    baseline comes out of that design. A pass is a pair of tokens: the sum of both streams' times.
    """
    timings = []
    for flow_time in (FLOW_TIME, ALMOST_ZERO):
        with steered(model, tokenizer, flow, CONCEPT, flow_time):
            timings.append(time_plain(model, prompt_ids, new_tokens))
    return Timing(
        passes_per_second=1.0 / sum(1.0 / timing.passes_per_second for timing in timings),
        first_token_seconds=timings[0].first_token_seconds,
    )


def _timing(started: float, firsts: list[float], ended: float, new_tokens: int) -> Timing:
    return Timing(
        passes_per_second=(new_tokens - 1) / (ended - firsts[-1]),
        first_token_seconds=firsts[0] - started,
        all_lanes_seconds=firsts[-1] - started,
    )
