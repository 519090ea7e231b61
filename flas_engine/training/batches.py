"""Which rows every micro-batch of a run has, under which flow time and which wordings: a pure function of seeds.

Update u takes the micro-batches u A .. u A + A - 1 of one endless sequence, A the accumulation; processes share them
out, so that an update is the same for any number of processes, and a resumed run goes on where it was. Batches are
formed by length: rows of a shuffled pool are sorted, cut into batches, and the batches shuffled over the epoch.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.training.examples import Example
    from flas_engine.training.recipe import Recipe

POOL_BATCHES = 64
"""Batches that are formed from one shuffled pool: enough for rows of like length to meet."""


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """What one pass trains on."""

    rows: tuple[int, ...]
    """Numbers of examples."""
    flow_time: float
    wordings: tuple[str, ...]
    """Of each row the concept's wording that was drawn."""
    wrong_wordings: tuple[str, ...]
    """Of each row the wording of another concept; empty without contrast."""


class BatchPlan:
    """The sequence of micro-batches of a run."""

    def __init__(self, examples: Sequence[Example], weights: Sequence[float], recipe: Recipe) -> None:
        """Take the examples, and how often an epoch sees each of them."""
        self._examples = examples
        self._weights = weights
        self._recipe = recipe
        self._epoch = -1
        self._batches: list[tuple[int, ...]] = []
        self._wordings = {example.concept_id: example.concepts for example in examples}
        self._concept_ids = sorted(self._wordings)
        self.batches_per_epoch = len(self._order(0)) // recipe.batch_size
        self.num_updates = recipe.updates or max(
            1, math.ceil(recipe.epochs * self.batches_per_epoch / recipe.accumulation)
        )

    def update(self, update: int) -> list[MicroBatch]:
        """Return the micro-batches of update 0, 1, ..."""
        first = update * self._recipe.accumulation
        return [self.micro_batch(number) for number in range(first, first + self._recipe.accumulation)]

    def micro_batch(self, number: int) -> MicroBatch:
        """Return micro-batch 0, 1, ... of the run."""
        epoch, index = divmod(number, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._form(epoch)
        rows = self._batches[index]
        draw = random.Random(f"batch {self._recipe.seed} {number}")
        return MicroBatch(
            rows=rows,
            flow_time=draw.uniform(self._recipe.flow_time_min, self._recipe.flow_time_max),
            wordings=tuple(draw.choice(self._examples[row].concepts) for row in rows),
            wrong_wordings=tuple(self._wrong(row, rows, draw) for row in rows) if self._recipe.contrast else (),
        )

    def _wrong(self, row: int, rows: tuple[int, ...], draw: random.Random) -> str:
        """Draw a wording of another concept: of another row's, else of any."""
        own = self._examples[row].concept_id
        others = [other for other in rows if self._examples[other].concept_id != own]
        if others:
            return draw.choice(self._examples[draw.choice(others)].concepts)
        ids = [concept_id for concept_id in self._concept_ids if concept_id != own]
        return draw.choice(self._wordings[draw.choice(ids)]) if ids else draw.choice(self._examples[row].concepts)

    def _form(self, epoch: int) -> list[tuple[int, ...]]:
        order = self._order(epoch)
        size = self._recipe.batch_size
        batches = []
        for start in range(0, len(order), POOL_BATCHES * size):
            pool = sorted(order[start : start + POOL_BATCHES * size], key=lambda row: self._examples[row].num_tokens)
            batches += [tuple(pool[first : first + size]) for first in range(0, len(pool), size)]
        random.Random(f"batches {self._recipe.seed} {epoch}").shuffle(batches)
        return batches

    def _order(self, epoch: int) -> list[int]:
        """Return an epoch's rows in random order, each as often as its weight says, filled up to whole batches."""
        draw = random.Random(f"epoch {self._recipe.seed} {epoch}")
        order: list[int] = []
        for weight in sorted(set(self._weights)):
            rows = [row for row, of_row in enumerate(self._weights) if of_row == weight]
            whole = int(weight)
            order += rows * whole + draw.sample(rows, round((weight - whole) * len(rows)))
        order = order or [draw.randrange(len(self._weights))]
        draw.shuffle(order)
        return order + [draw.choice(order) for _ in range(-len(order) % self._recipe.batch_size)]


def own_share(micro_batches: Sequence[MicroBatch], process: int, num_processes: int) -> Sequence[MicroBatch]:
    """Return the micro-batches of an update that are one process's to compute."""
    return micro_batches[process::num_processes]
