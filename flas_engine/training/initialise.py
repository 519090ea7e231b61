"""How a field begins: as copies of parts of the base's layer l, or as a flow that was trained before.

Cross-attention has nothing to copy and begins fresh; coordinates are measured.

Shapes: D hidden, L positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from flas_engine.checkpoint import read_flow
from flas_engine.config import read_flow_config
from flas_engine.errors import TrainingError
from flas_engine.field import Block, VelocityField
from flas_engine.hub.resolve import resolve_flow
from flas_engine.training.recipe import shape_of_flow
from flas_engine.training.trunk import run_lower

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from flas_engine.config import FlowConfig
    from flas_engine.field import Norm
    from flas_engine.kernels.product import Product
    from flas_engine.layers import BaseModel, LayerWeights, NormWeight
    from flas_engine.training.examples import Example
    from flas_engine.training.feed import ConceptStates
    from flas_engine.training.recipe import Recipe

MEASURED_ROWS = 256
MEASURED_CONCEPTS = 1024
FIRST_MEASURED = 1
"""The first position is left out: models park activations there that are far from all others."""
SMALLEST_SCALE = 1e-3
"""Of the median channel: a channel that hardly moves is not blown up."""


def shape_of_init_flow(name: str) -> dict[str, Any]:
    """Return what the trained flow `name` decides about a recipe that begins with it; raises `FlasError`."""
    return shape_of_flow(read_flow_config(resolve_flow(name).parent / "config.json"))


def begin_with_flow(base: BaseModel, recipe: Recipe) -> VelocityField:
    """Return the recipe's trained flow in float32 on the base's device; raises `FlasError` when it is another shape."""
    file = resolve_flow(recipe.init_flow)
    flow = read_flow(file, base.architecture, base.device, torch.float32)
    for name, value in shape_of_flow(flow.config).items():
        if (wanted := getattr(recipe, name)) != value:
            raise TrainingError(
                f"the flow {recipe.init_flow} has {name} {value!r}, the recipe {wanted!r}; what begins with a flow "
                "has its shape"
            )
    return flow.field.requires_grad_(requires_grad=True).train()


def make_field(base: BaseModel, config: FlowConfig, *, from_base: bool, seed: int) -> VelocityField:
    """Return an untrained field in float32 on the base's device; equal seeds give equal fields."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        field = VelocityField(base.architecture, config)  # on the CPU: the same numbers on every device
    if from_base:
        for block in field.blocks:
            copy_layer(cast("Block", block), base.layers[config.layer], base)
    return field.to(base.device)


@torch.no_grad()
def copy_layer(block: Block, layer: LayerWeights, base: BaseModel) -> None:
    """Copy self-attention, MLP and norms of `layer`; what the family does not have (post norms) keeps its start."""
    offset, a = base.architecture.family.norm_offset, base.architecture

    def copy_norm(norm: Norm, source: NormWeight | None) -> None:
        if source is not None:
            norm.weight.copy_(source.weight - offset)

    if block.has_cross_attn:
        copy_norm(block.pre_cross_norm, layer.input_norm)
        copy_norm(block.post_cross_norm, layer.post_attention_norm)
    if block.has_self_attn:
        copy_norm(block.pre_sa_norm, layer.input_norm)
        copy_norm(block.post_sa_norm, layer.post_attention_norm)
        attention = block.self_attn
        _copy_product(layer.qkv, [attention.q_proj, attention.k_proj, attention.v_proj], base)
        _copy_product(layer.out, [attention.o_proj], base)
        if layer.qk_norm is not None and attention.q_norm is not None and attention.k_norm is not None:
            attention.q_norm.weight.copy_(layer.qk_norm.weight[0] - offset)
            attention.k_norm.weight.copy_(layer.qk_norm.weight[a.num_heads] - offset)
    if block.has_mlp:
        copy_norm(block.pre_mlp_norm, layer.pre_mlp_norm)
        copy_norm(block.post_mlp_norm, layer.post_mlp_norm)
        _copy_product(layer.gate_up, [block.gate_proj, block.up_proj], base)
        _copy_product(layer.down, [block.down_proj], base)


def _copy_product(product: Product, layers: Sequence[nn.Linear], base: BaseModel) -> None:
    """Read a fused weight back: the product of the identity is its transpose, whatever its layout."""
    inputs = layers[0].in_features
    identity = torch.eye(inputs, device=base.device, dtype=base.dtype)
    bias = product(torch.zeros_like(identity[:1]))
    weight_IO = product(identity) - bias
    widths = [layer.out_features for layer in layers]
    for layer, weight, of_layer in zip(layers, weight_IO.split(widths, dim=1), bias[0].split(widths), strict=True):
        layer.weight.copy_(weight.T)
        if layer.bias is not None:
            layer.bias.copy_(of_layer)


@torch.no_grad()
def measure_coordinates(
    field: VelocityField, base: BaseModel, examples: Sequence[Example], concepts: ConceptStates
) -> None:
    """Set the field's coordinates to mean and standard deviation over the first examples and their concepts."""
    assert field.coordinates is not None
    texts = ([*each.prompt_ids, *each.output_ids] for each in examples[:MEASURED_ROWS])
    activations = (run_lower(base, field.config.layer, torch.tensor([ids], device=base.device))[0] for ids in texts)
    wordings = list(dict.fromkeys(wording for example in examples for wording in example.concepts))
    encoded = (concepts.get(wording) for wording in wordings[:MEASURED_CONCEPTS])
    mean, scale = mean_and_scale(h_LD[FIRST_MEASURED:] for h_LD in activations)
    field.coordinates.h_mean.copy_(mean)
    field.coordinates.h_scale.copy_(scale)
    mean, scale = mean_and_scale(encoded)
    field.coordinates.c_mean.copy_(mean)
    field.coordinates.c_scale.copy_(scale)


def mean_and_scale(pieces: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation [D] over the rows of all pieces [L, D], summed in float64."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for piece in pieces:
        x = piece.cpu().double()
        count, total, squares = count + len(x), total + x.sum(dim=0), squares + x.square().sum(dim=0)
    mean = total / count
    scale = (squares / count - mean.square()).clamp(min=0.0).sqrt()
    return mean.float(), scale.clamp(min=SMALLEST_SCALE * scale.median()).float()
