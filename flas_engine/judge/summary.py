"""What a judge's judgements come to: how many, how many failed and why, what they cost. Knows nothing of flow times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from flas_engine.evaluation.results import ASPECTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flas_engine.evaluation.results import Aspect, Generation, JudgeInfo, Judgement
    from flas_engine.judge.cost import Prices


@dataclass(frozen=True, kw_only=True, slots=True)
class AspectSummary:
    """The judgements about one aspect."""

    num_rated: int
    num_failed: int
    mean: float | None
    """Of the ratings; None without any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgingSummary:
    """The judgements of one judge about the texts of an evaluation."""

    judge: JudgeInfo
    num_generations: int
    aspects: Mapping[Aspect, AspectSummary]
    num_open: int
    """Questions that nobody has put to the judge so far."""
    failures: Mapping[str, int]
    """Failed judgements by reason, the most frequent first."""
    prompt_tokens: int
    completion_tokens: int
    num_uncounted: int
    """Rated judgements whose server did not count tokens."""
    dollars: float | None
    """None without prices."""

    @property
    def num_rated(self) -> int:
        """Judgements with a rating."""
        return sum(aspect.num_rated for aspect in self.aspects.values())

    @property
    def num_failed(self) -> int:
        """Judgements without one."""
        return sum(aspect.num_failed for aspect in self.aspects.values())


def summarize(
    judge: JudgeInfo, generations: Sequence[Generation], judgements: Sequence[Judgement], prices: Prices | None = None
) -> JudgingSummary:
    """Count `judgements` about `generations`; tokens and dollars are of all, about texts that are gone too."""
    keys = {generation.key for generation in generations}
    counted = [judgement for judgement in judgements if judgement.generation in keys]
    prompt_tokens = sum(judgement.prompt_tokens for judgement in judgements)
    completion_tokens = sum(judgement.completion_tokens for judgement in judgements)
    failures = Counter(judgement.failure for judgement in counted if judgement.rating is None)
    return JudgingSummary(
        judge=judge,
        num_generations=len(keys),
        aspects={aspect: _summarize_aspect(aspect, counted) for aspect in ASPECTS},
        num_open=len(ASPECTS) * len(keys) - len(counted),
        failures=dict(failures.most_common()),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        num_uncounted=sum(each.rating is not None and each.prompt_tokens == 0 for each in judgements),
        dollars=None if prices is None else prices.dollars(prompt_tokens, completion_tokens),
    )


def _summarize_aspect(aspect: Aspect, judgements: Sequence[Judgement]) -> AspectSummary:
    of_aspect = [judgement for judgement in judgements if judgement.aspect == aspect]
    ratings = [judgement.rating for judgement in of_aspect if judgement.rating is not None]
    return AspectSummary(
        num_rated=len(ratings),
        num_failed=len(of_aspect) - len(ratings),
        mean=fmean(ratings) if ratings else None,
    )
