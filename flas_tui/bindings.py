"""Textual's form of the table of actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

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


def _binding(action: Action) -> Binding:
    return Binding(action.keys, action.action, action.title, id=action.id, show=False, priority=action.is_priority)
