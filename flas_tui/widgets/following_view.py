"""A pane of rows that keeps its end in sight while rows are added, until the reader scrolls up.

It is made for text that arrives all the time on a line that may be slow: it moves by a few rows at once, since every
move draws the whole pane; it grows without laying out the screen anew; and its scroll bar is redrawn only when that
would show. It knows how many rows there are, not what is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.widget import Widget

if TYPE_CHECKING:
    from textual import events

GROWTH_ROWS = 8
"""The scrollable height, which the scroll bar shows, grows in steps of this many rows."""

FOLLOW_ROWS = 3
"""While following, the pane moves by this many rows at once: a third of the drawing, at most two rows left empty."""

FEWEST_ROWS_TO_STEP = 8
"""A lower pane moves row by row: it has no rows to leave empty, and is cheap to draw."""


class FollowingView(ScrollView, can_focus=True):
    """Rows that follow their end; subclasses say how many there are and call `rows_changed`."""

    DEFAULT_CSS = """
    FollowingView {
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "down", show=False),
        Binding("k", "scroll_up", "up", show=False),
        Binding("g", "scroll_home", "top", show=False),
        Binding("G", "scroll_end", "end", show=False),
    ]

    class Scrolled(Message):
        """The reader moved this view; `row` is now its first row, and `is_at_end` whether it follows the end."""

        def __init__(self, view: FollowingView, row: int, is_at_end: bool) -> None:
            super().__init__()
            self.view = view
            self.row = row
            self.is_at_end = is_at_end

        @property
        def control(self) -> FollowingView:
            """The view that was scrolled."""
            return self.view

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._is_following = True
        self._is_scrolling_itself = False
        self._window_rows = 0

    @property
    def line_count(self) -> int:
        """How many rows there are."""
        raise NotImplementedError

    @property
    def is_following(self) -> bool:
        """Whether the view keeps its end in sight as text arrives."""
        return self._is_following

    @property
    def max_scroll_y(self) -> int:
        """The first row to show so that the last is in sight; the height's growth in steps does not count."""
        hidden = max(0, self.line_count - self._window_rows)
        if self._window_rows < FEWEST_ROWS_TO_STEP:
            return hidden
        return -(-hidden // FOLLOW_ROWS) * FOLLOW_ROWS

    def scroll_in_step(self, row: int, *, is_at_end: bool) -> None:
        """Move as another view did, without telling anybody."""
        self._is_following = is_at_end
        self._scroll_itself(self.max_scroll_y if is_at_end else row)

    def scroll_to(self, x: float | None = None, y: float | None = None, **options: object) -> None:
        """Scroll at once: an animated scroll would draw the pane many times over a slow line."""
        options["animate"] = False
        super().scroll_to(x, y, **options)  # type: ignore[arg-type]

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Show the new rows, and tell a scroll of the reader's from one of our own."""
        if round(old_value) == round(new_value):
            return
        self._move_scroll_bar()
        self._refresh_window(0, self._window_rows)
        if self._is_scrolling_itself:
            return
        self._is_following = round(new_value) >= self.max_scroll_y
        self.post_message(self.Scrolled(self, round(new_value), self._is_following))

    def on_resize(self, event: events.Resize) -> None:
        """Take in the new size; what was at the top, or at the end, stays there."""
        del event
        top = self.fit_width(self.scrollable_content_region.width, self.scroll_offset.y)
        self._window_rows = self.scrollable_content_region.height
        self._fit_height()
        self._scroll_itself(self.max_scroll_y if self._is_following else top)
        self.refresh()

    def fit_width(self, width: int, top: int) -> int:
        """Take in a new width in cells; returns the row in which the row `top` begins now."""
        raise NotImplementedError

    def rows_changed(self, first: int) -> None:
        """Draw rows from `first` on, which are new or changed, and follow them."""
        self._fit_height()
        if self._is_following:
            self._scroll_itself(self.max_scroll_y)
        top = self.scroll_offset.y
        first, last = max(0, first - top), min(self._window_rows, self.line_count - top)
        if first < last:
            self._refresh_window(first, last - first)

    def restart(self) -> None:
        """Follow the end again from the first row; the rows are gone."""
        self._is_following = True
        self._fit_height()
        self._scroll_itself(0)
        self.refresh()

    def _refresh_window(self, first: int, count: int) -> None:
        """Draw rows of the window, and not the scroll bar beside them."""
        self.refresh(Region(0, first, self.virtual_size.width, count))

    def _fit_height(self) -> None:
        """Grow the scrollable height, laying out the screen only when the scroll bar comes or goes."""
        hidden = self.line_count - self._window_rows
        steps = max(0, -(-hidden // GROWTH_ROWS))
        size = Size(self.scrollable_content_region.width, self._window_rows + steps * GROWTH_ROWS)
        if size == self.virtual_size:
            return
        if self.show_vertical_scrollbar != (steps > 0):
            self.virtual_size = size
        else:
            self.set_reactive(Widget.virtual_size, size)
            if steps:
                self.vertical_scrollbar.window_virtual_size = size.height

    def _move_scroll_bar(self) -> None:
        """Move the bar when it would show, by half a cell or to an end; drawing it costs as much as half a pane."""
        if not self.show_vertical_scrollbar:
            return
        bar, row = self.vertical_scrollbar, self.scroll_y
        moved_cells = abs(row - bar.position) * self._window_rows / max(1, self.virtual_size.height)
        if moved_cells >= 0.5 or row in (0, self.max_scroll_y):
            bar.position = row

    def _scroll_itself(self, row: int) -> None:
        if row == self.scroll_y:
            return
        self._is_scrolling_itself = True
        try:
            self.scroll_to(y=row, force=True)
        finally:
            self._is_scrolling_itself = False
