"""A one-row text input without a frame, for the concept and the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.highlighter import Highlighter
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from flas_tui.safe_text import visible_line

if TYPE_CHECKING:
    from textual import events


class _Visible(Highlighter):
    """Shows control characters that came in by another way than the keyboard, in place of sending them on."""

    def __call__(self, text: str | Text) -> Text:
        return Text(visible_line(str(text)), no_wrap=True, overflow="ignore", end="")

    def highlight(self, text: Text) -> None:
        """Leave `text` as it is."""


class LineInput(Input):
    """An `Input` whose pastes keep all their lines (joined by spaces) and lose their control characters."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("down", "browse", "Used before", show=False)]

    class Browse(Message):
        """The user asks for what was typed here before."""

    def __init__(self, *, placeholder: str, id: str) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True, highlighter=_Visible())

    def action_browse(self) -> None:
        """Ask for what was typed here before."""
        self.post_message(self.Browse())

    def _on_paste(self, event: events.Paste) -> None:
        text = "".join(c for c in " ".join(event.text.split()) if c.isprintable())
        if text:
            self.replace(text, *self.selection)
        event.stop()
        event.prevent_default()
