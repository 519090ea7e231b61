"""What distinguishes one model family from another: a table, and the shape of one base model read off its config.

A new family is one entry of `FAMILIES`. Nothing here holds weights; `layers` runs what is described here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from flas_engine.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class Family:
    """How the decoder layers of one family are built; all are pre-norm, with rotary positions and a gated MLP."""

    name: str
    model_types: tuple[str, ...]
    """`model_type` values of config.json, the text part's of a multimodal config included."""
    norm_offset: float
    """Added to a stored norm weight. Gemma stores weight minus one, and multiplies before rounding to the dtype."""
    has_post_norms: bool
    """Whether the outputs of attention and MLP are normed before they are added to the residual stream."""
    has_qk_norm: bool
    """Whether queries and keys are normed per head before the rotation."""
    scales_embedding: bool
    """Whether token embeddings are multiplied by sqrt(hidden)."""
    sliding_rotary: bool = False
    """Whether sliding-window layers rotate with frequencies of their own."""


FAMILIES = (
    Family(
        name="gemma2",
        model_types=("gemma2",),
        norm_offset=1.0,
        has_post_norms=True,
        has_qk_norm=False,
        scales_embedding=True,
    ),
    Family(
        name="gemma3",
        model_types=("gemma3_text", "gemma3"),
        norm_offset=1.0,
        has_post_norms=True,
        has_qk_norm=True,
        scales_embedding=True,
        sliding_rotary=True,
    ),
    Family(
        name="qwen3",
        model_types=("qwen3",),
        norm_offset=0.0,
        has_post_norms=False,
        has_qk_norm=True,
        scales_embedding=False,
    ),
    Family(
        name="llama",
        model_types=("llama",),
        norm_offset=0.0,
        has_post_norms=False,
        has_qk_norm=False,
        scales_embedding=False,
    ),
)

_LENGTH_DEPENDENT = ("dynamic", "longrope")
"""Rotary schemes whose frequencies change with the length of the text, so that what is cached would no longer fit."""

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": F.silu,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu": F.gelu,
}


@dataclass(frozen=True, kw_only=True)
class RotarySpec:
    """Frequencies of one kind of rotary embedding: angle(position, i) = position * inverse_frequencies[i]."""

    inverse_frequencies: torch.Tensor
    """[head_dim / 2] float32, on the CPU."""
    scaling: float
    """Factor on cos and sin; 1 but for some long-context schemes."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of one base model; sizes are counts of elements."""

    family: Family
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    norm_epsilon: float
    activation: Callable[[torch.Tensor], torch.Tensor]
    attention_scale: float
    attention_softcap: float | None
    final_softcap: float | None
    has_attention_bias: bool
    has_mlp_bias: bool
    ties_embeddings: bool
    context_length: int
    sliding_window: int | None
    sliding_layers: frozenset[int]
    """Layers that see the last `sliding_window` positions only."""
    rotary: RotarySpec
    """Of full-attention layers, and of the flow."""
    sliding_rotary: RotarySpec
    """Of sliding layers; the same object as `rotary` where the family has one kind."""


def text_config(config: PretrainedConfig) -> PretrainedConfig:
    """Return the language model's part of a config, which multimodal models nest under `text_config`."""
    return getattr(config, "text_config", None) or config


def find_family(model_type: str) -> Family:
    """Find the family of a `model_type`; raises `ModelError` naming the supported ones."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    supported = ", ".join(sorted(name for family in FAMILIES for name in family.model_types))
    raise ModelError(f"model type {model_type!r} is not supported; use a base model of one of: {supported}")


def read_architecture(config: PretrainedConfig) -> Architecture:
    """Read the shape of a base model off its transformers config; raises `ModelError` when it cannot be run."""
    config = text_config(config)
    family = find_family(config.model_type)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layer_types: list[str] = getattr(config, "layer_types", None) or []
    activation = getattr(config, "hidden_activation", None) or config.hidden_act
    if activation not in ACTIVATIONS:
        raise ModelError(f"activation {activation!r} is not supported; known are {', '.join(ACTIVATIONS)}")
    rotary = _read_rotary(config, head_dim, "full_attention" if family.sliding_rotary else None)
    sliding = _read_rotary(config, head_dim, "sliding_attention") if family.sliding_rotary else rotary
    return Architecture(
        family=family,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        vocab_size=config.vocab_size,
        norm_epsilon=config.rms_norm_eps,
        activation=ACTIVATIONS[activation],
        attention_scale=(getattr(config, "query_pre_attn_scalar", None) or head_dim) ** -0.5,
        attention_softcap=getattr(config, "attn_logit_softcapping", None),
        final_softcap=getattr(config, "final_logit_softcapping", None),
        has_attention_bias=bool(getattr(config, "attention_bias", False)),
        has_mlp_bias=bool(getattr(config, "mlp_bias", False)),
        ties_embeddings=bool(getattr(config, "tie_word_embeddings", False)),
        context_length=config.max_position_embeddings,
        sliding_window=getattr(config, "sliding_window", None),
        sliding_layers=frozenset(i for i, kind in enumerate(layer_types) if kind == "sliding_attention"),
        rotary=rotary,
        sliding_rotary=sliding,
    )


def _read_rotary(config: PretrainedConfig, head_dim: int, layer_type: str | None) -> RotarySpec:
    parameters: dict[str, Any] = config.rope_parameters[layer_type] if layer_type else config.rope_parameters
    kind = parameters.get("rope_type", "default")
    if kind == "default":
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        return RotarySpec(inverse_frequencies=1.0 / parameters["rope_theta"] ** exponents, scaling=1.0)
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    if kind in _LENGTH_DEPENDENT or kind not in ROPE_INIT_FUNCTIONS:
        raise ModelError(f"rotary scaling {kind!r} is not supported; use a base model without it")
    frequencies, scaling = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), layer_type=layer_type)
    return RotarySpec(inverse_frequencies=frequencies.float(), scaling=scaling)
