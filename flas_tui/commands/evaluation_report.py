"""The tables that `flas-tui train evaluate` prints."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flas_engine.training.metrics import format_flow_time
from flas_tui.safe_text import visible_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flas_engine.training.evaluation_file import Evaluation

COLUMNS = 100
"""Of tables that go into a pipe."""


def render(evaluation: Evaluation, *, is_terminal: bool) -> str:
    """Return the tables as text, in colour for a terminal."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=None if is_terminal else COLUMNS, highlight=False)
    console.print(_losses(evaluation))
    if evaluation.markers:
        console.print(_rates(evaluation))
    return out.getvalue()


def _losses(evaluation: Evaluation) -> Table:
    times = [format_flow_time(time) for time in evaluation.settings.flow_times]
    table = _table("nats a token", ["rows", *(f"T {time}" for time in times), "wrong", "own preferred"])
    for cell in evaluation.losses:
        losses = [f"{cell.losses[time]:.3f}" for time in times]
        wrong = "" if cell.shuffled is None else f"{cell.shuffled:.3f}"
        preferred = "" if cell.preferred is None else f"{cell.preferred:.0%}"
        table.add_row(*_name(cell.split, cell.group), str(cell.num_rows), *losses, wrong, preferred)
    return table


def _rates(evaluation: Evaluation) -> Table:
    times = [format_flow_time(time) for time in evaluation.settings.text_times]
    table = _table("texts that show their concept", ["texts", *(f"T {time}" for time in times)])
    for cell in evaluation.markers:
        table.add_row(*_name(cell.split, cell.group), str(cell.num_texts), *_percent(cell.rates, times))
    table.add_section()
    for cell in evaluation.markers:
        name = f"{cell.group}: concepts in half or more"
        table.add_row(visible_line(cell.split), name, str(cell.num_concepts), *_percent(cell.concepts_shown, times))
    return table


def _percent(shares: Mapping[str, float], times: list[str]) -> list[str]:
    return [f"{shares[time]:.0%}" for time in times]


def _name(split: str, group: str) -> tuple[Text, Text]:
    return Text(visible_line(split)), Text(visible_line(group))


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="bold")
    table.add_column("split")
    table.add_column("group")
    for name in columns:
        table.add_column(name, justify="right")
    return table
