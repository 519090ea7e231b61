"""How many threads a training process computes on, and what its memory allocator gives back."""

from __future__ import annotations

import ctypes
import os
import platform

import torch

from flas_engine.machine import choose_num_threads

LOCAL_PROCESSES = "LOCAL_WORLD_SIZE"
"""Set by torchrun and `accelerate launch`: processes on this machine."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BLOCK_BYTES = 1 << 28


def limit_threads() -> None:
    """Use as many as `OMP_NUM_THREADS` says, else the physical cores, shared out among this machine's processes.

    Sums over other numbers of threads round differently: a run repeats bit for bit with as many.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    shared = choose_num_threads() // int(os.environ.get(LOCAL_PROCESSES, "1"))
    torch.set_num_threads(max(1, int(wanted) if wanted.isdigit() else shared))


def keep_freed_memory() -> None:
    """Let glibc keep what is freed: batches ask for the same large blocks again, and mapping them anew costs time."""
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BLOCK_BYTES)
