"""Asks for the folder of a training run, and says at once when it is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input, Static

from flas_engine.errors import FlasError
from flas_tui.run_watcher import check_run
from flas_tui.safe_text import visible_line
from flas_tui.widgets.line_input import LineInput

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType


class _FolderSuggester(Suggester):
    """Completes the name of a folder."""

    async def get_suggestion(self, value: str) -> str | None:
        path = Path(value).expanduser()
        parent, start = (path, "") if value.endswith("/") else (path.parent, path.name)
        try:
            names = sorted(entry.name for entry in parent.iterdir() if entry.name.startswith(start) and entry.is_dir())
        except OSError:
            return None
        name = next((name for name in names if not name.startswith(".") or start), None)
        return None if name is None else value[: len(value) - len(start)] + name


class RunPrompt(ModalScreen[Path | None]):
    """Closes with the folder of a run, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Close")]

    def __init__(self, suggested: str = "") -> None:
        super().__init__()
        self._field = LineInput(placeholder="the folder that flas-tui train --out wrote", id="run-folder")
        self._field.suggester = _FolderSuggester(use_cache=False)
        self._suggested = suggested
        self._complaint = Static("", id="run-complaint", markup=False)

    def compose(self) -> ComposeResult:
        """Lay out one field, and room for what is wrong with it."""
        self._field.value = self._suggested
        sheet = Vertical(self._field, self._complaint, classes="sheet")
        sheet.border_title = Content("watch a training run")
        sheet.border_subtitle = Content("→ completes · Enter opens · Esc closes")
        yield sheet

    @on(Input.Submitted)
    def _open(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            self.dismiss(check_run(Path(event.value.strip()).expanduser()))
        except FlasError as error:
            self._complaint.update(Content(visible_line(str(error))))

    @on(Input.Changed)
    def _forget_complaint(self) -> None:
        self._complaint.update("")
