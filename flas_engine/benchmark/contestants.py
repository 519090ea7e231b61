"""The rows of the benchmark: what each runs, how many lanes it has, and which weights a pass of it must read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from flas_engine.benchmark.decoding import time_engine, time_plain, time_sequential
from flas_engine.benchmark.products import engine_products, evaluated_projections, linear_products, time_products
from flas_engine.benchmark.subject import FLOW_TIME, request_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from flas_engine.benchmark.decoding import Timing
    from flas_engine.checkpoint import Flow
    from flas_engine.engine import Engine
    from flas_engine.layers import BaseModel

PLAIN = "plain transformers, one stream"
SEQUENTIAL = "sequential design, a pair"
LLAMA_CPP = "llama.cpp, one stream"
BASELINE = "one baseline lane"
TWO = "two baseline lanes"
STEERED = "one steered lane"
PAIR = "steered + baseline"
EIGHT = "8 flow times"
SIXTEEN = "16 flow times"
INT8_BASELINE = "int8, one baseline lane"
INT8_PAIR = "int8, steered + baseline"
LINEAR_BASELINE = "F.linear alone, one baseline lane"
LINEAR_PAIR = "F.linear alone, steered + baseline"
OWN_BASELINE = "products alone, one baseline lane"
OWN_PAIR = "products alone, steered + baseline"

PAIR_TIMES = (0.0, FLOW_TIME)
EIGHT_TIMES = tuple(0.25 * (number + 1) for number in range(8))
SIXTEEN_TIMES = tuple(0.2 * number for number in range(16))
"""The first is a baseline."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A row before it is measured."""

    name: str
    lanes: int
    read_bytes: int
    """Weights that a pass must read at least: the base once, the flow once an evaluation where a lane is steered."""
    run: Callable[[], Timing]


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """All that is loaded, once, and stays so through the rounds."""

    engine: Engine
    int8: Engine
    plain: Any
    """transformers' model of the same base."""
    flow: Flow
    """The engine's flow in torch's own linear layers."""

    @property
    def own_flow(self) -> Flow:
        """The engine's own, in its layout."""
        assert self.engine.flow is not None
        return self.engine.flow


def contestants(subjects: Subjects, new_tokens: int) -> list[Contestant]:
    """Return every row, in the order in which a round runs them."""
    return [*_plain(subjects, new_tokens), *_engine(subjects, new_tokens), *_products(subjects, new_tokens)]


def _plain(subjects: Subjects, new_tokens: int) -> list[Contestant]:
    engine, plain, flow = subjects.engine, subjects.plain, subjects.flow
    prompt_ids = engine.render(request_at((0.0,), new_tokens).lanes[0])
    base, steered = base_bytes(engine.base), base_bytes(engine.base) + flow_bytes(subjects)
    run = partial(time_plain, plain, prompt_ids, new_tokens)
    run_pair = partial(time_sequential, plain, engine.tokenizer, flow, prompt_ids, new_tokens)
    return [
        Contestant(name=PLAIN, lanes=1, read_bytes=base, run=run),
        Contestant(name=SEQUENTIAL, lanes=2, read_bytes=2 * steered, run=run_pair),
    ]


def _engine(subjects: Subjects, new_tokens: int) -> list[Contestant]:
    rows = [
        (BASELINE, subjects.engine, (0.0,)),
        (TWO, subjects.engine, (0.0, 0.0)),
        (STEERED, subjects.engine, (FLOW_TIME,)),
        (PAIR, subjects.engine, PAIR_TIMES),
        (EIGHT, subjects.engine, EIGHT_TIMES),
        (SIXTEEN, subjects.engine, SIXTEEN_TIMES),
        (INT8_BASELINE, subjects.int8, (0.0,)),
        (INT8_PAIR, subjects.int8, PAIR_TIMES),
    ]
    return [
        Contestant(
            name=name,
            lanes=len(flow_times),
            read_bytes=base_bytes(engine.base) + (flow_bytes(subjects) if any(flow_times) else 0),
            run=partial(time_engine, engine, flow_times, new_tokens),
        )
        for name, engine, flow_times in rows
    ]


def _products(subjects: Subjects, new_tokens: int) -> list[Contestant]:
    base, plain = subjects.engine.base, subjects.plain
    read_bytes = base_bytes(base)
    with_flow = read_bytes + flow_bytes(subjects)
    rows = [
        (LINEAR_BASELINE, 1, read_bytes, linear_products(plain, None, 1)),
        (LINEAR_PAIR, 2, with_flow, linear_products(plain, subjects.flow, 2)),
        (OWN_BASELINE, 1, read_bytes, engine_products(base, None, 1)),
        (OWN_PAIR, 2, with_flow, engine_products(base, subjects.own_flow, 2)),
    ]
    return [
        Contestant(
            name=name, lanes=lanes, read_bytes=num_bytes, run=partial(time_products, products, new_tokens, base.device)
        )
        for name, lanes, num_bytes, products in rows
    ]


def base_bytes(base: BaseModel) -> int:
    """Return the bytes of the base's weights that a pass reads; of an embedding apart from the head it reads a row."""
    apart = 0 if base.architecture.ties_embeddings else base.embedding.numel() * base.embedding.element_size()
    return base.num_bytes - apart


def flow_bytes(subjects: Subjects) -> int:
    """Return the bytes of the flow's weights that a pass with a steered lane reads, evaluation by evaluation."""
    flow = subjects.own_flow
    return flow.config.n_steps * sum(projections.num_bytes for projections, _ in evaluated_projections(flow.field))
