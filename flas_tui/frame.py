"""What all our applications share: themes, settings, keys, the help page and the palette.

A screen that says what can be done on it (`Explained`) gets its help page and its place in the palette from here.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from textual.app import App, SystemCommand

from flas_tui.bindings import app_bindings
from flas_tui.keymap import ACTION_IDS
from flas_tui.settings import SettingsError, save_setting
from flas_tui.terminal import repaint_on_resume
from flas_tui.themes import ANSI, THEME_DEFAULTS, THEMES, usual_theme

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.binding import BindingType
    from textual.screen import Screen
    from textual.theme import Theme

    from flas_tui.keymap import Action
    from flas_tui.settings import Settings

NOT_IN_PALETTE = {"next", "interrupt", "palette", "leave"}
"""Keys that say nothing as commands."""


@runtime_checkable
class Explained(Protocol):
    """A screen that says what can be done on it."""

    @property
    def introduction(self) -> str:
        """What the screen is, for the help."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """What can be done."""

    @property
    def focused_keys(self) -> tuple[tuple[str, str], ...]:
        """The keys of what has the focus, and what they do."""


class FramedApp(App[None]):
    """An application in our colours and with our keys; subclasses give the screens."""

    TITLE = "flas"
    CSS_PATH = "themes/flas.tcss"
    BINDINGS: ClassVar[list[BindingType]] = app_bindings()

    def __init__(self, settings: Settings, *, is_lite: bool) -> None:
        first_theme = usual_theme(os.environ)
        # With NO_COLOR, Textual chooses the filter that takes colour out by this, before it knows the theme.
        super().__init__(ansi_color=True if first_theme == ANSI.name else None)
        self.settings = settings
        self.is_lite = is_lite
        if is_lite:
            self.animation_level = "none"
        for theme in THEMES:
            self.register_theme(theme)
        self.complaints = [*self._use_theme(first_theme), *self._unknown_keys()]
        """What is wrong with the settings, to be told to the user."""

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Name the colours that our style sheet uses and other themes do not have."""
        return THEME_DEFAULTS

    def on_mount(self) -> None:
        """Take the user's keys."""
        repaint_on_resume(self)
        self.set_keymap({name: keys for name, keys in self.settings.keys.items() if name in ACTION_IDS})
        self.theme_changed_signal.subscribe(self, self._keep_theme)

    def _keep_theme(self, theme: Theme) -> None:
        """Write the theme that the user chose into the settings."""
        try:
            save_setting("theme", theme.name)
        except SettingsError as error:
            self.notify(str(error), severity="error", markup=False)

    def _use_theme(self, usual: str) -> list[str]:
        """Take the theme of the settings, or the usual one; returns what there is to complain about."""
        wanted = self.settings.theme
        is_known = wanted is not None and wanted in self.available_themes
        self.theme = wanted if wanted is not None and is_known and not self.no_color else usual
        if wanted is None or is_known:
            return []
        return [f"there is no theme {wanted!r}; there are {', '.join(sorted(self.available_themes))}"]

    def _unknown_keys(self) -> list[str]:
        unknown = sorted(self.settings.keys.keys() - ACTION_IDS)
        return [f"the settings give keys to {name!r}; there are {', '.join(sorted(ACTION_IDS))}" for name in unknown]

    def action_help(self) -> None:
        """Show the help, for what has the focus first; or put it away."""
        from flas_tui.screens.help import HelpScreen

        screen = self.screen
        if isinstance(screen, HelpScreen):
            screen.dismiss()
        elif isinstance(screen, Explained):
            changed = {name: keys for name, keys in self.settings.keys.items() if keys}
            self.push_screen(HelpScreen(screen.introduction, screen.actions, screen.focused_keys, changed))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """List every action of the screen, then the themes."""
        seen: set[str] = set()
        for action in screen.actions if isinstance(screen, Explained) else ():
            if action.action not in seen and action.id not in NOT_IN_PALETTE:
                seen.add(action.action)
                yield SystemCommand(f"{action.title}  ({action.label})", action.help, partial(self._run, action.action))
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
        yield SystemCommand("Screenshot", "Save the screen as an SVG picture", lambda: screen.app.action_screenshot())

    async def _run(self, action: str) -> None:
        await self.run_action(action, self.screen)
