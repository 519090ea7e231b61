"""One update after another, on Hugging Face Accelerate: the model, its optimiser, and what a step of them does.

Alike on one process and on many (DDP, FSDP), which share out the micro-batches of an update. Knows nothing of files.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from flas_engine.errors import TrainingError
from flas_engine.training.batches import own_share
from flas_engine.training.examples import row_place
from flas_engine.training.feed import ConceptStates, Feed
from flas_engine.training.initialise import begin_with_flow, make_field, measure_coordinates
from flas_engine.training.objective import Objective
from flas_engine.training.schedule import learning_rate_factor
from flas_engine.training.store import ActivationStore
from flas_engine.training.trunk import with_vocabulary
from flas_engine.training.validate import validate

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator

    from flas_engine.field import VelocityField
    from flas_engine.training.batches import MicroBatch
    from flas_engine.training.prepare import Prepared
    from flas_engine.training.recipe import Recipe
    from flas_engine.training.validate import Losses


@dataclass(frozen=True, kw_only=True)
class UpdateResult:
    """What one update did; losses in nats a token, before it."""

    loss: float
    lm_loss: float
    diversity: float
    contrast: float
    learning_rate: float
    gradient_norm: float
    flow_time: float
    """Mean over the micro-batches."""
    num_tokens: int
    flags: tuple[bool, ...]
    """The caller's own, each true where it was on any process."""


class Trainer:
    """The trained field, its optimiser and its data, on this process."""

    def __init__(
        self, prepared: Prepared, accelerator: Accelerator, store_folder: Path, *, is_resumed: bool = False
    ) -> None:
        """Begin with a fresh field, or with the recipe's trained flow; activations on disk go to `store_folder`.

        When a saved state is loaded next (`is_resumed`), coordinates are not measured: they are part of it.
        """
        recipe, base = prepared.recipe, prepared.base
        if recipe.accumulation % accelerator.num_processes:
            raise TrainingError(
                f"the {recipe.accumulation} micro-batches of an update cannot be shared by "
                f"{accelerator.num_processes} processes; make --accumulation a multiple of them"
            )
        self._prepared = prepared
        self._accelerator = accelerator
        concepts = ConceptStates(base, prepared.tokenizer, recipe.concept_max_len)
        if recipe.init_flow and not is_resumed:
            field = begin_with_flow(base, recipe)
        else:
            field = make_field(base, prepared.config, from_base=recipe.init_from_base, seed=recipe.seed)
            if recipe.standardised and not is_resumed:
                measure_coordinates(field, base, prepared.examples, concepts)
        words = _occurring_words(prepared) if recipe.vocabulary == "data" else None
        self._word_numbers = None if words is None else _numbers_of(words, base.architecture.vocab_size)
        objective = Objective(
            base,
            field,
            num_steps=recipe.num_steps,
            compute_dtype=prepared.compute_dtype,
            contrast_beta=recipe.contrast_beta,
            recomputes=recipe.recompute,
            trained_base=None if words is None else with_vocabulary(base, words),
        )
        optimiser = torch.optim.AdamW(parameter_groups(field, recipe), weight_decay=recipe.weight_decay)
        self.model: Any
        self._optimiser: Any
        self.model, self._optimiser = accelerator.prepare(objective, optimiser, device_placement=[False, False])
        store = _make_store(prepared, store_folder)
        self._feed = Feed(base, recipe.layer, prepared.examples, concepts, store)
        self._held_out = Feed(base, recipe.layer, prepared.held_out, concepts)

    def update(self, update: int, flags: tuple[bool, ...] = ()) -> UpdateResult:
        """Do update 0, 1, ...; raises `TrainingError` when a loss or a gradient is not finite, before it is taken."""
        recipe, accelerator = self._prepared.recipe, self._accelerator
        micro_batches = self._prepared.plan.update(update)
        num_tokens = sum(self._feed.num_output_tokens(batch.rows) for batch in micro_batches)
        own = own_share(micro_batches, accelerator.process_index, accelerator.num_processes)
        self.model.train()
        sums = torch.zeros(4 + len(flags), device=self._prepared.base.device)
        for index, batch in enumerate(own):
            is_last = index == len(own) - 1
            with nullcontext() if is_last else accelerator.no_sync(self.model):
                sums[:4] += self._backward(batch, num_tokens)
        sums[4:] = torch.tensor(flags, device=sums.device)
        totals = accelerator.reduce(sums, "sum").tolist()
        factor = learning_rate_factor(update, self._prepared.plan.num_updates, recipe.warmup)
        norm = self._step(factor, update, micro_batches, totals[0])
        return UpdateResult(
            loss=totals[0],
            lm_loss=totals[1],
            diversity=totals[2],
            contrast=totals[3],
            learning_rate=recipe.learning_rate * factor,
            gradient_norm=norm,
            flow_time=sum(batch.flow_time for batch in micro_batches) / len(micro_batches),
            num_tokens=num_tokens,
            flags=tuple(flag > 0 for flag in totals[4:]),
        )

    def validate(self) -> Losses:
        """Measure the held-out rows; all processes share them out."""
        prepared, accelerator = self._prepared, self._accelerator
        self.model.eval()

        def reduce(sums: torch.Tensor) -> torch.Tensor:
            # In float32, as some devices have no float64; on one process nothing is rounded.
            if accelerator.num_processes == 1:
                return sums
            total: torch.Tensor = accelerator.reduce(sums.float().to(prepared.base.device), "sum")
            return total.cpu()

        return validate(
            self.model,
            prepared.base,
            prepared.config.layer,
            self._held_out,
            prepared.validation,
            accelerator.process_index,
            accelerator.num_processes,
            reduce,
        )

    def _backward(self, batch: MicroBatch, num_tokens: int) -> torch.Tensor:
        """Add a micro-batch's gradient; returns its shares of the update's loss and of its three terms."""
        recipe = self._prepared.recipe
        texts = self._feed.texts(batch.rows, self._word_numbers)
        given = self._feed.conditioning(batch.rows, batch.flow_time, batch.wordings, batch.wrong_wordings)
        terms = self.model(texts, given)
        lm_loss = terms.lm_sum / num_tokens
        diversity, contrast = terms.diversity / recipe.accumulation, terms.contrast / recipe.accumulation
        loss = lm_loss + recipe.diversity * diversity + recipe.contrast * contrast
        # Processes average their gradients; a share of the update is what is to be summed.
        self._accelerator.backward(loss * self._accelerator.num_processes)
        return torch.stack([loss, lm_loss, diversity, contrast]).detach().float()

    def _step(self, factor: float, update: int, micro_batches: list[MicroBatch], loss: float) -> float:
        """Take the gradient, unless it or the loss is not finite; returns its norm before clipping."""
        recipe = self._prepared.recipe
        norm = float(self._accelerator.clip_grad_norm_(self.model.parameters(), recipe.clip))
        has_scaler = self._accelerator.scaler is not None  # which skips overflowing gradients itself
        if not math.isfinite(loss) or not (math.isfinite(norm) or has_scaler):
            self._optimiser.zero_grad()
            raise TrainingError(
                self._describe(update, micro_batches, "loss" if not math.isfinite(loss) else "gradient")
            )
        for group in self._optimiser.param_groups:
            group["lr"] = recipe.learning_rate * factor * group["rate"]
        self._optimiser.step()
        self._optimiser.zero_grad()
        return norm

    def _describe(self, update: int, micro_batches: list[MicroBatch], what: str) -> str:
        rows = [self._prepared.examples[row].row for batch in micro_batches for row in batch.rows]
        places = [f"{path} row {place}" for path, place in (row_place(row, self._prepared.sources) for row in rows[:2])]
        more = f" and {len(rows) - 2} more" if len(rows) > 2 else ""
        return (
            f"the {what} of update {update + 1} is not finite (rows: {', '.join(places)}{more}); lower "
            "--learning-rate, or --dtype float32"
        )


def parameter_groups(field: VelocityField, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the optimiser's groups: matrices, and gates and norms at a rate of their own."""
    names = dict(field.named_parameters())
    gates = [tensor for name, tensor in names.items() if is_gate_or_norm(name)]
    others = [tensor for name, tensor in names.items() if not is_gate_or_norm(name)]
    return [
        {"params": others, "rate": 1.0, "lr": recipe.learning_rate},
        {"params": gates, "rate": recipe.gate_rate, "lr": recipe.learning_rate * recipe.gate_rate},
    ]


def is_gate_or_norm(name: str) -> bool:
    """Whether a tensor of the field is a gate or a norm's weight."""
    return name.endswith(("_gate", "norm.weight"))


def _make_store(prepared: Prepared, folder: Path) -> ActivationStore | None:
    recipe = prepared.recipe
    if recipe.activations == "none":
        return None
    return ActivationStore(
        [example.num_tokens for example in prepared.examples],
        prepared.base.architecture.hidden_size,
        round(recipe.activation_gigabytes * 1e9),
        folder if recipe.activations == "disk" else None,
    )


def _occurring_words(prepared: Prepared) -> torch.Tensor:
    """Return the ids of all words in the outputs that train, and of others drawn by seed; ascending."""
    recipe, size = prepared.recipe, prepared.base.architecture.vocab_size
    occurring = torch.zeros(size, dtype=torch.bool)
    for example in prepared.examples:
        occurring[list(example.output_ids)] = True
    others = (~occurring).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(recipe.seed)
    drawn = torch.randperm(len(others), generator=generator)[: recipe.sampled_words]
    occurring[others[drawn]] = True
    return occurring.nonzero()[:, 0].to(prepared.base.device)


def _numbers_of(words: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Return for every token id its place in `words`; -1 for those that are not there."""
    numbers = torch.full((vocab_size,), -1, device=words.device)
    numbers[words] = torch.arange(len(words), device=words.device)
    return numbers
