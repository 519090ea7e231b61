"""Losses on held-out rows over flow times, and under shuffled concepts; the gap is what conditioning is worth."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from flas_engine.training.metrics import format_flow_time
from flas_engine.training.trunk import run_upper, token_losses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flas_engine.layers import BaseModel
    from flas_engine.training.examples import Example
    from flas_engine.training.feed import Feed
    from flas_engine.training.objective import Conditioning, Terms, Texts

FLOW_TIMES = (0.0, 0.5, 1.0, 1.5, 2.0)
DECISIVE = 1.0
"""The flow time whose loss decides which checkpoint is best, and which the shuffled concepts are measured at."""


@dataclass(frozen=True, kw_only=True)
class HeldOutBatch:
    """Rows that are validated together."""

    rows: tuple[int, ...]
    wordings: tuple[str, ...]
    shuffled: tuple[str, ...]
    """Of each row the wording of another concept."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """In nats a token over all rows."""

    by_flow_time: dict[str, float]
    shuffled: float
    num_tokens: int
    num_rows: int

    @property
    def decisive(self) -> float:
        """At T = 1."""
        return self.by_flow_time[format_flow_time(DECISIVE)]


def plan_validation(examples: Sequence[Example], num_rows: int, batch_size: int, seed: int) -> list[HeldOutBatch]:
    """Draw rows, a wording for each and a wrong one, and form batches by length; equal seeds give equal plans."""
    draw = random.Random(f"validation {seed}")
    rows = draw.sample(range(len(examples)), min(num_rows, len(examples)))
    rows.sort(key=lambda row: (examples[row].num_tokens, row))
    wordings = {row: draw.choice(examples[row].concepts) for row in rows}
    shuffled = {row: draw.choice(_other(row, rows, examples, draw).concepts) for row in rows}
    return [
        HeldOutBatch(
            rows=tuple(piece),
            wordings=tuple(wordings[row] for row in piece),
            shuffled=tuple(shuffled[row] for row in piece),
        )
        for piece in (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
    ]


def _other(row: int, rows: Sequence[int], examples: Sequence[Example], draw: random.Random) -> Example:
    own = examples[row].concept_id
    others = [other for other in rows if examples[other].concept_id != own] or [row]
    return examples[draw.choice(others)]


@torch.no_grad()
def validate(
    objective: Callable[[Texts, Conditioning], Terms],
    base: BaseModel,
    layer: int,
    feed: Feed,
    batches: Sequence[HeldOutBatch],
    process: int,
    num_processes: int,
    reduce: Callable[[torch.Tensor], torch.Tensor],
) -> Losses:
    """Measure every T and the shuffled concepts; processes share the batches out, and `reduce` sums over them.

    Every process computes equally many, as the model may wait for all of them: where there are too few batches, it
    repeats one that does not count.
    """
    sums = torch.zeros(len(FLOW_TIMES) + 1, dtype=torch.float64)
    for number in range(process, math.ceil(len(batches) / num_processes) * num_processes, num_processes):
        batch = batches[number % len(batches)]
        texts = feed.texts(batch.rows)
        asked = [*((flow_time, batch.wordings) for flow_time in FLOW_TIMES), (DECISIVE, batch.shuffled)]
        losses = [_loss(objective, base, layer, feed, texts, batch.rows, *each) for each in asked]
        if number < len(batches):
            sums += torch.tensor(losses, dtype=sums.dtype)
    num_tokens = sum(feed.num_output_tokens(batch.rows) for batch in batches)
    means = (reduce(sums) / num_tokens).tolist()
    return Losses(
        by_flow_time={format_flow_time(time): mean for time, mean in zip(FLOW_TIMES, means, strict=False)},
        shuffled=means[-1],
        num_tokens=num_tokens,
        num_rows=sum(len(batch.rows) for batch in batches),
    )


def _loss(
    objective: Callable[[Texts, Conditioning], Terms],
    base: BaseModel,
    layer: int,
    feed: Feed,
    texts: Texts,
    rows: Sequence[int],
    flow_time: float,
    wordings: Sequence[str],
) -> float:
    if flow_time == 0.0:  # the model itself
        h_ND = run_upper(base, layer, texts.h_BLD, texts.rows_N, texts.positions_N)
        return token_losses(base, h_ND, texts.targets_N).sum().item()
    return objective(texts, feed.conditioning(rows, flow_time, wordings)).lm_sum.item()
