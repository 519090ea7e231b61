"""How long work (a download, a conversion, a load) tells how far it is, and how it is called off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far one activity is; `total` is None while it is not known."""

    activity: str
    """In the user's words: 'downloading model.safetensors', 'converting the weights'."""
    done: int = 0
    total: int | None = None
    unit: Literal["bytes", "items"] = "items"


ReportProgress = Callable[[Progress], None]
"""Called often from the thread that does the work. To call the work off it raises `Cancelled`, which the work lets
through after leaving nothing half-written behind."""


def ignore_progress(progress: Progress) -> None:
    """Report to nobody."""
    del progress
