"""Every layout of a weight against its product in float64, with the rounding that each layout is allowed.

Bounds are per element and hold for any input: a float32 sum of I products is off by at most I roundings of the sum of
their sizes, whatever its order (Higham 2002, section 3.1); what comes on top is named where it is added.
"""

from __future__ import annotations

import gc
import weakref
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from flas_engine.kernels import fbgemm, layout, onednn, product, rounding
from flas_engine.kernels.fbgemm import INPUT_BLOCK, HalfProduct
from flas_engine.kernels.layout import INT8, PACKED, PLAIN, SMALLEST_DIGIT_WEIGHT, full_speed_rows, lay_out
from flas_engine.kernels.native import Int8Product, PlainProduct
from flas_engine.kernels.onednn import LARGEST_DIGITS, DigitProduct, PackedProduct
from flas_engine.kernels.product import DoesNotFit, Product
from flas_engine.kernels.rounding import quantise

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS: list[type[Product]] = [PlainProduct, PackedProduct, HalfProduct, Int8Product, DigitProduct]
DTYPES = [torch.float32, torch.bfloat16]
KINDS_AND_DTYPES = [(kind, dtype) for kind in KINDS for dtype in DTYPES]
BATCHES = [(1,), (5,), (17,), (2, 3), (1, 1)]
FLOAT32_ROUNDING = 2.0**-24
SLABBED = [PackedProduct, HalfProduct, DigitProduct]
I, O = 37, 53  # noqa: E741
WIDTHS = dict.fromkeys(KINDS, I) | {Int8Product: 48}
"""Inputs that the layouts are tried with; torch's int8 product takes sixteens only."""


@pytest.fixture(autouse=True)
def _known_anew() -> Iterator[None]:
    """What the machine can do is asked for once; these tests change what it can do."""
    layout._multiplies_rightly.cache_clear()
    yield
    layout._multiplies_rightly.cache_clear()


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def weights(kind: type[Product], *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Numbers that the layout holds."""
    weight = numbers(*shape, dtype=dtype)
    return weight.bfloat16().float() if kind is HalfProduct else weight


def need(kind: type[Product], dtype: torch.dtype) -> None:
    """Skip where torch has no such product for this processor, as none of bfloat16 or of bytes without AVX-512."""
    if not layout._multiplies_rightly(kind, "cpu", dtype):
        pytest.skip(f"no {kind.__name__} in {dtype} on this processor")


def finish_packing() -> None:
    """Wait for the threads that pack weights to be done with them."""
    pool, _ = fbgemm._packers()
    pool.shutdown()
    fbgemm.forget_packers()


def bound(kind: type[Product], x: torch.Tensor, weight: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """How far each element of a product may be off."""
    sizes = x.double().abs() @ weight.double().abs().T
    allowed = (x.shape[-1] + 4) * FLOAT32_ROUNDING * sizes + torch.finfo(weight.dtype).eps / 2 * expected.abs()
    if kind in (Int8Product, DigitProduct):
        _, scale = quantise(weight)
        allowed += x.double().abs().sum(dim=-1, keepdim=True) * scale / 2  # half a step a weight
    if kind is Int8Product:
        allowed += 2 * torch.finfo(torch.bfloat16).eps * (sizes + allowed)  # so it multiplies, and so are its scales
    if kind is DigitProduct:
        largest = x.double().abs().amax(dim=-1, keepdim=True)
        allowed += (
            largest / (2 * LARGEST_DIGITS) * (weight.double().abs().sum(dim=-1) + x.shape[-1] * scale)
        )  # half a step an activation
    return allowed * (1 + 1e-3) + torch.finfo(torch.float32).tiny


def check(kind: type[Product], x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
    check_product(kind(weight, bias), x, weight, bias)


def check_product(product: Product, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
    kind, y = type(product), product(x)
    assert y.dtype == weight.dtype
    assert y.shape == (*x.shape[:-1], len(weight))
    expected = x.double() @ weight.double().T + (bias.double() if bias is not None else 0.0)
    allowed = bound(kind, x, weight, expected)
    if bias is not None:  # added before or behind the rounding to the compute dtype
        allowed += torch.finfo(weight.dtype).eps * (bias.double().abs() + expected.abs() + allowed)
    excess = (y.double() - expected).abs() - allowed
    assert excess.max() <= 0, f"{excess.max()} over the bound"


@pytest.mark.parametrize(("kind", "dtype"), KINDS_AND_DTYPES)
@pytest.mark.parametrize("has_bias", [False, True])
def test_every_layout_multiplies_within_its_bound(kind: type[Product], dtype: torch.dtype, *, has_bias: bool) -> None:
    need(kind, dtype)
    width = WIDTHS[kind]
    weight, bias = weights(kind, O, width, dtype=dtype), numbers(O, seed=1, dtype=dtype) if has_bias else None
    for batch in BATCHES:
        check(kind, numbers(*batch, width, seed=2, dtype=dtype), weight, bias)


@pytest.mark.parametrize(("kind", "dtype"), KINDS_AND_DTYPES)
def test_outliers_and_empty_rows_stay_within_the_bound(kind: type[Product], dtype: torch.dtype) -> None:
    need(kind, dtype)
    weight, x = weights(kind, O, WIDTHS[kind], dtype=dtype), numbers(7, WIDTHS[kind], seed=1, dtype=dtype)
    weight[3] = 0.0
    weight[4, 5] = 3e4
    x[0] = 0.0
    x[1, 2] = -1e6
    x[2] *= 1e-20
    x[3] = 1.0  # the largest sum of the largest digit
    check(kind, x, weight)
    assert kind(weight)(x)[0].eq(0.0).all()


@pytest.mark.parametrize(("kind", "dtype"), [pair for pair in KINDS_AND_DTYPES if pair[0] in SLABBED])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_weight_in_several_slabs_multiplies_within_the_same_bound(
    kind: type[Product], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, *, has_bias: bool
) -> None:
    need(kind, dtype)
    weight, bias = weights(kind, O, I, dtype=dtype), numbers(O, seed=1, dtype=dtype) if has_bias else None
    x = numbers(2, 3, I, seed=2, dtype=dtype)
    whole = kind(weight, bias)
    for num_bytes in (7 * I * dtype.itemsize, 1):  # a slab has no less than a row
        monkeypatch.setattr(product, "SLAB_BYTES", num_bytes)
        check(kind, x, weight, bias)
        slabs = kind(weight, bias)
        assert slabs.num_bytes == whole.num_bytes
        if kind is DigitProduct:  # sums of integers are exact
            assert torch.equal(slabs(x), whole(x))


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_of_another_dtype_gives_the_compute_dtype(kind: type[Product]) -> None:
    """The norms hand on float32 whatever the products compute in."""
    need(kind, torch.bfloat16)
    weight, x = numbers(O, WIDTHS[kind], dtype=torch.bfloat16), numbers(5, WIDTHS[kind], seed=2)
    y = kind(weight)(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), x @ weight.float().T, atol=0.2, rtol=0.05)


def test_a_row_of_a_digit_product_does_not_depend_on_the_rows_beside_it() -> None:
    need(DigitProduct, torch.float32)
    multiply, x = DigitProduct(numbers(O, I), numbers(O, seed=1)), numbers(17, I, seed=2)
    x[3] *= 1e6
    together = multiply(x)
    for row in range(17):
        assert torch.equal(multiply(x[row : row + 1])[0], together[row])
    assert torch.equal(multiply(x[5:].flip(0)).flip(0), together[5:])


def test_digits_know_a_row_to_15_bits() -> None:
    """A weight of 127 and 0 is rounded exactly, so that all that is lost is lost by the digits."""
    need(DigitProduct, torch.float32)
    x = numbers(9, I, seed=3)
    y = DigitProduct(127.0 * torch.eye(I))(x) / 127.0
    step = x.abs().amax(dim=-1, keepdim=True) / LARGEST_DIGITS
    assert ((y - x).abs() <= step / 2 * (1 + 1e-3)).all()
    assert ((y - x).abs() > step / 4).any()


def test_a_plain_product_is_differentiable_in_its_input() -> None:
    weight, x = numbers(O, I), numbers(3, I, seed=1).requires_grad_()
    PlainProduct(weight)(x).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(dim=0).expand(3, I))


# --- rounding to bytes ---


@given(
    rows=st.lists(st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=5, max_size=5), min_size=1, max_size=8)
)
def test_a_weight_is_rounded_by_half_a_step_at_most(rows: list[list[float]]) -> None:
    weight = torch.tensor(rows)
    quantised, scale = quantise(weight)
    assert quantised.dtype == torch.int8
    off = (weight.double() - quantised.double() * scale.double()[:, None]).abs()
    assert (off <= scale.double()[:, None] * 0.5 * (1 + 1e-4)).all()


def test_the_largest_of_a_row_becomes_127() -> None:
    quantised, scale = quantise(numbers(O, I))
    assert quantised.abs().amax(dim=-1).eq(127).all()
    torch.testing.assert_close(scale * 127, numbers(O, I).abs().amax(dim=-1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_in_pieces_rounds_the_same(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = numbers(O, I, dtype=dtype)
    whole = quantise(weight)
    for elements in (1, 5 * I):
        monkeypatch.setattr(rounding, "QUANTISED_ELEMENTS", elements)
        assert all(torch.equal(piece, one) for piece, one in zip(quantise(weight), whole, strict=True))


# --- memory ---


@pytest.mark.parametrize(("kind", "dtype"), KINDS_AND_DTYPES)
def test_only_a_plain_product_keeps_the_plain_weight(kind: type[Product], dtype: torch.dtype) -> None:
    need(kind, dtype)
    width = WIDTHS[kind]
    memory = np.zeros(O * width * dtype.itemsize, dtype=np.uint8)
    alive = weakref.ref(memory)
    product = kind(torch.from_numpy(memory).view(dtype).view(O, width), None)
    del memory
    finish_packing()
    gc.collect()
    assert (alive() is not None) == (kind is PlainProduct)
    assert product(numbers(1, width)).shape == (1, O)


@pytest.mark.parametrize(
    ("kind", "dtype", "num_bytes"),
    [
        (PlainProduct, torch.bfloat16, 2 * O * I + 2 * O),
        (PackedProduct, torch.bfloat16, 2 * O * I + 2 * O),
        (PackedProduct, torch.float32, 4 * O * I + 4 * O),
        (HalfProduct, torch.float32, 2 * O * INPUT_BLOCK + 4 * O),
        (Int8Product, torch.bfloat16, O * 48 + 2 * O + 2 * O),  # scales in bfloat16
        (DigitProduct, torch.bfloat16, O * I + 8 * O + 2 * O),  # float32 scales, and zero points
    ],
)
def test_num_bytes_is_what_weight_scales_and_bias_take(kind: type[Product], dtype: torch.dtype, num_bytes: int) -> None:
    need(kind, dtype)
    weight, bias = weights(kind, O, WIDTHS[kind], dtype=dtype), numbers(O, dtype=dtype)
    assert kind(weight, bias).num_bytes == num_bytes
    assert kind(weight).num_bytes == num_bytes - bias.nbytes


def peak_bytes(prof: profile) -> int:
    """The most memory that was held at once above what was held before."""
    held = peak = 0
    for event in prof.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@pytest.mark.parametrize(("kind", "dtype"), [pair for pair in KINDS_AND_DTYPES if pair[0] is not PlainProduct])
def test_laying_out_a_weight_never_takes_twice_its_memory(
    kind: type[Product], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes and slabs are both scaled down: the weight is of eight slabs."""
    need(kind, dtype)
    weight = weights(kind, 2048, 256, dtype=dtype)
    monkeypatch.setattr(product, "SLAB_BYTES", weight.nbytes // 8)
    monkeypatch.setattr(rounding, "QUANTISED_ELEMENTS", weight.numel() // 32)
    kind(weight)  # what is set up once
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        laid_out = kind(weight)
    taken = peak_bytes(prof)
    if kind is HalfProduct:  # FBGEMM keeps weights where torch does not count
        taken += laid_out.num_bytes
    assert laid_out.num_bytes <= taken < 2 * weight.nbytes - weight.nbytes / 2


# --- which layout a weight gets ---


def wide(elements: int = SMALLEST_DIGIT_WEIGHT) -> torch.Tensor:
    return numbers(1024, elements // 1024)


def test_layouts_are_what_they_are_called() -> None:
    x, weight = numbers(3, I, seed=1), numbers(O, I)
    for name in (PLAIN, PACKED, INT8):
        check_product(lay_out(weight, None, name), x, weight)
    assert type(lay_out(weight, None, PLAIN)) is PlainProduct


def test_on_this_machine_weights_are_packed() -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch is built without oneDNN")
    assert type(lay_out(numbers(O, I), None, PACKED)) is PackedProduct


def test_every_weight_is_stored_in_bytes_by_the_product_that_suits_its_size() -> None:
    large, small = wide(), wide(SMALLEST_DIGIT_WEIGHT - 32 * 1024)
    has_vnni = layout._multiplies_rightly(DigitProduct, "cpu", torch.float32)
    kinds = (DigitProduct if has_vnni else Int8Product, Int8Product)
    for weight, kind in zip((large, small), kinds, strict=True):
        laid_out = lay_out(weight, None, INT8)
        assert type(laid_out) is kind
        assert laid_out.num_bytes < 1.1 * weight.numel()
    assert lay_out(large, None, PACKED).num_bytes == large.nbytes


def test_a_float32_weight_that_float16_holds_takes_half_the_memory() -> None:
    need(HalfProduct, torch.float32)
    weight = weights(HalfProduct, O, 2 * INPUT_BLOCK)
    laid_out = lay_out(weight, None, PACKED)
    assert type(laid_out) is HalfProduct
    assert laid_out.num_bytes == weight.nbytes / 2


@pytest.mark.parametrize("value", [0.1, 70_000.0, 2.0**-15 * (1 + 2.0**-9)])
def test_a_float32_weight_that_float16_does_not_hold_stays_as_it_is(value: float) -> None:
    weight = weights(HalfProduct, O, I)
    weight[-1, -1] = value
    holds = value < 2.0**-14
    with pytest.raises(DoesNotFit) if not holds else nullcontext():
        HalfProduct(weight)
    assert (type(lay_out(weight, None, PACKED)) is HalfProduct) == holds


def test_bfloat16_without_products_of_its_own_is_multiplied_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without AVX-512, asked for bfloat16 all the same."""
    need(HalfProduct, torch.bfloat16)
    miss(monkeypatch, "mkldnn")
    layout._multiplies_rightly.cache_clear()
    weight = numbers(O, I, dtype=torch.bfloat16)
    laid_out = lay_out(weight, None, PACKED)
    assert type(laid_out) is HalfProduct
    check_product(laid_out, numbers(3, I, seed=1, dtype=torch.bfloat16), weight)
    assert full_speed_rows(torch.device("cpu"), torch.bfloat16, PACKED) == 1


def test_a_product_that_is_gone_takes_its_weight_with_it() -> None:
    need(HalfProduct, torch.float32)
    gc.collect()
    before = len(fbgemm._slabs)
    product = HalfProduct(weights(HalfProduct, O, I))
    assert len(fbgemm._slabs) == before + 1
    del product
    gc.collect()
    assert len(fbgemm._slabs) == before


def test_a_width_that_torchs_product_of_bytes_cannot_read_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without digits, which are of any width."""
    miss(monkeypatch, "onednn", "quantized")
    weight = numbers(SMALLEST_DIGIT_WEIGHT // 512, 520)
    product = lay_out(weight, None, INT8)
    assert type(product) in {PackedProduct, PlainProduct}
    check_product(product, numbers(3, 520, seed=1), weight)


class Missing:
    """A namespace of operations of a torch that is built without them."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def miss(monkeypatch: pytest.MonkeyPatch, *namespaces: str) -> None:
    """Let torch be built without these libraries."""
    for namespace in namespaces:
        monkeypatch.setattr(torch.ops, namespace, Missing())


def test_without_onednn_and_fbgemm_products_are_plain_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    miss(monkeypatch, "mkldnn", "onednn", "quantized")
    assert type(lay_out(numbers(O, I), None, PACKED)) is PlainProduct
    product = lay_out(wide(), None, INT8)
    assert type(product) is Int8Product
    check_product(product, numbers(3, wide().shape[1], seed=1), wide())


def test_without_any_kernel_for_bytes_a_large_weight_gets_the_next_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a torch whose int8 product is for other devices only."""

    def refuse(*_args: Any) -> Any:
        raise NotImplementedError("Could not run 'aten::_weight_int8pack_mm'")

    miss(monkeypatch, "onednn", "quantized")
    monkeypatch.setattr(torch.ops.aten, "_weight_int8pack_mm", refuse)
    assert type(lay_out(wide(), None, INT8)) in {PackedProduct, PlainProduct}
    assert lay_out(wide(), None, INT8)(numbers(1, wide().shape[1])).shape == (1, 1024)


def test_where_sums_of_bytes_saturate_weights_get_the_other_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without VNNI, whose sums of two products of bytes end at 16 bits."""
    need(DigitProduct, torch.float32)
    layout._multiplies_rightly.cache_clear()
    rightly = onednn._multiply_bytes

    def saturated(rows: torch.Tensor, *slab: torch.Tensor) -> torch.Tensor:
        return rightly(rows, *slab).clamp(max=0.9 * 127.0 / LARGEST_DIGITS * 127.0 * 64)

    monkeypatch.setattr(onednn, "_multiply_bytes", saturated)
    assert type(lay_out(wide(), None, INT8)) is Int8Product


def test_a_dtype_without_packed_kernels_is_multiplied_plainly() -> None:
    weight, x = numbers(O, I).double(), numbers(3, I, seed=1).double()
    assert torch.equal(lay_out(weight, None, PACKED)(x), x @ weight.T)
