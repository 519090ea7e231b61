"""The learning rate of every update: a linear warm-up, then a cosine to 0. Counts updates, and nothing else."""

from __future__ import annotations

import math

LONGEST_WARMUP = 0.1
"""Share of a run that warms up at most, so that a short run reaches its full rate too."""


def learning_rate_factor(update: int, num_updates: int, warmup: int) -> float:
    """Return the factor on the full rate for update 0, 1, ...; 0 from `num_updates` on."""
    warmup = min(warmup, int(num_updates * LONGEST_WARMUP))
    if update < warmup:
        return (update + 1) / warmup
    progress = (update - warmup) / max(1, num_updates - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
