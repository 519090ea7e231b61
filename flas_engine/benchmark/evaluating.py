"""How fast a list of lanes is written as evaluation asks for it: a batch kept full, against one lane at a time.

Lanes end where the model ends them, so that their lengths are as unequal as answers are; reading their prompts counts.
Both take turns, so that a machine that slows down slows both.
"""

from __future__ import annotations

import time
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

from flas_engine.base import load_config, load_generation_eos
from flas_engine.benchmark.report import EvaluationSpeed
from flas_engine.benchmark.subject import CONCEPT, base_path
from flas_engine.engine import Engine
from flas_engine.events import Finished
from flas_engine.lane_memory import lane_bytes
from flas_engine.prompts import end_of_turn_ids
from flas_engine.request import Lane, Limits, Message, Request, Sampling, WeightedConcept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.info import LoadSpec

MAX_LIVE = 16
PROMPTS_A_ROUND = 4
SAMPLING = Sampling(temperature=1.0)
FLOW_TIMES = (0.0, 0.5, 1.0, 2.0)
SEEDS = 4
"""Answers of a prompt and flow time. The more lanes, the less counts that a list runs out at its end."""
ALONE_EVERY = 17
"""One lane in so many is written alone too; coprime to the number of flow times, so that each has its share."""
PROMPTS = (
    "What is the capital of Norway?",
    "Answer with one word: is the sea salty?",
    "How many days are there in a leap year, and why?",
    "Name three colours.",
    "Explain in two sentences why the sky is blue.",
    "Say good morning.",
    "Write a short poem about an old lighthouse.",
    "Which is larger, the sun or the moon?",
    "Translate into French: where is the nearest station?",
    "Name five inventions of the nineteenth century.",
    "Answer with yes or no: do penguins fly?",
    "How does a refrigerator move heat from cold to warm?",
    "Give me the opposite of warm.",
    "What should I look at when I buy a used bicycle?",
    "Spell the word necessary.",
    "Tell me a joke about penguins.",
)
"""Some are answered in a word, some are not."""


def measure_evaluation(engine: Engine, new_tokens: int, num_rounds: int) -> EvaluationSpeed:
    """Write answers of at most four times `new_tokens`, all of them in a full batch and some one at a time.

    Every round brings prompts, while there are any, at every flow time; there is no time to repeat them.
    """
    lanes, most_tokens = evaluation_lanes(PROMPTS[: PROMPTS_A_ROUND * num_rounds]), new_tokens * 4
    for group in (lanes[:2], lanes[2:3]):  # warms up
        _Writing(engine, group, most_tokens).go_on(len(group))
    batch = _Writing(engine, lanes, most_tokens)
    alone = [_Writing(engine, [lane], most_tokens) for lane in lanes[::ALONE_EVERY]]
    for lane in alone:
        batch.go_on(ALONE_EVERY)
        lane.go_on(1)
    batch.go_on(len(lanes))
    rate = sum(batch.lengths) / batch.seconds
    alone_rate = sum(lane.lengths[0] for lane in alone) / sum(lane.seconds for lane in alone)
    longest_prompt = max(len(engine.render(lane)) for lane in lanes)
    return EvaluationSpeed(
        num_lanes=len(lanes),
        max_live=MAX_LIVE,
        tokens_per_second=rate,
        alone_tokens_per_second=alone_rate,
        ratio=rate / alone_rate,
        shortest=min(batch.lengths),
        median_length=median(batch.lengths),
        longest=max(batch.lengths),
        lane_bytes=lane_bytes(engine, longest_prompt + most_tokens, sampling=SAMPLING),
    )


def evaluation_lanes(prompts: Sequence[str]) -> list[Lane]:
    """Return a lane a prompt, seed and flow time; flow times share their noise, and come one after the other."""
    concepts = (WeightedConcept(text=CONCEPT),)
    return [
        Lane(
            conversation=(Message(role="user", content=prompt),),
            concepts=concepts if flow_time else (),
            flow_time=flow_time,
            seed=seed,
        )
        for seed, prompt in enumerate([prompt for prompt in prompts for _ in range(SEEDS)])
        for flow_time in FLOW_TIMES
    ]


class _Writing:
    """A request that is written with breaks: the lengths of the lanes that have ended, and the seconds spent on it."""

    def __init__(self, engine: Engine, lanes: Sequence[Lane], most_tokens: int) -> None:
        limits = Limits(max_new_tokens=most_tokens)
        request = Request(lanes=tuple(lanes), sampling=SAMPLING, limits=limits, max_live=MAX_LIVE)
        self._engine, self._events = engine, engine.stream(request)
        self.lengths: list[int] = []
        self.seconds = 0.0

    def go_on(self, num_lanes: int) -> None:
        """Write until so many more lanes have ended, or all."""
        self._engine.forget()  # what another request has read, if this one only begins
        started = time.perf_counter()
        ends = (event for event in self._events if isinstance(event, Finished))
        self.lengths += [len(end.token_ids) for end in islice(ends, num_lanes)]
        self.seconds += time.perf_counter() - started


def that_ends(engine: Engine, spec: LoadSpec) -> Engine:
    """Return `engine` with the model's own ends of turn, which all else is measured without."""
    path, info = base_path(spec), engine.info
    ending = Engine(
        name=info.name,
        base_id=info.base_id,
        base=engine.base,
        tokenizer=engine.tokenizer,
        end_ids=end_of_turn_ids(engine.tokenizer, load_generation_eos(path, load_config(path))),
        flow=engine.flow,
        flow_id=info.flow_id,
        prompt_format=info.prompt_format,
        compiles=engine.warm_up is not None,
    )
    if ending.warm_up is not None:
        ending.warm_up.wait()
    return ending
