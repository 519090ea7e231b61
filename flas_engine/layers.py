"""Decoder layers i..j of a base model, over any window of new tokens.

The forward pass is cut at layer l: `lower` (embedding .. l) and `upper` (l+1 .. logits) are two calls of `run_layers`,
and the concept encoder (layers 0..1) is a third. It computes what transformers computes, with two differences that the
tests bound: weights which read the same input are fused into one product, and the residual stream and the norms are
float32 whatever the dtype of the products.

Shapes: B lanes, P rows of a pass (the lanes, then padding that means nothing), L new tokens, S slots, D hidden,
N heads, K kv heads, G = N / K heads a group, H head dimension, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from flas_engine.kernels.layout import full_speed_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from flas_engine.cache import CacheLayer, KVCache
    from flas_engine.families import Architecture, RotarySpec
    from flas_engine.kernels.product import Product


MANY_PRODUCTS = 12
"""From so many small float32 products on, one call for all is faster on a CPU."""


@dataclass(frozen=True, kw_only=True)
class NormWeight:
    """What an RMSNorm multiplies with, in float32; Gemma's offset is added already."""

    weight: torch.Tensor
    epsilon: torch.Tensor
    """A scalar, on the weight's device."""


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """Weights of one decoder layer, products laid out for the machine."""

    input_norm: NormWeight
    qkv: Product
    """D -> (N + 2K) H: queries, keys, values."""
    qk_norm: NormWeight | None
    """[N + K, H]: every head's own copy of the weight that the family norms queries or keys with."""
    out: Product
    post_attention_norm: NormWeight | None
    pre_mlp_norm: NormWeight
    gate_up: Product
    """D -> 2 intermediate."""
    down: Product
    post_mlp_norm: NormWeight | None


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A frozen language model: its shape, its weights, where they are."""

    architecture: Architecture
    embedding: torch.Tensor
    """[V, D]; in a smaller dtype than the products' where it is stored so."""
    layers: tuple[LayerWeights, ...]
    final_norm: NormWeight
    head: Product
    """D -> V; its weight is `embedding`'s where the two are tied."""
    device: torch.device
    dtype: torch.dtype
    """Of the products, and of what the caches hold."""
    layout: str
    """How the weights were asked to be laid out; see `kernels`."""
    num_bytes: int
    """Memory that the weights take."""


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """cos and sign-folded sin [B, L, 1, H] of the window's positions: rotated = x cos + swap_halves(x) sin."""

    cos: torch.Tensor
    sin: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Window:
    """All that one pass over new tokens needs to know besides the weights, computed once for all layers."""

    slots: slice | torch.Tensor
    """Where keys and values go: slots common to all lanes, or with L = 1 a place a lane and kv head [B, K] (see
    `CacheLayer.write`)."""
    rows: slice
    """Which rows of the caches the lanes are."""
    rotary: Rotation
    sliding_rotary: Rotation
    bias: torch.Tensor
    """[B, 1, L, S], 0 where a query sees a slot and -inf where not; S slots are looked at."""
    sliding_bias: torch.Tensor


class Workspace:
    """What the layers of a decoding pass write their products' inputs into, so that a token allocates little.

    Padding rows are there for the products' speed alone.
    """

    def __init__(self, base: BaseModel, num_lanes: int) -> None:
        a = base.architecture
        self.num_rows = max(num_lanes, full_speed_rows(base.device, base.dtype, base.layout))

        def rows(width: int) -> torch.Tensor:
            return torch.zeros(self.num_rows, 1, width, device=base.device, dtype=base.dtype)

        self.num_lanes = num_lanes
        self.normed = rows(a.hidden_size)
        self.attended = rows(a.num_heads * a.head_dim)
        self.activated = rows(a.intermediate_size)
        self.attended_lanes, self.activated_lanes = self.attended[:num_lanes], self.activated[:num_lanes]


def rms_norm(x: torch.Tensor, norm: NormWeight, out: torch.Tensor | None = None) -> torch.Tensor:
    """Norm the last axis, in float32 unless `out` has another dtype; a weight with a row a head norms every head."""
    return torch.mul(x * _inverse_rms(x, norm), norm.weight, out=out)


def _inverse_rms(x: torch.Tensor, norm: NormWeight) -> torch.Tensor:
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return torch.addcmul(norm.epsilon, size, size, value=1.0 / x.shape[-1]).rsqrt_()


def add_normed(h: torch.Tensor, x: torch.Tensor, norm: NormWeight | None) -> torch.Tensor:
    """Add `x`, normed where the family does so, to the residual stream."""
    return h + x if norm is None else torch.addcmul(h, x * _inverse_rms(x, norm), norm.weight)


def rotation(spec: RotarySpec, positions_BL: torch.Tensor, dtype: torch.dtype) -> Rotation:
    """Compute the rotation of every position, in float32, rounded to `dtype` at the end."""
    frequencies = spec.inverse_frequencies.to(positions_BL.device)
    angles = positions_BL[..., None, None].float() * frequencies
    cos, sin = angles.cos() * spec.scaling, angles.sin() * spec.scaling
    return Rotation(cos=torch.cat([cos, cos], dim=-1).to(dtype), sin=torch.cat([-sin, sin], dim=-1).to(dtype))


def rotate(x_BLNH: torch.Tensor, by: Rotation) -> torch.Tensor:
    """Rotate every head of `x` by its position."""
    return torch.addcmul(x_BLNH * by.cos, x_BLNH.roll(x_BLNH.shape[-1] // 2, dims=-1), by.sin)


def make_window(
    architecture: Architecture,
    positions_BL: torch.Tensor,
    slots: slice,
    dtype: torch.dtype,
    visible_BS: torch.Tensor | None = None,
    rows: slice = slice(None),
) -> Window:
    """Prepare a pass over new tokens at `positions` in `slots`.

    A query at slot q sees slots 0..q. Where slots are not positions (left-padded batches of other people's code),
    `visible_BS` hides the padding's slots.
    """
    device = positions_BL.device
    slot_indices = torch.arange(slots.stop, device=device)
    query_slots = slot_indices[slots][None, None, :, None]
    sees = slot_indices <= query_slots
    if visible_BS is not None:
        # A padding query sees itself: softmax needs one slot.
        sees = sees & (visible_BS[:, None, None, :] | (slot_indices == query_slots))
    bias = _as_bias(sees, dtype)
    sliding_bias, rotary = bias, rotation(architecture.rotary, positions_BL, dtype)
    if architecture.sliding_layers and architecture.sliding_window:
        sliding_bias = _as_bias(sees & (slot_indices > query_slots - architecture.sliding_window), dtype)
    same = architecture.sliding_rotary is architecture.rotary
    return Window(
        slots=slots,
        rows=rows,
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
    # torch's own kernel takes five times as long on the way back there as the products that it is made of.
    is_trained = q_BNLH.requires_grad and q_BNLH.device.type == "cpu" and q_BNLH.dtype == torch.bfloat16
    if softcap is None and L > 1 and not is_trained:
        out = F.scaled_dot_product_attention(q_BNLH, k_BKSH, v_BKSH, attn_mask=bias, scale=scale, enable_gqa=True)
        return out.transpose(1, 2).reshape(B, L, N * H)
    K = k_BKSH.shape[1]
    # Queries of a group share keys: as further rows of one product they cost next to nothing.
    q_BKMH = q_BNLH.reshape(B, K, N // K * L, H)
    bias = bias if bias.shape[2] == 1 else bias.repeat(1, 1, N // K, 1)
    if softcap is not None or is_trained:
        logits = torch.matmul(q_BKMH, k_BKSH.transpose(2, 3)) * scale
        logits = logits if softcap is None else torch.tanh(logits / softcap) * softcap
        out = torch.matmul(torch.softmax((logits + bias).float(), dim=-1).to(v_BKSH.dtype), v_BKSH)
    elif _are_many_small(q_BKMH):
        bias_P1S = bias.expand(B, K, 1, -1).flatten(0, 1)
        logits = torch.baddbmm(bias_P1S, q_BKMH.flatten(0, 1), k_BKSH.flatten(0, 1).transpose(1, 2), alpha=scale)
        out = torch.bmm(torch.softmax(logits, dim=-1), v_BKSH.flatten(0, 1))
    else:
        out = F.scaled_dot_product_attention(q_BKMH, k_BKSH, v_BKSH, attn_mask=bias, scale=scale)
    return out.reshape(B, N, L, H).transpose(1, 2).reshape(B, L, N * H)


def _are_many_small(q_BKMH: torch.Tensor) -> bool:
    """Whether torch's own attention takes longer than batched products: on a CPU it calls a product a row and head."""
    is_plain = q_BKMH.device.type == "cpu" and q_BKMH.dtype == torch.float32 and not torch.compiler.is_compiling()
    return is_plain and q_BKMH.shape[0] * q_BKMH.shape[1] >= MANY_PRODUCTS


def embed(base: BaseModel, token_ids_BL: torch.Tensor) -> torch.Tensor:
    """Look up token embeddings [B, L, D] in float32, scaled where the family does."""
    h_BLD = F.embedding(token_ids_BL, base.embedding).float()
    if base.architecture.family.scales_embedding:
        # The scale is rounded as transformers rounds it.
        h_BLD *= torch.tensor(base.architecture.hidden_size**0.5, dtype=base.dtype).item()
    return h_BLD


def run_layers(
    base: BaseModel,
    h_PLD: torch.Tensor,
    layers: range,
    window: Window,
    cache: KVCache | None,
    first_cached: int = 0,
    workspace: Workspace | None = None,
    run: Callable[..., torch.Tensor] | None = None,
) -> torch.Tensor:
    """Run the decoder layers `layers` over the window and return the residual stream [P, L, D] in float32.

    Keys and values go through `cache`, whose layer 0 is the decoder's layer `first_cached`; without a cache the window
    is the whole text. A decoding pass (L = 1) brings a workspace, and with it rows of padding behind the lanes; or
    `run`, a compiled `run_layer`, which needs neither.
    """
    run = run or run_layer
    for index in layers:
        is_sliding = index in base.architecture.sliding_layers
        h_PLD = run(
            base.architecture,
            base.layers[index],
            h_PLD,
            window.sliding_rotary if is_sliding else window.rotary,
            window.sliding_bias if is_sliding else window.bias,
            cache.layers[index - first_cached] if cache is not None else None,
            window.rows,
            window.slots,
            workspace,
        )
    return h_PLD


def run_layer(
    architecture: Architecture,
    weights: LayerWeights,
    h_PLD: torch.Tensor,
    rotary: Rotation,
    bias: torch.Tensor,
    cache: CacheLayer | None,
    rows: slice,
    slots: slice | torch.Tensor,
    workspace: Workspace | None,
    places: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Run one decoder layer; rotations, bias, rows and slots are its part of the window.

    `places` are rows and positions [N]: behind the attention nothing is computed elsewhere, and [N, D] is returned.
    """
    x = rms_norm(h_PLD, weights.input_norm, workspace.normed if workspace else None)
    q, k, v = _split(architecture, weights, _lanes(weights.qkv(x), workspace), rotary)
    k, v = keys_values(k, v, cache, rows, slots, bias.shape[-1])
    x = attend(q.transpose(1, 2), k, v, bias, architecture.attention_scale, architecture.attention_softcap)
    if workspace:
        workspace.attended_lanes.copy_(x)
        x = workspace.attended
    if places is not None:
        h_PLD, x = h_PLD[places], x[places]
    h_PLD = add_normed(h_PLD, weights.out(x), weights.post_attention_norm)
    x = rms_norm(h_PLD, weights.pre_mlp_norm, workspace.normed if workspace else None)
    gate, up = _lanes(weights.gate_up(x), workspace).chunk(2, dim=-1)
    x = torch.mul(architecture.activation(gate), up, out=workspace.activated_lanes if workspace else None)
    return add_normed(h_PLD, weights.down(workspace.activated if workspace else x), weights.post_mlp_norm)


def keys_values(
    k_BLKH: torch.Tensor,
    v_BLKH: torch.Tensor,
    cache: CacheLayer | None,
    rows: slice,
    slots: slice | torch.Tensor,
    num_slots: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what is attended to, [B, K, S, H]: these keys and values, or with a cache, which takes them, all there."""
    if cache is None:
        return k_BLKH.transpose(1, 2), v_BLKH.transpose(1, 2)
    cache.write(rows, slots, k_BLKH, v_BLKH)
    return cache.read(rows, num_slots)


def _lanes(x_PLD: torch.Tensor, workspace: Workspace | None) -> torch.Tensor:
    """Leave out the rows of padding."""
    return x_PLD[: workspace.num_lanes] if workspace else x_PLD


def _split(
    a: Architecture, weights: LayerWeights, qkv: torch.Tensor, by: Rotation
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return rotated queries [B, L, N, H], rotated keys and values [B, L, K, H]."""
    N, K, H = a.num_heads, a.num_kv_heads, a.head_dim
    qkv = qkv.view(*qkv.shape[:-1], N + 2 * K, H)
    qk = qkv[:, :, : N + K]
    if weights.qk_norm is not None:
        qk = rms_norm(qk, weights.qk_norm).to(qkv.dtype)
    q, k = rotate(qk, by).split([N, K], dim=2)
    return q, k, qkv[:, :, N + K :]


def to_logits(base: BaseModel, h_BD: torch.Tensor) -> torch.Tensor:
    """Return the logits [..., V] in float32 of what the last layer handed on."""
    logits = base.head(rms_norm(h_BD, base.final_norm)).float()
    cap = base.architecture.final_softcap
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits
