"""What a lane is said to take is what torch allocates for it, counted by its profiler on small random models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from byte_tokenizer import CHATML, byte_tokenizer
from tiny import tiny_flow, tiny_transformers_model
from torch.profiler import ProfilerActivity, profile

from flas_engine import prompt_passes
from flas_engine.base import from_transformers
from flas_engine.cache import GROWTH_SLOTS
from flas_engine.engine import Engine
from flas_engine.kernels.layout import PACKED
from flas_engine.lane_memory import lane_bytes
from flas_engine.request import GREEDY, Lane, Limits, Message, Request, Sampling, WeightedConcept

if TYPE_CHECKING:
    from pathlib import Path

TOKENIZER = byte_tokenizer(CHATML, bos=None, eos="<|im_end|>")
PIRATE = WeightedConcept(text="talk like a pirate")
NEW_TOKENS = 6
FEW, MANY = 5, 9
MOST_OVER = 1.2
"""So much more than is allocated may be said: not everything is held at once."""


def make_engine(family: str, vocab_size: int, *, attends_back: bool) -> Engine:
    model = tiny_transformers_model(family, vocab_size=vocab_size, tie_word_embeddings=False)
    base = from_transformers(model, layout=PACKED)
    flow = tiny_flow(base.architecture, disable_self_attn=not attends_back)
    flow.field.freeze(PACKED)
    return Engine(name="tiny", base_id="t", base=base, tokenizer=TOKENIZER, end_ids=frozenset(), flow=flow)


def lane(number: int, length: int, *, num_concepts: int) -> Lane:
    """A lane whose prompt differs from all others and has `length` bytes."""
    conversation = (Message(role="user", content=f"{number:03}".ljust(length, "a")),)
    flow_time = float(num_concepts > 0)
    return Lane(conversation=conversation, concepts=(PIRATE,) * num_concepts, flow_time=flow_time, seed=number)


def peak_bytes(engine: Engine, asked: Request, folder: Path) -> int:
    """The most that torch's allocator had given out at once, above what it had before."""
    engine.forget()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        engine.generate(asked)
        engine.forget()
    path = folder / "trace.json"
    profiled.export_chrome_trace(str(path))
    events = [event for event in json.loads(path.read_text())["traceEvents"] if event["name"] == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


@pytest.mark.parametrize(
    ("family", "vocab_size", "num_concepts", "attends_back", "sampling"),
    [
        ("gemma2", 288, 1, True, GREEDY),
        ("llama", 40_000, 1, False, Sampling(temperature=1.0, top_p=0.9, repetition_penalty=1.2)),
        ("gemma2", 40_000, 1, False, Sampling(temperature=1.0)),
    ],
)
@pytest.mark.parametrize("growths", [0, 1])
def test_a_lane_takes_what_it_is_said_to_take(
    family: str,
    vocab_size: int,
    num_concepts: int,
    attends_back: bool,
    sampling: Sampling,
    growths: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Measured as what each lane adds to a batch, at the worst moment of a run."""
    monkeypatch.setattr(prompt_passes, "CHUNK_TOKENS", 64)  # what reads a prompt takes the same for any number of lanes
    engine = make_engine(family, vocab_size, attends_back=attends_back)
    frame = len(engine.render(lane(0, 3, num_concepts=0))) - 3
    length = GROWTH_SLOTS - frame - NEW_TOKENS // 2 if growths else 100

    def peak(num_lanes: int) -> int:
        lanes = tuple(lane(number, length, num_concepts=num_concepts) for number in range(num_lanes))
        limits = Limits(max_new_tokens=NEW_TOKENS)
        return peak_bytes(engine, Request(lanes=lanes, sampling=sampling, limits=limits), tmp_path)

    measured = (peak(MANY) - peak(FEW)) / (MANY - FEW)
    said = lane_bytes(engine, frame + length + NEW_TOKENS, num_concepts=num_concepts, sampling=sampling)
    assert measured <= said <= MOST_OVER * measured
