"""Which part of an evaluation this process does: processes of Accelerate or torchrun, and shards named by hand.

Every part writes a file of its own, and all of them together are the evaluation. Knows nothing of texts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from flas_engine.errors import EvaluationError


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Part `index`, from 0, of `count`."""

    index: int = 0
    count: int = 1

    def split(self, index: int, count: int) -> Shard:
        """Return part `index` of `count` of this part."""
        return Shard(index=self.index * count + index, count=self.count * count)


def parse_shard(text: str) -> Shard:
    """Read `I/N`: part I, from 0, of N; raises `EvaluationError` for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not int(match[1]) < int(match[2]):
        raise EvaluationError(f"the shard {text!r} is none; give I/N with I from 0 to N - 1, for example 0/4 to 3/4")
    return Shard(index=int(match[1]), count=int(match[2]))


def join_processes(device: str | None) -> tuple[Shard, str | None]:
    """Return this process's part among those that a launcher started, and its device; `device` without a launcher.

    Raises `EvaluationError` when accelerate is missing, `ModelError` when there is no such device.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return Shard(), device
    try:
        from accelerate import PartialState
    except ImportError:
        raise EvaluationError(
            'several processes need the accelerate package; run: pip install "flas-tui[train]"'
        ) from None
    from flas_engine.machine import choose_device

    state = PartialState(cpu=choose_device(device).type == "cpu")
    own = "cpu" if state.device.type == "cpu" else str(state.device)  # accelerate numbers processors too
    return Shard(index=state.process_index, count=state.num_processes), own


def leave_processes() -> None:
    """Part from the other processes without waiting: each part is done when it is done."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import PartialState

        PartialState().destroy_process_group()
