"""How soon a pair is there again when T has moved: its texts as drafts, against writing it anew.

Both begin as in the app, right behind the run before, so that neither reads the prompt of the baseline again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import mean, median
from typing import TYPE_CHECKING

from flas_engine.benchmark.report import Resteering
from flas_engine.benchmark.subject import FLOW_TIME, request_at
from flas_engine.request import Sampling

if TYPE_CHECKING:
    from flas_engine.engine import Engine
    from flas_engine.events import Finished
    from flas_engine.request import Request

MOVE = 0.25
"""How far T moves: what one press of `}` does in the app."""


def measure_resteering(engine: Engine, new_tokens: int, num_rounds: int) -> Resteering:
    """Write a pair, move T, and have it both ways; a seed a round, sampled as in the app. One round warms up."""
    rounds = [_round(engine, new_tokens, seed) for seed in range(num_rounds + 1)][1:]
    resteered, anew, kept = zip(*rounds, strict=True)
    return Resteering(
        num_tokens=new_tokens,
        move=MOVE,
        kept_share=mean(kept) / new_tokens,
        seconds=median(resteered),
        anew_seconds=median(anew),
        ratio=median(slow / fast for fast, slow in zip(resteered, anew, strict=True)),
    )


def _round(engine: Engine, new_tokens: int, seed: int) -> tuple[float, float, int]:
    """Return the seconds of re-steering and of writing anew, and how many tokens of the steered lane were kept."""

    def asked(flow_time: float) -> Request:
        return replace(request_at((0.0, flow_time), new_tokens), sampling=Sampling(), seed=seed)

    moved = asked(FLOW_TIME + MOVE)
    baseline, steered = (answer.token_ids for answer in engine.generate(asked(FLOW_TIME)))
    lanes = (replace(moved.lanes[0], given=baseline), replace(moved.lanes[1], draft=steered))
    answers, seconds = _run(engine, replace(moved, lanes=lanes))
    engine.generate(asked(FLOW_TIME))
    _, anew_seconds = _run(engine, moved)
    return seconds, anew_seconds, answers[1].num_kept


def _run(engine: Engine, request: Request) -> tuple[tuple[Finished, ...], float]:
    started = time.perf_counter()
    return engine.generate(request), time.perf_counter() - started
