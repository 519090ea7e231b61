"""Times the matrix products of a decoding pass and nothing else: what decoding cannot be faster than.

Once as torch's `F.linear` over the weights as plain transformers holds them, and once as the engine's own products in
the machine's layout, both on inputs that never change. The flow's products count once an evaluation, but for those
that are made once a concept. No weight is read twice in a row, so that no cache helps more than it does in decoding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from flas_engine.benchmark.decoding import Timing
from flas_engine.kernels.layout import full_speed_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.checkpoint import Flow
    from flas_engine.field import Block, Projections, VelocityField
    from flas_engine.layers import BaseModel

Products = list[Callable[[], object]]
"""The products of one pass, ready to be called."""


@torch.inference_mode()
def time_products(products: Products, num_passes: int, device: torch.device) -> Timing:
    """Call them over and over; a pass is all of them once."""
    _wait_for(device)
    started = time.perf_counter()
    for _ in range(num_passes):
        for multiply in products:
            multiply()
    _wait_for(device)
    return Timing(passes_per_second=num_passes / (time.perf_counter() - started))


def linear_products(model: Any, flow: Flow | None, num_lanes: int) -> Products:
    """Return `F.linear` over every weight that a pass of `num_lanes` reads; `flow`, if any, steers one of them."""
    decoder = model.get_decoder()
    decoder = getattr(decoder, "language_model", decoder)  # a multimodal model's other towers do not decode
    layers = [layer for layer in decoder.modules() if isinstance(layer, nn.Linear)]
    products = [_linear(layer, num_lanes) for layer in (*layers, model.get_output_embeddings())]
    if flow is not None:
        of_flow = [_linear(layer, 1) for _, layers in evaluated_projections(flow.field) for layer in layers]
        products += of_flow * flow.config.n_steps
    return products


def engine_products(base: BaseModel, flow: Flow | None, num_lanes: int) -> Products:
    """Return the engine's own products, with as many rows as it pads a pass to; `flow`, if any, steers one lane."""
    a, least = base.architecture, full_speed_rows(base.device, base.dtype, base.layout)

    def rows(num_rows: int, width: int) -> torch.Tensor:
        return torch.randn(max(num_rows, least), width, device=base.device, dtype=base.dtype)

    hidden, activated = rows(num_lanes, a.hidden_size), rows(num_lanes, a.intermediate_size)
    attended = rows(num_lanes, a.num_heads * a.head_dim)
    products: Products = []
    for layer in base.layers:
        products += [partial(layer.qkv, hidden), partial(layer.out, attended)]
        products += [partial(layer.gate_up, hidden), partial(layer.down, activated)]
    products.append(partial(base.head, hidden))
    if flow is not None:
        of_flow = [partial(each, rows(1, layers[0].in_features)) for each, layers in evaluated_projections(flow.field)]
        products += of_flow * flow.config.n_steps
    return products


def evaluated_projections(field: VelocityField) -> Iterator[tuple[Projections, tuple[nn.Linear, ...]]]:
    """Yield what an evaluation of the field multiplies with; a concept's keys and values are made before."""
    for module in field.blocks:
        block = cast("Block", module)
        of_concept = block.cross_attn.k_proj if block.has_cross_attn else None
        for projections in block.all_projections():
            if of_concept not in projections._layers:
                yield projections, projections._layers


def _linear(layer: nn.Linear, num_rows: int) -> Callable[[], object]:
    x = torch.randn(num_rows, layer.in_features, device=layer.weight.device, dtype=layer.weight.dtype)
    return partial(F.linear, x, layer.weight, layer.bias)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
