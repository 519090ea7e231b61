"""Rounding weights to a byte each."""

from __future__ import annotations

import torch

QUANTISED_ELEMENTS = 4 << 20
"""Weights are rounded so many elements at a time, so as not to take twice their memory: on the way they are float32."""


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round a weight [O, I] to int8 with a float32 scale [O] per output: the largest of a row becomes 127."""
    quantised = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = torch.empty(len(weight), device=weight.device)
    num_rows = max(1, QUANTISED_ELEMENTS // weight.shape[1])
    for rows, of_rows, to_rows in zip(*(x.split(num_rows) for x in (weight, scale, quantised)), strict=True):
        of_rows.copy_(rows.abs().amax(dim=-1)).div_(127.0).clamp_min_(torch.finfo(torch.float32).tiny)
        to_rows.copy_((rows / of_rows[:, None]).round_())
    return quantised, scale
