"""One pane of the comparison: a bordered token view with a title, a footer, and words for when it is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from flas_tui.safe_text import visible_line
from flas_tui.widgets.token_view import TokenView

if TYPE_CHECKING:
    from textual.app import ComposeResult


class LanePane(Container):
    """Shows one lane; `view` is the text itself."""

    def __init__(self, *, title: str, hint: str, id: str) -> None:
        super().__init__(id=id)
        self._hint = hint
        self._title = self._footer = ""
        self.view = TokenView(id=f"{id}-text")
        self.show_title(title)

    def compose(self) -> ComposeResult:
        """Lay out the text, and over it the hint as long as there is none."""
        yield self.view
        yield Static(self._hint, classes="hint", markup=False)

    def on_mount(self) -> None:
        """Start empty."""
        self.add_class("-empty")

    def show_title(self, title: str) -> None:
        """Put a title in the upper border; the text may be the user's."""
        if title != self._title:  # setting a border's text draws the whole pane anew
            self._title = title
            self.border_title = Content(visible_line(title))

    def show_footer(self, footer: str) -> None:
        """Put a remark in the lower border."""
        if footer != self._footer:
            self._footer = footer
            self.border_subtitle = Content(visible_line(footer))

    def say_empty(self, hint: str) -> None:
        """Say what will appear here."""
        self.query_one(".hint", Static).update(Content(hint))

    def clear(self) -> None:
        """Forget the text."""
        self.view.clear()
        self.say_empty(self._hint)
        self.add_class("-empty")

    def append(self, text: str) -> None:
        """Go on with the text."""
        self.remove_class("-empty")
        self.view.append(text)

    def insert_marker(self, label: str) -> None:
        """Draw a mark in the text flow, here."""
        self.remove_class("-empty")
        self.view.insert_marker(label)
