"""The help page: the keys of what has the focus first, then every action, made from the table of actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.table import Table
from rich.text import Text
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from flas_tui.keymap import group_actions
from flas_tui.settings import default_settings_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from flas_tui.keymap import Action

KEY_CELLS = 12


class HelpScreen(ModalScreen[None]):
    """Everything that can be done, and how; `focused_keys` are those of the widget that had the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,f1,q", "dismiss", "Close")]

    def __init__(
        self,
        introduction: str,
        actions: tuple[Action, ...],
        focused_keys: tuple[tuple[str, str], ...],
        changed_keys: dict[str, str],
    ) -> None:
        super().__init__()
        self._introduction = introduction
        self._actions = actions
        self._settings_path = default_settings_path()
        self._focused_keys = focused_keys
        self._changed_keys = changed_keys

    def compose(self) -> ComposeResult:
        """Lay out one scrolling sheet."""
        sheet = VerticalScroll(classes="sheet")
        sheet.border_title = Content("flas")
        sheet.border_subtitle = Content("Esc closes")
        with sheet:
            yield from self._sections()

    def _sections(self) -> Iterable[Static]:
        yield Static(Content(self._introduction))
        if self._focused_keys:
            yield _section("Here", self._focused_keys)
        for group, actions in group_actions(self._actions).items():
            rows = [
                (self._changed_keys.get(action.id, action.label), f"{action.title}. {action.help}")
                for action in actions
            ]
            yield _section(group, rows)
        yield Static(
            Content(f"Letters act while no input has the focus. Keys can be changed in\n{self._settings_path}")
        )


def _section(title: str, rows: Iterable[tuple[str, str]]) -> Static:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=KEY_CELLS)
    table.add_column()
    for keys, text in rows:
        table.add_row(Text(keys, "bold"), Text(text))
    section = Static(table, classes="section")
    section.border_title = Content(title)
    return section
