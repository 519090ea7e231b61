"""The texts that a plan asks for, each by its key, and the lane that writes it.

A text follows from its own concept, prompt, method, flow time and seed, never from what else is asked for: any part of
a plan, in any order, gives the same texts. Knows nothing of files and of batches.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from flas_engine.evaluation.prompting import ask_for
from flas_engine.evaluation.prompts import draw_prompts
from flas_engine.evaluation.results import BASELINE, PROMPTING, STEERING, Generation, generation_key, noise_seed
from flas_engine.request import Lane, Message, WeightedConcept

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flas_engine.evaluation.results import Method, Plan, PlannedConcept
    from flas_engine.events import Finished


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A text to be written; its fields are those of `Generation`."""

    key: str
    method: Method
    concept_id: str
    concept: str
    genre: str
    input_id: int
    input: str
    flow_time: float
    seed: int
    checkpoint: str

    def become(self, finished: Finished) -> Generation:
        """Return the text that was written for it."""
        return Generation(
            **asdict(self),
            text=finished.text,
            num_tokens=len(finished.token_ids),
            finish_reason=str(finished.reason),
        )


def list_wanted(plan: Plan, prompts: Sequence[str]) -> list[Wanted]:
    """List every text of a plan, concept by concept and prompt by prompt; `prompts` are all to draw from."""
    return [
        wanted
        for concept in plan.concepts
        for input_id, prompt in enumerate(draw_prompts(concept.concept_id, prompts, plan.prompts_per_concept))
        for seed in plan.seeds
        for wanted in _of_prompt(plan, concept, input_id, prompt, seed)
    ]


def of_shard(wanted: Sequence[Wanted], shard: int, num_shards: int) -> list[Wanted]:
    """Take the texts of shard `shard` (from 0): every so many-th prompt of a concept with all of its texts."""
    groups: dict[tuple[str, int], int] = {}
    return [
        each
        for each in wanted
        if groups.setdefault((each.concept_id, each.input_id), len(groups)) % num_shards == shard
    ]


def lane_of(text: Wanted | Generation) -> Lane:
    """Return the lane that writes, or wrote, a text of an evaluation."""
    is_steered, is_asked = text.method == STEERING, text.method == PROMPTING
    content = ask_for(text.concept, text.input) if is_asked else text.input
    return Lane(
        conversation=(Message(role="user", content=content),),
        concepts=(WeightedConcept(text=text.concept),) if is_steered else (),
        flow_time=text.flow_time,
        seed=noise_seed(text.seed, text.concept_id, text.input),
    )


def _of_prompt(plan: Plan, concept: PlannedConcept, input_id: int, prompt: str, seed: int) -> Iterator[Wanted]:
    columns: list[tuple[Method, float]] = [(STEERING, flow_time) for flow_time in plan.flow_times]
    columns += [(method, 0.0) for method in (PROMPTING, BASELINE) if method in plan.methods]
    for method, flow_time in columns:
        checkpoint = plan.checkpoint if method == STEERING else ""
        key = generation_key(
            method=method,
            concept_id=concept.concept_id,
            concept=concept.concept,
            input_id=input_id,
            input=prompt,
            flow_time=flow_time,
            seed=seed,
            checkpoint=checkpoint,
            settings=_settings(plan, method),
        )
        yield Wanted(
            key=key,
            method=method,
            concept_id=concept.concept_id,
            concept=concept.concept,
            genre=concept.genre,
            input_id=input_id,
            input=prompt,
            flow_time=flow_time,
            seed=seed,
            checkpoint=checkpoint,
        )


def _settings(plan: Plan, method: Method) -> str:
    """Return what else a text follows from, as one string."""
    settings: list[object] = [asdict(plan.sampling), asdict(plan.limits)]
    settings += [plan.solver, plan.num_steps] if method == STEERING else []
    settings += [plan.prompting] if method == PROMPTING else []
    return json.dumps(settings)
