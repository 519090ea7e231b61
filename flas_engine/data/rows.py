"""Rows of training data, and how they are read from files of the forms in use.

AxBench folders (`train_data.parquet` beside `metadata.jsonl`), FLAS-46k's parquet, and parquet or JSON lines with
`input`, `output` and `concept` (or `concepts`, several wordings of one). A row that does not fit is named, never
dropped in silence. Knows nothing of tokens, of splits beyond what a file says, and of training.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flas_engine.data.tables import hash_file, read_records
from flas_engine.errors import DataError
from flas_engine.paths import user_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flas_engine.data.tables import Record

TRAIN = "train"
POSITIVE = "positive"
"""AxBench's category of rows that show their concept; its negative rows show none."""
AXBENCH_ROWS = "train_data.parquet"
AXBENCH_CONCEPTS = "metadata.jsonl"
_CONCEPT_COLUMNS = ("concepts", "concept", "output_concept")
_ID_COLUMNS = ("concept_key", "concept_id")
_GROUP_COLUMNS = ("group", "concept_genre")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One example: what `prompt` is answered with under a concept."""

    prompt: str
    output: str
    concepts: tuple[str, ...]
    """One or more wordings of ONE concept; training draws one of them by seed."""
    concept_id: str
    """Names the concept over all its wordings and sources."""
    group: str = ""
    """AxBench's genre, or `style`, `phrase`, `noun`, `axbench`; empty when unknown."""
    split: str = TRAIN
    """The source's own word; `train` when it has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A record that does not fit, and why."""

    source: str
    number: int
    """From 1: the row of a parquet file, the line of a text file."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that rows came from."""

    path: str
    sha256: str
    num_rows: int
    """Those that fit."""


@dataclass(frozen=True, kw_only=True)
class RowSet:
    """What was read: the rows that fit, those that do not, and where all of them came from."""

    rows: tuple[Row, ...]
    problems: tuple[BadRow, ...]
    sources: tuple[Source, ...]


class _Misfit(Exception):
    """Why a record is no row."""


def read_rows(path: Path | str) -> RowSet:
    """Read the rows of a file, or of all AxBench data in a folder.

    Raises `DataError` when there is nothing to read, a column is missing, AxBench's concept ids do not match their
    `metadata.jsonl`, or no record fits.
    """
    path = user_path(path)
    files = _axbench_files(path) if path.is_dir() else [path]
    sets = [_read_file(file, must_have_concepts=path.is_dir()) for file in files]
    return RowSet(
        rows=tuple(row for each in sets for row in each.rows),
        problems=tuple(problem for each in sets for problem in each.problems),
        sources=tuple(source for each in sets for source in each.sources),
    )


def count_reasons(problems: Iterable[BadRow]) -> dict[str, int]:
    """Count the bad rows of each reason, the commonest first."""
    return dict(Counter(problem.reason for problem in problems).most_common())


def name_concept(text: str) -> str:
    """Return the `concept_id` of a concept that has no other name: its text, without case and odd spaces."""
    return " ".join(text.casefold().split())


def _axbench_files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob(AXBENCH_ROWS))
    if not files:
        only_lists = any(folder.rglob(AXBENCH_CONCEPTS))
        hint = ", only lists of concepts" if only_lists else ""
        raise DataError(f"{folder} has no {AXBENCH_ROWS}{hint}; give a folder of AxBench's form, or a file of rows")
    return files


def _read_file(path: Path, *, must_have_concepts: bool) -> RowSet:
    metadata = path.with_name(AXBENCH_CONCEPTS)
    known = _read_concepts(metadata) if path.name == AXBENCH_ROWS and metadata.exists() else None
    if known is None and must_have_concepts:
        raise DataError(f"{metadata} is missing; AxBench data is a {AXBENCH_ROWS} beside it")
    rows: list[Row] = []
    problems: list[BadRow] = []
    columns: set[str] = set()
    concepts: dict[tuple[str, ...], tuple[str, ...]] = {}  # one tuple for all rows of a concept
    num_records = 0
    for record in read_records(path):
        num_records += 1
        columns |= (record.fields or {}).keys()
        try:
            rows.append(_fit(record, known, path, concepts))
        except _Misfit as misfit:
            problems.append(BadRow(source=str(path), number=record.number, reason=str(misfit)))
    if not num_records:
        raise DataError(f"{path} is empty; it must hold rows of input, output and concept")
    if columns:
        _require_columns(path, columns)
    if not rows:
        raise DataError(f"{path} has no row that fits ({_summary(problems)})")
    source = Source(path=str(path), sha256=hash_file(path), num_rows=len(rows))
    return RowSet(rows=tuple(rows), problems=tuple(problems), sources=(source,))


def _fit(
    record: Record, known: dict[int, str] | None, path: Path, concepts: dict[tuple[str, ...], tuple[str, ...]]
) -> Row:
    fields = record.fields
    if fields is None:
        raise _Misfit(record.problem)
    category = fields.get("category", POSITIVE)
    if category != POSITIVE:
        raise _Misfit(f"category {category!r}")
    prompt, output = _text(fields, "input"), _text(fields, "output")
    wordings = _wordings(fields)
    if known is not None:
        _match_concept(fields, wordings[0], known, f"{path} row {record.number}")
    return Row(
        prompt=prompt,
        output=output,
        concepts=concepts.setdefault(wordings, wordings),
        concept_id=_concept_id(fields, wordings),
        group=_optional(fields, _GROUP_COLUMNS),
        split=_optional(fields, ("split",)) or TRAIN,
    )


def _text(fields: dict[str, Any], name: str) -> str:
    if fields.get(name) is None:
        raise _Misfit(f"no {name}")
    return _checked(fields[name], name)


def _checked(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _Misfit(f"{name} is no text")
    if not value.strip():
        raise _Misfit(f"{name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        raise _Misfit(f"{name} is no valid Unicode") from None
    return value


def _wordings(fields: dict[str, Any]) -> tuple[str, ...]:
    """Return the wordings of a record's concept without their outer spaces, each once."""
    name = next((name for name in _CONCEPT_COLUMNS if fields.get(name) is not None), None)
    if name is None:
        raise _Misfit("no concept")
    value = fields[name]
    wordings = value if isinstance(value, list) else [value]
    if not wordings:
        raise _Misfit("concept is empty")
    return tuple(dict.fromkeys(_checked(wording, "concept").strip() for wording in wordings))


def _concept_id(fields: dict[str, Any], wordings: tuple[str, ...]) -> str:
    """Return the given name, or the text: a number names a concept within its own file alone."""
    return _optional(fields, _ID_COLUMNS) or name_concept(wordings[0])


def _optional(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((value for name in names if isinstance(value := fields.get(name), str) and value.strip()), "")


def _read_concepts(path: Path) -> dict[int, str]:
    """Return AxBench's concepts by their ids."""
    concepts: dict[int, str] = {}
    for record in read_records(path):
        fields = record.fields or {}
        number, concept = fields.get("concept_id"), fields.get("concept")
        if not isinstance(number, int) or not isinstance(concept, str):
            raise DataError(f"{path} line {record.number} names no concept_id with its concept; fetch it again")
        concepts[number] = concept
    return concepts


def _match_concept(fields: dict[str, Any], concept: str, known: dict[int, str], place: str) -> None:
    number = fields.get("concept_id")
    expected = known.get(number) if isinstance(number, int) else None
    if expected is None:
        raise DataError(
            f"{place} has concept_id {number!r}, which {AXBENCH_CONCEPTS} beside it does not list; "
            "the two files do not belong together"
        )
    if expected.strip() != concept:
        raise DataError(
            f"{place} has concept_id {number} for {concept[:60]!r}, but {AXBENCH_CONCEPTS} beside it says "
            f"{expected[:60]!r}; the two files do not belong together"
        )


def _require_columns(path: Path, columns: set[str]) -> None:
    missing = [name for name in ("input", "output") if name not in columns]
    if not columns.intersection(_CONCEPT_COLUMNS):
        missing.append("concept")
    if missing:
        found = ", ".join(sorted(columns))
        raise DataError(f"{path} has no column {' and no column '.join(missing)}; it has {found}")


def _summary(problems: list[BadRow]) -> str:
    return "; ".join(f"{reason}: {count}" for reason, count in list(count_reasons(problems).items())[:3])
