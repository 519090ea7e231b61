"""Where a report goes: to the terminal and into files, or one form of it to standard output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.report_files import FORMS, write_report
from flas_engine.evaluation.results import read_judges
from flas_tui.console import data_stream, say
from flas_tui.safe_text import visible_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flas_engine.evaluation.report import Report

STDOUT = "-"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What the user asked to be written."""

    files: Mapping[str, str]
    """Files by form: md, html, json, csv; `-` is standard output."""
    folder: Path | None

    def check(self) -> None:
        """Raise `EvaluationError` when two forms would go to standard output."""
        forms = [form for form, path in self.files.items() if path == STDOUT]
        if len(forms) > 1:
            raise EvaluationError(
                f"{' and '.join(forms)} cannot both go to standard output; give a file for all but one of them"
            )


def deliver(report: Report, folder: Path, outputs: Outputs, *, is_terminal: bool) -> None:
    """Write the forms that are asked for, else all of them beside the evaluation in `folder`; and show the tables."""
    piped = next((form for form, path in outputs.files.items() if path == STDOUT), None)
    if piped is not None:
        text = FORMS[piped](report)
        data_stream(is_json=True).write(visible_text(text) if is_terminal else _encodable(text))
    else:
        from flas_tui.commands.report_view import render

        data_stream(is_json=False).write(render(report, is_terminal=is_terminal))
    paths = {form: Path(path) for form, path in outputs.files.items() if path != STDOUT}
    whole = outputs.folder or (None if outputs.files else folder)
    if whole is not None:
        stem = "report" if len(read_judges(folder)) == 1 else f"report-{report.judge.slug}"
        paths = {form: whole / f"{stem}.{form}" for form in FORMS} | paths
    for form, path in paths.items():
        write_report(path, FORMS[form](report))
    if paths:
        say(f"wrote {', '.join(map(str, paths.values()))}")


def _encodable(text: str) -> str:
    """Half a surrogate pair has no spelling in UTF-8."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
