"""FBGEMM's products, for CPUs without products of bfloat16 and of whole bytes (x86 without AVX-512).

Shapes: M rows, I inputs, O outputs.
"""

from __future__ import annotations

import itertools
import warnings
import weakref
from functools import partial
from typing import TYPE_CHECKING

import torch

from flas_engine.kernels.digits import DigitProduct
from flas_engine.kernels.product import DoesNotFit, Product, bytes_of, join, slabs_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from flas_engine.kernels.product import Rows

HALF_ROUNDING = 2.0**-25
"""Half a step of the smallest float16: what a weight may lose in it, less than a float32 sum of some hundred does."""
SMALLEST_LARGEST = 1e-30
"""Rows whose largest activation is below this count as 0."""
ZERO_DIGIT = 64
"""Digits are multiplied as 0 to 127 with this as their zero: so small, sums of two products stay within 16 bits."""


class HalfProduct(Product):
    """Float32 inputs times weights in float16, summed in float32: half the memory of float32, and twice its speed.

    Weights are those that were given: one that float16 does not hold raises `DoesNotFit`.
    """

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        if weight.dtype != torch.float32:
            raise DoesNotFit
        self._out_features, self._in_features = weight.shape
        self._slabs = []
        for slab, slab_bias in slabs_of(weight, bias, weight.dtype.itemsize):
            if not _fits_half(slab):
                raise DoesNotFit
            packed = torch.ops.quantized.linear_prepack_fp16(slab.contiguous(), slab_bias)
            multiply = partial(torch.ops.quantized.linear_dynamic_fp16, W_prepack=packed)
            self._slabs.append(_Slab(multiply, len(slab)))
        self._num_bytes = self._out_features * self._in_features * torch.half.itemsize + bytes_of(bias)

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return self._num_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_MI = x.to(torch.float32).reshape(-1, self._in_features)
        return join([slab(x_MI) for slab in self._slabs]).view(*x.shape[:-1], self._out_features)


class SevenBitDigitProduct(DigitProduct):
    """Digits of seven bits, for CPUs whose sums of two products of bytes end at 16 bits.

    FBGEMM rounds inputs by the range that they have, all rows together; a last row that has all of it makes that
    rounding an identity.
    """

    radix = 128.0
    largest_number = 128.0 * 63.0
    bytes_an_output = 16

    def _pack(self, quantised: torch.Tensor, scale: torch.Tensor) -> _Slab:
        zero_points = torch.zeros(len(scale), dtype=torch.long)
        with warnings.catch_warnings():  # of a torch to come without these; `layout` then takes the next best
            warnings.simplefilter("ignore", UserWarning)
            weight = torch._make_per_channel_quantized_tensor(quantised, scale.double(), zero_points, 0)
        packed = torch.ops.quantized.linear_prepack(weight, None)
        multiply = partial(torch.ops.quantized.linear_dynamic, W_prepack=packed, reduce_range=True)
        return _Slab(multiply, len(scale))

    def _digits(self, x_MI: torch.Tensor, largest_M1: torch.Tensor) -> torch.Tensor:
        M, I = x_MI.shape  # noqa: E741
        digits = torch.zeros(2 * M + 1, I, device=x_MI.device)
        low_MI, high_MI = digits[:M], digits[M : 2 * M]
        torch.mul(x_MI, self.largest_number / largest_M1.clamp_min(SMALLEST_LARGEST), out=low_MI).round_()
        torch.mul(low_MI, 1 / self.radix, out=high_MI).add_(0.5).floor_()
        low_MI.sub_(high_MI, alpha=self.radix)
        digits[-1, 0], digits[-1, 1] = -ZERO_DIGIT, ZERO_DIGIT - 1
        return digits

    def _multiply(self, digits: torch.Tensor, slab: _Slab) -> torch.Tensor:
        return slab(digits)


class _Slab:
    """A packed weight [width, I]. It is an object of torch's that cannot pass through the compiler: its number can."""

    def __init__(self, multiply: Callable[[torch.Tensor], torch.Tensor], width: int) -> None:
        self._multiply, self._width = multiply, width
        number = next(_numbers)
        self._number = torch.tensor(number)
        _multiplications[number] = multiply
        weakref.finalize(self, _multiplications.pop, number)

    def __call__(self, x_MI: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling():
            y_MO: torch.Tensor = torch.ops.flas.numbered_product(x_MI, self._number, self._width)
            return y_MO
        return self._multiply(x_MI)


_numbers = itertools.count()
_multiplications: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {}


def _multiply_by_number(x_MI: torch.Tensor, number: torch.Tensor, width: int) -> torch.Tensor:
    del width
    return _multiplications[int(number)](x_MI)


def _shape_by_number(x_MI: torch.Tensor, number: torch.Tensor, width: int) -> torch.Tensor:
    del number
    return x_MI.new_empty(x_MI.shape[0], width)


_library = torch.library.Library("flas", "FRAGMENT")
_library.define("numbered_product(Tensor x, Tensor number, int width) -> Tensor")
_library.impl("numbered_product", _multiply_by_number, "CPU")
torch.library.register_fake("flas::numbered_product", _shape_by_number, lib=_library)


def _fits_half(weight: torch.Tensor) -> bool:
    """Whether float16 holds a float32 weight as it is; it does whatever was bfloat16 and is no larger than 65,504."""
    return bool((weight.half().float() - weight).abs_().amax() <= HALF_ROUNDING)
