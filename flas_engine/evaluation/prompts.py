"""Which prompts a concept is tried on: drawn from one list, by the concept's own chance.

Knows nothing of flow times and methods.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from typing import TYPE_CHECKING

from flas_engine.data.lists import questions
from flas_engine.data.prompts import BUNDLED, gather_prompts
from flas_engine.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_prompts(source: str) -> list[str]:
    """Read the list that prompts are drawn from: `alpaca-eval` as downloaded, `bundled` questions, or a file.

    A file has a prompt a line, or JSON (lines) with a `prompt` or `instruction` each. Raises `DataError`.
    """
    return list(questions()) if source == BUNDLED else gather_prompts(source, sys.maxsize, 0)


def hash_prompts(prompts: Sequence[str]) -> str:
    """Name a list of prompts by its content, in 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()[:16]


def draw_prompts(concept_id: str, prompts: Sequence[str], num_prompts: int) -> list[str]:
    """Draw the prompts of a concept, in the order of the draw.

    A number seeds the draw as in the reference, `random.Random(concept_id).sample(prompts, n)`; any other id by the
    first 8 bytes of its sha256. Raises `EvaluationError` when there are too few prompts.
    """
    if not 1 <= num_prompts <= len(prompts):
        raise EvaluationError(
            f"{num_prompts:,} prompts a concept are asked for; give 1 to {len(prompts):,}, as many as there are"
        )
    return random.Random(_seed_of(concept_id)).sample(prompts, num_prompts)


def _seed_of(concept_id: str) -> int:
    if concept_id.isascii() and concept_id.isdecimal():
        return int(concept_id)
    return int.from_bytes(hashlib.sha256(concept_id.encode()).digest()[:8], "big")
