"""Which concepts are evaluated: AxBench's lists, the model's library, or files of one's own.

AxBench's ids are numbers and stay as they are; a concept without an id is called by its text. Knows nothing of prompts.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from flas_engine.data.lists import read_lines
from flas_engine.data.rows import AXBENCH_CONCEPTS, POSITIVE, name_concept
from flas_engine.data.tables import JSON_LINES, PARQUET, read_records
from flas_engine.errors import EvaluationError
from flas_engine.evaluation.results import PlannedConcept

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from flas_engine.data.tables import Record

LIBRARY = "library"
_CONCEPT_COLUMNS = ("concept", "output_concept")
_ID_COLUMNS = ("concept_id", "concept_key")
_GENRE_COLUMNS = ("genre", "concept_genre", "group")
_GENRES_OF = "concept_genres_map"
"""AxBench's: a list of genres by concept."""


def read_concepts(source: str, model: str) -> list[PlannedConcept]:
    """Read the concepts of `source`: `library`, a file, a folder of AxBench's, or a downloaded set's name.

    The library is that of the flow or model that `model` names. A file is text with a concept a line, or JSON lines or
    parquet with a concept a record (concept_id and genre are kept). Raises `EvaluationError` or `DataError` when there
    is none, or one id names two concepts.
    """
    if source == LIBRARY:
        return _of_library(model)
    path = _find(source)
    if path.suffix in (*JSON_LINES, PARQUET):
        return _distinct(_of_records(path), str(path))
    return [concept_of(line) for line in read_lines(path)]


def concept_of(text: str, concept_id: str = "", genre: str = "") -> PlannedConcept:
    """Make a concept of a text, called by that text unless it has an id."""
    text = text.strip()
    if not text:
        raise EvaluationError("the concept is empty; describe it in plain words, for example 'talk like a pirate'")
    return PlannedConcept(concept_id=concept_id or name_concept(text), concept=text, genre=genre)


def choose_concepts(
    concepts: Sequence[PlannedConcept], num_concepts: int | None, seed: int | None
) -> tuple[PlannedConcept, ...]:
    """Choose so many: the first ones, or with a seed a draw of them in its order; None takes all.

    Raises `EvaluationError` when there are fewer.
    """
    distinct = _distinct(concepts, "the list")
    if not distinct:
        raise EvaluationError("there are no concepts to evaluate; give --concepts FILE, or --concept TEXT")
    num_concepts = len(distinct) if num_concepts is None else num_concepts
    if not 1 <= num_concepts <= len(distinct):
        raise EvaluationError(f"{num_concepts:,} concepts are asked for, but there are 1 to {len(distinct):,}")
    if seed is None:
        return tuple(distinct[:num_concepts])
    return tuple(random.Random(seed).sample(distinct, num_concepts))


def _of_library(model: str) -> list[PlannedConcept]:
    from flas_engine.hub.library import read_library

    library = read_library(model)
    if not library:
        raise EvaluationError(f"{model} comes with no library of concepts; give --concepts FILE, or --concept TEXT")
    return [concept_of(each.concept, each.concept_id, each.group) for each in library]


def _find(source: str) -> Path:
    """Return the file that `source` means."""
    from flas_engine.data.published import resolve_source

    path = resolve_source(source)
    if not path.is_dir():
        return path
    lists = sorted(path.rglob(AXBENCH_CONCEPTS))
    if not lists:
        raise EvaluationError(f"{path} holds no {AXBENCH_CONCEPTS}; give a folder of AxBench's form, or a file")
    if len(lists) > 1:
        raise EvaluationError(
            f"{path} holds {len(lists)} lists of concepts, whose ids overlap; choose one, for example {lists[0]}"
        )
    return lists[0]


def _of_records(path: Path) -> list[PlannedConcept]:
    concepts: dict[PlannedConcept, None] = {}
    for record in read_records(path):
        concept = _of_record(record, f"{path} row {record.number}")
        if concept is not None:  # once for each of AxBench's 72 rows
            concepts[concept] = None
    if not concepts:
        raise EvaluationError(f"{path} holds no concepts; it needs a record with a text 'concept' for each")
    return list(concepts)


def _of_record(record: Record, place: str) -> PlannedConcept | None:
    """Return the concept of a record; None for AxBench's negative rows, which show none."""
    if record.fields is None:
        raise EvaluationError(f"{place} is no record ({record.problem})")
    fields = record.fields
    if fields.get("category", POSITIVE) != POSITIVE:
        return None
    text = next((value for name in _CONCEPT_COLUMNS if isinstance(value := fields.get(name), str)), None)
    if text is None:
        raise EvaluationError(f"{place} has no text 'concept'; it has {', '.join(map(str, fields)) or 'nothing'}")
    name = next((value for column in _ID_COLUMNS if (value := fields.get(column)) is not None), "")
    return concept_of(text, str(name), _genre(fields, text))


def _genre(fields: dict[str, Any], concept: str) -> str:
    genres = fields.get(_GENRES_OF)
    listed = genres.get(concept) if isinstance(genres, dict) else None
    if isinstance(listed, list) and listed:
        return str(listed[0])
    return next((value for name in _GENRE_COLUMNS if isinstance(value := fields.get(name), str)), "")


def _distinct(concepts: Iterable[PlannedConcept], place: str) -> list[PlannedConcept]:
    """Return each concept once; raises `EvaluationError` when an id names two."""
    found: dict[str, PlannedConcept] = {}
    for concept in concepts:
        before = found.setdefault(concept.concept_id, concept)
        if before.concept != concept.concept:
            raise EvaluationError(
                f"{place} has the concept_id {concept.concept_id!r} for {before.concept[:60]!r} and for "
                f"{concept.concept[:60]!r}; an id must name one concept"
            )
    return list(found.values())
