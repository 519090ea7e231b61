"""How many texts there are, how many could be counted, and why the others could not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flas_engine.evaluation.report import Counts
from flas_engine.evaluation.results import METHODS, STEERING
from flas_engine.evaluation.selection import prompts_of

if TYPE_CHECKING:
    from flas_engine.evaluation.results import Plan
    from flas_engine.evaluation.scores import EvaluatedSet

REASON_LENGTH = 120
"""Of a failure: what is longer is cut, so that equal faults count together and a table holds them."""


def count_texts(evaluated: EvaluatedSet, plan: Plan | None) -> Counts:
    """Count an evaluation's texts; what is still to be written, `plan` tells, unless the texts were imported."""
    texts = list(evaluated.texts())
    seeds = {text.generation.seed for text in texts}
    of_concept = [len(prompts_of(evaluated, concept)) for concept in evaluated.concepts]
    failures = Counter(" ".join(reason.split())[:REASON_LENGTH] for text in texts for reason in text.failures)
    num_counted = sum(text.scores is not None for text in texts)
    num_failed = sum(bool(text.failures) for text in texts)
    judgements = [judgement for text in texts for judgement in text.judgements.values()]
    return Counts(
        num_concepts=len(evaluated.concepts),
        least_prompts=min(of_concept),
        most_prompts=max(of_concept),
        num_seeds=len(seeds),
        num_texts=len(texts),
        num_counted=num_counted,
        num_unjudged=len(texts) - num_counted - num_failed,
        num_failed=num_failed,
        failures=dict(failures.most_common()),
        num_not_written=0 if plan is None or plan.origin else max(0, _num_planned(plan) - len(texts)),
        prompt_tokens=sum(each.prompt_tokens for each in judgements),
        completion_tokens=sum(each.completion_tokens for each in judgements),
    )


def _num_planned(plan: Plan) -> int:
    plain = [method for method in METHODS if method in plan.methods and method != STEERING]
    columns = len(plan.flow_times) + len(plain)
    return len(plan.concepts) * plan.prompts_per_concept * columns * len(plan.seeds)
