"""Evaluations made of given ratings, and a folder of one that looks like a real one: for the report and the browser."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.results import (
    ASPECTS,
    Generation,
    JudgeInfo,
    Judgement,
    Plan,
    PlannedConcept,
    generation_key,
    generations_path,
    judgement_key,
    judgements_path,
    write_judge,
    write_plan,
)
from flas_engine.record_log import RecordLog
from flas_engine.request import Limits, Sampling

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from flas_engine.evaluation.results import Method

JUDGE = JudgeInfo(
    slug="gpt-4o-mini-flas",
    name="gpt-4o-mini",
    kind="endpoint",
    model="gpt-4o-mini-2024-07-18",
    rubric="flas 1",
    rubric_hash="5c1f09d2a7b3",
    calibration="",
)
OFFLINE = JudgeInfo(
    slug="offline-demo",
    name="offline-demo",
    kind="offline",
    model="demo",
    rubric="",
    rubric_hash="",
    calibration="1",
)
Rating = float | None
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)></p></td> &amp; \x1b[31m \x00 \x9b2J ```\n| a | b |\n"
    "\u202e # \"' [bold]"
)
CONCEPTS = (
    "talk like a pirate",
    "answers as one long rhyme",
    "terms related to the sea, ships and sailors, wherever they fit",
    "mentions of the Roman Empire",
    "a very excited tone, with exclamation marks!",
    "references to cooking and recipes",
    "bulleted lists",
    "the style of a weather report",
    "mathematical notation",
    "talk like a cat",
    "every sentence a question?",
    "legal language",
    "words of kindness and thanks",
    "baseball",
    "old-fashioned English of the 17th century",
    "the colour blue",
    "numbers written as words",
    "conspiracy theories",
    "gardening advice",
    HOSTILE,
)
PROMPTS = (
    "Tell me about the history of the bicycle.",
    "How do I get rid of a wasp nest?",
    "Write a short mail to my landlord about the heating.",
    "What is the difference between weather and climate?",
    "Give me three ideas for a rainy Sunday.",
    "Explain recursion to a child.",
    "Which vegetables can I plant in October?",
    "Why is the sky blue?",
)
PHRASES = (
    "Well now, let me tell you how it goes.",
    "It began a long time ago, and nobody quite remembers where.",
    "First, look at what is in front of you.",
    "Then take the next step, slowly, and do not worry.",
    "Many people find that this works better in the morning.",
    "There are three reasons, and the second is the important one.",
    "In the end, it depends on the wind.",
)


def make_generation(
    concept: str,
    input_id: int,
    *,
    method: Method = "steering",
    flow_time: float = 0.0,
    seed: int = 0,
    prompt: str | None = None,
    text: str = "a text",
) -> Generation:
    """Return a text on the prompt of this place."""
    asked = PROMPTS[input_id % len(PROMPTS)] if prompt is None else prompt
    key = generation_key(
        method=method,
        concept_id=concept,
        concept=concept,
        input_id=input_id,
        input=asked,
        flow_time=flow_time,
        seed=seed,
        checkpoint="",
        settings="",
    )
    return Generation(
        key=key,
        method=method,
        concept_id=concept,
        concept=concept,
        genre="",
        input_id=input_id,
        input=asked,
        flow_time=flow_time,
        seed=seed,
        checkpoint="0123456789abcdef" if method == "steering" else "",
        text=text,
        num_tokens=len(text.split()),
        finish_reason="stop",
    )


def rate(
    generation: Generation,
    ratings: Sequence[Rating],
    *,
    judge: str = JUDGE.slug,
    failure: str = "no rating",
) -> list[Judgement]:
    """Return what a judge says of concept, instruction and fluency; None is a failure, what is left out is unjudged."""
    return [
        Judgement(
            key=judgement_key(generation.key, judge, aspect),
            generation=generation.key,
            judge=judge,
            aspect=aspect,
            rating=rating,
            failure=failure if rating is None else "",
            comment="" if rating is None else f"It is {('bad', 'fair', 'good')[round(rating)]}. Rating: [[{rating:g}]]",
            prompt_tokens=400,
            completion_tokens=30,
        )
        for aspect, rating in zip(ASPECTS, ratings, strict=False)
    ]


def write_evaluation(
    folder: Path,
    generations: Sequence[Generation],
    judgements: Mapping[JudgeInfo, Iterable[Judgement]],
    **changes: object,
) -> Path:
    """Write a folder as `flas-tui eval` and `judge` leave it; `changes` are fields of the plan."""
    steered = [each for each in generations if each.method == "steering"]
    concepts = dict.fromkeys((each.concept_id, each.concept, each.genre) for each in generations)
    fields: dict[str, object] = {
        "model": "demo",
        "base": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "flow": "flas-smollm2-135m-instruct",
        "checkpoint": "0123456789abcdef",
        "dtype": "bfloat16",
        "prompt_format": "chat",
        "concepts": tuple(PlannedConcept(concept_id=name, concept=text, genre=genre) for name, text, genre in concepts),
        "prompts": "alpaca-eval",
        "prompts_hash": "00",
        "prompts_per_concept": len({each.input_id for each in generations}),
        "methods": tuple(dict.fromkeys(each.method for each in generations)),
        "flow_times": tuple(sorted({each.flow_time for each in steered})),
        "seeds": tuple(sorted({each.seed for each in generations})),
        "sampling": Sampling(temperature=1.0),
        "limits": Limits(max_new_tokens=256),
        "solver": "euler",
        "num_steps": 3,
        "prompting": "flas-prompting-1",
        "versions": {"flas-tui": "0.1.0", "torch": "2.13.0", "transformers": "5.3.0"},
    }
    write_plan(folder, Plan(**fields | changes))  # type: ignore[arg-type]
    with RecordLog(generations_path(folder), Generation, EvaluationError) as log:
        log.add(generations)
    for judge, said in judgements.items():
        write_judge(folder, judge)
        with RecordLog(judgements_path(folder, judge.slug), Judgement, EvaluationError) as judged:
            judged.add(said)
    return folder


def write_lifelike(
    folder: Path,
    *,
    num_concepts: int = len(CONCEPTS),
    num_prompts: int = 4,
    judge: JudgeInfo = JUDGE,
    gaps: bool = True,
) -> Path:
    """Write an evaluation with curves like the published ones, hostile texts and, if wanted, gaps."""
    draw = random.Random(0)
    columns: list[tuple[Method, float]] = [("steering", time) for time in (0.5, 1.0, 1.5, 2.0, 3.0)]
    columns += [("prompting", 0.0), ("baseline", 0.0)]
    generations, judgements = [], []
    for number in range(num_concepts):
        concept = CONCEPTS[number % len(CONCEPTS)] + (f" {number}" if number >= len(CONCEPTS) else "")
        ease = draw.gauss(0.0, 0.35)
        for input_id in range(num_prompts):
            for method, time in columns:
                words = " ".join(draw.choices(PHRASES, k=6))
                text = HOSTILE * 3 if number == num_concepts - 1 else words
                generation = make_generation(concept, input_id, method=method, flow_time=time, text=text)
                generations.append(generation)
                if gaps and draw.random() < 0.03:
                    continue
                ratings = _lifelike_ratings(draw, method, time, ease)
                if gaps and draw.random() < 0.03:
                    ratings[draw.randrange(3)] = None
                judgements += rate(generation, ratings, judge=judge.slug)
    if gaps:
        generations.pop()
    return write_evaluation(folder, generations, {judge: judgements}, prompts_per_concept=num_prompts)


def _lifelike_ratings(draw: random.Random, method: Method, time: float, ease: float) -> list[Rating]:
    strength = {"steering": time, "prompting": 1.1, "baseline": 0.0}[method]
    means = (1.8 * strength / (0.5 + strength) + ease, 1.9 - 0.1 * strength**2, 1.3 - 0.05 * strength**2 + ease / 2)
    return [float(min(2, max(0, round(draw.gauss(mean, 0.5))))) for mean in means]
