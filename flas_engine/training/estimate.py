"""What a run will take, before it begins: memory and disk by counting, time by a short measured probe."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.training.sizes import base_bytes, disk_bytes, memory_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from flas_engine.training.prepare import Prepared

PROBED_UPDATES = 2


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run takes. Tokens are output tokens, which the loss reads."""

    num_rows: int
    num_held_out: int
    num_left_out: int
    num_concepts: int
    num_updates: int
    num_epochs: float
    num_tokens: int
    memory_bytes: int
    disk_bytes: int
    seconds: float
    """Of the updates, from a short probe; without validation."""


def estimate(prepared: Prepared, update: Callable[[int], object]) -> Estimate:
    """Work out what a run takes; `update` trains update 0, 1, ... for the probe."""
    recipe, plan, a = prepared.recipe, prepared.plan, prepared.base.architecture
    mean_output = sum(len(example.output_ids) for example in prepared.examples) / len(prepared.examples)
    num_rows = plan.num_updates * recipe.accumulation * recipe.batch_size
    update(0)  # warms up
    started = time.perf_counter()
    for number in range(1, PROBED_UPDATES + 1):
        update(number)
    seconds = (time.perf_counter() - started) / PROBED_UPDATES
    return Estimate(
        num_rows=len(prepared.examples),
        num_held_out=len(prepared.held_out),
        num_left_out=len(prepared.left_out),
        num_concepts=prepared.num_concepts,
        num_updates=plan.num_updates,
        num_epochs=plan.num_updates * recipe.accumulation / plan.batches_per_epoch,
        num_tokens=round(num_rows * mean_output),
        memory_bytes=base_bytes(a, prepared.compute_dtype) + memory_bytes(recipe, a, prepared.compute_dtype),
        disk_bytes=disk_bytes(recipe, a, sum(example.num_tokens for example in prepared.examples)),
        seconds=seconds * plan.num_updates,
    )
