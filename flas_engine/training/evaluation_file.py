"""What an evaluation of a flow found, in plain data, and `evaluation.json`, which holds it.

Losses are in nats a token, the end of the turn included. Knows nothing of models; imports nothing heavy.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flas_engine.atomic import write_atomically
from flas_engine.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EVALUATION_FILE = "evaluation.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What is measured; every draw follows from `seed`."""

    flow_times: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 3.0)
    """At which losses are measured."""
    text_times: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    """At which texts are written."""
    num_rows: int = 60
    """Rows of each split and group whose losses are measured."""
    num_concepts: int = 40
    """Concepts of each split and group that texts are written for."""
    num_prompts: int = 2
    """Prompts of each of these concepts."""
    max_new_tokens: int = 64
    temperature: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if 1.0 not in self.flow_times:
            raise TrainingError("the flow times to measure leave out 1, where concepts are compared; add it")


@dataclass(frozen=True, kw_only=True)
class CellLosses:
    """Losses of the rows of one split and group."""

    split: str
    group: str
    num_rows: int
    num_concepts: int
    num_tokens: int
    losses: Mapping[str, float]
    """By flow time, as `metrics.format_flow_time` writes it."""
    shuffled: float | None
    """At T = 1 under another concept; None where there is only one."""
    preferred: float | None
    """Share of rows whose own concept makes them likelier at T = 1 than the other one does."""


@dataclass(frozen=True, kw_only=True)
class CellMarkers:
    """How many of the texts of one split and group show their concept."""

    split: str
    group: str
    num_concepts: int
    num_texts: int
    """At each flow time."""
    rates: Mapping[str, float]
    """By flow time, over all texts."""
    concepts_shown: Mapping[str, float]
    """By flow time, the share of concepts that half of their texts or more show."""


@dataclass(frozen=True, kw_only=True)
class WrittenText:
    """One answer, whether it shows its concept or not."""

    split: str
    group: str
    concept_id: str
    concept: str
    """The wording that was asked for."""
    prompt: str
    flow_time: float
    text: str
    shows: bool | None
    """None where that cannot be counted."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that was found."""

    flow: str
    base: str
    dtype: str
    data: tuple[Mapping[str, Any], ...]
    """Path, sha256 and number of rows of each source."""
    settings: EvaluationSettings
    versions: Mapping[str, str]
    losses: tuple[CellLosses, ...]
    markers: tuple[CellMarkers, ...]
    texts: tuple[WrittenText, ...]


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as what JSON can hold."""
    return {"version": VERSION, **asdict(evaluation)}


def write_evaluation(folder: Path, evaluation: Evaluation) -> Path:
    """Write `evaluation.json` into the folder of a flow; raises `TrainingError` when it cannot be written."""
    path = folder / EVALUATION_FILE
    try:
        write_atomically(path, json.dumps(to_json(evaluation), ensure_ascii=True, indent=1) + "\n")
    except OSError as error:
        raise TrainingError(f"cannot write {path} ({error.strerror}); check its permissions and the disk") from error
    return path


def read_evaluation(folder: Path) -> Evaluation | None:
    """Read `evaluation.json` of a flow's folder; None when there is none, `TrainingError` when it is damaged."""
    path = folder / EVALUATION_FILE
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        settings: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in raw["settings"].items()
        }
        return Evaluation(
            flow=raw["flow"],
            base=raw["base"],
            dtype=raw["dtype"],
            data=tuple(raw["data"]),
            settings=EvaluationSettings(**settings),
            versions=raw["versions"],
            losses=tuple(CellLosses(**cell) for cell in raw["losses"]),
            markers=tuple(CellMarkers(**cell) for cell in raw["markers"]),
            texts=tuple(WrittenText(**text) for text in raw["texts"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is damaged ({error}); evaluate the flow again") from error
