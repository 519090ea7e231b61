"""oneDNN's products: weights in its blocked layout, and bytes on CPUs that multiply bytes (VNNI).

Shapes: M rows, I inputs, O outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from flas_engine.kernels.product import Product, bytes_of, join, slabs_of
from flas_engine.kernels.rounding import quantise

if TYPE_CHECKING:
    from flas_engine.kernels.product import Rows

FULL_SPEED_ROWS = 5
"""Fewer rows leave a core waiting for its own last sum: of bfloat16, 5 rows take less time than 1."""
SMALLEST_PADDED_WEIGHT = 1024 * 1024
"""With smaller weights, adding rows costs more than it saves."""

_ZERO = torch.tensor(256.0 * 128.0 + 128.0 + 0.5)
"""What 0 is as two digits whose zero is 128, and the half that rounds."""
LARGEST_DIGITS = 256.0 * 127.0


class PackedProduct(Product):
    """oneDNN's inner product over a weight in the blocked layout that its kernels read."""

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        self._out_features, self._in_features = weight.shape
        self._dtype = weight.dtype
        self._num_bytes = self._out_features * self._in_features * weight.dtype.itemsize + bytes_of(bias)
        self._slabs = [
            (torch.ops.mkldnn._reorder_linear_weight(slab.contiguous(), None), slab_bias)
            for slab, slab_bias in slabs_of(weight, bias, weight.dtype.itemsize)
        ]
        is_padded = self._dtype == torch.bfloat16 and self._out_features * self._in_features >= SMALLEST_PADDED_WEIGHT
        self._least_rows = FULL_SPEED_ROWS if is_padded else 1

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return self._num_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_MI = x.to(self._dtype).reshape(-1, self._in_features)
        M = x_MI.shape[0]
        if self._least_rows > M:
            x_MI = F.pad(x_MI, (0, 0, 0, self._least_rows - M))
        multiply = torch.ops.flas.packed_product if torch.compiler.is_compiling() else _multiply_packed
        y_MO = join([multiply(x_MI, *slab) for slab in self._slabs])
        return y_MO[:M].view(*x.shape[:-1], self._out_features)


class DigitProduct(Product):
    """One byte a weight on CPUs that multiply bytes (VNNI), with activations as two digits of one byte each.

    x = scale (256 (high - 128) + low - 128): a row becomes two, which cost next to nothing, and is known to 15 bits, so
    that only the weights are rounded. Sums of integers are exact: a row's result does not depend on the rows beside it.
    """

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        self._out_features, self._in_features = weight.shape
        self._dtype = weight.dtype
        self._slabs = []
        for slab, _ in slabs_of(weight, None, 1):
            quantised, scale = quantise(slab)
            zero_points = torch.zeros(len(slab), dtype=torch.int32)
            packed = torch.ops.onednn.qlinear_prepack(quantised, None)
            self._slabs.append((packed, scale / LARGEST_DIGITS, zero_points))
        self._bias = bias
        self._num_bytes = self._out_features * (self._in_features + 8) + bytes_of(bias)

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return self._num_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_MI = x.reshape(-1, self._in_features)
        M = x_MI.shape[0]
        largest_M1 = x_MI.abs().amax(dim=-1, keepdim=True).float()
        numbers = torch.addcmul(_ZERO, x_MI, LARGEST_DIGITS / largest_M1).to(torch.uint16)
        digits = numbers.view(torch.uint8).view(M, self._in_features, 2)  # little-endian: low, high
        rows = digits.permute(2, 0, 1).reshape(2 * M, self._in_features)
        multiply = torch.ops.flas.byte_product if torch.compiler.is_compiling() else _multiply_bytes
        y = join([multiply(rows, *slab) for slab in self._slabs])
        y_MO = torch.add(y[:M], y[M:], alpha=256.0).mul_(largest_M1).to(self._dtype)
        return (y_MO if self._bias is None else y_MO + self._bias).view(*x.shape[:-1], self._out_features)


def _multiply_packed(x_MI: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    y_MO: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x_MI, packed, bias, "none", [], "")
    return y_MO


def _multiply_bytes(
    rows: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor, zero_points: torch.Tensor
) -> torch.Tensor:
    """Multiply bytes whose zero is 128."""
    y: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
        rows, 1.0, 128, packed, scale, zero_points, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return y


# The compiler takes oneDNN's own operations for constant weights only, and would keep a copy of them in every graph.
_library = torch.library.Library("flas", "FRAGMENT")
_library.define("packed_product(Tensor x, Tensor packed, Tensor? bias) -> Tensor")
_library.define("byte_product(Tensor rows, Tensor packed, Tensor scale, Tensor zero_points) -> Tensor")
for _key in ("CPU", "MkldnnCPU"):
    _library.impl("packed_product", _multiply_packed, _key)
    _library.impl("byte_product", _multiply_bytes, _key)


def _shape_of_packed(x_MI: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    del bias
    return x_MI.new_empty(x_MI.shape[0], packed.shape[0])


def _shape_of_bytes(
    rows: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor, zero_points: torch.Tensor
) -> torch.Tensor:
    del packed, zero_points
    return rows.new_empty(rows.shape[0], scale.shape[0], dtype=torch.float32)


torch.library.register_fake("flas::packed_product", _shape_of_packed, lib=_library)
torch.library.register_fake("flas::byte_product", _shape_of_bytes, lib=_library)
