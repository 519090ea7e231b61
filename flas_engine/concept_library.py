"""The concepts that a flow does well, with a prompt and a flow time each: `concepts.jsonl` beside its tensors.

One JSON object a line, with the fields of `LibraryConcept`. Knows nothing of how the concepts were chosen. Imports
nothing heavy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

LIBRARY_FILE = "concepts.jsonl"


@dataclass(frozen=True, kw_only=True)
class LibraryConcept:
    """A concept in the words that work, and where to see it at its best."""

    concept_id: str
    """As in the rows that it was trained on: `style:pirate`, `noun:whales`."""
    concept: str
    group: str
    prompt: str
    flow_time: float


def read_library_file(path: Path) -> tuple[LibraryConcept, ...]:
    """Return the concepts in the file `path`, none when there is no such file; raises `CheckpointError`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"the concept library {path} cannot be read ({error}); download the flow again") from None
    return tuple(_read_line(line, path, number) for number, line in enumerate(lines, 1) if line.strip())


def _read_line(line: str, path: Path, number: int) -> LibraryConcept:
    try:
        return LibraryConcept(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"line {number} of the concept library {path} is no concept ({error}); its fields are concept_id, concept, "
            "group, prompt and flow_time"
        ) from None
