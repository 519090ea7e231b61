"""Activations at layer l, kept over epochs in memory or in a file, up to a limit; the rest is computed again.

Every row is run alone and unpadded, so that what is computed for it does not depend on what it is batched with: a run
that is resumed with an empty store sees the same numbers. The file is nameless and goes with the process.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import torch

from flas_engine.errors import TrainingError
from flas_engine.machine import FLOAT32_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class ActivationStore:
    """Float32 activations [L, D] of numbered rows, in the order of which as many as fit have a place."""

    def __init__(self, lengths: Sequence[int], hidden_size: int, limit_bytes: int, folder: Path | None) -> None:
        """Make room for the first rows that fit into `limit_bytes`, in a file in `folder` or in memory (None).

        Raises `TrainingError` when there is no such room on the disk.
        """
        room, self._places = limit_bytes // (hidden_size * FLOAT32_BYTES), list[slice]()
        used = 0
        for length in lengths:
            if used + length > room:
                break
            self._places.append(slice(used, used + length))
            used += length
        self.num_bytes = used * hidden_size * FLOAT32_BYTES
        self._is_filled = [False] * len(self._places)
        self._kept_TD = _in_file(folder, used, hidden_size) if folder and used else torch.empty(used, hidden_size)

    @property
    def num_rows(self) -> int:
        """Rows that have a place."""
        return len(self._places)

    def get(self, row: int, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the activations of `row`, [L, D] on the CPU or where `compute` makes them."""
        if row >= len(self._places):
            return compute()
        kept_LD = self._kept_TD[self._places[row]]
        if not self._is_filled[row]:
            kept_LD.copy_(compute())
            self._is_filled[row] = True
        return kept_LD


def _in_file(folder: Path, num_tokens: int, hidden_size: int) -> torch.Tensor:
    num_elements = num_tokens * hidden_size
    handle, name = tempfile.mkstemp(dir=folder, prefix=".activations-")
    try:
        # Reserved now: a mapped file that runs out of disk later would take the process with it.
        reserve = getattr(os, "posix_fallocate", None)  # macOS has none
        if reserve is not None:
            reserve(handle, 0, num_elements * FLOAT32_BYTES)
        return torch.from_file(name, shared=True, size=num_elements).view(num_tokens, hidden_size)
    except OSError as error:
        size = f"{num_elements * FLOAT32_BYTES / 1e9:.1f} GB"
        raise TrainingError(
            f"{size} of activations do not fit into {folder} ({error.strerror}); lower --activation-gigabytes"
        ) from None
    finally:
        os.close(handle)
        os.unlink(name)  # noqa: PTH108 - the map keeps it
