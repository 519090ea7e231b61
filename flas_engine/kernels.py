"""Matrix products with frozen weights, laid out once for the machine's own kernels.

Decoding reads every weight once a pass, so the layout of the weights decides its speed. `plain` is torch's own linear,
on every device; `packed` is what a CPU's own kernels read, about twice as fast for the few rows of a decoding pass:
oneDNN's blocked layout, and for float32 FBGEMM's float16 where that holds the weight; `int8` stores one byte a weight.
What is stored is all there is: a packed weight keeps no plain copy beside it.

Shapes: M rows, I inputs, O outputs.
"""

from __future__ import annotations

import itertools
import weakref
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PLAIN, PACKED, INT8 = "plain", "packed", "int8"

FULL_SPEED_ROWS = 5
"""Fewer rows than this leave a core waiting for its own last sum: oneDNN takes less time for 5 rows of bfloat16 than for
1."""
SMALLEST_PADDED_WEIGHT = 1024 * 1024
"""With smaller weights, adding rows costs more than it saves."""
HALF_ROUNDING = 2.0**-25
"""Half a step of the smallest float16: what a weight may lose in it, less than a float32 sum of some hundred does."""
SLAB_BYTES = 32 << 20
"""Large weights are laid out in slabs of rows, so that laying one out never takes twice its memory."""
QUANTISED_ELEMENTS = 4 << 20
"""Weights are rounded so many elements at a time, for the same reason: on the way they are float32."""
SMALLEST_DIGIT_WEIGHT = 1536 * 1024
"""Smaller weights are multiplied by torch's own int8 kernel: making digits of the input costs more than it saves."""
FEW_ROWS = 4
"""torch's own int8 kernel reads the weight anew for every row: beyond so many it is unpacked first."""
INT8_INPUTS = 16
"""torch's own int8 product takes inputs so many at a time, and reads on behind the end where they do not come out."""

_ZERO = torch.tensor(256.0 * 128.0 + 128.0 + 0.5)
"""What 0 is as two digits, and the half that rounds."""
_LARGEST_DIGITS = 256.0 * 127.0


class Rows(Protocol):
    """A weight [O, I] that can be had a few rows at a time; every tensor can."""

    @property
    def shape(self) -> torch.Size: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102

    def split(self, num_rows: int, /) -> Iterable[torch.Tensor]:
        """Give the rows, `num_rows` at a time."""


@dataclass(frozen=True, kw_only=True)
class StoredRows:
    """A weight in a file, of which no more is in memory than is being laid out."""

    shape: torch.Size
    device: torch.device
    dtype: torch.dtype
    read: Callable[[slice], torch.Tensor]

    def split(self, num_rows: int) -> Iterator[torch.Tensor]:
        """Read `num_rows` rows at a time."""
        for start in range(0, self.shape[0], num_rows):
            yield self.read(slice(start, min(start + num_rows, self.shape[0])))


class Product(ABC):
    """x -> x W^T + b for a frozen weight W [O, I]."""

    @abstractmethod
    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        """Lay out `weight`, which is then no longer needed."""

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Memory that weight, scales and bias take."""

    @abstractmethod
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply `x` [..., I] in the compute dtype; returns [..., O] in it."""


class PlainProduct(Product):
    """torch's linear over the weight as it is: every device, any dtype, differentiable in x."""

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        self._weight = _whole(weight)
        self._bias = bias

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return _num_bytes(self._weight, self._bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return F.linear(x.to(self._weight.dtype), self._weight, self._bias)


class PackedProduct(Product):
    """oneDNN's inner product over a weight in the blocked layout that its kernels read."""

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        self._out_features, self._in_features = weight.shape
        self._dtype = weight.dtype
        self._num_bytes = self._out_features * self._in_features * weight.dtype.itemsize + _num_bytes(bias)
        rows = max(1, SLAB_BYTES // (self._in_features * weight.dtype.itemsize))
        biases = [None] * -(-self._out_features // rows) if bias is None else bias.split(rows)
        self._slabs = [
            (torch.ops.mkldnn._reorder_linear_weight(slab.contiguous(), None), slab_bias)
            for slab, slab_bias in zip(weight.split(rows), biases, strict=True)
        ]

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return self._num_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_MI = x.to(self._dtype).reshape(-1, self._in_features)
        M = x_MI.shape[0]
        least = full_speed_rows(x_MI.device, self._dtype, PACKED)
        if M < least and self._out_features * self._in_features >= SMALLEST_PADDED_WEIGHT:
            x_MI = F.pad(x_MI, (0, 0, 0, least - M))
        multiply = torch.ops.flas.packed_product if torch.compiler.is_compiling() else _multiply_packed
        products = [multiply(x_MI, *slab) for slab in self._slabs]
        y_MO = products[0] if len(products) == 1 else torch.cat(products, dim=-1)
        return y_MO[:M].view(*x.shape[:-1], self._out_features)


class HalfProduct(Product):
    """FBGEMM's product of float32 inputs with weights in float16: where a CPU has no products of bfloat16.

    Sums are float32, and weights are those that were given: one that float16 does not hold raises `DoesNotFit`.
    """

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        if weight.dtype != torch.float32:
            raise DoesNotFit
        self._out_features, self._in_features = weight.shape
        rows = max(1, SLAB_BYTES // (self._in_features * weight.dtype.itemsize))
        biases = [None] * -(-self._out_features // rows) if bias is None else bias.split(rows)
        self._slabs = []
        for slab, slab_bias in zip(weight.split(rows), biases, strict=True):
            if not _fits_half(slab):
                raise DoesNotFit
            packed = torch.ops.quantized.linear_prepack_fp16(slab.contiguous(), slab_bias)
            number = next(_numbers)
            _halves[number] = packed
            weakref.finalize(self, _halves.pop, number)
            self._slabs.append((packed, torch.tensor(number), len(slab)))
        self._num_bytes = self._out_features * self._in_features * torch.half.itemsize + _num_bytes(bias)

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return self._num_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_MI = x.to(torch.float32).reshape(-1, self._in_features)
        if torch.compiler.is_compiling():
            products = [torch.ops.flas.half_product(x_MI, number, width) for _, number, width in self._slabs]
        else:
            products = [torch.ops.quantized.linear_dynamic_fp16(x_MI, packed) for packed, _, _ in self._slabs]
        y_MO = products[0] if len(products) == 1 else torch.cat(products, dim=-1)
        return y_MO.view(*x.shape[:-1], self._out_features)


class DoesNotFit(Exception):  # noqa: N818
    """A weight that a layout cannot hold as it is; the next best takes it."""


class Int8Product(Product):
    """One byte a weight with a scale per output, and torch's own kernel for it: small weights, and other devices.

    On a CPU few rows are multiplied as bfloat16, whatever the compute dtype: in others the kernel takes ten times as long.
    """

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        self._out_features, self._in_features = weight.shape
        assert self._in_features % INT8_INPUTS == 0
        self._dtype = weight.dtype
        self._weight, scale = quantise(_whole(weight))
        self._scale = scale.to(torch.bfloat16 if weight.device.type == "cpu" else weight.dtype)
        self._bias = bias

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return _num_bytes(self._weight, self._scale, self._bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_MI = x.to(self._dtype).reshape(-1, self._in_features)
        if len(x_MI) <= FEW_ROWS:
            x_MI = x_MI.to(self._scale.dtype).contiguous()
            y_MO: torch.Tensor = torch.ops.aten._weight_int8pack_mm(x_MI, self._weight, self._scale).to(self._dtype)
        else:
            y_MO = F.linear(x_MI, self._weight.to(self._dtype)) * self._scale
        y_MO = y_MO if self._bias is None else y_MO + self._bias
        return y_MO.view(*x.shape[:-1], self._out_features)


class DigitProduct(Product):
    """One byte a weight on CPUs that multiply bytes (VNNI), with activations as two digits of one byte each.

    x = scale (256 (high - 128) + low - 128): a row becomes two, which cost next to nothing, and is known to 15 bits, so
    that only the weights are rounded. Sums of integers are exact: a row's result does not depend on the rows beside it.
    """

    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        self._out_features, self._in_features = weight.shape
        self._dtype = weight.dtype
        self._slabs = []
        for slab in weight.split(max(1, SLAB_BYTES // self._in_features)):
            quantised, scale = quantise(slab)
            zero_points = torch.zeros(len(slab), dtype=torch.int32)
            packed = torch.ops.onednn.qlinear_prepack(quantised, None)
            self._slabs.append((packed, scale / _LARGEST_DIGITS, zero_points))
        self._bias = bias
        self._num_bytes = self._out_features * (self._in_features + 8) + _num_bytes(bias)

    @property
    def num_bytes(self) -> int:  # noqa: D102
        return self._num_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_MI = x.reshape(-1, self._in_features)
        M = x_MI.shape[0]
        largest_M1 = x_MI.abs().amax(dim=-1, keepdim=True).float()
        numbers = torch.addcmul(_ZERO, x_MI, _LARGEST_DIGITS / largest_M1).to(torch.uint16)
        digits = numbers.view(torch.uint8).view(M, self._in_features, 2)  # little-endian: low, high
        rows = digits.permute(2, 0, 1).reshape(2 * M, self._in_features)
        multiply = torch.ops.flas.byte_product if torch.compiler.is_compiling() else _multiply_bytes
        products = [multiply(rows, *slab) for slab in self._slabs]
        y = products[0] if len(products) == 1 else torch.cat(products, dim=-1)
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


_halves: dict[int, Any] = {}
_numbers = itertools.count()


def _multiply_half(x_MI: torch.Tensor, number: torch.Tensor, width: int) -> torch.Tensor:
    """Multiply by the weight of a number: the kernel's own object cannot pass through the compiler, a tensor can."""
    del width
    y_MO: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(x_MI, _halves[int(number)])
    return y_MO


# The compiler takes oneDNN's own operations for constant weights only, and would keep a copy of them in every graph.
_library = torch.library.Library("flas", "FRAGMENT")
_library.define("packed_product(Tensor x, Tensor packed, Tensor? bias) -> Tensor")
_library.define("byte_product(Tensor rows, Tensor packed, Tensor scale, Tensor zero_points) -> Tensor")
_library.define("half_product(Tensor x, Tensor number, int width) -> Tensor")
_library.impl("half_product", _multiply_half, "CPU")
for _key in ("CPU", "MkldnnCPU"):
    _library.impl("packed_product", _multiply_packed, _key)
    _library.impl("byte_product", _multiply_bytes, _key)


def _shape_of_packed(x_MI: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    del bias
    return x_MI.new_empty(x_MI.shape[0], packed.shape[0])


def _shape_of_half(x_MI: torch.Tensor, number: torch.Tensor, width: int) -> torch.Tensor:
    del number
    return x_MI.new_empty(x_MI.shape[0], width)


def _shape_of_bytes(
    rows: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor, zero_points: torch.Tensor
) -> torch.Tensor:
    del packed, zero_points
    return rows.new_empty(rows.shape[0], scale.shape[0], dtype=torch.float32)


torch.library.register_fake("flas::packed_product", _shape_of_packed, lib=_library)
torch.library.register_fake("flas::half_product", _shape_of_half, lib=_library)
torch.library.register_fake("flas::byte_product", _shape_of_bytes, lib=_library)


def full_speed_rows(device: torch.device, dtype: torch.dtype, layout: str) -> int:
    """Return how many rows a product of this layout likes to have at least."""
    return FULL_SPEED_ROWS if device.type == "cpu" and dtype == torch.bfloat16 and layout == PACKED else 1


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round a weight [O, I] to int8 with a float32 scale [O] per output: the largest of a row becomes 127."""
    quantised = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = torch.empty(len(weight), device=weight.device)
    num_rows = max(1, QUANTISED_ELEMENTS // weight.shape[1])
    for rows, of_rows, to_rows in zip(*(x.split(num_rows) for x in (weight, scale, quantised)), strict=True):
        of_rows.copy_(rows.abs().amax(dim=-1)).div_(127.0).clamp_min_(torch.finfo(torch.float32).tiny)
        to_rows.copy_((rows / of_rows[:, None]).round_())
    return quantised, scale


def lay_out(weight: Rows, bias: torch.Tensor | None, layout: str) -> Product:
    """Make the product of a weight in `layout`; a machine without the kernels for it gets the next best."""
    kinds: list[type[Product]] = [HalfProduct, PackedProduct] if layout != PLAIN else []
    if layout == INT8:
        torchs = [Int8Product] if weight.shape[1] % INT8_INPUTS == 0 else []
        is_small = weight.shape.numel() < SMALLEST_DIGIT_WEIGHT
        kinds = [*torchs, DigitProduct, *kinds] if is_small else [DigitProduct, *torchs, *kinds]
    device, dtype = weight.device.type, weight.dtype
    for kind in kinds:
        if _multiplies_rightly(kind, device, dtype):
            with suppress(DoesNotFit):
                return kind(weight, bias)
    return PlainProduct(weight, bias)


def _fits_half(weight: torch.Tensor) -> bool:
    """Whether float16 holds a float32 weight as it is; it does whatever was bfloat16 and is no larger than 65,504."""
    return bool((weight.half().float() - weight).abs_().amax() <= HALF_ROUNDING)


@cache
def _multiplies_rightly(kind: type[Product], device: str, dtype: torch.dtype) -> bool:
    """Whether torch has this kind's kernels here; without VNNI, sums of two products of bytes saturate at 16 bits."""
    if device != "cpu" and kind in (HalfProduct, PackedProduct, DigitProduct):
        return False
    size = 64
    weight = torch.full((size, size), 127.0, device=device, dtype=dtype)  # the largest sums there can be
    try:
        y = kind(weight)(weight.new_ones(1, size)).float()
    except (RuntimeError, AttributeError, DoesNotFit):  # no such kernel, or not for this dtype
        return False
    return torch.allclose(y, torch.full_like(y, 127.0 * size), rtol=1e-2)


def _whole(weight: Rows) -> torch.Tensor:
    return weight if isinstance(weight, torch.Tensor) else torch.cat(tuple(weight.split(weight.shape[0])))


def _num_bytes(*tensors: torch.Tensor | None) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)
