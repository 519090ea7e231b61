"""The one row at the bottom: the keys that matter now, or a message that does not steal the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from flas_tui.safe_text import visible_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.timer import Timer

NOTE_SECONDS = 5.0
"""Long enough to read two rows."""
Hints = tuple[tuple[str, str], ...]


class StatusLine(Widget):
    """Shows `hints` (key, what it does) until something is said; an error stays until it is cleared."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"status--key", "status--text", "status--note", "status--error"}
    hints: reactive[Hints] = reactive(())
    message: reactive[str] = reactive("")
    _severity: Literal["note", "error"] = "note"
    _expiry: Timer | None = None

    def note(self, message: str) -> None:
        """Say something for a few seconds."""
        self._say(message, "note")
        self._expiry = self.set_timer(NOTE_SECONDS, self.clear)

    def note_all(self, messages: Sequence[str]) -> None:
        """Say several things at once, if there are any: one after the other only the last would be read."""
        if messages:
            self.note(" · ".join(messages))

    def error(self, message: str) -> None:
        """Say what went wrong, until `clear`."""
        self._say(message, "error")

    def clear(self) -> None:
        """Back to the key hints."""
        self._stop_expiry()
        self.message = ""

    def _say(self, message: str, severity: Literal["note", "error"]) -> None:
        self._stop_expiry()
        self._severity = severity
        self.message = visible_line(message)
        self.refresh()

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.stop()
            self._expiry = None

    def render(self) -> Content:
        """Draw the message, or as many hints as fit whole."""
        if self.message:
            sign = "✗ " if self._severity == "error" else "· "
            return self._styled(f" {sign}{self.message}", self._severity)
        shown, width = Content(" "), self.size.width
        for key, text in self.hints:
            hint = Content("").join([self._styled(key, "key"), self._styled(f" {text}", "text"), Content("   ")])
            if shown.cell_length + hint.cell_length - 2 > width:
                break
            shown = Content("").join([shown, hint])
        return shown

    def _styled(self, text: str, name: str) -> Content:
        return Content.styled(text, self.get_visual_style(f"status--{name}"))

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """Return 2 for a message that is longer than the row, else 1."""
        del container, viewport
        return 2 if self.message and len(self.message) + 4 > width > 0 else 1

    def watch_message(self) -> None:
        """Lay out anew: the height may change with the message."""
        self.refresh(layout=True)
