"""The concept library of whatever flow a name means, where that flow is on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.concept_library import LIBRARY_FILE, read_library_file
from flas_engine.hub.registry import look_up
from flas_engine.hub.sources import find_local_flow

if TYPE_CHECKING:
    from flas_engine.concept_library import LibraryConcept


def read_library(name: str) -> tuple[LibraryConcept, ...]:
    """Return the library of the flow that `name` means: a listed model, a flow's folder or file, a Hub repository.

    Empty when it has none, or is not on this machine; raises `CheckpointError` when it cannot be read.
    """
    entry = look_up(name)
    source, file = (name, None) if entry is None else (entry.flow, entry.flow_file)
    path = None if source is None else find_local_flow(source, file)
    if path is None:
        return ()
    return read_library_file((path if path.is_dir() else path.parent) / LIBRARY_FILE)
