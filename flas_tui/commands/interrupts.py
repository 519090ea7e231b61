"""Ctrl+C while tokens come: the first ends the run and keeps the text, the second leaves."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from flas_engine.control import RunControl


@contextmanager
def stopped_by_interrupt(control: RunControl) -> Iterator[None]:
    """Within, the first SIGINT cancels `control` and the next raises `KeyboardInterrupt`."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        if control.is_cancelled:
            raise KeyboardInterrupt
        control.cancel()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
