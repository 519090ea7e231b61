"""Word wrap that grows with the text: each appended character is looked at once.

Rows are ranges of the text laid out so far. Greedy wrapping never changes a row once the next one has begun, so only
the last row is open, and wrapping piece by piece gives the rows that wrapping all at once would give. Nothing here
knows of widgets or styles; text must come in already visible (see `safe_text`), tabs and newlines apart.

    width 8, "the sea, tomorrow" -> "the sea, " | "tomorrow"      a trailing space hangs over the edge and is cropped
    width 4, "abcdef gh"         -> "abcd" | "ef " | "gh"         a word that is wider than a row is cut
"""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import get_character_cell_size

TAB_WIDTH = 4


class Row(NamedTuple):
    """The characters `start` to `end` (exclusive) of the laid-out text, a closing newline not included."""

    start: int
    end: int


class IncrementalWrap:
    """Lays out text in rows of `width` cells."""

    def __init__(self, width: int) -> None:
        self.width = max(1, width)
        self.closed: list[Row] = []
        self._length = 0
        self._row_start = 0
        self._column = 0
        self._break_at = 0  # just after the last place where the open row may be broken; its start when there is none
        self._break_column = 0

    @property
    def row_count(self) -> int:
        """How many rows there are, the open one included; 0 for no text at all."""
        return len(self.closed) + 1 if self._length else 0

    def row(self, index: int) -> Row:
        """Return the row `index`, counted from 0."""
        return self.closed[index] if index < len(self.closed) else Row(self._row_start, self._length)

    def append(self, text: str) -> None:
        """Lay out `text` after what is there."""
        offset = self._length
        for character in text:
            if character == "\n":
                self._close(offset, next_start=offset + 1, carried=0)
            elif character == " ":
                self._column += 1
                self._allow_break(offset + 1)
            elif character == "\t":
                self._column += TAB_WIDTH - self._column % TAB_WIDTH
                self._allow_break(offset + 1)
            else:
                self._place(offset, get_character_cell_size(character))
            offset += 1
        self._length = offset

    def append_unbroken(self, text: str) -> None:
        """Lay out `text` with a possible break before and after it, and none inside unless it is wider than a row."""
        self._allow_break(self._length)
        self.append(text.replace(" ", "\u00a0"))
        self._allow_break(self._length)

    def find_row(self, offset: int) -> int:
        """Return the index of the row that shows the character at `offset`."""
        if offset >= self._row_start:
            return len(self.closed)
        low, high = 0, len(self.closed)
        while low < high:
            middle = (low + high) // 2
            if self.closed[middle].start <= offset:
                low = middle + 1
            else:
                high = middle
        return max(0, low - 1)

    def _allow_break(self, offset: int) -> None:
        if offset > self._row_start:
            self._break_at, self._break_column = offset, self._column

    def _place(self, offset: int, cells: int) -> None:
        while cells and self._column + cells > self.width and offset > self._row_start:
            if self._break_at > self._row_start:
                self._close(self._break_at, next_start=self._break_at, carried=self._column - self._break_column)
            else:
                self._close(offset, next_start=offset, carried=0)
        self._column += cells

    def _close(self, end: int, *, next_start: int, carried: int) -> None:
        self.closed.append(Row(self._row_start, end))
        self._row_start = self._break_at = next_start
        self._column = carried
        self._break_column = 0


def expand_tabs(text: str) -> tuple[str, list[int]]:
    """Lay out a row's tabs; with the text comes, for each shown character, the index of the one it stands for.

    The indices end with one more, `len(text)`, for the place after the last character.
    """
    shown: list[str] = []
    origins: list[int] = []
    column = 0
    for index, character in enumerate(text):
        cells = TAB_WIDTH - column % TAB_WIDTH if character == "\t" else get_character_cell_size(character)
        piece = " " * cells if character == "\t" else character
        shown.append(piece)
        origins.extend([index] * len(piece))
        column += cells
    return "".join(shown), [*origins, len(text)]
