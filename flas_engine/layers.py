"""Decoder layers i..j of a base model, over any window of new tokens.

The forward pass is cut at layer l: `lower` (embedding .. l) and `upper` (l+1 .. logits) are two calls of `run_layers`,
and the concept encoder (layers 0..1) is a third. Op for op this is what transformers computes, except that weights
which read the same input are fused into one product; the tests hold both to the same tokens.

Shapes: B lanes, L new tokens, S slots, D hidden, N heads, K kv heads, G = N / K heads a group, H head dimension,
V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from flas_engine.cache import KVCache
    from flas_engine.families import Architecture, RotarySpec


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """Weights of one decoder layer, in the model's dtype but for norms that the family keeps in float32."""

    input_norm: torch.Tensor
    qkv: torch.Tensor
    """[(N + 2K) H, D]: queries, keys, values."""
    qkv_bias: torch.Tensor | None
    q_norm: torch.Tensor | None
    k_norm: torch.Tensor | None
    out: torch.Tensor
    out_bias: torch.Tensor | None
    post_attention_norm: torch.Tensor | None
    pre_mlp_norm: torch.Tensor
    gate_up: torch.Tensor
    """[2 intermediate, D]."""
    gate_up_bias: torch.Tensor | None
    down: torch.Tensor
    down_bias: torch.Tensor | None
    post_mlp_norm: torch.Tensor | None


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A frozen language model: its shape, its weights, where they are."""

    architecture: Architecture
    embedding: torch.Tensor
    """[V, D]"""
    layers: tuple[LayerWeights, ...]
    final_norm: torch.Tensor
    head: torch.Tensor
    """[V, D]; the same tensor as `embedding` where the two are tied."""
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """cos and sign-folded sin [B, L, 1, H] of the window's positions: rotated = x cos + swap_halves(x) sin."""

    cos: torch.Tensor
    sin: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Window:
    """All that one pass over new tokens needs to know besides the weights, computed once for all layers."""

    positions: torch.Tensor
    """[B, L]"""
    slots: slice | torch.Tensor
    """Where keys and values go: slots common to all lanes, or one a lane [B] when L is 1."""
    num_slots: int
    """How many slots the new tokens look at, their own included."""
    rotary: Rotation
    sliding_rotary: Rotation
    bias: torch.Tensor
    """[B, 1, L, num_slots], 0 where a query sees a slot and -inf where not."""
    sliding_bias: torch.Tensor


def rms_norm(x: torch.Tensor, weight: torch.Tensor, architecture: Architecture) -> torch.Tensor:
    """Norm the last axis as the family does: Gemma multiplies in float32, the others in the dtype of `x`."""
    size = (x.shape[-1],)
    if architecture.family.norm_offset:
        return F.rms_norm(x.float(), size, weight, architecture.norm_epsilon).to(x.dtype)
    return F.rms_norm(x, size, None, architecture.norm_epsilon) * weight


def rotation(spec: RotarySpec, positions_BL: torch.Tensor, dtype: torch.dtype) -> Rotation:
    """Compute the rotation of every position, in float32, rounded to `dtype` at the end."""
    frequencies = spec.inverse_frequencies.to(positions_BL.device)
    angles = positions_BL[..., None, None].float() * frequencies
    cos, sin = angles.cos() * spec.scaling, angles.sin() * spec.scaling
    return Rotation(cos=torch.cat([cos, cos], dim=-1).to(dtype), sin=torch.cat([-sin, sin], dim=-1).to(dtype))


def rotate(x_BLNH: torch.Tensor, by: Rotation) -> torch.Tensor:
    """Rotate every head of `x` by its position."""
    return x_BLNH * by.cos + x_BLNH.roll(x_BLNH.shape[-1] // 2, dims=-1) * by.sin


def make_window(
    architecture: Architecture,
    positions_BL: torch.Tensor,
    slots: slice | torch.Tensor,
    num_slots: int,
    dtype: torch.dtype,
    visible_BS: torch.Tensor | None = None,
) -> Window:
    """Prepare a pass over new tokens at `positions`.

    A query at slot q sees slots 0..q: lanes at positions 3 and 5 of 6 slots see [1 1 1 1 0 0] and [1 1 1 1 1 1]. Where
    slots are not positions (left-padded batches of other people's code), `visible_BS` hides the padding's slots.
    """
    device = positions_BL.device
    slot_indices = torch.arange(num_slots, device=device)
    if isinstance(slots, slice):
        query_slots = torch.arange(slots.start, slots.stop, device=device)[None]
    else:
        query_slots = slots[:, None]
    sees = slot_indices <= query_slots[:, None, :, None]
    if visible_BS is not None:
        own = slot_indices == query_slots[:, None, :, None]  # a padding query sees itself: softmax needs one slot
        sees = sees & (visible_BS[:, None, None, :] | own)
    bias = _as_bias(sees, dtype)
    sliding_bias, rotary = bias, rotation(architecture.rotary, positions_BL, dtype)
    if architecture.sliding_layers and architecture.sliding_window:
        sliding_bias = _as_bias(
            sees & (slot_indices > query_slots[:, None, :, None] - architecture.sliding_window), dtype
        )
    same = architecture.sliding_rotary is architecture.rotary
    return Window(
        positions=positions_BL,
        slots=slots,
        num_slots=num_slots,
        rotary=rotary,
        sliding_rotary=rotary if same else rotation(architecture.sliding_rotary, positions_BL, dtype),
        bias=bias,
        sliding_bias=sliding_bias,
    )


def _as_bias(sees: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill_(~sees, float("-inf"))


def attend(
    q_BNLH: torch.Tensor,
    k_BKSH: torch.Tensor,
    v_BKSH: torch.Tensor,
    bias: torch.Tensor,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    """Return softmax(scale q k^T, soft-capped, + bias) v as [B, L, N H]; the softmax is in float32.

    `bias` broadcasts to [B, 1, L, S]. Soft-capped logits (Gemma-2) are computed here on every device, because
    `scaled_dot_product_attention` has no place for the cap.
    """
    B, N, L, H = q_BNLH.shape
    if softcap is None and L > 1:
        out = F.scaled_dot_product_attention(q_BNLH, k_BKSH, v_BKSH, attn_mask=bias, scale=scale, enable_gqa=True)
        return out.transpose(1, 2).reshape(B, L, N * H)
    K = k_BKSH.shape[1]
    # Queries of a group share keys: as further rows of one product they cost next to nothing.
    q_BKMH = q_BNLH.reshape(B, K, N // K * L, H)
    bias = bias if bias.shape[2] == 1 else bias.repeat(1, 1, N // K, 1)
    if softcap is None:
        out = F.scaled_dot_product_attention(q_BKMH, k_BKSH, v_BKSH, attn_mask=bias, scale=scale)
    else:
        logits = torch.matmul(q_BKMH, k_BKSH.transpose(2, 3)) * scale
        logits = torch.tanh(logits / softcap) * softcap
        out = torch.matmul(torch.softmax((logits + bias).float(), dim=-1).to(v_BKSH.dtype), v_BKSH)
    return out.reshape(B, N, L, H).transpose(1, 2).reshape(B, L, N * H)


def embed(base: BaseModel, token_ids_BL: torch.Tensor) -> torch.Tensor:
    """Look up token embeddings [B, L, D], scaled where the family does."""
    h_BLD = F.embedding(token_ids_BL, base.embedding)
    if base.architecture.family.scales_embedding:
        scale = torch.tensor(base.architecture.hidden_size**0.5, dtype=base.dtype)  # rounded as transformers rounds it
        h_BLD = h_BLD * scale
    return h_BLD


def run_layers(
    base: BaseModel, h_BLD: torch.Tensor, layers: range, window: Window, cache: KVCache | None, first_cached: int = 0
) -> torch.Tensor:
    """Run the decoder layers `layers` over the window and return the residual stream [B, L, D].

    Keys and values go through `cache`, whose layer 0 is the decoder's layer `first_cached`; without a cache the window
    is the whole text.
    """
    for index in layers:
        h_BLD = _run_layer(base.architecture, base.layers[index], index, h_BLD, window, cache, index - first_cached)
    return h_BLD


def _run_layer(
    architecture: Architecture,
    weights: LayerWeights,
    index: int,
    h_BLD: torch.Tensor,
    window: Window,
    cache: KVCache | None,
    cache_layer: int,
) -> torch.Tensor:
    is_sliding = index in architecture.sliding_layers
    x_BLD = rms_norm(h_BLD, weights.input_norm, architecture)
    q, k, v = _project(architecture, weights, x_BLD, window.sliding_rotary if is_sliding else window.rotary)
    if cache is not None:
        cache.write(cache_layer, window.slots, k, v, None)
        k, v = cache.read(cache_layer, window.num_slots, None)
    bias = window.sliding_bias if is_sliding else window.bias
    x_BLD = attend(q, k, v, bias, architecture.attention_scale, architecture.attention_softcap)
    x_BLD = F.linear(x_BLD, weights.out, weights.out_bias)
    if weights.post_attention_norm is not None:
        x_BLD = rms_norm(x_BLD, weights.post_attention_norm, architecture)
    h_BLD = h_BLD + x_BLD
    x_BLD = rms_norm(h_BLD, weights.pre_mlp_norm, architecture)
    gate, up = F.linear(x_BLD, weights.gate_up, weights.gate_up_bias).chunk(2, dim=-1)
    x_BLD = F.linear(architecture.activation(gate) * up, weights.down, weights.down_bias)
    if weights.post_mlp_norm is not None:
        x_BLD = rms_norm(x_BLD, weights.post_mlp_norm, architecture)
    return h_BLD + x_BLD


def _project(
    architecture: Architecture, weights: LayerWeights, x_BLD: torch.Tensor, by: Rotation
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return rotated queries [B, N, L, H], rotated keys and values [B, K, L, H]."""
    N, K, H = architecture.num_heads, architecture.num_kv_heads, architecture.head_dim
    qkv = F.linear(x_BLD, weights.qkv, weights.qkv_bias).view(*x_BLD.shape[:-1], N + 2 * K, H)
    if weights.q_norm is not None and weights.k_norm is not None:
        q = rms_norm(qkv[:, :, :N], weights.q_norm, architecture)
        k = rms_norm(qkv[:, :, N : N + K], weights.k_norm, architecture)
        q, k = rotate(q, by), rotate(k, by)
    else:
        q, k = rotate(qkv[:, :, : N + K], by).split([N, K], dim=2)
    return q.transpose(1, 2), k.transpose(1, 2), qkv[:, :, N + K :].transpose(1, 2)


def to_logits(base: BaseModel, h_BD: torch.Tensor) -> torch.Tensor:
    """Return the logits [..., V] in float32 of what the last layer handed on."""
    logits = F.linear(rms_norm(h_BD, base.final_norm, base.architecture), base.head)
    cap = base.architecture.final_softcap
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits.float()
