"""torch's own products, on every device: of the weight as it is, and of a byte a weight.

Shapes: M rows, I inputs, O outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from flas_engine.kernels.product import DoesNotFit, Product, bytes_of, whole
from flas_engine.kernels.rounding import quantise

if TYPE_CHECKING:
    from flas_engine.kernels.product import Rows

FEW_ROWS, FEW_ROWS_OF_FLOAT32 = 4, 16
"""torch's own int8 kernel reads the weight anew for every row: beyond so many it is unpacked first, which is
slow to float32."""
INT8_INPUTS = 16
"""torch's own int8 product takes inputs so many at a time, and reads on behind the end where they do not come out."""


class PlainProduct(Product):
    """torch's linear over the weight as it is: every device, any dtype, differentiable in x."""

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        self._weight = whole(weight)
        self._bias = bias

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return bytes_of(self._weight, self._bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return F.linear(x.to(self._weight.dtype), self._weight, self._bias)


class Int8Product(Product):
    """One byte a weight with a scale per output, by torch's own kernel for it.

    On a CPU few rows are multiplied in bfloat16 whatever the compute dtype is; the kernel takes ten times as long in
    others.
    """

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        self._out_features, self._in_features = weight.shape
        if self._in_features % INT8_INPUTS:
            raise DoesNotFit
        self._dtype = weight.dtype
        self._weight, scale = quantise(whole(weight))
        self._scale = scale.to(torch.bfloat16 if weight.device.type == "cpu" else weight.dtype)
        self._few_rows = FEW_ROWS_OF_FLOAT32 if weight.dtype == torch.float32 else FEW_ROWS
        self._bias = bias

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return bytes_of(self._weight, self._scale, self._bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_MI = x.reshape(-1, self._in_features)
        if len(x_MI) <= self._few_rows:
            x_MI = x_MI.to(self._scale.dtype).contiguous()
            y_MO: torch.Tensor = torch.ops.aten._weight_int8pack_mm(x_MI, self._weight, self._scale)
        else:
            y_MO = F.linear(x_MI.to(self._dtype), self._weight.to(self._dtype)) * self._scale
        y_MO = y_MO.to(self._dtype)
        y_MO = y_MO if self._bias is None else y_MO + self._bias
        return y_MO.view(*x.shape[:-1], self._out_features)
