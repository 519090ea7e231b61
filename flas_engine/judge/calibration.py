"""How the measures of a base model become ratings from 0 to 2, and how that is found out for any model.

Each measure has a scale: 0 at one value, 2 at another, straight in between, and no further outside. Both ends are
medians that are measured with the very model that judges, on the calibration texts and on answers of its own to their
prompts: any base model can judge, and what is judged does not move its own scale.

- concept: 0 where the plain calibration texts are held against a concept that they do not show, 2 where the texts that
  show it are;
- instruction: 0 where another prompt explains a text as well as its own, that is at 0 nats; 2 where the plain
  calibration texts are held against their own prompts;
- fluency: 2 where the model's own answers are (without steering, at temperature 1), 0 where they are with their words
  shuffled. Written texts will not do here: to SmolLM2-135M they are no likelier than what it writes at T = 3, and all
  steered texts would come out as fluent. Repetition then takes its share: nothing while `LEAST_VARIETY` of the tokens
  or more are new, everything when `MOST_REPEATED` or fewer are.

These are estimates. They rank texts of one model well and single texts badly; a concept that the model does not
understand cannot be seen by it; texts that are written by prompting are what the measure of the concept expects, which
favours them; and no number here can be compared with the ratings of a judge that was asked.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.results import MAX_RATING, write_json
from flas_engine.judge.calibration_texts import read_calibration_texts
from flas_engine.judge.evidence import compare, likelihood, score_text, weigh
from flas_engine.progress import Progress, ignore_progress
from flas_engine.request import Lane, Limits, Message, Request, Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flas_engine.engine import Engine
    from flas_engine.evaluation.results import Aspect
    from flas_engine.judge.calibration_texts import CalibrationText
    from flas_engine.judge.evidence import Evidence
    from flas_engine.progress import ReportProgress

METHOD = 1
"""Counts the ways of measuring: ratings of different ones are not comparable."""
LEAST_VARIETY, MOST_REPEATED = 0.9, 0.5
ANSWER_TOKENS = 64
LEAST_WORDS = 5
"""Fewer have hardly any other order."""
LEAST_IN_ORDER = 0.75
"""Share of pairs, one text that has an aspect and one that has not; chance is a half."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """The measures, in nats a token, that are rated 0 and 2."""

    zero: float
    two: float

    def rate(self, measure: float) -> float:
        """Return the rating of a measure."""
        share = (measure - self.zero) / (self.two - self.zero)
        return MAX_RATING * min(1.0, max(0.0, share))


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The scales of one model."""

    version: str
    """Of the texts and of the way of measuring."""
    model: str
    dtype: str
    concept: Scale
    instruction: Scale
    likelihood: Scale

    def rate(self, evidence: Evidence) -> dict[Aspect, float]:
        """Return the rating of every aspect, from 0 to 2."""
        variety = (evidence.variety - MOST_REPEATED) / (LEAST_VARIETY - MOST_REPEATED)
        return {
            "concept": self.concept.rate(evidence.concept),
            "instruction": self.instruction.rate(evidence.instruction),
            "fluency": self.likelihood.rate(evidence.likelihood) * min(1.0, max(0.0, variety)),
        }


def version_in_use() -> str:
    """Return the version that `calibrate` gives its result."""
    return f"{METHOD}.{read_calibration_texts().version}"


def calibrate(
    engine: Engine,
    progress: ReportProgress = ignore_progress,
    items: Sequence[CalibrationText] | None = None,
) -> Calibration:
    """Measure the scales of the engine's base model on the calibration texts, or on some of them.

    Raises `EvaluationError` when the model cannot tell the texts apart.
    """
    items = items or read_calibration_texts().items
    progress(Progress(activity=f"calibrating {engine.info.name}", done=0, total=len(items)))
    own = _answer(engine, [item.prompt for item in items])
    plain, shown, fluent, scrambled = [], [], [], []
    for index, (item, answer) in enumerate(zip(items, own, strict=True)):
        comparison = compare(item.prompt, item.concept)
        plain.append(weigh(score_text(engine, item.plain, comparison.asked), comparison))
        shown.append(weigh(score_text(engine, item.shown, comparison.asked), comparison))
        if len(answer.split()) >= LEAST_WORDS:
            fluent.append(_likelihood(engine, answer, item.prompt))
            scrambled.append(_likelihood(engine, scramble(answer), item.prompt))
        progress(Progress(activity=f"calibrating {engine.info.name}", done=index + 1, total=len(items)))
    return Calibration(
        version=version_in_use(),
        model=engine.info.base_id,
        dtype=engine.info.dtype,
        concept=_scale(engine, "concept", [each.concept for each in plain], [each.concept for each in shown]),
        instruction=_scale(engine, "instruction", [0.0], [each.instruction for each in plain]),
        likelihood=_scale(engine, "fluency", scrambled, fluent),
    )


def scramble(text: str) -> str:
    """Return the words of `text` in an order by chance, always the same for a text."""
    words = text.split()
    random.Random(text).shuffle(words)
    return " ".join(words)


def calibration_of(folder: Path, slug: str, engine: Engine, progress: ReportProgress = ignore_progress) -> Calibration:
    """Return the calibration of a judge of an evaluation, measured when there is none yet, and kept beside it.

    Raises `EvaluationError` when the one at hand is damaged or another model's.
    """
    path = folder / "calibrations" / f"{slug}.json"
    if not path.exists():
        calibration = calibrate(engine, progress)
        write_json(path, asdict(calibration))
        return calibration
    found = read_calibration(path)
    asked = (version_in_use(), engine.info.base_id, engine.info.dtype)
    if (found.version, found.model, found.dtype) != asked:
        raise EvaluationError(
            f"{path} is the calibration {found.version} of {found.model} in {found.dtype}, not {asked[0]} of "
            f"{asked[1]} in {asked[2]}; judge under another --name, or with the same --model and --dtype"
        )
    return found


def read_calibration(path: Path) -> Calibration:
    """Read what `calibration_of` keeps; raises `EvaluationError` when it is damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        scales = {name: Scale(**content[name]) for name in ("concept", "instruction", "likelihood")}
        return Calibration(**(content | scales))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EvaluationError(f"{path} is damaged ({error}); remove it, and it is measured again") from None


def _answer(engine: Engine, prompts: Sequence[str]) -> list[str]:
    """Let the model answer the prompts as it would by itself."""
    request = Request(
        lanes=tuple(Lane(conversation=(Message(role="user", content=prompt),)) for prompt in prompts),
        sampling=Sampling(temperature=1.0),
        limits=Limits(max_new_tokens=ANSWER_TOKENS),
    )
    texts = [finished.text for finished in engine.generate(request)]
    engine.forget()
    return texts


def _likelihood(engine: Engine, text: str, prompt: str) -> float:
    return likelihood(score_text(engine, text, (prompt,)), prompt)


def _scale(engine: Engine, aspect: Aspect, zero: Sequence[float], two: Sequence[float]) -> Scale:
    pairs = [low < high for low in zero for high in two]
    if not pairs or fmean(pairs) <= LEAST_IN_ORDER:  # above it the medians cannot change places
        raise EvaluationError(
            f"{engine.info.name} cannot judge offline: it puts {sum(pairs)} of {len(pairs)} pairs of calibration texts "
            f"in the right order by {aspect}, and more than {LEAST_IN_ORDER:.0%} are needed; choose another --model"
        )
    return Scale(zero=median(zero), two=median(two))
