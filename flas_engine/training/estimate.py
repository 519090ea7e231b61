"""What a run will take, before it begins: memory and disk by counting, time by a short measured probe.

Counts are of the large tensors only, and meant to be right within a third.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from flas_engine.errors import TrainingError
from flas_engine.field import VelocityField
from flas_engine.hub.capacity import gigabytes, memory_of
from flas_engine.machine import FLOAT32_BYTES
from flas_engine.training.trunk import LOGIT_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from flas_engine.families import Architecture
    from flas_engine.training.prepare import Prepared
    from flas_engine.training.recipe import Recipe

LOGIT_COPIES = 4
"""Of the logits in memory at once: as they come, in float32, their softmax, its gradient."""
INTERPRETER_BYTES = 500_000_000
OPTIMISER_COPIES = 4
"""Of every trained weight: itself, its gradient, and Adam's two moments."""
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


def field_elements(recipe: Recipe, architecture: Architecture) -> int:
    """Return how many weights are trained."""
    from flas_engine.training.prepare import flow_config

    with torch.device("meta"):
        field = VelocityField(architecture, flow_config(recipe, "", "chat"))
    return sum(parameter.numel() for parameter in field.parameters())


def memory_bytes(recipe: Recipe, architecture: Architecture, dtype: torch.dtype) -> int:
    """Return what a process takes at most beside the base's weights, in bytes."""
    a, itemsize = architecture, dtype.itemsize
    num_tokens = recipe.batch_size * recipe.max_len * (2 if recipe.contrast else 1)
    heads = (2 * a.num_heads + 2 * a.num_kv_heads) * a.head_dim
    of_layer = 3 * a.hidden_size * FLOAT32_BYTES + (heads + 3 * a.intermediate_size) * itemsize
    of_block = 8 * a.hidden_size * FLOAT32_BYTES + (2 * heads + 3 * a.intermediate_size) * itemsize
    num_layers, num_blocks = a.num_layers - recipe.layer - 1, recipe.blocks * recipe.num_steps
    if recipe.recompute:
        kept = (num_layers + num_blocks) * a.hidden_size * FLOAT32_BYTES + max(of_layer, of_block)
    else:
        kept = num_layers * of_layer + num_blocks * of_block
    in_memory = recipe.activation_gigabytes * 1e9 if recipe.activations == "memory" else 0
    trained = field_elements(recipe, a) * OPTIMISER_COPIES * FLOAT32_BYTES
    logits = LOGIT_COPIES * LOGIT_ELEMENTS * FLOAT32_BYTES
    return round(trained + num_tokens * kept + logits + in_memory + INTERPRETER_BYTES)


def base_bytes(architecture: Architecture, dtype: torch.dtype) -> int:
    """Return what the base's weights take."""
    a = architecture
    attention = 2 * (a.num_heads + a.num_kv_heads) * a.head_dim * a.hidden_size
    of_layer = attention + 3 * a.hidden_size * a.intermediate_size
    embeddings = a.vocab_size * a.hidden_size * (1 if a.ties_embeddings else 2)
    return (a.num_layers * of_layer + embeddings) * dtype.itemsize


def require_memory(recipe: Recipe, architecture: Architecture, device: torch.device, dtype: torch.dtype) -> None:
    """Raise `TrainingError` with the numbers when training does not fit the device's memory."""
    needed = base_bytes(architecture, dtype) + memory_bytes(recipe, architecture, dtype)
    memory = memory_of(str(device))
    if needed > memory.available_bytes:
        raise TrainingError(
            f"training {recipe.base} like this needs about {gigabytes(needed)} of memory and "
            f"{gigabytes(memory.available_bytes)} are available on {memory.device}; lower --batch-size (and raise "
            "--accumulation), pass --recompute, or take a smaller base"
        )


def disk_bytes(recipe: Recipe, architecture: Architecture, num_tokens: int) -> int:
    """Return what a run's folder takes at most: state, checkpoints, result, activations of `num_tokens` positions."""
    elements = field_elements(recipe, architecture)
    states = 2 * elements * 3 * FLOAT32_BYTES  # the last one, and the next while it is written; without gradients
    flows = (recipe.keep + 3) * elements * (2 if recipe.save_dtype == "bfloat16" else FLOAT32_BYTES)
    kept = num_tokens * architecture.hidden_size * FLOAT32_BYTES
    in_file = min(recipe.activation_gigabytes * 1e9, kept) if recipe.activations == "disk" else 0
    return round(states + flows + in_file)


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
