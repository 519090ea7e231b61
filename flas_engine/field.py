"""The velocity field v(h, t, c) = F(h) - h, with tensor names as in the released checkpoints.

F runs blocks of time embedding, cross-attention to the concept, causal self-attention and a gated MLP on a float32
residual stream; matrix products run in the weights' dtype. The concept's keys and values depend on neither t nor h,
and are made once per concept (`encode_keys_values`); the self-attention of every solver evaluation and block has a
cache layer of its own.

Shapes: R flow rows (a lane and one of its concepts), L new tokens, C concept tokens, S slots, E evaluations, D hidden,
N heads, K kv heads, H head dimension.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional as F

from flas_engine.layers import attend, rotate, rotation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.cache import KVCache
    from flas_engine.config import FlowConfig
    from flas_engine.families import Architecture
    from flas_engine.layers import Rotation, Window

TIME_FREQUENCIES = 64
"""Sine and cosine features each of the time embedding; fixed by the released checkpoints."""
TIME_PERIOD = 10_000.0
INITIAL_GATE = 0.1


@dataclass(frozen=True, kw_only=True)
class ConceptKeysValues:
    """A concept as the cross-attentions see it: per block, rotated keys and values [K, C, H] in the weights' dtype."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    @property
    def num_tokens(self) -> int:
        """C."""
        return self.keys[0].shape[1] if self.keys else 0


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a pass of the field is conditioned on, a row each: concepts, padded to the longest."""

    keys: tuple[torch.Tensor, ...]
    """Per block [R, K, C, H]."""
    values: tuple[torch.Tensor, ...]
    bias: torch.Tensor
    """[R, 1, 1, C], -inf on padding."""


class Norm(nn.Module):
    """The family's RMSNorm over the last axis, in float32; Gemma stores its weight minus one."""

    def __init__(self, size: int, architecture: Architecture) -> None:
        super().__init__()
        self.offset = architecture.family.norm_offset
        self.epsilon = architecture.norm_epsilon
        self.weight = nn.Parameter(torch.full((size,), 1.0 - self.offset))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normed `x` in float32."""
        weight = self.weight.float() + self.offset if self.offset else self.weight.float()
        return F.rms_norm(x.float(), (x.shape[-1],), weight, self.epsilon)


def linear(x: torch.Tensor, layer: nn.Linear) -> torch.Tensor:
    """Multiply in the weights' dtype; the residual stream around it stays in its own."""
    return F.linear(x.to(layer.weight.dtype), layer.weight, layer.bias)


class TimeEmbedding(nn.Module):
    """128 sinusoidal features of t -> Linear -> SiLU -> Linear, added to h in every block."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        # Named `mlp.0` and `mlp.2` in the released files.
        first, last = nn.Linear(2 * TIME_FREQUENCIES, hidden_size), nn.Linear(hidden_size, hidden_size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(first, nn.SiLU(), last)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """Embed times `t` [...] as [..., D]; float32 throughout."""
        steps = torch.arange(TIME_FREQUENCIES, dtype=torch.float32, device=t.device) / TIME_FREQUENCIES
        angles = t.float()[..., None] * torch.exp(-math.log(TIME_PERIOD) * steps)
        features = torch.cat([angles.sin(), angles.cos()], dim=-1)
        first, last = cast("nn.Linear", self.mlp[0]), cast("nn.Linear", self.mlp[2])
        hidden = F.silu(F.linear(features, first.weight.float(), first.bias.float()))
        return F.linear(hidden, last.weight.float(), last.bias.float())


class Attention(nn.Module):
    """Projections of one attention of a block; heads as in the base model."""

    def __init__(self, architecture: Architecture, *, has_qk_norm: bool) -> None:
        super().__init__()
        D, H = architecture.hidden_size, architecture.head_dim
        N, K, has_bias = architecture.num_heads, architecture.num_kv_heads, architecture.has_attention_bias
        self.head_dim = H
        self.q_proj = nn.Linear(D, N * H, bias=has_bias)
        self.k_proj = nn.Linear(D, K * H, bias=has_bias)
        self.v_proj = nn.Linear(D, K * H, bias=has_bias)
        self.o_proj = nn.Linear(N * H, D, bias=has_bias)
        self.q_norm = Norm(H, architecture) if has_qk_norm else None
        self.k_norm = Norm(H, architecture) if has_qk_norm else None

    def queries(self, x_RLD: torch.Tensor, by: Rotation) -> torch.Tensor:
        """Return normed and rotated queries [R, N, L, H]."""
        return self._heads(x_RLD, self.q_proj, self.q_norm, by)

    def keys(self, x_RLD: torch.Tensor, by: Rotation) -> torch.Tensor:
        """Return normed and rotated keys [R, K, L, H]."""
        return self._heads(x_RLD, self.k_proj, self.k_norm, by)

    def values(self, x_RLD: torch.Tensor) -> torch.Tensor:
        """Return values [R, K, L, H]."""
        return linear(x_RLD, self.v_proj).view(*x_RLD.shape[:-1], -1, self.head_dim).transpose(1, 2)

    def _heads(self, x_RLD: torch.Tensor, projection: nn.Linear, norm: Norm | None, by: Rotation) -> torch.Tensor:
        heads = linear(x_RLD, projection).view(*x_RLD.shape[:-1], -1, self.head_dim)
        if norm is not None:
            heads = norm(heads).to(heads.dtype)
        return rotate(heads, by).transpose(1, 2)


class Block(nn.Module):
    """One block of F. Attribute names are those of the released tensors."""

    def __init__(self, architecture: Architecture, config: FlowConfig) -> None:
        super().__init__()
        D, width = architecture.hidden_size, architecture.intermediate_size
        self.architecture = architecture
        self.has_cross_attn = not config.disable_cross_attn
        self.has_self_attn = not config.disable_self_attn
        self.has_mlp = not config.disable_mlp
        if self.has_cross_attn:
            self.pre_cross_norm = Norm(D, architecture)
            self.cross_attn = Attention(architecture, has_qk_norm=True)
            self.post_cross_norm = Norm(D, architecture)
            self.cross_gate = nn.Parameter(torch.full((D,), INITIAL_GATE))
        if self.has_self_attn:
            self.pre_sa_norm = Norm(D, architecture)
            self.self_attn = Attention(architecture, has_qk_norm=architecture.family.has_qk_norm)
            self.post_sa_norm = Norm(D, architecture)
            self.self_attn_gate = nn.Parameter(torch.full((D,), INITIAL_GATE))
        if self.has_mlp:
            self.pre_mlp_norm = Norm(D, architecture)
            self.gate_proj = nn.Linear(D, width, bias=False)
            self.up_proj = nn.Linear(D, width, bias=False)
            self.down_proj = nn.Linear(width, D, bias=False)
            self.post_mlp_norm = Norm(D, architecture)
            self.mlp_gate = nn.Parameter(torch.full((D,), INITIAL_GATE))

    def cross(self, h_RLD: torch.Tensor, conditions: Conditions, block: int, window: Window) -> torch.Tensor:
        """Attend to the concept; the scale is head_dim^-0.5 in every family."""
        q = self.cross_attn.queries(self.pre_cross_norm(h_RLD), window.rotary)
        keys, values = conditions.keys[block], conditions.values[block]
        scale, softcap = self.architecture.head_dim**-0.5, self.architecture.attention_softcap
        x: torch.Tensor = attend(q, keys, values, conditions.bias, scale, softcap)
        x = self.post_cross_norm(linear(x, self.cross_attn.o_proj))
        return self.cross_gate * x

    def attend_back(
        self, h_RLD: torch.Tensor, window: Window, cache: KVCache | None, cache_layer: int, rows: torch.Tensor | None
    ) -> torch.Tensor:
        """Attend to the trajectories of earlier positions, with no sliding window."""
        x: torch.Tensor = self.pre_sa_norm(h_RLD)
        q, k, v = (
            self.self_attn.queries(x, window.rotary),
            self.self_attn.keys(x, window.rotary),
            self.self_attn.values(x),
        )
        if cache is not None:
            cache.write(cache_layer, window.slots, k, v, rows)
            k, v = cache.read(cache_layer, window.num_slots, rows)
        a = self.architecture
        x = attend(q, k, v, window.bias, a.attention_scale, a.attention_softcap)
        x = self.post_sa_norm(linear(x, self.self_attn.o_proj))
        return self.self_attn_gate * x

    def feed_forward(self, h_RLD: torch.Tensor) -> torch.Tensor:
        """Run the gated MLP."""
        x: torch.Tensor = self.pre_mlp_norm(h_RLD).to(self.gate_proj.weight.dtype)
        x = self.architecture.activation(linear(x, self.gate_proj)) * linear(x, self.up_proj)
        x = self.post_mlp_norm(linear(x, self.down_proj))
        return self.mlp_gate * x


class Coordinates(nn.Module):
    """Standardised coordinates z = (h - h_mean) / h_scale and (c - c_mean) / c_scale; float32 vectors [D]."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        for name, value in (("h_mean", 0.0), ("h_scale", 1.0), ("c_mean", 0.0), ("c_scale", 1.0)):
            self.register_buffer(name, torch.full((hidden_size,), value))

    h_mean: torch.Tensor
    h_scale: torch.Tensor
    c_mean: torch.Tensor
    c_scale: torch.Tensor


class VelocityField(nn.Module):
    """v(h, t, c); built untrained, for training or to be filled from a checkpoint."""

    def __init__(self, architecture: Architecture, config: FlowConfig) -> None:
        super().__init__()
        self.architecture = architecture
        self.config = config
        self.time_embed = TimeEmbedding(architecture.hidden_size)
        self.blocks = nn.ModuleList(Block(architecture, config) for _ in range(config.num_blocks))
        self.coordinates = Coordinates(architecture.hidden_size) if config.coordinates else None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the matrix products."""
        return next(self.time_embed.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the field computes."""
        return next(self.time_embed.parameters()).device

    @property
    def needs_cache(self) -> bool:
        """Whether decoding needs the keys and values of earlier trajectories."""
        return not self.config.disable_self_attn

    def encode_keys_values(self, concept_CD: torch.Tensor) -> ConceptKeysValues:
        """Make the cross-attentions' keys and values of an encoded concept [C, D], at positions 0..C-1."""
        concept_CD = concept_CD.float()
        if self.coordinates is not None:
            concept_CD = (concept_CD - self.coordinates.c_mean) / self.coordinates.c_scale
        keys, values = [], []
        positions = torch.arange(len(concept_CD), device=concept_CD.device)[None]
        for block in self._typed_blocks():
            if not block.has_cross_attn:
                continue
            by = rotation(self.architecture.rotary, positions, self.dtype)
            keys.append(block.cross_attn.keys(concept_CD[None], by)[0])
            values.append(block.cross_attn.values(concept_CD[None])[0])
        return ConceptKeysValues(keys=tuple(keys), values=tuple(values))

    def enter(self, h: torch.Tensor) -> torch.Tensor:
        """Change activations into the field's own coordinates, in float32."""
        h = h.float()
        return h if self.coordinates is None else (h - self.coordinates.h_mean) / self.coordinates.h_scale

    def leave(self, z: torch.Tensor) -> torch.Tensor:
        """Undo `enter`."""
        return z if self.coordinates is None else self.coordinates.h_mean + self.coordinates.h_scale * z

    def _typed_blocks(self) -> Iterator[Block]:
        return (cast("Block", block) for block in self.blocks)

    def forward(
        self,
        h_RLD: torch.Tensor,
        time_embedding_RD: torch.Tensor,
        conditions: Conditions,
        window: Window,
        cache: KVCache | None,
        evaluation: int,
        rows: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return v [R, L, D] in float32 at the time of `evaluation`, whose cache layers are its own.

        `rows` [R] says which rows of `cache` these are; None is all of them.
        """
        start_RLD = h_RLD
        for index, block in enumerate(self._typed_blocks()):
            h_RLD = h_RLD + time_embedding_RD[:, None]
            if block.has_cross_attn:
                h_RLD = h_RLD + block.cross(h_RLD, conditions, index, window)
            if block.has_self_attn:
                cache_layer = evaluation * len(self.blocks) + index
                h_RLD = h_RLD + block.attend_back(h_RLD, window, cache, cache_layer, rows)
            if block.has_mlp:
                h_RLD = h_RLD + block.feed_forward(h_RLD)
        return h_RLD - start_RLD


def batch_conditions(concepts: list[ConceptKeysValues]) -> Conditions:
    """Stack encoded concepts as rows, padded to the longest."""
    longest = max(concept.num_tokens for concept in concepts)
    num_blocks = len(concepts[0].keys)

    def stack(tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([F.pad(tensor, (0, 0, 0, longest - tensor.shape[1])) for tensor in tensors])

    keys = tuple(stack([concept.keys[block] for concept in concepts]) for block in range(num_blocks))
    values = tuple(stack([concept.values[block] for concept in concepts]) for block in range(num_blocks))
    lengths = torch.tensor([concept.num_tokens for concept in concepts])
    is_padding = torch.arange(longest) >= lengths[:, None]
    bias = torch.zeros(is_padding.shape).masked_fill_(is_padding, float("-inf"))[:, None, None]
    if keys:
        bias = bias.to(keys[0])
    return Conditions(keys=keys, values=values, bias=bias)
