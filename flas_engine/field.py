"""The velocity field v(h, t, c) = F(h) - h, with tensor names as in the released checkpoints.

F runs blocks of time embedding, cross-attention to the concept, causal self-attention and a gated MLP on a float32
residual stream; matrix products run in the weights' dtype. The concept's keys and values depend on neither t nor h,
and are made once per concept (`encode_keys_values`); the self-attention of every solver evaluation and block has a
cache layer of its own. Built trainable; `freeze` gives up the gradients for products laid out for the machine.

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

from flas_engine.kernels.layout import lay_out
from flas_engine.layers import NormWeight, add_normed, attend, keys_values, rms_norm, rotate, rotation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.cache import CacheLayer
    from flas_engine.config import FlowConfig
    from flas_engine.families import Architecture
    from flas_engine.kernels.product import Product
    from flas_engine.layers import Rotation, Window

TIME_FREQUENCIES = 64
"""Sine and cosine features each of the time embedding; fixed by the released checkpoints."""
TIME_PERIOD = 10_000.0
INITIAL_GATE = 0.1
CONCEPT_BUCKET = 16


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
    """The weight of the family's RMSNorm; Gemma stores it minus one."""

    def __init__(self, size: int, architecture: Architecture) -> None:
        super().__init__()
        self._offset = architecture.family.norm_offset
        self._epsilon = architecture.norm_epsilon
        self._frozen: NormWeight | None = None
        self.weight = nn.Parameter(torch.full((size,), 1.0 - self._offset))

    def forward(self, gate: torch.Tensor | None = None) -> NormWeight:
        """Return what to multiply with, in float32; `gate` is the factor on what is normed, if any."""
        if self._frozen is not None:
            return self._frozen
        weight = self.weight.float() + self._offset
        return NormWeight(
            weight=weight if gate is None else weight * gate.float(),
            epsilon=torch.full((), self._epsilon, device=weight.device),
        )

    def freeze(self, gate: torch.Tensor | None = None) -> None:
        """Compute it once and for all."""
        self._frozen = self(gate)


class Projections:
    """Linear layers that read the same input; one product once they are frozen."""

    def __init__(self, *layers: nn.Linear) -> None:
        self._layers = layers
        self._product: Product | None = None
        self._widths = [layer.out_features for layer in layers]

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Multiply in the weights' dtype; the residual stream around it stays in its own."""
        if self._product is not None:
            parts: tuple[torch.Tensor, ...] = self._product(x).split(self._widths, dim=-1)
            return parts
        return tuple(F.linear(x.to(layer.weight.dtype), layer.weight, layer.bias) for layer in self._layers)

    @property
    def num_bytes(self) -> int:
        """Memory that the frozen product takes."""
        return self._product.num_bytes if self._product is not None else 0

    def freeze(self, layout: str) -> None:
        """Lay the weights out for the machine; the layers give them up."""
        weight = torch.cat([layer.weight for layer in self._layers])
        bias = torch.cat([layer.bias for layer in self._layers]) if self._layers[0].bias is not None else None
        self._product = lay_out(weight, bias, layout)
        for layer in self._layers:
            layer.weight = layer.bias = None  # type: ignore[assignment]


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

    def turn(self, x_RLW: torch.Tensor, norm: Norm | None, by: Rotation) -> torch.Tensor:
        """Return projected queries or keys normed and rotated, [R, L, heads, H]."""
        x_RLNH = self.heads(x_RLW)
        return rotate(x_RLNH if norm is None else rms_norm(x_RLNH, norm()).to(x_RLW.dtype), by)

    def heads(self, x_RLW: torch.Tensor) -> torch.Tensor:
        """Return [R, L, heads, H]."""
        return x_RLW.view(*x_RLW.shape[:-1], -1, self.head_dim)


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
            self.cross_attn = attention = Attention(architecture, has_qk_norm=True)
            self.post_cross_norm = Norm(D, architecture)
            self.cross_gate = nn.Parameter(torch.full((D,), INITIAL_GATE))
            self._cross_queries = Projections(attention.q_proj)
            self._cross_keys_values = Projections(attention.k_proj, attention.v_proj)
            self._cross_out = Projections(attention.o_proj)
        if self.has_self_attn:
            self.pre_sa_norm = Norm(D, architecture)
            self.self_attn = attention = Attention(architecture, has_qk_norm=architecture.family.has_qk_norm)
            self.post_sa_norm = Norm(D, architecture)
            self.self_attn_gate = nn.Parameter(torch.full((D,), INITIAL_GATE))
            self._self_inputs = Projections(attention.q_proj, attention.k_proj, attention.v_proj)
            self._self_out = Projections(attention.o_proj)
        if self.has_mlp:
            self.pre_mlp_norm = Norm(D, architecture)
            self.gate_proj = nn.Linear(D, width, bias=False)
            self.up_proj = nn.Linear(D, width, bias=False)
            self.down_proj = nn.Linear(width, D, bias=False)
            self.post_mlp_norm = Norm(D, architecture)
            self.mlp_gate = nn.Parameter(torch.full((D,), INITIAL_GATE))
            self._gate_up = Projections(self.gate_proj, self.up_proj)
            self._down = Projections(self.down_proj)

    def concept_keys_values(self, concept_RCD: torch.Tensor, by: Rotation) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the cross-attention sees of a concept: keys and values [R, K, C, H]."""
        attention = self.cross_attn
        keys, values = self._cross_keys_values(concept_RCD)
        return attention.turn(keys, attention.k_norm, by).transpose(1, 2), attention.heads(values).transpose(1, 2)

    def cross(self, h_RLD: torch.Tensor, conditions: Conditions, block: int, window: Window) -> torch.Tensor:
        """Attend to the concept; the scale is head_dim^-0.5 in every family."""
        (q,) = self._cross_queries(rms_norm(h_RLD, self.pre_cross_norm()))
        q = self.cross_attn.turn(q, self.cross_attn.q_norm, window.rotary).transpose(1, 2)
        keys, values = conditions.keys[block], conditions.values[block]
        scale, softcap = self.architecture.head_dim**-0.5, self.architecture.attention_softcap
        (x,) = self._cross_out(attend(q, keys, values, conditions.bias, scale, softcap))
        return add_normed(h_RLD, x, self.post_cross_norm(self.cross_gate))

    def attend_back(self, h_RLD: torch.Tensor, window: Window, cache: CacheLayer | None) -> torch.Tensor:
        """Attend to the trajectories of earlier positions, with no sliding window."""
        attention, a = self.self_attn, self.architecture
        q, k, v = self._self_inputs(rms_norm(h_RLD, self.pre_sa_norm()))
        q = attention.turn(q, attention.q_norm, window.rotary).transpose(1, 2)
        k, v = attention.turn(k, attention.k_norm, window.rotary), attention.heads(v)
        k, v = keys_values(k, v, cache, window.rows, window.slots, window.bias.shape[-1])
        (x,) = self._self_out(attend(q, k, v, window.bias, a.attention_scale, a.attention_softcap))
        return add_normed(h_RLD, x, self.post_sa_norm(self.self_attn_gate))

    def feed_forward(self, h_RLD: torch.Tensor) -> torch.Tensor:
        """Run the gated MLP."""
        gate, up = self._gate_up(rms_norm(h_RLD, self.pre_mlp_norm()))
        (x,) = self._down(self.architecture.activation(gate) * up)
        return add_normed(h_RLD, x, self.post_mlp_norm(self.mlp_gate))

    def freeze(self, layout: str) -> None:
        """Lay every product out for the machine, and fold the gates into the norms before them."""
        for projections in self.all_projections():
            projections.freeze(layout)
        gates = {"post_cross_norm": "cross_gate", "post_sa_norm": "self_attn_gate", "post_mlp_norm": "mlp_gate"}
        for name, module in self.named_modules():
            if isinstance(module, Norm):
                module.freeze(getattr(self, gates[name]) if name in gates else None)

    def all_projections(self) -> list[Projections]:
        """List all products of the block."""
        return [value for value in vars(self).values() if isinstance(value, Projections)]


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
        positions = torch.arange(len(concept_CD), device=concept_CD.device)[None]
        by = rotation(self.architecture.rotary, positions, self.dtype)
        blocks = [block for block in self._typed_blocks() if block.has_cross_attn]
        pairs = [block.concept_keys_values(concept_CD[None], by) for block in blocks]
        return ConceptKeysValues(keys=tuple(k[0] for k, _ in pairs), values=tuple(v[0] for _, v in pairs))

    def enter(self, h: torch.Tensor) -> torch.Tensor:
        """Change activations into the field's own coordinates, in float32."""
        h = h.float()
        return h if self.coordinates is None else (h - self.coordinates.h_mean) / self.coordinates.h_scale

    def leave(self, z: torch.Tensor) -> torch.Tensor:
        """Undo `enter`."""
        return z if self.coordinates is None else self.coordinates.h_mean + self.coordinates.h_scale * z

    def freeze(self, layout: str) -> VelocityField:
        """Give up the gradients for products in `layout` (see `kernels`); the field can no longer be written."""
        self.requires_grad_(requires_grad=False).eval()
        for block in self._typed_blocks():
            block.freeze(layout)
        return self

    @property
    def num_bytes(self) -> int:
        """Memory that the weights take, frozen or not."""
        tensors: int = sum(tensor.numel() * tensor.element_size() for tensor in self.state_dict().values())
        products = [projections for block in self._typed_blocks() for projections in block.all_projections()]
        return tensors + sum(product.num_bytes for product in products)

    def _typed_blocks(self) -> Iterator[Block]:
        return (cast("Block", block) for block in self.blocks)

    def forward(
        self,
        h_RLD: torch.Tensor,
        time_embedding_R1D: torch.Tensor,
        conditions: Conditions,
        window: Window,
        cache: list[CacheLayer] | None,
    ) -> torch.Tensor:
        """Return v [R, L, D] in float32; `cache` has a layer a block, of this evaluation alone."""
        start_RLD = h_RLD
        for index, block in enumerate(self._typed_blocks()):
            h_RLD = h_RLD + time_embedding_R1D
            if block.has_cross_attn:
                h_RLD = block.cross(h_RLD, conditions, index, window)
            if block.has_self_attn:
                h_RLD = block.attend_back(h_RLD, window, cache[index] if cache is not None else None)
            if block.has_mlp:
                h_RLD = block.feed_forward(h_RLD)
        return h_RLD - start_RLD


def batch_conditions(concepts: list[ConceptKeysValues]) -> Conditions:
    """Stack encoded concepts as rows, padded to the longest in steps, so that shapes seldom change."""
    longest = -(-max(concept.num_tokens for concept in concepts) // CONCEPT_BUCKET) * CONCEPT_BUCKET
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
