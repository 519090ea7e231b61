"""The reins of a run: what another thread may change between two tokens."""

from __future__ import annotations

import threading

from flas_engine.request import check_flow_time


class RunControl:
    """Flow times to be taken up before the next token, and the wish to stop. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flow_times: dict[int, float] = {}
        self._cancelled = threading.Event()

    def set_flow_time(self, lane: int, flow_time: float) -> None:
        """Let `lane` go on under `flow_time` from its next token, or begin under it if it still waits for its turn.

        Raises `RequestError` when out of range.
        """
        check_flow_time(flow_time)
        with self._lock:
            self._flow_times[lane] = flow_time

    def cancel(self) -> None:
        """End every lane; at most the token that is being computed is still given."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` has been called."""
        return self._cancelled.is_set()

    def take_flow_times(self) -> dict[int, float]:
        """Hand over the changes since the last call, by lane; the engine calls it once a token."""
        if not self._flow_times:  # reading a dict's truth is atomic; the lock is for the swap
            return {}
        with self._lock:
            changes, self._flow_times = self._flow_times, {}
        return changes
