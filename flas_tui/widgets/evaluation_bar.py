"""The row at the top of the evaluation browser: which evaluation, what is shown of it, who judged, how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from flas_tui.evaluation_summary import describe_counts, describe_judge, describe_measure
from flas_tui.safe_text import visible_line
from flas_tui.widgets.run_bar import NAME_CELLS, FactBar

if TYPE_CHECKING:
    from flas_engine.evaluation.scores import EvaluatedSet
    from flas_tui.evaluation_table import View

JUDGE_CELLS = 32


class EvaluationBar(FactBar):
    """One row, with how much is rated at the right."""

    def show(
        self, name: str, evaluated: EvaluatedSet | None, view: View, *, num_planned: int, is_growing: bool
    ) -> None:
        """Draw what is looked at, and how."""
        parts, fraction = [("name", _cut(name, NAME_CELLS))], None
        parts += [("live", "● growing")] if is_growing else []
        if evaluated is not None:
            counts, fraction = describe_counts(evaluated, num_planned)
            judge = _cut(describe_judge(evaluated.judge, len(evaluated.judges)), JUDGE_CELLS)
            parts = [("live", describe_measure(view)), ("label", judge), *parts, ("label", counts)]
        self.draw(tuple(parts), fraction)


def _cut(text: str, cells: int) -> str:
    return Content(visible_line(text)).truncate(cells, ellipsis=True).plain
