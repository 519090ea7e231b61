"""The texts that ratings are anchored to: answers that show a concept, and plain ones, to the same prompts.

They lie beside this file, were written for this purpose, and have a version: another version is another calibration.
Their concepts and prompts are also those that a text's own are compared with, so that the rating of a text depends on
the text alone, not on what else there is in an evaluation. Knows nothing of models.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TEXTS_FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationText:
    """A prompt, and two answers to it."""

    prompt: str
    concept: str
    plain: str
    """An answer without the concept."""
    shown: str
    """An answer with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationTexts:
    """All of them, and which ones they are."""

    version: str
    items: tuple[CalibrationText, ...]


@cache
def read_calibration_texts() -> CalibrationTexts:
    """Return the texts that ship with the judge."""
    content = json.loads(TEXTS_FILE.read_text(encoding="utf-8"))
    return CalibrationTexts(
        version=content["version"], items=tuple(CalibrationText(**item) for item in content["items"])
    )
