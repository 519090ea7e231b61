"""The forms of a report and the files they go into: Markdown, HTML, JSON with every number, CSV with a row a cell."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from flas_engine.atomic import write_atomically
from flas_engine.errors import EvaluationError
from flas_engine.evaluation.report_html import render_html
from flas_engine.evaluation.report_markdown import render_markdown
from flas_engine.evaluation.scores import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from flas_engine.evaluation.report import Report

RATINGS = tuple(f"mean_{measure}" for measure in MEASURES)
CSV_COLUMNS = (
    "concept_id",
    "concept",
    "genre",
    "column",
    "method",
    "flow_time",
    "texts",
    "missing",
    *RATINGS,
    "judge",
    "is_estimate",
)


def render_json(report: Report) -> str:
    """Return every number of a report, and the texts it shows, as one JSON object on a line."""
    return json.dumps(asdict(report) | {"is_estimate": report.is_estimate}, allow_nan=False) + "\n"


def render_csv(report: Report) -> str:
    """Return a row for each concept and column, with its mean scores; empty where no text counts."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in report.concepts:
        concept = row.concept
        of_columns = zip(report.columns, row.scores, row.num_texts, row.num_missing, strict=True)
        for summary, scores, num_texts, num_missing in of_columns:
            column = summary.column
            if column is None:
                continue
            numbers = ["" if scores is None else f"{getattr(scores, measure):.6g}" for measure in MEASURES]
            named = (concept.concept_id, concept.concept, concept.genre, column.label, column.method)
            judged = (report.judge.name, str(report.is_estimate).lower())
            writer.writerow([*named, f"{column.flow_time:g}", num_texts, num_missing, *numbers, *judged])
    return out.getvalue()


FORMS: Mapping[str, Callable[[Report], str]] = {
    "md": render_markdown,
    "html": render_html,
    "json": render_json,
    "csv": render_csv,
}
"""By the ending of the file."""


def write_report(path: Path, text: str) -> None:
    """Write one form of a report whole or not at all; raises `EvaluationError` when it cannot be written."""
    try:
        write_atomically(path, text.encode("utf-8", errors="replace").decode("utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be written ({error.strerror}); give another file or folder") from None
