"""What may be wrong with this machine: checks that look and change nothing, each with what to do about it.

Knows nothing of how they are shown. Secrets are looked for, never read out.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from typing import TYPE_CHECKING

from flas_tui.checks import Check, fail, ok, warn
from flas_tui.terminal_checks import terminal_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LITTLE_DISK_BYTES = 2_000_000_000
"""The demo needs about 1 GB for its converted copy and the logs; a released 2B model 5 GB more."""
LOAD_SECONDS = 0.3
"""How long other programs are watched."""
BUSY_CORES = 0.5
LITTLE_MEMORY_BYTES = 2_000_000_000


def run_checks() -> list[Check]:
    """Run every check; one that breaks is itself reported as failed."""
    checks: list[Check] = []
    for group in GROUPS:
        try:
            checks.extend(group())
        except Exception as error:  # a doctor must not fall ill
            checks.append(fail(group.__name__.replace("_", " "), f"the check broke: {type(error).__name__}: {error}"))
    return checks


def software() -> Iterator[Check]:
    """Check Python and the packages that everything stands on."""
    yield ok("python", f"{platform.python_version()} on {platform.platform(terse=True)}")
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as package_version

    for package in ("torch", "transformers", "safetensors", "huggingface_hub", "textual"):
        try:
            yield ok(package, package_version(package))
        except PackageNotFoundError:
            yield fail(package, "is not installed", f"pip install {package}")


def devices() -> Iterator[Check]:
    """Check what can compute, and in which dtype."""
    import psutil
    import torch

    from flas_engine.machine import choose_device, choose_dtype, choose_num_threads

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            yield ok(f"cuda:{index}", f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
    elif torch.backends.mps.is_available():
        yield ok("mps", "Apple GPU")
    else:
        yield ok("accelerator", "none; models up to about 2B parameters are usable on the processor")
    device = choose_device()
    dtype = str(choose_dtype(None, device)).removeprefix("torch.")
    yield ok("computes on", f"{device} in {dtype}")
    if device.type == "cpu" and dtype == "float32":
        yield warn("bf16 kernels", "this processor has none", "nothing to do; memory and time are about double")
    yield ok("cores", f"{choose_num_threads()} used of {os.cpu_count()}")
    yield from others_at_work(psutil.cpu_percent(interval=LOAD_SECONDS) / 100 * (os.cpu_count() or 1), device.type)


def others_at_work(busy_cores: float, device: str) -> Iterator[Check]:
    """Check that other programs leave the processor alone, where the engine computes on it."""
    detail = f"other programs keep {busy_cores:.1f} cores busy"
    if device == "cpu" and busy_cores > BUSY_CORES:
        # Threads that wait for each other spin; what holds one up holds up all.
        yield warn("load", detail, "wait for them, or: export OMP_WAIT_POLICY=PASSIVE (steadier, slower when alone)")
    else:
        yield ok("load", detail)


def memory() -> Iterator[Check]:
    """Check the memory that is free."""
    import psutil

    now = psutil.virtual_memory()
    detail = f"{now.available / 1e9:.1f} of {now.total / 1e9:.1f} GB available"
    if now.available < LITTLE_MEMORY_BYTES:
        yield warn("memory", detail, "close other programs, or use the model demo")
    else:
        yield ok("memory", detail)


def folders() -> Iterator[Check]:
    """Check that the folders we write to can be written, and have room."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from flas_engine.paths import cache_dir, config_dir, data_dir, log_dir

    yield from _folder("hugging face cache", _path(HF_HUB_CACHE), "HF_HOME", needs_room=True)
    yield from _folder("converted models", cache_dir(), "FLAS_CACHE_DIR", needs_room=True)
    yield from _folder("settings", config_dir(), "FLAS_CONFIG_DIR")
    yield from _folder("history", data_dir(), "FLAS_DATA_DIR")
    yield from _folder("log", log_dir(), "XDG_STATE_HOME")


def _path(text: str) -> Path:
    from pathlib import Path

    return Path(text)


def _folder(name: str, folder: Path, variable: str, *, needs_room: bool = False) -> Iterator[Check]:
    import psutil

    there = next((parent for parent in (folder, *folder.absolute().parents) if parent.exists()), None)
    if there is None or not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield fail(name, f"{folder} cannot be written", f"mend its permissions, or point {variable} elsewhere")
        return
    free = psutil.disk_usage(str(there)).free
    detail = f"{folder}, {free / 1e9:.1f} GB free"
    if needs_room and free < LITTLE_DISK_BYTES:
        yield warn(name, detail, f"make room, or point {variable} to another disk")
    else:
        yield ok(name, detail)


def hub() -> Iterator[Check]:
    """Check the way to the Hugging Face Hub: token and offline mode."""
    from huggingface_hub import get_token
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if get_token():
        yield ok("token", "present")
    else:
        yield ok("token", "none; only the gated Gemma and Llama bases need one (hf auth login)")
    if HF_HUB_OFFLINE:
        yield warn("network", "HF_HUB_OFFLINE is set: only models already here", "unset it to download")
    else:
        yield ok("network", f"downloads come from {ENDPOINT}")


def models() -> Iterator[Check]:
    """Check which models are here: embedded, converted or downloaded."""
    from flas_engine.hub.catalog import BUILT_IN
    from flas_engine.hub.resolve import is_cached

    for entry in BUILT_IN:
        if entry.embedded is None:
            continue
        missing = [module for module, _ in entry.embedded.parts if importlib.util.find_spec(module) is None]
        if is_cached(entry):
            yield ok(entry.name, "ready")
        elif missing:
            yield warn(entry.name, f"its data package {entry.embedded.distribution} is missing", entry.embedded.install)
        else:
            yield ok(entry.name, "installed; converted once at its first use")
    cached = [entry.name for entry in BUILT_IN if entry.embedded is None and is_cached(entry)]
    yield ok("downloaded", ", ".join(cached) or "none of the released checkpoints yet (flas-tui models)")


GROUPS: tuple[Callable[[], Iterator[Check]], ...] = (
    software,
    devices,
    memory,
    folders,
    hub,
    models,
    terminal_checks,
)
