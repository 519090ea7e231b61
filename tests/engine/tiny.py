"""Small random models of all four families, and flows for them, for tests that need shapes but no meaning.

Weights are random and nowhere trivial: norms differ from one, gates are open, the velocity depends on time. Nothing
here is read from disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, LlamaConfig, Qwen3Config

from flas_engine.checkpoint import Flow
from flas_engine.config import FlowConfig
from flas_engine.families import read_architecture
from flas_engine.field import VelocityField

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from flas_engine.families import Architecture

SIZES = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # wide, so that the next token is no toss-up and small faults show in the logits
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
SLIDING_WINDOW = 8
"""Shorter than the tests' texts, so that the window shows."""
FULL, SLIDING = "full_attention", "sliding_attention"

_CONFIGS: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "gemma2": (
        Gemma2Config,
        {
            "num_hidden_layers": 4,
            "layer_types": [SLIDING, FULL] * 2,
            "sliding_window": SLIDING_WINDOW,
            "query_pre_attn_scalar": 24,  # unlike head_dim, so that the two scales cannot be mistaken
            "attn_logit_softcapping": 5.0,  # low, so that the cap bites
            "final_logit_softcapping": 8.0,
            "tie_word_embeddings": True,
        },
    ),
    "gemma3": (
        Gemma3TextConfig,
        {
            "num_hidden_layers": 6,
            "layer_types": [SLIDING, SLIDING, FULL] * 2,
            "sliding_window": SLIDING_WINDOW,
            "query_pre_attn_scalar": 24,
            "rope_parameters": {
                FULL: {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
                SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
            },
            "tie_word_embeddings": True,
        },
    ),
    "qwen3": (
        Qwen3Config,
        {
            "num_hidden_layers": 5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "tie_word_embeddings": False,
        },
    ),
    "llama": (
        LlamaConfig,
        {
            "num_hidden_layers": 4,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500_000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
            "tie_word_embeddings": False,
        },
    ),
}

FAMILY_NAMES = tuple(_CONFIGS)


def tiny_config(family: str, **overrides: Any) -> PretrainedConfig:
    """Return the transformers config of a small model of `family`."""
    kind, fields = _CONFIGS[family]
    return kind(**(SIZES | fields | overrides))


def tiny_architecture(family: str, **overrides: Any) -> Architecture:
    """Return the shape of `tiny_config`."""
    return read_architecture(tiny_config(family, **overrides))


def tiny_transformers_model(family: str, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a random model of `tiny_config` in float32, with eager attention where sdpa would drop the soft-cap."""
    attention = "eager" if family == "gemma2" else "sdpa"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            tiny_config(family, **overrides), dtype=torch.float32, attn_implementation=attention
        )
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:  # norms and biases, which start at constants
                    parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def tiny_flow(
    architecture: Architecture, *, layer: int = 2, num_blocks: int = 1, seed: int = 0, **overrides: Any
) -> Flow:
    """Return a flow with random weights for a base of the given shape; `overrides` are fields of `FlowConfig`."""
    fields = {"model_id": "tests/tiny"} | overrides
    config = FlowConfig(layer=layer, num_blocks=num_blocks, **fields)
    field = VelocityField(architecture, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in field.state_dict().items():
            _fill(name, tensor, generator)
    return Flow(config=config, field=field.requires_grad_(requires_grad=False).eval())


def _fill(name: str, tensor: torch.Tensor, generator: torch.Generator) -> None:
    noise = torch.randn(tensor.shape, generator=generator)
    if name.endswith("_gate"):
        tensor.copy_(0.3 + 0.1 * noise)
    elif name.endswith("_scale"):
        tensor.copy_(1.5 + 0.2 * noise.abs())
    elif name.endswith("_mean"):
        tensor.copy_(0.3 * noise)
    elif tensor.dim() == 1:  # norms and biases: around where they start
        tensor.add_(0.2 * noise)
    else:
        tensor.copy_(noise / tensor.shape[1] ** 0.5)
