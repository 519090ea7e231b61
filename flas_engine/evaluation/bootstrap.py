"""Confidence intervals of means over concepts, by resampling the concepts.

Bias-corrected and accelerated intervals (BCa; Efron 1987) with the level widened for few concepts (the expanded
percentile interval; Hesterberg 2015). All columns are resampled together and by seed, so the same values give the same
intervals. Knows nothing of what the values are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
BLOCK_DRAWS = 4_000_000
"""Concepts drawn at a time: some 100 MB."""
_NORMAL = NormalDist()
_NEAR = 1e-9
"""Relative size below which a spread is rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Between which values the true mean lies, at the stated level."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over concepts, and its interval; None for fewer than two concepts."""

    mean: float
    interval: Interval | None
    num_concepts: int


def estimate_means(
    values: Sequence[Sequence[float | None]], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = SEED
) -> list[Estimate | None]:
    """Estimate the mean of each row of `values` [rows, concepts]; of a row without any value it is None.

    A concept without a value in a row (None) takes no part there, in the mean and in the resamples.
    """
    if not values or not values[0]:
        return [None] * len(values)
    table = np.array([[math.nan if each is None else each for each in row] for row in values], dtype=np.float64)
    means_RM = _resampled_means(table, resamples, seed)
    return [_estimate(row[~np.isnan(row)], means, level) for row, means in zip(table, means_RM, strict=True)]


def _resampled_means(table: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return the means [rows, resamples]; NaN where a resample holds no concept that has a value."""
    draw = np.random.default_rng(seed)
    num_concepts = table.shape[1]
    is_known = ~np.isnan(table)
    known = np.where(is_known, table, 0.0)
    block = max(1, BLOCK_DRAWS // num_concepts)
    parts = []
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        drawn = draw.integers(num_concepts, size=(count, num_concepts)) + num_concepts * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * num_concepts).reshape(count, num_concepts).astype(float)
        with np.errstate(invalid="ignore"):  # nothing over nothing is NaN, as promised
            parts.append((known @ times.T) / (is_known @ times.T))
    return np.concatenate(parts, axis=1)


def _estimate(values: NDArray[np.float64], means: NDArray[np.float64], level: float) -> Estimate | None:
    if not len(values):
        return None
    mean = math.fsum(values) / len(values)
    interval = _interval(values, mean, means[~np.isnan(means)], level) if len(values) > 1 else None
    return Estimate(mean=mean, interval=interval, num_concepts=len(values))


def _interval(values: NDArray[np.float64], mean: float, means: NDArray[np.float64], level: float) -> Interval:
    """Return the BCa interval of `mean` from its resampled `means`."""
    away = values - mean
    spread = float(np.sum(away**2))
    if spread <= (_NEAR * max(1.0, abs(mean))) ** 2 * len(values):
        return Interval(low=mean, high=mean)
    near = _NEAR * max(1.0, abs(mean))
    # half of the resamples that hit the mean count as below it: ratings are few, and hits are many
    below = (np.mean(means < mean - near) + np.mean(means <= mean + near)) / 2
    bias = _NORMAL.inv_cdf(min(max(float(below), 1 / len(means)), 1 - 1 / len(means)))
    acceleration = float(np.sum(away**3)) / (6.0 * spread**1.5)
    reach = _widened(level, len(values))
    low, high = (_adjusted(bias, acceleration, sign * reach) for sign in (-1.0, 1.0))
    ends = np.quantile(means, [low, high])
    return Interval(low=float(ends[0]), high=float(ends[1]))


def _adjusted(bias: float, acceleration: float, reach: float) -> float:
    """Return the share of resamples below an end that lies `reach` standard errors away."""
    moved = bias + reach
    return _NORMAL.cdf(bias + moved / max(_NEAR, 1.0 - acceleration * moved))


def _widened(level: float, count: int) -> float:
    """Return the normal quantile widened to Student's t with count - 1 degrees, by sqrt(n / (n - 1)).

    Resampled means spread by the n-divisor's standard deviation and know no tails of t: at 20 values that alone costs
    some 1.5 % of coverage.
    """
    return math.sqrt(count / (count - 1)) * _student_quantile(0.5 + level / 2, count - 1)


def _student_quantile(share: float, degrees: int) -> float:
    """Return Student's quantile, from the normal one by Cornish and Fisher's expansion; exact for 1 and 2 degrees.

    Abramowitz and Stegun, 26.7.5; off by 0.5 % at 3 degrees and the usual level, by less beyond.
    """
    if degrees == 1:
        return math.tan(math.pi * (share - 0.5))
    if degrees == 2:
        return (2 * share - 1) * math.sqrt(2 / (4 * share * (1 - share)))
    z = _NORMAL.inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * degrees**4)
    )
