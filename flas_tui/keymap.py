"""Every action of the app in one table: its keys, its name in the palette, and what the help says of it.

Bindings, palette and help screen are made from this table, so that none of them can say something else. Keys can be
changed in the settings by an action's `id`. No key here is one that tmux, screen or old terminals take for themselves
(ctrl+b, ctrl+a, ctrl+enter, shift+enter, alt). Knows nothing of Textual.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Action:
    """One thing that the user can do on the compare screen."""

    id: str
    """What the settings call it."""
    action: str
    """What Textual calls it; with `app.` in front it acts on every screen."""
    keys: str
    """Comma-separated, in Textual's names."""
    label: str
    """How a person reads the keys."""
    title: str
    help: str
    group: str
    is_priority: bool = False
    """Whether it acts while an input has the focus too."""


def _action(
    group: str, name: str, keys: str, label: str, title: str, text: str, *, action: str = "", priority: bool = False
) -> Action:
    return Action(
        id=name,
        action=action or name.replace("-", "_"),
        keys=keys,
        label=label,
        title=title,
        help=text,
        group=group,
        is_priority=priority,
    )


ACTIONS: tuple[Action, ...] = (
    _action("Run", "generate", "enter", "Enter", "Generate", "Answer the prompt twice: steered, and not."),
    _action("Run", "stop", "space", "Space", "Stop", "Stop and keep the text. ctrl+c does too, from anywhere."),
    _action(
        "Run",
        "interrupt",
        "ctrl+c",
        "^c",
        "Copy or stop",
        "Copy what is selected; with nothing selected, stop.",
        priority=True,
    ),
    _action("Run", "rerun", "r", "r", "Rerun", "The same seed again, under the present T, concept and prompt."),
    _action("Run", "new-seed", "R", "R", "New seed", "Run again with other noise."),
    _action("Flow time", "less", "left_square_bracket,f7", "[ F7", "T down", "T down by 0.05; F7 in inputs too."),
    _action("Flow time", "more", "right_square_bracket,f8", "] F8", "T up", "T up by 0.05; F8 in inputs too."),
    _action("Flow time", "much-less", "left_curly_bracket", "{", "T well down", "T down by 0.25."),
    _action("Flow time", "much-more", "right_curly_bracket", "}", "T well up", "T up by 0.25."),
    _action("Flow time", "type-flow-time", "t", "t", "Type T", "Type any T from -8 to 8."),
    _action(
        "Flow time",
        "toggle-live",
        "a",
        "a",
        "Rerun as T moves",
        "After an answer is done, moving T and resting runs it again (on or off).",
    ),
    _action("Move", "focus-prompt", "i", "i", "Edit the prompt", "Type in the prompt; Esc leaves it."),
    _action("Move", "focus-concept", "c", "c", "Edit the concept", "Type the concept; Down opens those used before."),
    _action("Move", "show-concepts", "C", "C", "Concepts", "Concepts used before, with their last T."),
    _action("Move", "show-history", "H", "H", "History", "Earlier runs; Enter brings one back exactly."),
    _action("Move", "focus-left", "h", "h", "Left pane", "Move to the baseline."),
    _action("Move", "focus-right", "l", "l", "Right pane", "Move to the steered pane."),
    _action("View", "zoom", "z", "z", "Zoom", "One pane over the whole width, or both."),
    _action("View", "stack", "v", "v", "Stack", "Panes one above the other, or side by side."),
    _action("View", "toggle-difference", "d", "d", "Mark the difference", "Mark the first token that steering changed."),
    _action("Keep", "copy", "y", "y", "Copy", "Copy the selection, or else the focused pane."),
    _action("Keep", "copy-command", "Y", "Y", "Copy the command", "Copy the command line that reproduces this run."),
    _action("Keep", "save", "S", "S", "Save", "Write both texts and how they were made to a file."),
    _action("App", "models", "m", "m", "Models", "Choose, download and load a model."),
    _action("App", "help", "question_mark", "?", "Help", "This page.", action="app.help"),
    _action("App", "help-anywhere", "f1", "F1", "Help", "This page, from inputs too.", action="app.help", priority=True),
    _action("App", "suspend", "ctrl+z", "^z", "Suspend", "Back to the shell; `fg` returns.", action="app.suspend_process", priority=True),
    _action("App", "quit", "ctrl+q", "^q", "Quit", "Leave; what is written is kept in the history.", action="app.quit", priority=True),
)


def group_actions() -> dict[str, list[Action]]:
    """The table by group, in its order."""
    groups: dict[str, list[Action]] = {}
    for action in ACTIONS:
        groups.setdefault(action.group, []).append(action)
    return groups
