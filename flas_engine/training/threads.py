"""How many threads a training process computes on."""

from __future__ import annotations

import os

import torch

from flas_engine.machine import choose_num_threads

LOCAL_PROCESSES = "LOCAL_WORLD_SIZE"
"""Set by torchrun and `accelerate launch`: processes on this machine."""


def limit_threads() -> None:
    """Use as many as `OMP_NUM_THREADS` says, else the physical cores, shared out among this machine's processes.

    Sums over other numbers of threads round differently: a run repeats bit for bit with as many.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    shared = choose_num_threads() // int(os.environ.get(LOCAL_PROCESSES, "1"))
    torch.set_num_threads(max(1, int(wanted) if wanted.isdigit() else shared))
