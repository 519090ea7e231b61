from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psutil
import pytest
import torch

from flas_engine.errors import ModelError
from flas_engine.hub import capacity, resolve
from flas_engine.hub.capacity import accelerator_memory, memory_of
from flas_engine.info import LoadSpec
from flas_engine.kernels.layout import INT8, PACKED, holds_in_half
from flas_engine.machine import (
    DTYPES,
    choose_device,
    choose_dtype,
    choose_layout,
    choose_num_threads,
    should_compile,
    weight_itemsize,
)

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


class Graphics:
    """Makes torch believe in graphics processors that this machine does not have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.pretend(num_cuda=0, has_mps=False)

    def pretend(self, *, num_cuda: int = 0, has_mps: bool = False, free: tuple[int, ...] = (1, 1)) -> None:
        self._patch.setattr(torch.cuda, "is_available", lambda: num_cuda > 0)
        self._patch.setattr(torch.cuda, "device_count", lambda: num_cuda)
        self._patch.setattr(torch.cuda, "mem_get_info", lambda name: (free[torch.device(name).index or 0], 10**12))
        self._patch.setattr(torch.backends.mps, "is_available", lambda: has_mps)


@pytest.fixture
def graphics(monkeypatch: pytest.MonkeyPatch) -> Graphics:
    return Graphics(monkeypatch)


@pytest.mark.parametrize(
    ("num_cuda", "has_mps", "best"), [(0, False, "cpu"), (0, True, "mps"), (1, False, "cuda:0"), (2, True, "cuda:0")]
)
def test_the_best_device_is_cuda_then_mps_then_cpu(
    graphics: Graphics, num_cuda: int, best: str, *, has_mps: bool
) -> None:
    graphics.pretend(num_cuda=num_cuda, has_mps=has_mps)
    assert choose_device() == torch.device(best)


def test_of_several_graphics_processors_the_one_with_most_room_is_taken_and_measured(
    graphics: Graphics, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphics.pretend(num_cuda=2, free=(5 * 10**9, 20 * 10**9))
    monkeypatch.setattr(capacity, "_ACCELERATOR_NODES", ("/dev/null",))
    monkeypatch.setattr(sys, "platform", "linux")
    assert accelerator_memory() == memory_of(None) == memory_of("cuda:1")
    assert choose_device() == torch.device("cuda:1")
    assert memory_of("cuda:0").available_bytes == memory_of("cuda").available_bytes == 5 * 10**9


def test_of_the_processes_of_a_launcher_each_has_a_graphics_processor_of_its_own(
    graphics: Graphics, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphics.pretend(num_cuda=2, free=(5 * 10**9, 20 * 10**9))
    for rank in range(4):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert choose_device() == torch.device(f"cuda:{rank % 2}")


def test_a_model_is_measured_against_the_device_that_it_is_loaded_onto(
    graphics: Graphics, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    graphics.pretend(num_cuda=2, free=(5 * 10**9, 20 * 10**9))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    base = tmp_path / "base.gguf"
    with base.open("wb") as file:
        file.truncate(10 * 10**9)
    resolve._check_memory(LoadSpec(device="cuda:1"), "big", base)
    with pytest.raises(ModelError, match="are available on cuda:0"):
        resolve._check_memory(LoadSpec(device="cuda:0"), "big", base)


@pytest.mark.parametrize("name", ["cpu", "mps", "cuda", "cuda:0", "cuda:1"])
def test_a_device_that_is_there_may_be_named(graphics: Graphics, name: str) -> None:
    graphics.pretend(num_cuda=2, has_mps=True)
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "xpu", "meta"])
def test_a_device_that_is_not_there_is_named_with_what_to_do(graphics: Graphics, name: str) -> None:
    graphics.pretend()
    with pytest.raises(ModelError) as caught:
        choose_device(name)
    assert str(caught.value) == f"this machine has no device {name!r}; leave --device out, or use cpu"


def test_a_graphics_processor_beyond_the_last_is_not_there(graphics: Graphics) -> None:
    graphics.pretend(num_cuda=2)
    with pytest.raises(ModelError, match="no device 'cuda:2'"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:one", "CUDA 0"])
def test_an_unknown_device_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        choose_device(name)
    assert str(caught.value) == f"device {name!r} is unknown; use cuda, cuda:1, mps or cpu"


@pytest.mark.parametrize(("name", "dtype"), DTYPES.items())
def test_a_dtype_may_be_named(name: str, dtype: torch.dtype) -> None:
    assert choose_dtype(name, CPU) == dtype
    assert str(dtype) == f"torch.{name}"


@pytest.mark.parametrize("name", ["bf16", "int4", "INT8", ""])
def test_an_unknown_dtype_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        choose_dtype(name, CPU)
    assert str(caught.value) == f"dtype {name!r} is unknown; use bfloat16, float16, float32, int8"


def test_int8_is_a_layout_of_weights_that_computes_in_the_machines_best_dtype() -> None:
    assert choose_layout("int8") == INT8
    assert {choose_layout(name) for name in (None, *DTYPES)} == {PACKED}
    assert choose_dtype("int8", CPU) == choose_dtype(None, CPU)
    assert weight_itemsize("int8", CPU, 4) == 1
    of_float32 = 2 if holds_in_half(CPU, torch.float32) else 4
    assert [weight_itemsize(name, CPU, 2) for name in DTYPES] == [2, 2, of_float32]
    assert [weight_itemsize(name, CPU, 4) for name in DTYPES] == [2, 2, 4]


def test_passes_are_compiled_by_themselves_where_launches_cost() -> None:
    assert should_compile(torch.device("cuda:1"))
    assert not should_compile(CPU)
    assert not should_compile(torch.device("mps"))


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_cuda_gets_the_half_precision_that_it_has(
    monkeypatch: pytest.MonkeyPatch, expected: torch.dtype, *, has_bfloat16: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bfloat16)
    assert choose_dtype(None, torch.device("cuda")) == expected


@pytest.mark.parametrize(("is_newer", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_mps_gets_the_half_precision_that_it_has(
    monkeypatch: pytest.MonkeyPatch, expected: torch.dtype, *, is_newer: bool
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda _major, _minor: is_newer)
    assert choose_dtype(None, torch.device("mps")) == expected


def test_the_processors_dtype_is_one_that_it_multiplies() -> None:
    assert choose_dtype(None, CPU) in {torch.bfloat16, torch.float32}


def test_a_torch_without_its_bfloat16_kernels_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, whose torch is built without oneDNN and then has none of its operations either."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert choose_dtype(None, CPU) == torch.float32


@pytest.mark.parametrize(
    ("physical", "usable", "expected"), [(8, range(16), 8), (8, range(2), 2), (2, range(4), 2), (None, range(1), 1)]
)
def test_threads_are_the_physical_cores_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, physical: int | None, usable: range, expected: int
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda *, logical: None if logical else physical)
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _self: list(usable), raising=False)
    assert choose_num_threads() == expected


def test_threads_are_the_physical_cores_where_the_system_tells_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda *, logical: None if logical else 6)
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)
    assert choose_num_threads() == 6
