"""The frozen base model cut at layer l, as training needs it: activations below, a differentiable pass above.

`run_lower` has no gradient, because nothing at or below layer l depends on the flow. `run_upper` and `token_losses`
are differentiable in the activations alone. Rows are padded on the right, so that causal attention keeps padding out
of everything that a loss reads. Knows nothing of concepts and flow times.

Shapes: B rows, L positions, N output tokens of all rows, D hidden, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from flas_engine.kernels.native import PlainProduct
from flas_engine.layers import embed, make_window, run_layer, run_layers, to_logits

if TYPE_CHECKING:
    from flas_engine.layers import BaseModel, Window

LOGIT_ELEMENTS, LOGIT_ROWS = 1 << 22, 64
"""Logits in memory at once: 16 MB of float32, or those of so many tokens, for each piece reads the head's weights."""


def window_of(base: BaseModel, length: int, dtype: torch.dtype) -> Window:
    """Return the window of whole texts of `length` positions, padding included, for products in `dtype`."""
    positions = torch.arange(length, device=base.device)[None]
    return make_window(base.architecture, positions, slice(0, length), dtype)


@torch.no_grad()
def run_lower(base: BaseModel, layer: int, token_ids_BL: torch.Tensor) -> torch.Tensor:
    """Return what layer `layer` hands on, [B, L, D] in float32."""
    window = window_of(base, token_ids_BL.shape[1], base.dtype)
    return run_layers(base, embed(base, token_ids_BL), range(layer + 1), window, None)


def run_upper(
    base: BaseModel,
    layer: int,
    h_BLD: torch.Tensor,
    rows_N: torch.Tensor,
    positions_N: torch.Tensor,
    *,
    recomputes: bool = False,
) -> torch.Tensor:
    """Return what the last layer hands on at some places, [N, D], given what `layer` does; differentiable in it.

    `recomputes` keeps the input of every layer alone and runs the layer again on the way back.
    """
    window, places = window_of(base, h_BLD.shape[1], base.dtype), (rows_N, positions_N)
    last = base.architecture.num_layers - 1
    for index in range(layer + 1, last + 1):
        run = partial(
            run_layers,
            layers=range(index, index + 1),
            window=window,
            cache=None,
            run=partial(run_layer, places=places) if index == last else None,
        )
        h_BLD = checkpoint(run, base, h_BLD, use_reentrant=False) if recomputes else run(base, h_BLD)
    return h_BLD if layer < last else h_BLD[places]


def token_losses(base: BaseModel, h_ND: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Return -log p(target) [N] in nats, differentiable in what the last layer hands on.

    Logits exist for a piece of the tokens at a time: its gradient is taken while they are there, and only that [N, D]
    is kept for the way back.
    """
    losses: torch.Tensor = _TokenLosses.apply(h_ND, base, targets_N)  # type: ignore[no-untyped-call]
    return losses


def with_vocabulary(base: BaseModel, token_ids: torch.Tensor) -> BaseModel:
    """Return the base with logits for `token_ids` [W] alone, in their order: cheaper, and normalised over them."""
    identity = torch.eye(base.architecture.hidden_size, device=base.device, dtype=base.dtype)
    weights = [base.head(rows)[:, token_ids] for rows in identity.split(64)]  # a product's weight, whatever its layout
    head = PlainProduct(torch.cat(weights).T.contiguous())
    return replace(base, architecture=replace(base.architecture, vocab_size=len(token_ids)), head=head)


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h_ND: torch.Tensor, base: BaseModel, targets_N: torch.Tensor) -> torch.Tensor:
        needs_gradient = ctx.needs_input_grad[0]
        num_rows = max(LOGIT_ROWS, LOGIT_ELEMENTS // base.architecture.vocab_size)
        losses, gradients = [], []
        for h, targets in zip(h_ND.split(num_rows), targets_N.split(num_rows), strict=True):
            with torch.set_grad_enabled(needs_gradient):
                h = h.detach().requires_grad_(needs_gradient)
                logits = to_logits(base, h)
            targets_N1, values = targets[:, None], logits.detach()
            p = values.softmax(dim=-1)
            largest_N1, at_N1 = values.max(dim=-1, keepdim=True)
            losses.append((largest_N1 - p.gather(1, at_N1).log() - values.gather(1, targets_N1))[:, 0])
            if needs_gradient:
                # The slope of the cross-entropy over the logits: p, less 1 at the target.
                p.scatter_add_(1, targets_N1, torch.full_like(largest_N1, -1.0))
                gradients += torch.autograd.grad(logits, h, p)
            del logits, values, p  # or two pieces' would be in memory at once
        if needs_gradient:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, gradient_N: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (of_losses_ND,) = ctx.saved_tensors
        return gradient_N[:, None] * of_losses_ND, None, None
