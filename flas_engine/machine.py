"""The one place that chooses device, dtype, the layout of weights, and threads."""

from __future__ import annotations

import os

import psutil
import torch

from flas_engine.errors import ModelError
from flas_engine.hub.capacity import freest_gpu
from flas_engine.kernels.layout import INT8, PACKED, holds_in_half

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
FLOAT32_BYTES = torch.float32.itemsize
DTYPE_NAMES = (*DTYPES, INT8)
"""What a caller can ask for: `int8` stores the base's weights in a byte each, and computes in the machine's best."""


def choose_device(name: str | None = None) -> torch.device:
    """Return the device called `name`, or the best there is: the cuda with the most free memory, then mps, then cpu.

    Of the processes that a launcher started each gets the cuda of its own number (`LOCAL_RANK`). Raises `ModelError`
    when the machine does not have the device.
    """
    if name is None:
        if torch.cuda.is_available():
            if (rank := os.environ.get("LOCAL_RANK")) is not None:
                return torch.device("cuda", int(rank) % torch.cuda.device_count())
            return torch.device(freest_gpu().device)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"device {name!r} is unknown; use cuda, cuda:1, mps or cpu") from None
    if not _has_device(device):
        raise ModelError(f"this machine has no device {name!r}; leave --device out, or use cpu")
    return device


def _has_device(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or (device.type == "mps" and torch.backends.mps.is_available())


def choose_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in: `name`, or the smallest that the device multiplies fast, bfloat16 if it can.

    Raises `ModelError` for an unknown name.
    """
    if name is not None and name not in DTYPE_NAMES:
        raise ModelError(f"dtype {name!r} is unknown; use {', '.join(DTYPE_NAMES)}")
    if name in DTYPES:
        return DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "mps":
        return torch.bfloat16 if torch.backends.mps.is_macos_or_newer(14, 0) else torch.float16
    # Asked for first: a torch without oneDNN (macOS) does not have the operation that tells either.
    has_bfloat16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if has_bfloat16 else torch.float32


def choose_layout(dtype_name: str | None) -> str:
    """Return the layout of the base's weights for a dtype that was asked for."""
    return INT8 if dtype_name == INT8 else PACKED


def weight_itemsize(dtype_name: str | None, device: torch.device, stored_itemsize: int) -> int:
    """Return the bytes that a weight of the base takes in memory which takes `stored_itemsize` in its file."""
    if choose_layout(dtype_name) == INT8:
        return 1
    dtype = choose_dtype(dtype_name, device)
    is_half = stored_itemsize <= torch.half.itemsize and holds_in_half(device, dtype)
    return torch.half.itemsize if is_half else dtype.itemsize


def should_compile(device: torch.device) -> bool:
    """Return whether compiled passes pay: where launches cost, and not where reading the weights is all there is."""
    return device.type == "cuda"


def choose_num_threads() -> int:
    """Return how many cores the engine computes on: the physical ones that this process may use."""
    physical = psutil.cpu_count(logical=False) or 1
    try:
        usable = len(psutil.Process().cpu_affinity())  # containers and taskset narrow it
    except (AttributeError, psutil.Error):  # macOS cannot tell
        usable = physical
    return max(1, min(physical, usable))
