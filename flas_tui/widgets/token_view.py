"""A pane that model text streams into, token by token.

It takes raw text and shows it safely (see `safe_text`), wraps as it grows (see `wrapping`), follows the end unless the
reader has scrolled up (see `following_view`), and draws three things over the text: markers in its flow, the place
where two panes part, and search matches. It knows nothing of engines, lanes or other panes; whoever wants panes in
lock-step listens to `TokenView.Scrolled` and calls `scroll_in_step`.

Two kinds of offset occur: raw (into what was appended) and shown (into what is laid out: raw text and markers).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from flas_tui.safe_text import pasteable_text, visible_line, visible_text_with_tabs
from flas_tui.widgets.following_view import FollowingView
from flas_tui.widgets.wrapping import IncrementalWrap, expand_tabs

if TYPE_CHECKING:
    from textual.geometry import Offset
    from textual.selection import Selection

_WORD = re.compile(r"\s*\S*")

Span = tuple[int, int]


class TokenView(FollowingView):
    """Streaming, selectable, searchable text; `append` costs what it adds, however much is there."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "token-view--marker",
        "token-view--difference",
        "token-view--diverged",
        "token-view--match",
        "token-view--current-match",
    }

    DEFAULT_CSS = """
    TokenView > .token-view--marker { color: $accent; text-style: bold; }
    TokenView > .token-view--difference { color: $warning; text-style: bold underline; }
    TokenView > .token-view--diverged { color: $foreground; }
    TokenView > .token-view--match { text-style: underline; }
    TokenView > .token-view--current-match { text-style: reverse; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._text = ""
        self._shown = ""
        self._markers: list[Span] = []  # shown
        self._wrap = IncrementalWrap(80)
        self._strips: dict[int, Strip] = {}
        self._base = Style.null()
        self._difference: int | None = None  # raw
        self._is_mark_visible = True
        self._term: re.Pattern[str] | None = None
        self._matches: list[Span] = []  # raw
        self._current_match: int | None = None

    # What it holds

    @property
    def text(self) -> str:
        """Everything appended since the last `clear`, as it came."""
        return self._text

    @property
    def line_count(self) -> int:
        """Rows the text takes at the present width."""
        return self._wrap.row_count

    def clear(self) -> None:
        """Forget text, markers, marks and search, and follow the end again."""
        self._text = self._shown = ""
        self._markers.clear()
        self._wrap = IncrementalWrap(self._wrap.width)
        self._strips.clear()
        self._difference = None
        self.search("")
        self.restart()

    def append(self, text: str) -> None:
        """Show `text` after what is there."""
        if not text:
            return
        first_row = self._open_row()
        self._text += text
        visible = visible_text_with_tabs(text)
        self._shown += visible
        self._wrap.append(visible)
        self._find_matches(since=len(self._text) - len(text))
        self._grown(first_row)

    def insert_marker(self, label: str) -> None:
        """Draw `label` in the text's flow at its present end; it is no part of `text`."""
        first_row = self._open_row()
        visible = visible_line(label).replace(" ", "\u00a0")
        self._markers.append((len(self._shown), len(self._shown) + len(visible)))
        self._shown += visible
        self._wrap.append_unbroken(visible)
        self._grown(first_row)

    # What is drawn over it

    def mark_difference(self, offset: int | None) -> None:
        """Mark the word at `offset` of `text`, where the panes part, and style what follows; None unmarks it."""
        self._difference = offset
        self._repaint()

    def set_mark_visible(self, is_visible: bool) -> None:
        """Show or hide the mark of `mark_difference`."""
        self._is_mark_visible = is_visible
        self._repaint()

    def search(self, term: str) -> int:
        """Highlight `term` wherever it is, and in text to come; returns how often it is there. Empty: no search.

        Letter case counts only when `term` has a capital letter.
        """
        flags = re.NOFLAG if term != term.lower() else re.IGNORECASE
        self._term = re.compile(re.escape(term), flags) if term else None
        self._matches.clear()
        self._current_match = None
        self._find_matches(since=0)
        self._repaint()
        return len(self._matches)

    def next_match(self) -> bool:
        """Go to the next match, around the end to the first; False when there is none."""
        return self._go_to_match(1)

    def previous_match(self) -> bool:
        """Go to the match before, around the start to the last; False when there is none."""
        return self._go_to_match(-1)

    def fit_width(self, width: int, top: int) -> int:
        """Wrap anew when the width changed; the character that began the row `top` is in the row returned."""
        first = self._wrap.row(min(top, self._open_row())).start
        if width > 0 and width != self._wrap.width:
            self._rewrap(width)
        return self._wrap.find_row(first)

    # Drawing

    def render_line(self, y: int) -> Strip:
        """Return the strip for row `y` of the window."""
        row = self.scroll_offset.y + y
        strip = self._strips.get(row)
        if strip is None:
            if not self._base:
                self._base = self.rich_style
            strip = self._render_row(row) if row < self.line_count else Strip.blank(self.size.width, self._base)
            self._strips[row] = strip = strip.crop_extend(0, self.size.width, self._base)
        return strip

    def notify_style_update(self) -> None:
        """Drop what was drawn in the old styles."""
        super().notify_style_update()
        self._base = Style.null()
        self._strips.clear()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return the selected part of `text`, without soft line breaks and markers, and safe to paste."""
        start = 0 if selection.start is None else self._raw_offset_at(selection.start)
        end = len(self._text) if selection.end is None else self._raw_offset_at(selection.end)
        return pasteable_text(self._text[start:end]), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Draw the selection."""
        del selection
        self._repaint()

    def _render_row(self, index: int) -> Strip:
        row = self._wrap.row(index)
        shown = self._shown[row.start : row.end]
        display, origins = expand_tabs(shown) if "\t" in shown else (shown, None)
        spans = [
            (max(start, row.start) - row.start, min(end, row.end) - row.start, style)
            for start, end, style in self._styled_spans(row.start, row.end)
        ]
        if origins is not None:
            spans = [(origins.index(start), origins.index(end), style) for start, end, style in spans]
        if (selection := self._selected_span(index, len(display))) is not None:
            spans.append((*selection, self.screen.get_component_rich_style("screen--selection")))
        display += " " * (self._wrap.width - cell_len(display))  # in the last segment: another would double the bytes
        edges = sorted({0, len(display), *(edge for start, end, _ in spans for edge in (start, end))})
        segments = []
        for start, end in pairwise(edges):
            style = self._base
            for span_start, span_end, span_style in spans:
                if span_start <= start < span_end:
                    style += span_style
            segments.append(Segment(display[start:end], style + Style.from_meta({"offset": (start, index)})))
        return Strip(segments)

    def _styled_spans(self, first: int, last: int) -> list[tuple[int, int, Style]]:
        """Shown spans that touch `first` to `last`; later ones are drawn over earlier ones."""
        spans: list[tuple[Span, str]] = []
        if self._difference is not None and self._is_mark_visible:
            start, end = self._difference_word(self._difference)
            spans.append(((self._shown_offset(end), last), "diverged"))
            spans.append(((self._shown_offset(start), self._shown_offset(end)), "difference"))
        for number, (start, end) in enumerate(self._matches):
            name = "current-match" if number == self._current_match else "match"
            spans.append(((self._shown_offset(start), self._shown_offset(end - 1) + 1), name))
        spans += [(marker, "marker") for marker in self._markers]
        return [
            (start, end, self.get_component_rich_style(f"token-view--{name}", partial=True))
            for (start, end), name in spans
            if start < last and end > first
        ]

    def _difference_word(self, offset: int) -> Span:
        """Find the word at or right after `offset`, without the space before it."""
        match = _WORD.match(self._text, offset)
        if match is None or not match.group().strip():
            return offset, offset
        return match.end() - len(match.group().lstrip()), match.end()

    def _selected_span(self, index: int, length: int) -> Span | None:
        selection = self.text_selection
        span = selection.get_span(index) if selection is not None else None
        if span is None:
            return None
        return span[0], length if span[1] == -1 else min(span[1], length)

    # Offsets

    def _shown_offset(self, raw: int) -> int:
        """Where the raw character is shown: after the markers that came before it."""
        shown = raw
        for start, end in self._markers:
            if start > shown:
                break
            shown += end - start
        return shown

    def _raw_offset(self, shown: int) -> int:
        passed = self._markers[: bisect_right(self._markers, (shown, shown))]
        return shown - sum(min(end, shown) - start for start, end in passed)

    def _raw_offset_at(self, place: Offset) -> int:
        if place.y >= self.line_count:
            return len(self._text)
        row = self._wrap.row(place.y)
        shown = self._shown[row.start : row.end]
        if "\t" in shown:
            origins = expand_tabs(shown)[1]
            return self._raw_offset(row.start + origins[min(place.x, len(origins) - 1)])
        return self._raw_offset(min(row.start + place.x, row.end))

    # Keeping up

    def _open_row(self) -> int:
        return max(0, self.line_count - 1)

    def _grown(self, first_row: int) -> None:
        for row in range(first_row, self.line_count):
            self._strips.pop(row, None)
        self.rows_changed(first_row)

    def _rewrap(self, width: int) -> None:
        self._wrap = IncrementalWrap(width)
        self._strips.clear()
        position = 0
        for start, end in self._markers:
            self._wrap.append(self._shown[position:start])
            self._wrap.append_unbroken(self._shown[start:end])
            position = end
        self._wrap.append(self._shown[position:])

    def _repaint(self) -> None:
        self._strips.clear()
        self.refresh()

    def _find_matches(self, *, since: int) -> None:
        if self._term is None:
            return
        known = self._matches[-1][1] if self._matches else 0
        overlap = max(known, since - len(self._term.pattern))
        found = [match.span() for match in self._term.finditer(self._text, overlap)]
        self._matches += found
        if found:
            self._strips.clear()
            self.refresh()

    def _go_to_match(self, step: int) -> bool:
        if not self._matches:
            return False
        start = -1 if step > 0 else 0
        current = start if self._current_match is None else self._current_match
        self._current_match = (current + step) % len(self._matches)
        row = self._wrap.find_row(self._shown_offset(self._matches[self._current_match][0]))
        top = self.scroll_offset.y
        if not top <= row < top + self._window_rows:
            self.scroll_to(y=max(0, row - self._window_rows // 2), force=True)
        self._repaint()
        return True
