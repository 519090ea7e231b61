"""Asks for a folder of some kind, and says at once when it is of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input, Static

from flas_engine.errors import FlasError
from flas_engine.paths import user_path
from flas_tui.safe_text import visible_line
from flas_tui.widgets.line_input import LineInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType


@dataclass(frozen=True, kw_only=True)
class FolderKind:
    """What is asked for; `check` returns the folder, or raises `FlasError` when it is no such folder."""

    title: str
    placeholder: str
    check: Callable[[Path], Path]


class _FolderSuggester(Suggester):
    """Completes the name of a folder."""

    async def get_suggestion(self, value: str) -> str | None:
        try:
            path = user_path(value)
            parent, start = (path, "") if value.endswith("/") else (path.parent, path.name)
            names = sorted(entry.name for entry in parent.iterdir() if entry.name.startswith(start) and entry.is_dir())
        except OSError:
            return None
        name = next((name for name in names if not name.startswith(".") or start), None)
        return None if name is None else value[: len(value) - len(start)] + name


class FolderPrompt(ModalScreen[Path | None]):
    """Closes with a folder of the wanted kind, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Close")]

    def __init__(self, kind: FolderKind, suggested: str = "") -> None:
        super().__init__()
        self._kind = kind
        self._field = LineInput(placeholder=kind.placeholder, id="folder-field")
        self._field.suggester = _FolderSuggester(use_cache=False)
        self._suggested = suggested
        self._complaint = Static("", id="folder-complaint", markup=False)

    def compose(self) -> ComposeResult:
        """Lay out one field, and room for what is wrong with it."""
        self._field.value = self._suggested
        sheet = Vertical(self._field, self._complaint, classes="sheet")
        sheet.border_title = Content(self._kind.title)
        sheet.border_subtitle = Content("→ completes · Enter opens · Esc closes")
        yield sheet

    @on(Input.Submitted)
    def _open(self, event: Input.Submitted) -> None:
        event.stop()
        path = user_path(event.value.strip())
        try:
            self.dismiss(self._kind.check(path))
        except FlasError as error:
            self._complain(str(error))
        except OSError as error:
            self._complain(f"{path} cannot be read ({error.strerror}); give another folder")

    def _complain(self, message: str) -> None:
        self._complaint.update(Content(visible_line(message)))

    @on(Input.Changed)
    def _forget_complaint(self) -> None:
        self._complaint.update("")
