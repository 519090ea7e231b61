"""A table of scores, a row a concept and a column a way of answering, that stays quick with thousands of cells.

Only the rows in sight are drawn, from an `EvaluationTable` that was made elsewhere; header and means stay at the top,
concepts at the left, and columns that find no room scroll under the cursor. A score is its digits and, where
there are colours, a step of a scale from dark blue to bright yellow, which grows lighter all the way: it can be read
without telling hues apart. A row's best column is bold and underlined. Knows nothing of folders and judges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from flas_tui.evaluation_table import BY_NAME, GAIN, HIGHEST, EvaluationTable

if TYPE_CHECKING:
    from rich.style import Style
    from textual import events

    from flas_engine.evaluation.scores import Concept
    from flas_tui.evaluation_table import TableCell, TableRow

SCORE_LEVELS = 9
"""Steps of the colour scale from 0 to 2: the theme's style sheet has a colour for each."""
FIXED_ROWS = 2
"""Header and means."""
SCORE_CELLS, GAIN_CELLS = 6, 7
"""Of a cell without the space behind it: [1.02] and [+0.28] when the cursor is there."""
LEAST_TITLE_CELLS = 18
NOT_RATED, NOTHING = "·", ""
SIGNS = {True: "▾", False: "▴"}
"""Of an order, by whether it is descending."""
BEFORE, BEHIND = "◂", "▸"
"""Where columns are out of sight."""

K = TypeVar("K")


class ScoreGrid(ScrollView, can_focus=True):
    """Shows a table and a cursor in it; `show` puts another one in its place and keeps the cursor on its cell."""

    DEFAULT_CSS = """
    ScoreGrid { overflow-x: hidden; overflow-y: auto; scrollbar-gutter: stable; scrollbar-size-vertical: 1; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "grid--header",
        "grid--sorted",
        "grid--mean",
        "grid--title",
        "grid--here",
        "grid--cursor",
        "grid--best",
        "grid--quiet",
        "grid--gain",
        "grid--loss",
        *(f"grid--score-{level}" for level in range(SCORE_LEVELS)),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1, 0)", "up", show=False),
        Binding("down,j", "move(1, 0)", "down", show=False),
        Binding("left,h", "move(0, -1)", "left", show=False),
        Binding("right,l", "move(0, 1)", "right", show=False),
        Binding("pageup", "page(-1)", "a page up", show=False),
        Binding("pagedown", "page(1)", "a page down", show=False),
        Binding("g,home", "to_row(0)", "first concept", show=False),
        Binding("G,end", "to_row(-1)", "last concept", show=False),
    ]
    KEYS_HELP: ClassVar[tuple[tuple[str, str], ...]] = (
        ("← ↓ ↑ →", "move; h j k l do too, PageUp and PageDown by a screen, g and G to the ends"),
        ("mouse", "a click moves, a second one opens; on the header it sorts"),
    )

    class Moved(Message):
        """The cursor is on another cell, or the table is another one."""

    class Opened(Message):
        """The cell under the cursor was clicked again."""

    class HeaderClicked(Message):
        """A column's title was clicked; its key is empty for the concepts'."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._table = EvaluationTable()
        self._row = self._column = 0
        self._first_column = 0

    @property
    def table(self) -> EvaluationTable:
        """What is shown."""
        return self._table

    @property
    def concept(self) -> Concept | None:
        """Of the row under the cursor; None in an empty table."""
        return self._table.rows[self._row].concept if self._table.rows else None

    @property
    def column(self) -> str | None:
        """The key of the column under the cursor; None in an empty table."""
        return self._table.columns[self._column].key if self._table.columns else None

    def show(self, table: EvaluationTable) -> None:
        """Put `table` in the place of the present one; the cursor stays with its concept and column."""
        concept, column = self.concept, self.column
        self._table = table
        self._row = _find([row.concept for row in table.rows if row.concept is not None], concept, self._row)
        self._column = _find([each.key for each in table.columns], column, self._column)
        self.virtual_size = Size(0, len(table.rows) + FIXED_ROWS)
        self._keep_in_sight()
        self.refresh()
        self.post_message(self.Moved())

    # Moving

    def action_move(self, rows: int, columns: int) -> None:
        """Move the cursor."""
        self._go(self._row + rows, self._column + columns)

    def action_page(self, by: int) -> None:
        """Move the cursor by as many rows as can be seen."""
        self._go(self._row + by * max(1, self.size.height - FIXED_ROWS), self._column)

    def action_to_row(self, row: int) -> None:
        """Move the cursor to a row; -1 is the last one."""
        self._go(row if row >= 0 else len(self._table.rows) + row, self._column)

    def _go(self, row: int, column: int) -> None:
        row = max(0, min(row, len(self._table.rows) - 1))
        column = max(0, min(column, len(self._table.columns) - 1))
        if (row, column) == (self._row, self._column):
            return
        before, self._row, self._column = self._row, row, column
        self._keep_in_sight()
        for changed in {before, row}:
            self.refresh(Region(0, changed + FIXED_ROWS - self.scroll_offset.y, self.size.width, 1))
        self.post_message(self.Moved())

    def _keep_in_sight(self) -> None:
        """Scroll so that the cursor can be seen."""
        rows = max(1, self.size.height - FIXED_ROWS)
        top = max(0, min(self._row, max(self.scroll_offset.y, self._row - rows + 1)))
        if top != self.scroll_offset.y:
            self.scroll_to(y=top, animate=False)
        first = min(self._first_column, self._column, max(0, len(self._table.columns) - 1))
        while self._column >= first + self._num_columns_from(first):
            first += 1
        while first and first - 1 + self._num_columns_from(first - 1) >= len(self._table.columns):
            first -= 1  # room that is left shows what lies before
        if first != self._first_column:
            self._first_column = first
            self.refresh()

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self._keep_in_sight()

    # Where things are

    @property
    def _width(self) -> int:
        return int(self.scrollable_content_region.width)

    def _width_of(self, column: int) -> int:
        return (GAIN_CELLS if self._table.columns[column].key == GAIN else SCORE_CELLS) + 1

    @property
    def _title_cells(self) -> int:
        """Room for the concepts: what the columns leave, and no more than the longest takes."""
        left = self._width - sum(map(self._width_of, range(len(self._table.columns))))
        return max(LEAST_TITLE_CELLS, min(left, self._table.longest_title + 3))

    def _num_columns_from(self, first: int) -> int:
        """How many columns find room when `first` is the first; at least one."""
        room, count = self._width - self._title_cells, 0
        for column in range(first, len(self._table.columns)):
            room -= self._width_of(column)
            if room < 0:
                break
            count += 1
        return max(1, count)

    @property
    def _shown_columns(self) -> range:
        last = min(self._first_column + self._num_columns_from(self._first_column), len(self._table.columns))
        return range(self._first_column, last)

    def _column_at(self, x: int) -> int | None:
        """Return the column that lies `x` cells from the left; None for the concepts and beside the table."""
        left = self._title_cells
        for column in self._shown_columns:
            if left <= x < left + self._width_of(column):
                return column
            left += self._width_of(column)
        return None

    def on_click(self, event: events.Click) -> None:
        """Sort by a title, move to a cell, open the cell that the cursor is on."""
        if not self._table.columns:
            return
        column, row = self._column_at(event.x), event.y - FIXED_ROWS + self.scroll_offset.y
        if event.y == 0:
            if column is not None or event.x < self._title_cells:
                self.post_message(self.HeaderClicked("" if column is None else self._table.columns[column].key))
        elif event.y >= FIXED_ROWS and row < len(self._table.rows):
            is_same = (row, self._column if column is None else column) == (self._row, self._column)
            if is_same and column is not None:
                self.post_message(self.Opened())
            else:
                self._go(row, self._column if column is None else column)

    # Drawing

    def render_line(self, y: int) -> Strip:
        """Draw one row of the window."""
        if not self._table.columns:
            return Strip.blank(self._width, self.rich_style)
        row = y - FIXED_ROWS + self.scroll_offset.y
        if y == 0:
            segments = self._draw_header()
        elif y == 1:
            segments = self._draw_row(self._table.means, is_here=False, is_mean=True)
        elif row < len(self._table.rows):
            segments = self._draw_row(self._table.rows[row], is_here=row == self._row, is_mean=False)
        else:
            segments = []
        return Strip(segments).adjust_cell_length(self._width, self.rich_style).apply_style(self.rich_style)

    def _draw_header(self) -> list[Segment]:
        table, shown, header = self._table, self._shown_columns, self._style("header")
        title = f" {table.title}" + (SIGNS[table.is_descending] if table.sorted_by == BY_NAME else "")
        segments = [Segment(_fit(title, self._title_cells - 1) + (BEFORE if shown.start else " "), header)]
        for column in shown:
            each, is_cut = table.columns[column], column == shown.stop - 1 and shown.stop < len(table.columns)
            is_sorted = table.sorted_by == each.key
            style = self._style("header", "sorted") if is_sorted else header
            sign = SIGNS[table.is_descending] if is_sorted else BEHIND if is_cut else " "
            segments.append(Segment(f"{each.title:>{self._width_of(column) - 1}}{sign}", style))
        return segments

    def _draw_row(self, row: TableRow, *, is_here: bool, is_mean: bool) -> list[Segment]:
        title = self._style("mean" if is_mean else "title", *(["here"] if is_here else []))
        sign = "▸" if is_here else " "
        segments = [Segment(sign + _fit(row.title, self._title_cells - 2) + " ", title)]
        for column in self._shown_columns:
            is_cursor = is_here and column == self._column
            segments += self._draw_cell(row.cells[column], column, is_best=column == row.best, is_cursor=is_cursor)
        return segments

    def _draw_cell(self, cell: TableCell, column: int, *, is_best: bool, is_cursor: bool) -> tuple[Segment, Segment]:
        is_gain = self._table.columns[column].key == GAIN
        width = self._width_of(column) - 1
        names = ["cursor"] if is_cursor and self.has_focus else []
        if cell.value is None:
            text, names = (NOT_RATED if cell.num_written else NOTHING), ["quiet", *names]
        elif is_gain:
            text, names = f"{cell.value:+.2f}", ["gain" if cell.value >= 0 else "loss", *names]
        else:
            text, names = (
                f"{cell.value:.2f}",
                [f"score-{score_level(cell.value)}", *(["best"] if is_best else []), *names],
            )
        inner = f"{text:>{width - 2}}"
        drawn = f"[{inner}]" if is_cursor else f" {inner} "
        return Segment(drawn, self._style(*names)), Segment(" ")

    def _style(self, *names: str) -> Style:
        style = self.get_component_rich_style(f"grid--{names[0]}", partial=True)
        for name in names[1:]:
            style += self.get_component_rich_style(f"grid--{name}", partial=True)
        return style


def score_level(value: float) -> int:
    """Return the step of the colour scale for a score of 0 to 2."""
    return max(0, min(round(value / HIGHEST * (SCORE_LEVELS - 1)), SCORE_LEVELS - 1))


def _find(keys: list[K], wanted: K | None, otherwise: int) -> int:
    """Where `wanted` is among `keys`, else the index nearest to `otherwise`."""
    if wanted in keys:
        return keys.index(wanted)
    return max(0, min(otherwise, len(keys) - 1))


def _fit(text: str, width: int) -> str:
    """Return `text` in exactly `width` cells, cut with an ellipsis."""
    return set_cell_size(text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…", width)
