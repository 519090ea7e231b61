"""What this machine has room for: disk and memory, compared with what is needed before anything begins.

Knows nothing of models; callers say how much they need and what would need less.
"""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from flas_engine.errors import DownloadError, ModelError

DISK_RESERVE_BYTES = 100_000_000
"""Left free beside what is written, for logs, locks and other programs."""
MEMORY_OVERHEAD = 1.05
MEMORY_RESERVE_BYTES = 400_000_000
"""The interpreter with torch, and the KV cache of a usual run."""
_ACCELERATOR_NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory that a model could be put in."""

    device: str
    available_bytes: int


def gigabytes(num_bytes: int) -> str:
    """Write a size for people: '5.2 GB', below a tenth of that in MB."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 100_000_000 else f"{num_bytes / 1e6:.0f} MB"


def require_disk(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raise `DownloadError` with the numbers unless `folder`, which need not exist yet, has room for `needed_bytes`."""
    free = free_disk(folder)
    if needed_bytes + DISK_RESERVE_BYTES > free:
        raise DownloadError(
            f"{purpose} needs {gigabytes(needed_bytes)} on disk and {folder} has {gigabytes(free)} free "
            f"({gigabytes(DISK_RESERVE_BYTES)} of it are kept free); make room there, or choose another folder: "
            "HF_HOME for downloads, FLAS_CACHE_DIR for converted models"
        )


def free_disk(folder: Path) -> int:
    """Return the free bytes of the disk that `folder` is on, or will be made on."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def needed_memory(weight_bytes: int) -> int:
    """Memory that a model with `weight_bytes` of weights takes in use."""
    return round(weight_bytes * MEMORY_OVERHEAD) + MEMORY_RESERVE_BYTES


def fits(weight_bytes: int, memory: Memory) -> bool:
    """Whether a model with `weight_bytes` of weights can run in `memory`."""
    return needed_memory(weight_bytes) <= memory.available_bytes


def require_memory(name: str, weight_bytes: int, memory: Memory, smaller: str | None) -> None:
    """Raise `ModelError` with the numbers unless the model `name` fits; `smaller` is what to try instead."""
    if not fits(weight_bytes, memory):
        hint = f"; take a smaller model: --model {smaller}" if smaller else "; close other programs"
        raise ModelError(
            f"{name} needs about {gigabytes(needed_memory(weight_bytes))} of memory and "
            f"{gigabytes(memory.available_bytes)} are available on {memory.device}{hint}"
        )


def main_memory() -> Memory:
    """Return the memory that the processor can still give out."""
    return Memory(device="cpu", available_bytes=psutil.virtual_memory().available)


def accelerator_memory() -> Memory | None:
    """Return the accelerator with the most free memory, None without one; imports torch only if there may be one."""
    if sys.platform == "darwin":
        # Apple's processors share one memory with their GPU.
        is_apple = platform.machine() == "arm64"
        return Memory(device="mps", available_bytes=main_memory().available_bytes) if is_apple else None
    if not any(Path(node).exists() for node in _ACCELERATOR_NODES):
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    return freest_gpu()


def freest_gpu() -> Memory:
    """Return the CUDA device with the most free memory; there must be one."""
    import torch

    memories = [memory_of(f"cuda:{index}") for index in range(torch.cuda.device_count())]
    return max(memories, key=lambda memory: memory.available_bytes)


def memory_of(device: str | None) -> Memory:
    """Return the memory of `device`; None is the accelerator, or the processor's without one."""
    if device is None:
        return accelerator_memory() or main_memory()
    if not device.startswith("cuda"):
        return replace(main_memory(), device=device)
    import torch

    return Memory(device=device, available_bytes=torch.cuda.mem_get_info(device)[0])
