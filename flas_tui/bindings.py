"""Textual's form of the table of actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.actions import SkipAction
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Input

from flas_tui.keymap import ACTIONS, EVALUATION_ACTIONS, TRAINING_ACTIONS

if TYPE_CHECKING:
    from textual.binding import BindingType

    from flas_tui.keymap import Action


def app_bindings() -> list[BindingType]:
    """Return the bindings that hold on every screen."""
    return [_binding(action) for action in ACTIONS if action.action.startswith("app.")]


def screen_bindings() -> list[BindingType]:
    """Return the bindings of the compare screen alone."""
    return [_binding(action) for action in ACTIONS if not action.action.startswith("app.")]


def training_bindings() -> list[BindingType]:
    """Return the bindings of the training monitor alone."""
    return [_binding(action) for action in TRAINING_ACTIONS if not action.action.startswith("app.")]


def evaluation_bindings() -> list[BindingType]:
    """Return the bindings of the evaluation browser alone."""
    return [_binding(action) for action in EVALUATION_ACTIONS if not action.action.startswith("app.")]


class KeyScreen(Screen[None]):
    """A screen whose keys lead elsewhere before the next key is handed out, and are text while an input is typed in."""

    async def action_lead(self, action: str) -> None:
        """Do what leads elsewhere, unless an input has the focus."""
        if isinstance(self.focused, Input):
            raise SkipAction
        await self.app.run_action(action, self)


def _binding(action: Action) -> Binding:
    call = f"lead({action.action!r})" if action.leads_elsewhere else action.action
    is_priority = action.is_priority or action.leads_elsewhere  # the app hands out keys without waiting for widgets
    return Binding(action.keys, call, action.title, id=action.id, show=False, priority=is_priority)
