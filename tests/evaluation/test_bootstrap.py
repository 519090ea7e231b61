"""Intervals of means over concepts: they cover as often as they say, and follow from values and seed alone."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest

from flas_engine.evaluation.bootstrap import _student_quantile, estimate_means
from flas_engine.evaluation.scores import harmonic_mean

REPETITIONS = 400
RESAMPLES = 1000
POPULATION = 4000
DEVIATIONS = 2.58
"""Of a binomial share: it leaves them by chance once in a hundred times, and the draws are seeded."""


def concept_score(draw: random.Random) -> float:
    """Return the mean HM of five texts of a concept, easy or hard: ratings of 0, 1, 2 with many zeros."""
    ease = draw.gauss(0.0, 0.4)
    texts = [[min(2, max(0, round(draw.gauss(mean + ease, 0.6)))) for mean in (1.0, 1.6, 1.2)] for _ in range(5)]
    return fmean(harmonic_mean(*ratings) for ratings in texts)


@pytest.fixture(scope="module")
def population() -> list[float]:
    draw = random.Random(0)
    return [concept_score(draw) for _ in range(POPULATION)]


@pytest.mark.parametrize(("num_concepts", "level"), [(20, 0.95), (100, 0.95), (20, 0.8)])
def test_intervals_cover_the_true_mean_at_the_stated_rate(
    num_concepts: int, level: float, population: list[float]
) -> None:
    draw, true_mean = random.Random(num_concepts), fmean(population)
    rows = [draw.choices(population, k=num_concepts) for _ in range(REPETITIONS)]
    covered = 0
    for estimate in estimate_means(rows, resamples=RESAMPLES, level=level):
        assert estimate is not None
        assert estimate.interval is not None
        covered += estimate.interval.low <= true_mean <= estimate.interval.high
    bound = DEVIATIONS * math.sqrt(level * (1 - level) / REPETITIONS)
    assert abs(covered / REPETITIONS - level) <= bound


def test_equal_values_and_seeds_give_equal_intervals(population: list[float]) -> None:
    rows = [population[:30], population[30:60]]
    assert estimate_means(rows, resamples=RESAMPLES) == estimate_means(rows, resamples=RESAMPLES)
    assert estimate_means(rows, resamples=RESAMPLES, seed=1) != estimate_means(rows, resamples=RESAMPLES)


def test_a_concept_without_a_value_takes_no_part() -> None:
    with_gaps, without = estimate_means([[None, 2.0, None, 1.0], [0.0, 2.0, 0.0, 1.0]])
    assert with_gaps is not None
    assert without is not None
    assert (with_gaps.mean, with_gaps.num_concepts) == (1.5, 2)
    assert (without.mean, without.num_concepts) == (0.75, 4)
    assert with_gaps.interval is not None
    assert 1.0 <= with_gaps.interval.low <= 1.5 <= with_gaps.interval.high <= 2.0


def test_one_concept_has_a_mean_and_no_interval() -> None:
    (estimate,) = estimate_means([[None, 1.5]])
    assert estimate is not None
    assert (estimate.mean, estimate.interval, estimate.num_concepts) == (1.5, None, 1)


def test_nothing_has_no_estimate() -> None:
    assert estimate_means([[None, None], [1.0, 1.0]])[0] is None
    assert estimate_means([[]]) == [None]
    assert estimate_means([]) == []


@pytest.mark.parametrize("value", [0.0, 1.2, 2.0])
def test_equal_concepts_have_an_interval_without_width(value: float) -> None:
    (estimate,) = estimate_means([[value] * 7])
    assert estimate is not None
    assert estimate.interval is not None
    assert estimate.interval.low == estimate.mean == estimate.interval.high == pytest.approx(value, abs=1e-15)


def test_a_longer_tail_reaches_further() -> None:
    (estimate,) = estimate_means([[0.0] * 15 + [1.0, 2.0, 2.0]])
    assert estimate is not None
    assert estimate.interval is not None
    assert estimate.interval.high - estimate.mean > estimate.mean - estimate.interval.low > 0.0


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (19, 2.0930)]
)
def test_students_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert _student_quantile(0.975, degrees) == pytest.approx(quantile, rel=2e-3)
