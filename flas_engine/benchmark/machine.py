"""What machine this is, what runs on it, and how fast it reads memory."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import psutil
import torch

from flas_engine.machine import FLOAT32_BYTES
from flas_engine.versions import package_versions

BANDWIDTH_BYTES = 1 << 30


def read_bandwidth(device: torch.device) -> float:
    """Return bytes a second at which `device` reads memory that no cache holds: a sum over 1 GiB."""
    data = torch.ones(BANDWIDTH_BYTES // FLOAT32_BYTES, dtype=torch.float32, device=device)
    data[: len(data) // 8].sum().item()  # wakes the threads
    started = time.perf_counter()
    data.sum().item()  # .item() waits for the device
    return BANDWIDTH_BYTES / (time.perf_counter() - started)


def describe_machine(device: torch.device) -> str:
    """Name system, processor, cores and memory, and the accelerator that is used."""
    cores = f"{psutil.cpu_count(logical=False) or psutil.cpu_count()} cores"
    memory = f"{psutil.virtual_memory().total / 1e9:.0f} GB"
    accelerator = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{platform.system()} {platform.machine()}, {_processor()}, {cores}, {memory}{accelerator}"


def versions() -> dict[str, str]:
    """Return the versions of what decides the speed."""
    return {"python": platform.python_version()} | package_versions()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
