"""The offline judge on the embedded model: it orders texts as anybody would who reads them.

Texts are written by the embedded flow as its users write them; what is asserted are shares of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import pytest

from flas_engine import Lane, Limits, Message, Request, Sampling, WeightedConcept
from flas_engine.engine import Engine, load_engine
from flas_engine.hub.library import read_library
from flas_engine.judge.calibration import Calibration, calibrate, scramble
from flas_engine.judge.calibration_texts import read_calibration_texts
from flas_engine.judge.evidence import Evidence, compare, likelihood, score_text, weigh
from flas_engine.paths import assets_dir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONCEPTS = tuple(each.concept for each in read_library("demo")[::5])
"""Every fifth of those that come with the flow."""
PROMPTS = ("How do I wrap a present neatly?", "What makes bread rise?")
"""Of every concept: what is ordered are concepts, and one text may well miss its own."""
TIMES = (0.0, 1.0, 3.0)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A text and what the model says of it; `scrambled` is its likelihood with its words shuffled."""

    text: str
    evidence: Evidence
    likelihood: float
    scrambled: float


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What is written for one concept and prompt."""

    concept: str
    prompt: str
    at_0: Judged
    at_1: Judged
    likelihood_at_3: float


@pytest.fixture(scope="module")
def engine(demo_model_dir: Path) -> Engine:
    return load_engine(demo_model_dir, flow=str(assets_dir() / "flows" / "demo"), device="cpu")


@pytest.fixture(scope="module")
def written(engine: Engine) -> list[Answers]:
    """What the engine writes for each concept and prompt, looked at."""
    asked = [(concept, prompt) for concept in CONCEPTS for prompt in PROMPTS]
    lanes = [lane(prompt, concept, time) for concept, prompt in asked for time in TIMES]
    request = Request(lanes=tuple(lanes), sampling=Sampling(temperature=0.7), limits=Limits(max_new_tokens=40))
    texts = [finished.text for finished in engine.generate(request)]
    return [
        Answers(
            concept=concept,
            prompt=prompt,
            at_0=look_at(engine, prompt, concept, at_0),
            at_1=look_at(engine, prompt, concept, at_1),
            likelihood_at_3=likelihood(score_text(engine, at_3, (prompt,)), prompt),
        )
        for (concept, prompt), at_0, at_1, at_3 in zip(asked, texts[0::3], texts[1::3], texts[2::3], strict=True)
    ]


@pytest.fixture(scope="module")
def scales(engine: Engine) -> Calibration:
    """Measured on few texts, to be quick."""
    return calibrate(engine, items=read_calibration_texts().items[:3])


def lane(prompt: str, concept: str = "", flow_time: float = 0.0) -> Lane:
    concepts = (WeightedConcept(text=concept),) if flow_time else ()
    return Lane(conversation=(Message(role="user", content=prompt),), concepts=concepts, flow_time=flow_time)


def look_at(engine: Engine, prompt: str, concept: str, text: str) -> Judged:
    comparison = compare(prompt, concept)
    scored = score_text(engine, text, comparison.asked)
    return Judged(
        text=text,
        evidence=weigh(scored, comparison),
        likelihood=likelihood(scored, prompt),
        scrambled=likelihood(score_text(engine, scramble(text), (prompt,)), prompt),
    )


def share(truths: Sequence[bool]) -> float:
    return fmean(truths)


def test_steering_raises_the_evidence_of_most_concepts(written: list[Answers]) -> None:
    def mean(concept: str, at: str) -> float:
        return fmean(getattr(each, at).evidence.concept for each in written if each.concept == concept)

    higher = {concept: mean(concept, "at_1") > mean(concept, "at_0") for concept in CONCEPTS}
    assert share(list(higher.values())) >= 0.8, higher


def test_a_text_is_more_fluent_than_its_words_in_another_order(written: list[Answers]) -> None:
    texts = [text for each in written for text in (each.at_0, each.at_1) if scramble(text.text) != text.text]
    assert len(texts) >= 30
    assert share([text.likelihood > text.scrambled for text in texts]) >= 0.95, texts


def test_an_answer_fits_its_own_prompt_better_than_another(written: list[Answers]) -> None:
    assert share([each.at_0.evidence.instruction > 0 for each in written]) >= 0.9, written


def test_too_much_flow_time_costs_fluency(written: list[Answers]) -> None:
    at_3 = fmean(each.likelihood_at_3 for each in written)
    assert fmean(each.at_0.likelihood for each in written) > at_3
    assert fmean(each.at_1.likelihood for each in written) > at_3


def test_a_loop_of_words_is_likelier_than_an_answer_and_yet_not_fluent(
    engine: Engine, written: list[Answers], scales: Calibration
) -> None:
    concept, prompt = written[0].concept, written[0].prompt
    comparison = compare(prompt, concept)
    loop = score_text(engine, "I am sorry, I am not sure. " * 8, comparison.asked)
    assert fmean(loop.logprobs[prompt]) > written[0].at_0.likelihood
    assert scales.rate(weigh(loop, comparison))["fluency"] == 0.0
    assert scales.rate(written[0].at_0.evidence)["fluency"] > 0.5


def test_the_scales_of_a_real_model_leave_room_between_their_ends(scales: Calibration) -> None:
    assert scales.concept.two - scales.concept.zero > 0.1
    assert scales.instruction.two > 0.3
    assert scales.likelihood.two - scales.likelihood.zero > 2.0
