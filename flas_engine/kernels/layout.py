"""Chooses the product that a weight is held by.

Decoding reads every weight once a pass, so the layout of the weights decides its speed. `plain` is torch's own linear,
on every device; `packed` is what a CPU's own kernels read, about twice as fast for the few rows of a decoding pass;
`int8` stores one byte a weight. What is stored is all there is: a packed weight keeps no plain copy beside it.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

import torch

from flas_engine.allocator import returning_freed_memory
from flas_engine.kernels.fbgemm import HalfProduct, forget_packers
from flas_engine.kernels.native import Int8Product, PlainProduct
from flas_engine.kernels.onednn import FULL_SPEED_ROWS, DigitProduct, PackedProduct
from flas_engine.kernels.product import DoesNotFit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.kernels.product import Product, Rows

PLAIN, PACKED, INT8 = "plain", "packed", "int8"

SMALLEST_DIGIT_WEIGHT = 1536 * 1024
"""Smaller weights are multiplied by torch's own int8 kernel: making digits of the input costs more than it saves."""


def lay_out(weight: Rows, bias: torch.Tensor | None, layout: str) -> Product:
    """Make the product of a weight in `layout`; a machine without the kernels for it gets the next best."""
    device, dtype = weight.device.type, weight.dtype
    kinds: list[type[Product]] = []
    if layout != PLAIN:
        kinds = [HalfProduct, PackedProduct] if dtype == torch.float32 else [PackedProduct, HalfProduct]
    if layout == INT8:
        is_small = weight.shape.numel() < SMALLEST_DIGIT_WEIGHT
        kinds = [Int8Product, DigitProduct, *kinds] if is_small else [DigitProduct, Int8Product, *kinds]
    for kind in kinds:
        if _multiplies_rightly(kind, device, dtype):
            with suppress(DoesNotFit):
                return kind(weight, bias)
    return PlainProduct(weight, bias)


@contextmanager
def laying_out_many(device: torch.device, dtype: torch.dtype, layout: str) -> Iterator[None]:
    """Keep memory whole while many weights are laid out, and give back what that took."""
    if layout == PLAIN or not holds_in_half(device, dtype):
        yield
        return
    with returning_freed_memory():
        try:
            yield
        finally:
            forget_packers()


def full_speed_rows(device: torch.device, dtype: torch.dtype, layout: str) -> int:
    """Return how many rows a product of this layout likes to have at least."""
    is_padded = layout == PACKED and dtype == torch.bfloat16 and _multiplies_rightly(PackedProduct, device.type, dtype)
    return FULL_SPEED_ROWS if is_padded else 1


def holds_in_half(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether packed weights take two bytes although they are multiplied in float32."""
    return dtype == torch.float32 and _multiplies_rightly(HalfProduct, device.type, dtype)


@cache
def _multiplies_rightly(kind: type[Product], device: str, dtype: torch.dtype) -> bool:
    """Whether torch has this kind's kernels here; without VNNI, sums of two products of bytes saturate at 16 bits."""
    if device != "cpu" and kind is not Int8Product:
        return False
    size = 64
    weight = torch.full((size, size), 127.0, device=device, dtype=dtype)  # the largest sums there can be
    try:
        y = kind(weight)(weight.new_ones(1, size)).float()
    except (RuntimeError, AttributeError, DoesNotFit):  # no such kernel, or not for this dtype
        return False
    return torch.allclose(y, torch.full_like(y, 127.0 * size), rtol=1e-2)
