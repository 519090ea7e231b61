"""The rows in which the reference keeps results, read and written: concept_id, concept, input, input_id, factor, text.

`factor` is the flow time, and 0 the baseline. Files are parquet or JSON lines.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flas_engine.atomic import write_atomically
from flas_engine.data.tables import JSON_LINES, PARQUET, hash_file, read_records
from flas_engine.errors import EvaluationError
from flas_engine.evaluation.plan import require_plan
from flas_engine.evaluation.results import (
    BASELINE,
    PROMPTING,
    STEERING,
    Generation,
    Plan,
    PlannedConcept,
    generation_key,
    generations_path,
    read_generations,
)
from flas_engine.record_log import RecordLog
from flas_engine.request import Limits, Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEXT_COLUMN = "generation_steered"
_KINDS: dict[str, tuple[type, ...]] = {
    "concept_id": (int, str),
    "concept": (str,),
    "input": (str,),
    "input_id": (int,),
    "factor": (int, float),
    TEXT_COLUMN: (str,),
}
UNKNOWN = "unknown"
"""What rows do not say: the model, why a text ended."""


def import_rows(path: Path, folder: Path) -> int:
    """Make an evaluation of the rows in `path`, and return how many texts it has.

    Raises `EvaluationError` or `DataError` when a row does not fit, or `folder` holds another evaluation.
    """
    rows_hash = hash_file(path)[:16] if path.is_file() else ""
    texts: dict[str, Generation] = {}
    for record in read_records(path):
        text = _text_of(record.fields or {}, f"{path} row {record.number}", rows_hash)
        if texts.setdefault(text.key, text) != text:
            raise EvaluationError(
                f"{path} row {record.number} is another text for concept {text.concept_id}, input {text.input_id} and "
                f"factor {text.flow_time:g}; there must be one"
            )
    if not texts:
        raise EvaluationError(f"{path} has no rows; it needs {', '.join(_KINDS)}")
    require_plan(folder, _plan_of(list(texts.values()), path, rows_hash))
    with RecordLog(generations_path(folder), Generation, EvaluationError) as log:
        log.add(text for text in texts.values() if log.get(text.key) is None)
        return len(log)


def export_rows(folder: Path, path: Path) -> tuple[int, int]:
    """Write the texts of steering and baseline as rows; returns how many, and how many by prompting were left out.

    Raises `EvaluationError` when the file's name or the disk does not do.
    """
    if path.suffix not in (*JSON_LINES, PARQUET):
        raise EvaluationError(f"{path} must end in {PARQUET} or {JSON_LINES[0]}, the forms that rows are kept in")
    texts = read_generations(folder)
    rows = [_row_of(text) for text in texts if text.method != PROMPTING]
    rows.sort(key=lambda row: (str(type(row["concept_id"])), row["concept_id"], row["input_id"], row["factor"]))
    try:
        if path.suffix == PARQUET:
            _write_parquet(path, rows)
        else:
            write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be written: {error.strerror or error}") from None
    return len(rows), len(texts) - len(rows)


def _text_of(fields: dict[str, Any], place: str, rows_hash: str) -> Generation:
    for name, kinds in _KINDS.items():
        if not isinstance(fields.get(name), kinds) or isinstance(fields[name], bool):
            raise EvaluationError(f"{place} has no usable {name!r}; it needs {', '.join(_KINDS)}")
    flow_time = float(fields["factor"])
    method = STEERING if flow_time else BASELINE
    asked: dict[str, Any] = {
        "method": method,
        "concept_id": str(fields["concept_id"]),
        "concept": fields["concept"],
        "input_id": fields["input_id"],
        "input": fields["input"],
        "flow_time": flow_time,
        "seed": 0,
        "checkpoint": "",
    }
    return Generation(
        **asked,
        key=generation_key(**asked, settings=rows_hash),
        genre="",
        text=fields[TEXT_COLUMN],
        num_tokens=0,
        finish_reason=UNKNOWN,
    )


def _plan_of(texts: Sequence[Generation], path: Path, rows_hash: str) -> Plan:
    concepts = {text.concept_id: PlannedConcept(concept_id=text.concept_id, concept=text.concept) for text in texts}
    methods = {text.method: None for text in texts}
    return Plan(
        model=UNKNOWN,
        base=UNKNOWN,
        flow=UNKNOWN,
        checkpoint="",
        dtype=UNKNOWN,
        prompt_format=UNKNOWN,
        concepts=tuple(concepts.values()),
        prompts=UNKNOWN,
        prompts_hash=rows_hash,
        prompts_per_concept=len({text.input_id for text in texts}),
        methods=tuple(methods),
        flow_times=tuple(sorted({text.flow_time for text in texts if text.flow_time})),
        seeds=(0,),
        sampling=Sampling(),
        limits=Limits(),
        solver=UNKNOWN,
        num_steps=None,
        prompting="",
        versions={},
        origin=path.name,
    )


def _row_of(text: Generation) -> dict[str, Any]:
    is_number = text.concept_id.isascii() and text.concept_id.isdecimal()
    return {
        "concept_id": int(text.concept_id) if is_number else text.concept_id,
        "concept": text.concept,
        "input": text.input,
        "input_id": text.input_id,
        "factor": text.flow_time,
        TEXT_COLUMN: text.text,
    }


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise EvaluationError('writing parquet files needs pyarrow; run: pip install "flas-tui[train]"') from None
    if len({type(row["concept_id"]) for row in rows}) > 1:  # a column has one type
        rows = [row | {"concept_id": str(row["concept_id"])} for row in rows]
    unfinished = path.with_name(f".{path.name}.incomplete")
    try:
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
