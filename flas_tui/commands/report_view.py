"""What `flas-tui report` prints: tables in which each row draws its means on a scale from 0 to 2."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flas_engine.evaluation.notes import (
    ESTIMATE,
    MEASURE_NAMES,
    findings,
    judged_with,
    missing,
    write_estimate,
)
from flas_engine.evaluation.published import CARE, METHODS_TABLE
from flas_engine.evaluation.results import MAX_RATING, STEERING
from flas_tui.safe_text import visible_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flas_engine.evaluation.report import ColumnSummary, Means, Report, ShownConcept

COLUMNS = 100
"""Of tables that go into a pipe."""
OTHER_CELLS, MISSING_CELLS = 50, 15
"""What stands beside the scale in its table: always, and where judgements are missing."""
LEAST_SCALE, MOST_SCALE = 11, 41
STYLES = {"hm": "bold", "concept": "yellow", "instruction": "blue", "fluency": "green"}


def render(report: Report, *, is_terminal: bool) -> str:
    """Return the report as text, in colour for a terminal."""
    out = io.StringIO()
    console = Console(
        file=out,
        force_terminal=is_terminal,
        width=None if is_terminal else COLUMNS,
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.print(_line(report.name, "bold"))
    console.print(_line(judged_with(report)))
    _paragraphs(console, [ESTIMATE] if report.is_estimate else [], "yellow")
    _paragraphs(console, findings(report), "bold")
    _paragraphs(console, missing(report), "yellow")
    console.print(_means(report, console.width))
    steered = [row for row in report.columns if row.column is not None and row.column.method == STEERING]
    if steered:
        console.print(_differences("compared over all prompts", steered))
    if report.halves:
        console.print(_differences("compared on the prompts that did not choose T", report.halves))
    for title, concepts in (("best concepts", report.best), ("worst concepts", report.worst)):
        if report.ranked_by is not None and concepts:
            console.print(_concepts(f"{title} at {report.ranked_by.label}", concepts))
    if not report.is_estimate:
        console.print(_published())
        _paragraphs(console, [METHODS_TABLE.caption, CARE], "dim")
    return out.getvalue()


def draw_scale(means: Means | None, num_cells: int) -> Text:
    """Draw HM with its interval and the letters C, I and F on a scale from 0 to 2, `num_cells` wide."""
    scale = Text("·" * num_cells, style="dim")
    if means is None:
        return scale
    cells = ["·"] * num_cells
    styles = ["dim"] * num_cells

    def place(value: float) -> int:
        return min(num_cells - 1, max(0, round(value / MAX_RATING * (num_cells - 1))))

    if means.hm.interval is not None:
        low, high = place(means.hm.interval.low), place(means.hm.interval.high)
        for at in range(low, high + 1):
            cells[at], styles[at] = "─", "bold"
        cells[low], cells[high] = "├", "┤"
    for measure in ("fluency", "instruction", "concept"):  # where letters meet, the concept's stays
        at = place(getattr(means, measure).mean)
        cells[at], styles[at] = MEASURE_NAMES[measure], STYLES[measure]
    at = place(means.hm.mean)
    cells[at], styles[at] = "●", "bold"
    return Text.assemble(*zip(cells, styles, strict=True))


def _line(text: str, style: str = "") -> Text:
    return Text(visible_line(text), style=style)


def _paragraphs(console: Console, lines: Iterable[str], style: str) -> None:
    for line in lines:
        console.print(_line(line, style))


def _table(title: str, names: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="bold", pad_edge=False)
    table.add_column(no_wrap=True)
    for each in names:
        table.add_column(each, justify="right", no_wrap=True)
    return table


def _means(report: Report, width: int) -> Table:
    has_missing = any(row.num_missing for row in report.columns)
    room = width - OTHER_CELLS - MISSING_CELLS * has_missing
    num_cells = (min(MOST_SCALE, max(LEAST_SCALE, room)) - 1) | 1  # odd, so that 1 is in the middle
    ruler = "0" + "1".center(num_cells - 2) + "2"
    title = f"\nmeans over all prompts; ├●┤ is HM with its {report.level:.0%} interval"
    table = _table(title, ["HM", "interval", ruler, "C", "I", "F", *(["missing", "as 0"] if has_missing else [])])
    for row in report.columns:
        means = row.means
        numbers = [
            Text("" if means is None else f"{getattr(means, name).mean:.2f}", style=style)
            for name, style in STYLES.items()
        ]
        interval = write_estimate(None if means is None else means.hm).partition(" ")[2]
        lost = [f"{row.num_missing:,}", f"{row.hm_missing_as_zero:.2f}"] if row.num_missing else []
        table.add_row(row.label, numbers[0], interval, draw_scale(means, num_cells), *numbers[1:], *lost)
    return table


def _differences(title: str, rows: Iterable[ColumnSummary]) -> Table:
    table = _table(f"\n{title}", ["HM", "against prompting", "against baseline"])
    for row in rows:
        table.add_row(row.label, *_compared(row))
    return table


def _compared(row: ColumnSummary) -> list[str]:
    others = (row.to_prompting, row.to_baseline)
    signed = [write_estimate(None if means is None else means.hm, signed=True) for means in others]
    return [write_estimate(None if row.means is None else row.means.hm), *signed]


def _concepts(title: str, concepts: Sequence[ShownConcept]) -> Table:
    table = _table(f"\n{title}", [])
    table.show_header = False
    table.expand, table.columns[0].width = True, 4
    table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=3, no_wrap=True, overflow="ellipsis", style="dim")
    for shown in concepts:
        text = next((text.generation.text for each in shown.examples for text in each.texts), "")
        table.add_row(f"{shown.scores.hm:.2f}", _line(shown.concept.concept), _line(text))
    return table


def _published() -> Table:
    table = _table("\npublished HM", METHODS_TABLE.heading[1:])
    for row in METHODS_TABLE.rows:
        table.add_row(*row)
    return table
