"""Engines and batches of small random models, of all families, in float32 and laid out as a machine's are.

Whatever is taken over, divided or cleared away, the numbers must be those of an engine that begins from nothing and
reads everything at once.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from byte_tokenizer import CHATML, byte_tokenizer
from tiny import FAMILY_NAMES, tiny_flow, tiny_transformers_model

from flas_engine.base import from_transformers
from flas_engine.batch import LaneBatch
from flas_engine.engine import Engine
from flas_engine.kernels.layout import PACKED
from flas_engine.request import GREEDY, Lane, Limits, Message, Request, WeightedConcept
from flas_engine.solvers import SOLVERS
from flas_engine.steering import Mix, Steering

if TYPE_CHECKING:
    from flas_engine.checkpoint import Flow
    from flas_engine.events import Finished
    from flas_engine.field import ConceptKeysValues
    from flas_engine.layers import BaseModel


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
