"""The help page: the keys of what has the focus first, then every action, made from the table of actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from flas_tui.keymap import group_actions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.app import ComposeResult
    from textual.binding import BindingType

INTRODUCTION = (
    "Both panes are one model answering one prompt with the same noise: on the left as it is, on the right with its "
    "activations moved towards your concept for the flow time T. What differs is steering, and nothing else; the first "
    "token that differs is underlined in both.\n\n"
    "T 0 is the baseline. From 1 to 2.5 steering works best (━ on the track); beyond that (╌) the field extrapolates "
    "and the text falls apart. Moved while text runs, T acts on the next token and is marked in the text, ⟨T 1.25⟩."
)
KEY_CELLS = 12


class HelpScreen(ModalScreen[None]):
    """Everything that can be done, and how; `focused_keys` are those of the widget that had the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,f1,q", "dismiss", "Close")]

    def __init__(self, focused_keys: tuple[tuple[str, str], ...], changed_keys: dict[str, str]) -> None:
        super().__init__()
        self._focused_keys = focused_keys
        self._changed_keys = changed_keys

    def compose(self) -> ComposeResult:
        """Lay out one scrolling sheet."""
        sheet = VerticalScroll(classes="sheet")
        sheet.border_title = Content("flas")
        sheet.border_subtitle = Content("Esc closes")
        with sheet:
            yield Static(Content("\n\n").join(self._sections()))

    def _sections(self) -> Iterable[Content]:
        yield Content(INTRODUCTION)
        if self._focused_keys:
            yield _section("Here", self._focused_keys)
        for group, actions in group_actions().items():
            rows = [
                (self._changed_keys.get(action.id, action.label), f"{action.title}. {action.help}")
                for action in actions
            ]
            yield _section(group, rows)
        yield Content.styled("Letters act while no input has the focus. Keys can be changed in the settings.", "dim")


def _section(title: str, rows: Iterable[tuple[str, str]]) -> Content:
    lines = [Content.styled(title, "bold $steered")]
    lines += [Content.assemble((f"{keys:<{KEY_CELLS}}", "bold"), text) for keys, text in rows]
    return Content("\n").join(lines)
