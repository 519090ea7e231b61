"""What the command line hands to the app. Plain data, so that neither side imports the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """How the app starts; None leaves the choice to the settings of the last session, or to the engine."""

    model: str | None = None
    base: str | None = None
    flow: str | None = None
    device: str | None = None
    dtype: str | None = None
    compiles: bool | None = None
    lite: bool = False
    """Draw little: for slow lines."""
    concept: str | None = None
    prompt: str | None = None
    flow_time: float | None = None
    seed: int | None = None
    evaluation: Path | None = None
    """Begin with this evaluation; no model is loaded before a text of it is run again."""
