"""FBGEMM's product with weights in float16, for CPUs that have no products of bfloat16 (x86 without AVX-512).

Shapes: M rows, I inputs, O outputs.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

import torch

from flas_engine.kernels.product import DoesNotFit, Product, bytes_of, join, stored_slabs_of

if TYPE_CHECKING:
    from flas_engine.kernels.product import Rows

HALF_ROUNDING = 2.0**-25
"""Half a step of the smallest float16: what a weight may lose in it, less than a float32 sum of some hundred does."""
BYTES_WHILE_PACKING = 8
"""A weight takes float32's four, and as many again in a copy that FBGEMM makes."""
MOST_PACKERS = 4
"""FBGEMM packs a hundred million weights a second on one thread; each further one needs room for a slab more."""
INPUT_BLOCK = 512
"""FBGEMM keeps weights in blocks of so many inputs, the last one whole too."""
HALF_MAX = torch.finfo(torch.half).max
CACHED_WEIGHTS = 1 << 16
"""What is made of so many weights stays in a core's cache."""


class HalfProduct(Product):
    """Weights in float16 times inputs in float32, summed in float32: up to half the memory of float32, twice its speed.

    Weights are those that were given: one that float16 does not hold raises `DoesNotFit`.
    """

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        self._out_features, self._in_features = weight.shape
        self._dtype = weight.dtype
        self._slabs = []
        for slab, slab_bias in stored_slabs_of(weight, bias, BYTES_WHILE_PACKING):
            if not _fits_half(slab):
                raise DoesNotFit
            self._slabs.append(_Slab(slab, slab_bias.float() if slab_bias is not None else None))
        blocks = -(-self._in_features // INPUT_BLOCK)
        num_weights = self._out_features * blocks * INPUT_BLOCK
        self._num_bytes = num_weights * torch.half.itemsize + bytes_of(bias)

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return self._num_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_MI = x.float().reshape(-1, self._in_features)
        y_MO = join([slab(x_MI) for slab in self._slabs])
        return y_MO.to(self._dtype).view(*x.shape[:-1], self._out_features)


class _Slab:
    """A weight [width, I] that is packed in a thread until it is first needed."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._width = len(weight)
        number = next(_numbers)
        _slabs[number] = self
        self._number = torch.tensor(number)
        """What passes through the compiler in place of the packed weight, an object of torch's that cannot."""
        pool, room = _packers()
        room.acquire()  # no more are in memory as they were than are being packed
        self._packing = pool.submit(_pack, weight, bias, room)

    def __call__(self, x_MI: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling():
            y_MO: torch.Tensor = torch.ops.flas.half_product(x_MI, self._number, self._width)
            return y_MO
        return self.multiply(x_MI)

    def multiply(self, x_MI: torch.Tensor) -> torch.Tensor:
        y_MO: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(x_MI, self._packed)
        return y_MO

    @cached_property
    def _packed(self) -> Any:
        return self._packing.result()


def forget_packers() -> None:
    """Give back what packing took, once all that is being packed is; who packs again gets new threads."""
    _packers.cache_clear()


@cache
def _packers() -> tuple[ThreadPoolExecutor, BoundedSemaphore]:
    num_packers = min(torch.get_num_threads(), MOST_PACKERS)
    return ThreadPoolExecutor(num_packers, thread_name_prefix="flas-pack"), BoundedSemaphore(num_packers)


def _pack(weight: torch.Tensor, bias: torch.Tensor | None, room: BoundedSemaphore) -> Any:
    try:
        return torch.ops.quantized.linear_prepack_fp16(_widened(weight), bias)
    finally:
        room.release()


def _widened(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight in float32, in memory that the next one of this thread takes over."""
    if not hasattr(_scratch, "floats") or _scratch.floats.numel() < weight.numel():
        _scratch.floats = torch.empty(weight.numel())
    floats: torch.Tensor = _scratch.floats[: weight.numel()].view(weight.shape)
    return floats.copy_(weight)


_scratch = threading.local()
_numbers = itertools.count()
_slabs: weakref.WeakValueDictionary[int, _Slab] = weakref.WeakValueDictionary()


def _multiply_by_number(x_MI: torch.Tensor, number: torch.Tensor, width: int) -> torch.Tensor:
    del width
    return _slabs[int(number)].multiply(x_MI)


def _shape_by_number(x_MI: torch.Tensor, number: torch.Tensor, width: int) -> torch.Tensor:
    del number
    return x_MI.new_empty(x_MI.shape[0], width)


_library = torch.library.Library("flas", "FRAGMENT")
_library.define("half_product(Tensor x, Tensor number, int width) -> Tensor")
_library.impl("half_product", _multiply_by_number, "CPU")
torch.library.register_fake("flas::half_product", _shape_by_number, lib=_library)


def _fits_half(weight: torch.Tensor) -> bool:
    """Whether float16 holds a weight as it is; it does whatever is bfloat16 and no larger than 65,504."""
    if weight.dtype == torch.bfloat16:
        smallest, largest = weight.aminmax()
        return bool(smallest >= -HALF_MAX and largest <= HALF_MAX)  # false for NaN
    parts = weight.flatten().split(CACHED_WEIGHTS)
    return all(bool((part.half().to(part.dtype) - part).abs_().amax() <= HALF_ROUNDING) for part in parts)
