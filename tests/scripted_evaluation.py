"""A made-up evaluation's folder: `python tests/scripted_evaluation.py FOLDER` writes one, also as a live run does."""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from judged_evaluation import JUDGE, OFFLINE
from scripted_engine import SCRIPTED_INFO, ScriptedEngine

from flas_engine.evaluation.results import (
    ASPECTS,
    BASELINE,
    PROMPTING,
    STEERING,
    Generation,
    JudgeInfo,
    Judgement,
    Plan,
    PlannedConcept,
    generations_path,
    judgement_key,
    judgements_path,
    write_judge,
    write_plan,
)
from flas_engine.evaluation.wanted import lane_of, list_wanted
from flas_engine.request import Limits, Request, Sampling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flas_engine.evaluation.wanted import Wanted

CONCEPTS = (
    "talk like a pirate",
    "mentions of whales [/bold] and the deep sea",
    "all capitals",
    "terms related to legal proceedings, rulings and the people who take part in them",
    "expressions of doubt",
    "\x1b[31mred\x07 herrings",
    "鯨と海について",
    "names of flowers",
)
PROMPTS = (
    "Tell me about your day.",
    "How do I bake bread?",
    "What is the capital of France?\nAnswer in one sentence.",
    "Write a short letter to a friend who moved to another town, and tell them what happened since they left.",
)
FLOW_TIMES = (0.5, 1.0, 1.5, 2.0, 3.0)
FAILED_EVERY = 37
"""One judgement in so many failed."""


def make_plan(num_concepts: int = len(CONCEPTS), *, flow_times: Sequence[float] = FLOW_TIMES) -> Plan:
    """A plan for the scripted engine."""
    return Plan(
        model=SCRIPTED_INFO.name,
        base=SCRIPTED_INFO.base_id,
        flow=SCRIPTED_INFO.flow_id or "",
        checkpoint="0123456789abcdef",
        dtype=SCRIPTED_INFO.dtype,
        prompt_format=SCRIPTED_INFO.prompt_format,
        concepts=tuple(
            PlannedConcept(concept_id=str(number), concept=_concept(number)) for number in range(num_concepts)
        ),
        prompts="bundled",
        prompts_hash="",
        prompts_per_concept=len(PROMPTS),
        methods=(STEERING, PROMPTING, BASELINE),
        flow_times=tuple(flow_times),
        seeds=(0,),
        sampling=Sampling(temperature=1.0),
        limits=Limits(max_new_tokens=24),
        solver="euler",
        num_steps=3,
        prompting="flas-prompting-1",
        versions={},
    )


def _concept(number: int) -> str:
    repeats, place = divmod(number, len(CONCEPTS))
    return CONCEPTS[place] + (f" {repeats}" if repeats else "")


def write_texts(plan: Plan) -> Iterator[Generation]:
    """Write the texts of a plan, each in a run of its own."""
    engine = ScriptedEngine()
    for wanted in list_wanted(plan, PROMPTS):
        yield write_text(engine, plan, wanted)


def write_text(engine: ScriptedEngine, plan: Plan, wanted: Wanted) -> Generation:
    """Write one text, as an evaluation does."""
    lane = lane_of(wanted)
    assert lane.seed is not None
    request = Request(
        lanes=(lane,), sampling=plan.sampling, limits=plan.limits, seed=lane.seed, num_steps=plan.num_steps
    )
    *_, finished = engine.stream(request)
    return wanted.become(finished)  # type: ignore[arg-type]


def judge_text(text: Generation, judge: JudgeInfo) -> Iterator[Judgement]:
    """Rate a text as a judge might: concept and instruction trade against each other over T."""
    draw = random.Random(f"{text.concept_id} {text.input_id} {judge.slug}")
    skill = draw.uniform(0.4, 1.3)
    means = {
        "concept": {STEERING: min(2.0, text.flow_time * skill), PROMPTING: 1.1, BASELINE: 0.1}[text.method],
        "instruction": 1.9 - 0.3 * text.flow_time,
        "fluency": 1.8 - 0.35 * text.flow_time,
    }
    for number, aspect in enumerate(ASPECTS):
        exact = max(0.0, min(2.0, means[aspect] + draw.uniform(-0.4, 0.4)))
        is_failed = int(text.key[:6], 16) % FAILED_EVERY == number
        rating = exact if judge.kind == "offline" else float(round(exact))
        yield Judgement(
            key=judgement_key(text.key, judge.slug, aspect),
            generation=text.key,
            judge=judge.slug,
            aspect=aspect,
            rating=None if is_failed else rating,
            failure="the answer held no rating" if is_failed else "",
            comment="" if is_failed else f"The {aspect} [/x] is \x1b[1mthere\x1b[0m to this degree: {exact:.2f}.",
            prompt_tokens=120,
            completion_tokens=30,
        )


def write_evaluation(
    folder: Path,
    *,
    num_concepts: int = len(CONCEPTS),
    flow_times: Sequence[float] = FLOW_TIMES,
    judges: Sequence[JudgeInfo] = (JUDGE, OFFLINE),
    seconds_per_text: float = 0.0,
) -> Path:
    """Write an evaluation's folder, slowly if asked to; returns it."""
    plan = begin_evaluation(folder, num_concepts=num_concepts, flow_times=flow_times, judges=judges)
    for text in write_texts(plan):
        add_text(folder, text, judges=judges)
        time.sleep(seconds_per_text)
    return folder


def begin_evaluation(
    folder: Path,
    *,
    num_concepts: int = len(CONCEPTS),
    flow_times: Sequence[float] = FLOW_TIMES,
    judges: Sequence[JudgeInfo] = (JUDGE, OFFLINE),
) -> Plan:
    """Write an evaluation's folder without texts; returns its plan."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = make_plan(num_concepts, flow_times=flow_times)
    write_plan(folder, plan)
    for judge in judges:
        write_judge(folder, judge)
    return plan


def add_text(folder: Path, text: Generation, *, judges: Sequence[JudgeInfo] = (JUDGE, OFFLINE)) -> None:
    """Add a text and what the judges say of it."""
    append(generations_path(folder), text)
    for judge in judges:
        for judgement in judge_text(text, judge):
            append(judgements_path(folder, judge.slug), judgement)


def append(path: Path, record: Generation | Judgement) -> None:
    """Add a line to a file of records."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record)) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--concepts", type=int, default=len(CONCEPTS))
    parser.add_argument("--seconds-per-text", type=float, default=0.0)
    arguments = parser.parse_args()
    write_evaluation(arguments.folder, num_concepts=arguments.concepts, seconds_per_text=arguments.seconds_per_text)


if __name__ == "__main__":
    main()
