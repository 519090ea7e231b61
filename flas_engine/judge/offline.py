"""The judge that needs no network: ratings estimated from what the base model itself says of a text.

What is measured stands in `evidence`, how it becomes ratings in `calibration`, with the limits of both. Judgements are
appended text by text under the same keys as any judge's, so a killed run goes on; each depends on its text, its prompt
and its concept alone, so it comes out as in a run that was not killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.evaluation.results import ASPECTS, JudgeInfo, Judgement, judgement_key, slug_of
from flas_engine.judge.calibration import version_in_use
from flas_engine.judge.evidence import Unjudgeable, compare, score_text, weigh
from flas_engine.progress import Progress, ignore_progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flas_engine.engine import Engine
    from flas_engine.evaluation.results import Aspect, Generation
    from flas_engine.info import EngineInfo
    from flas_engine.judge.calibration import Calibration
    from flas_engine.judge.evidence import Evidence
    from flas_engine.progress import ReportProgress
    from flas_engine.record_log import RecordLog


def offline_info(engine: EngineInfo, name: str | None = None) -> JudgeInfo:
    """Return who judges; without a `name` it is called after the base model: 'offline gemma-2-2b-it'."""
    called = name or f"offline {engine.base_id.rstrip('/').split('/')[-1]}"
    return JudgeInfo(
        slug=slug_of(called),
        name=called,
        kind="offline",
        model=engine.base_id,
        rubric="",
        rubric_hash="",
        calibration=version_in_use(),
    )


def judge_offline(
    engine: Engine,
    generations: Iterable[Generation],
    info: JudgeInfo,
    calibration: Calibration,
    log: RecordLog[Judgement],
    progress: ReportProgress = ignore_progress,
) -> None:
    """Judge every aspect of the texts that `log` does not have, and append what comes to it, text by text.

    A text about which nothing can be said gets failed judgements with the reason.
    """
    waiting = [each for each in generations if _missing(each, info.slug, log)]
    for index, generation in enumerate(waiting):
        progress(Progress(activity=f"judging by {info.name}", done=index, total=len(waiting)))
        missing = _missing(generation, info.slug, log)
        judgements = _judge(engine, generation, info.slug, calibration)
        log.add(judgement for judgement in judgements if judgement.aspect in missing)
    progress(Progress(activity=f"judging by {info.name}", done=len(waiting), total=len(waiting)))


def _missing(generation: Generation, slug: str, log: RecordLog[Judgement]) -> frozenset[Aspect]:
    keys = {aspect: judgement_key(generation.key, slug, aspect) for aspect in ASPECTS}
    return frozenset(aspect for aspect, key in keys.items() if log.get(key) is None)


def _judge(engine: Engine, generation: Generation, slug: str, calibration: Calibration) -> list[Judgement]:
    comparison = compare(generation.input, generation.concept)
    try:
        evidence = weigh(score_text(engine, generation.text, comparison.asked), comparison)
    except Unjudgeable as error:
        return [_judgement(generation, slug, aspect, failure=str(error)) for aspect in ASPECTS]
    ratings = calibration.rate(evidence)
    return [
        _judgement(generation, slug, aspect, rating=ratings[aspect], comment=_describe(evidence, aspect))
        for aspect in ASPECTS
    ]


def _judgement(
    generation: Generation,
    slug: str,
    aspect: Aspect,
    *,
    rating: float | None = None,
    failure: str = "",
    comment: str = "",
) -> Judgement:
    return Judgement(
        key=judgement_key(generation.key, slug, aspect),
        generation=generation.key,
        judge=slug,
        aspect=aspect,
        rating=rating,
        failure=failure,
        comment=comment,
        prompt_tokens=0,
        completion_tokens=0,
    )


def _describe(evidence: Evidence, aspect: Aspect) -> str:
    """Return the raw measure in words, for the place where another judge gives its reasons."""
    if aspect == "concept":
        return f"log-odds against other concepts: {evidence.concept:+.3f} nats a token"
    if aspect == "instruction":
        return f"log-odds against other prompts: {evidence.instruction:+.3f} nats a token"
    return f"log-likelihood: {evidence.likelihood:.3f} nats a token; {evidence.variety:.0%} of the tokens are new"
