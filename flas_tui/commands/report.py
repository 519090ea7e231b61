"""`flas-tui report`: what an evaluation found. The signature, and what it is wired to."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(metavar="EVAL", help="The folder of an evaluation.")],
    judge: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Whose judgements, where there are several: its file's name.")
    ] = None,
    markdown: Annotated[str | None, typer.Option(metavar="FILE", help="Write Markdown; - is standard output.")] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a page with figures that needs nothing else; or -.")
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write every number as one JSON object; or -.")
    ] = None,
    csv: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a row for each concept and column; or -.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write all four as report.md, .html, .json and .csv there; of several judges a file each.",
        ),
    ] = None,
) -> None:
    """Say what an evaluation found: tables here, and files with figures.

    Means and intervals over the flow time, the best flow time for each concept and for all, against prompting, the
    baseline and published numbers, the best and the worst concepts. Without an option for a file, all forms are
    written beside the evaluation as report.md, .html, .json and .csv, of several judges as report-JUDGE.md and so on.
    """
    from flas_engine.evaluation.reporting import report_on
    from flas_tui.commands.report_run import Outputs, deliver
    from flas_tui.console import is_terminal

    files = {"md": markdown, "html": html, "json": json_file, "csv": csv}
    outputs = Outputs(files={form: path for form, path in files.items() if path is not None}, folder=out)
    outputs.check()
    deliver(report_on(folder, judge), folder, outputs, is_terminal=is_terminal(sys.stdout))
