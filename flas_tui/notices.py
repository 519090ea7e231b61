"""What has to be said of a model when it is first loaded: its terms, and that it has no flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flas_engine.info import EngineInfo


def notice_for(info: EngineInfo) -> str | None:
    """Return what the user should read about the loaded model; None when there is nothing (any more)."""
    from flas_engine.hub.embedded import terms_notice
    from flas_engine.hub.registry import look_up

    entry = look_up(info.name)
    terms = terms_notice(entry) if entry is not None else None
    if terms is not None:
        return terms
    return f"{info.name} has no flow checkpoint: only the baseline can run (T 0)" if info.flow_id is None else None
