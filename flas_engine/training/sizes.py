"""The memory and the disk that a run takes, by counting the large tensors; meant to be right within a third."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flas_engine.errors import TrainingError
from flas_engine.field import VelocityField
from flas_engine.hub.capacity import gigabytes, memory_of
from flas_engine.machine import FLOAT32_BYTES
from flas_engine.training.recipe import flow_config
from flas_engine.training.trunk import LOGIT_ELEMENTS

if TYPE_CHECKING:
    from flas_engine.families import Architecture
    from flas_engine.training.recipe import Recipe

LOGIT_COPIES = 4
"""Of the logits in memory at once: as they come, in float32, their softmax, its gradient."""
INTERPRETER_BYTES = 500_000_000
OPTIMISER_COPIES = 4
"""Of every trained weight: itself, its gradient, and Adam's two moments."""


def field_elements(recipe: Recipe, architecture: Architecture) -> int:
    """Return how many weights are trained."""
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
