"""Evaluations that are small and made up, for the tests of those who judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.results import Generation, generations_path
from flas_engine.record_log import RecordLog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def generation(number: int, text: str, flow_time: float = 1.0) -> Generation:
    return Generation(
        key=f"key{number:04d}",
        method="steering",
        concept_id=f"c{number % 4}",
        concept=f"terms of sailing {number % 4}",
        genre="text",
        input_id=number,
        input=f"What is number {number}?",
        flow_time=flow_time,
        seed=0,
        checkpoint="0123456789abcdef",
        text=text,
        num_tokens=len(text.split()),
        finish_reason="end_of_turn",
    )


def write_generations(folder: Path, texts: Sequence[str]) -> list[Generation]:
    """Write an evaluation of these texts."""
    made = [generation(number, text) for number, text in enumerate(texts)]
    with RecordLog(generations_path(folder), Generation, EvaluationError) as log:
        log.add(made)
    return made
