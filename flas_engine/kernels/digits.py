"""One byte a weight, and activations as two digits of a byte each, so that only the weights are rounded.

x = scale (radix high + low): a row becomes two, which cost next to nothing, and is known to 14 bits or more. Sums of
integers are exact: a row's result does not depend on the rows beside it.

Shapes: M rows, I inputs, O outputs.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from flas_engine.kernels.product import Product, bytes_of, join, slabs_of
from flas_engine.kernels.rounding import quantise

if TYPE_CHECKING:
    from flas_engine.kernels.product import Rows


class DigitProduct(Product):
    """The products of both digits, put together; which digits, and who multiplies them, is the subclasses'."""

    radix: ClassVar[float]
    largest_number: ClassVar[float]
    """What the largest activation of a row becomes."""
    bytes_an_output: ClassVar[int]
    """Of scale and zero point."""

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        self._out_features, self._in_features = weight.shape
        self._dtype = weight.dtype
        self._slabs = []
        for slab, _ in slabs_of(weight, None, 1):
            quantised, scale = quantise(slab)
            self._slabs.append(self._pack(quantised, scale / self.largest_number))
        self._bias = bias
        self._num_bytes = self._out_features * (self._in_features + self.bytes_an_output) + bytes_of(bias)

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return self._num_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_MI = x.reshape(-1, self._in_features)
        M = x_MI.shape[0]
        largest_M1 = x_MI.abs().amax(dim=-1, keepdim=True).float()
        digits = self._digits(x_MI, largest_M1)
        y = join([self._multiply(digits, slab) for slab in self._slabs])
        y_MO = torch.add(y[:M], y[M : 2 * M], alpha=self.radix).mul_(largest_M1).to(self._dtype)
        return (y_MO if self._bias is None else y_MO + self._bias).view(*x.shape[:-1], self._out_features)

    @abstractmethod
    def _pack(self, quantised: torch.Tensor, scale: torch.Tensor) -> Any:
        """Lay out int8 weights [O, I] with a float32 scale [O] each output."""

    @abstractmethod
    def _digits(self, x_MI: torch.Tensor, largest_M1: torch.Tensor) -> torch.Tensor:
        """Return the low digits of every row, the high ones behind them, and perhaps more rows."""

    @abstractmethod
    def _multiply(self, digits: torch.Tensor, slab: Any) -> torch.Tensor:
        """Multiply digits by a slab; returns float32, a row a row of digits."""
