"""A few texts of the flow as it is now, beside the model's own: greedy, from held-out prompts drawn by seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.checkpoint import Flow
from flas_engine.engine import Engine
from flas_engine.request import GREEDY, Lane, Limits, Message, Request, WeightedConcept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.data.rows import Row
    from flas_engine.field import VelocityField
    from flas_engine.training.prepare import Prepared

FLOW_TIME = 1.0
NEW_TOKENS = 48


@dataclass(frozen=True, kw_only=True)
class SampledPrompt:
    """What a sample answers."""

    prompt: str
    concept: str


@dataclass(frozen=True, kw_only=True)
class SampledText:
    """What it was answered with, at `FLOW_TIME` and without the flow."""

    text: str
    baseline: str


def draw_prompts(rows: Sequence[Row], count: int, seed: int) -> list[SampledPrompt]:
    """Draw rows, and a wording of each one's concept; equal seeds give equal draws."""
    draw = random.Random(f"samples {seed}")
    drawn = draw.sample(list(rows), min(count, len(rows)))
    return [SampledPrompt(prompt=row.prompt, concept=draw.choice(row.concepts)) for row in drawn]


def write_samples(prepared: Prepared, field: VelocityField, prompts: Sequence[SampledPrompt]) -> list[SampledText]:
    """Answer the prompts with a frozen copy of the field, through the engine's own loop."""
    engine = Engine(
        name=prepared.name,
        base_id=prepared.base_id,
        base=prepared.base,
        tokenizer=prepared.tokenizer,
        end_ids=prepared.end_ids,
        flow=Flow(config=prepared.config, field=field),
        prompt_format=prepared.config.prompt_format,
    )
    texts = []
    for sampled in prompts:
        conversation = (Message(role="user", content=sampled.prompt),)
        concepts = (WeightedConcept(text=sampled.concept),)
        lanes = (
            Lane(conversation=conversation),
            Lane(conversation=conversation, concepts=concepts, flow_time=FLOW_TIME),
        )
        baseline, steered = engine.generate(
            Request(lanes=lanes, sampling=GREEDY, limits=Limits(max_new_tokens=NEW_TOKENS))
        )
        texts.append(SampledText(text=steered.text, baseline=baseline.text))
    return texts
