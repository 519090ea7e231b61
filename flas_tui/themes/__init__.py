"""Colours: a dark, a light and a 16-colour theme, and which of them a terminal gets.

The baseline is cool, what is steered is warm, in every theme. The 16-colour theme names the terminal's own colours,
so it keeps to whatever background the user has; NO_COLOR takes it too and leaves bold, underline and reverse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.theme import Theme

if TYPE_CHECKING:
    from collections.abc import Mapping

DARK = Theme(
    name="flas-dark",
    primary="#82aaff",
    secondary="#c3b5f7",
    accent="#ffb86c",
    warning="#ffd479",
    error="#ff7b85",
    success="#8fd6a1",
    foreground="#d7dce5",
    background="#12151c",
    surface="#181c25",
    panel="#222836",
    dark=True,
    variables={
        "baseline": "#82aaff",
        "steered": "#ffb86c",
        "ink": "#12151c",
        "quiet": "#8b95a7",
        "line": "#3a4356",
        "field": "#1c212c",
        "input-selection-background": "#82aaff 35%",
        "scrollbar": "#3a4356",
        "scrollbar-background": "#12151c",
        "scrollbar-corner-color": "#12151c",
        "block-cursor-background": "#2c3547",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-blurred-background": "#1c212c",
    },
)
LIGHT = Theme(
    name="flas-light",
    primary="#2459b8",
    secondary="#6a4fb3",
    accent="#a84f00",
    warning="#8a6100",
    error="#b3202c",
    success="#1f7a3a",
    foreground="#20242c",
    background="#fbfaf7",
    surface="#f3f1ec",
    panel="#e6e3db",
    dark=False,
    variables={
        "baseline": "#2459b8",
        "steered": "#a84f00",
        "ink": "#fbfaf7",
        "quiet": "#646b78",
        "line": "#c3beb2",
        "field": "#f0ede6",
        "input-selection-background": "#2459b8 25%",
        "scrollbar": "#c3beb2",
        "scrollbar-background": "#fbfaf7",
        "scrollbar-corner-color": "#fbfaf7",
        "block-cursor-background": "#dcd7cb",
        "block-cursor-foreground": "#000000",
        "block-cursor-blurred-background": "#f0ede6",
    },
)
ANSI = Theme(
    name="flas-ansi",
    primary="ansi_blue",
    secondary="ansi_magenta",
    accent="ansi_yellow",
    warning="ansi_yellow",
    error="ansi_red",
    success="ansi_green",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    ansi=True,
    variables={
        "baseline": "ansi_bright_blue",
        "steered": "ansi_yellow",
        "ink": "ansi_black",
        "quiet": "ansi_default",
        "line": "ansi_bright_black",
        "field": "ansi_default",
        "ansi-background": "ansi_black",
        "ansi-foreground": "ansi_white",
        "border-blurred": "ansi_bright_black",
        "input-cursor-background": "ansi_white",
        "input-cursor-foreground": "ansi_black",
        "input-selection-background": "ansi_blue",
        "input-selection-foreground": "ansi_white",
        "screen-selection-background": "ansi_blue",
        "screen-selection-foreground": "ansi_white",
        "block-cursor-background": "ansi_blue",
        "block-cursor-foreground": "ansi_white",
        "block-cursor-blurred-background": "ansi_default",
        "scrollbar": "ansi_bright_black",
        "scrollbar-background": "ansi_default",
        "scrollbar-hover": "ansi_white",
        "scrollbar-active": "ansi_white",
        "scrollbar-background-hover": "ansi_default",
        "scrollbar-background-active": "ansi_default",
        "scrollbar-corner-color": "ansi_default",
    },
)
THEMES = (DARK, LIGHT, ANSI)
THEME_DEFAULTS = {name: DARK.variables[name] for name in ("baseline", "steered", "ink", "quiet", "line", "field")}
"""For Textual's own themes, which have no such names."""


def usual_theme(environment: Mapping[str, str]) -> str:
    """Return the theme for a terminal: 16 colours where there are no more, or where colour is not wanted."""
    term = environment.get("TERM", "")
    has_many = environment.get("COLORTERM") in {"truecolor", "24bit"} or "256" in term or "kitty" in term
    return DARK.name if has_many and "NO_COLOR" not in environment else ANSI.name
