"""What the evaluation browser lists: rows, columns and means in one measure, sorted and filtered. Nothing drawn.

The gain compares one flow time for all concepts, the one whose mean is best, with prompting: the best flow time of
each concept by itself would win by luck alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rich.cells import cell_len

from flas_engine.evaluation.results import BASELINE, MAX_RATING, PROMPTING, STEERING
from flas_engine.evaluation.scores import Column, mean_scores
from flas_tui.safe_text import visible_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flas_engine.evaluation.scores import Concept, EvaluatedSet, Scores

HIGHEST = MAX_RATING
MEASURE_TITLES = {"hm": "HM", "concept": "C", "instruction": "I", "fluency": "F"}
"""By field of `Scores`."""
GAIN = "gain"
"""The key of the column that compares; other columns have their labels for keys."""
BY_NAME, AS_READ = "", "as read"
"""Orders besides those by a column's key: by concept, and as the evaluation has them."""
_SHORT_TITLES = {"baseline": "base", "prompting": "prompt"}


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How the user wants to see the table."""

    measure: str = "hm"
    sort: str = AS_READ
    is_descending: bool = False
    search: str = ""
    """Words that concept or genre must hold, in any case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column as it is drawn."""

    key: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TableCell:
    """A score, or None with how many texts there are that have none."""

    value: float | None = None
    num_written: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRow:
    """A concept, or the means; a cell for each column."""

    concept: Concept | None = None
    title: str = ""
    cells: tuple[TableCell, ...] = ()
    best: int | None = None
    """The column with the highest score, if any is above 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationTable:
    """Everything that is drawn of an evaluation at once."""

    title: str = ""
    """Of the concepts' column."""
    columns: tuple[TableColumn, ...] = ()
    means: TableRow = TableRow()
    rows: tuple[TableRow, ...] = ()
    sorted_by: str = AS_READ
    is_descending: bool = False
    compared: tuple[Column, Column] | None = None
    """What the gain is: the first over the second; None where there is nothing to compare."""
    longest_title: int = 0
    """In cells."""


def make_table(evaluated: EvaluatedSet, view: View) -> EvaluationTable:
    """Put the table together; rows without a value are last in every order by value."""
    compared = choose_compared(evaluated, view.measure)
    concepts = [concept for concept in evaluated.concepts if _matches(concept, view.search)]
    columns = [_title_of(column) for column in evaluated.columns]
    columns += [TableColumn(key=GAIN, title="gain")] if compared else []
    rows = _sort([_make_row(evaluated, concept, view.measure, compared) for concept in concepts], columns, view)
    return EvaluationTable(
        title="concept",
        columns=tuple(columns),
        means=_make_means(
            evaluated, concepts, [row.cells[-1].value for row in rows] if compared else None, view.measure
        ),
        rows=tuple(rows),
        sorted_by=view.sort,
        is_descending=view.is_descending,
        compared=compared,
        longest_title=max((cell_len(row.title) for row in rows), default=0),
    )


def choose_compared(evaluated: EvaluatedSet, measure: str) -> tuple[Column, Column] | None:
    """Return the flow time whose mean over all concepts is best, and prompting or else the baseline."""
    others = {column.method: column for column in evaluated.columns if column.method != STEERING}
    reference = others.get(PROMPTING, others.get(BASELINE))
    means = {
        column: value
        for column in evaluated.columns
        if column.method == STEERING and (value := mean_of(evaluated, evaluated.concepts, column, measure)) is not None
    }
    return (max(means, key=means.__getitem__), reference) if means and reference is not None else None


def value_of(scores: Scores | None, measure: str) -> float | None:
    """Return one of the four measures."""
    value: float | None = None if scores is None else getattr(scores, measure)
    return value


def mean_of(evaluated: EvaluatedSet, concepts: Iterable[Concept], column: Column, measure: str) -> float | None:
    """Return the mean of a column over concepts, of those that have scores."""
    return value_of(mean_scores(evaluated.scores(concept, column) for concept in concepts), measure)


def column_of(evaluated: EvaluatedSet, key: str) -> Column | None:
    """Return the column that a key names; None for the gain."""
    return next((column for column in evaluated.columns if column.label == key), None)


def _matches(concept: Concept, search: str) -> bool:
    text = f"{concept.concept} {concept.genre}".casefold()
    return all(word in text for word in search.casefold().split())


def _title_of(column: Column) -> TableColumn:
    return TableColumn(key=column.label, title=_SHORT_TITLES.get(column.label, column.label))


def _make_row(
    evaluated: EvaluatedSet, concept: Concept, measure: str, compared: tuple[Column, Column] | None
) -> TableRow:
    cells = []
    for column in evaluated.columns:
        cell = evaluated.cells.get((concept, column))
        value = None if cell is None else value_of(cell.means, measure)
        cells.append(TableCell(value=value, num_written=0 if cell is None else len(cell.texts)))
    best = _best(cells)
    if compared is not None:
        steered, reference = (value_of(evaluated.scores(concept, column), measure) for column in compared)
        is_known = steered is not None and reference is not None
        cells.append(TableCell(value=steered - reference if is_known else None))  # type: ignore[operator]
    return TableRow(concept=concept, title=visible_line(concept.concept), cells=tuple(cells), best=best)


def _make_means(
    evaluated: EvaluatedSet, concepts: Sequence[Concept], gains: Sequence[float | None] | None, measure: str
) -> TableRow:
    cells = [TableCell(value=mean_of(evaluated, concepts, column, measure)) for column in evaluated.columns]
    best = _best(cells)
    if gains is not None:
        known = [gain for gain in gains if gain is not None]
        cells.append(TableCell(value=sum(known) / len(known) if known else None))
    num = f"{len(concepts)} of {len(evaluated.concepts)}" if len(concepts) < len(evaluated.concepts) else len(concepts)
    return TableRow(title=f"mean of {num}", cells=tuple(cells), best=best)


def _best(cells: Sequence[TableCell]) -> int | None:
    values = [cell.value or 0.0 for cell in cells]
    return values.index(max(values)) if values and max(values) > 0 else None


def _sort(rows: list[TableRow], columns: Sequence[TableColumn], view: View) -> list[TableRow]:
    if view.sort == AS_READ:
        return rows
    if view.sort == BY_NAME:
        return sorted(rows, key=lambda row: row.title.casefold(), reverse=view.is_descending)
    keys = [column.key for column in columns]
    if view.sort not in keys:
        return rows
    index = keys.index(view.sort)
    known = [row for row in rows if row.cells[index].value is not None]
    known.sort(key=partial(_value_at, index), reverse=view.is_descending)
    return known + [row for row in rows if row.cells[index].value is None]


def _value_at(index: int, row: TableRow) -> float:
    return row.cells[index].value or 0.0
