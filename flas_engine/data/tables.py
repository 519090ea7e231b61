"""Files of records: parquet and JSON lines, read record by record. Knows nothing of what the fields mean."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flas_engine.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

PARQUET = ".parquet"
JSON_LINES = (".jsonl", ".ndjson")
_BATCH_RECORDS = 4096
_HASH_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One record, or why there is none."""

    number: int
    """From 1: the row of a parquet file, the line of a text file."""
    fields: dict[str, Any] | None
    problem: str = ""


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a parquet or JSON lines file; raises `DataError` when it cannot be read as such."""
    if not path.exists():
        raise DataError(f"{path} does not exist; give a file of rows, or a folder of AxBench's form")
    if path.suffix == PARQUET:
        return _read_parquet(path)
    if path.suffix in JSON_LINES:
        return _read_json_lines(path)
    raise DataError(f"{path} is of no known form; give a .parquet, .jsonl or .ndjson file, or a folder of AxBench's")


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _read_parquet(path: Path) -> Iterator[Record]:
    parquet = _import_parquet()
    from pyarrow import ArrowException

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_RECORDS):
                for fields in batch.to_pylist():
                    number += 1
                    yield Record(number=number, fields=fields)
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:120]
        raise DataError(f"{path} cannot be read as parquet ({reason}); fetch or write it again") from None


def _import_parquet() -> ModuleType:
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError('reading parquet files needs pyarrow; run: pip install "flas-tui[train]"') from None
    module: ModuleType = parquet
    return module


def _read_json_lines(path: Path) -> Iterator[Record]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _parse(number, line)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _parse(number: int, line: bytes) -> Record:
    try:
        fields = json.loads(line)
    except ValueError:  # broken JSON, or bytes that are no UTF-8
        return Record(number=number, fields=None, problem="no JSON")
    if not isinstance(fields, dict):
        return Record(number=number, fields=None, problem="no JSON object")
    return Record(number=number, fields=fields)
