"""A corpus in a file: JSON lines that `read_rows` reads, each with the name of who made it. Written whole or not."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from flas_engine.atomic import write_atomically
from flas_engine.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.data.making import Corpus
    from flas_engine.data.rows import Row

_OURS = "made_by"
SUFFIX = ".jsonl"


def require_writable(path: Path) -> None:
    """Raise `DataError` unless `path` can take a corpus: its name fits, and what is there was made by us."""
    if path.suffix != SUFFIX:
        raise DataError(f"{path} must end in {SUFFIX}: rows are written as JSON lines")
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8") as file:
            first = json.loads(file.readline() or "{}")
    except (OSError, ValueError):
        first = {}
    if not isinstance(first, dict) or _OURS not in first:
        raise DataError(f"{path} exists and was not made by this command; choose another name, or move it away")


def write_corpus(path: Path, corpus: Corpus) -> None:
    """Put the rows of `corpus` in the place of what `path` held; raises `DataError` when that cannot be done."""
    if not corpus.rows:
        raise DataError(f"no row was made, so {path} was not written ({_reasons(corpus.rejections)})")
    lines = "".join(json.dumps(_fields(row, maker), ensure_ascii=False) + "\n" for row, maker in corpus.rows)
    try:
        write_atomically(path, lines)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; what was answered is kept") from None


def summarize(corpus: Corpus) -> dict[str, Any]:
    """Count what a corpus has: rows by split and group, concepts, what was rejected and why."""
    rows = [row for row, _ in corpus.rows]
    return {
        "rows": len(rows),
        "concepts": len({row.concept_id for row in rows}),
        "concepts_short": corpus.num_short,
        "splits": dict(Counter(row.split for row in rows).most_common()),
        "groups": dict(Counter(row.group or "-" for row in rows).most_common()),
        "rejected": dict(corpus.rejections.most_common()),
    }


def _fields(row: Row, maker: str) -> dict[str, Any]:
    return {
        "input": row.prompt,
        "output": row.output,
        "concepts": list(row.concepts),
        "concept_key": row.concept_id,
        "group": row.group,
        "split": row.split,
        _OURS: maker,
    }


def _reasons(rejections: Counter[str]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in rejections.most_common(3)) or "nothing was asked for"
