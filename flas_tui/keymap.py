"""Every action of the app in one table: its keys, its name in the palette, and what the help says of it.

Bindings, palette and help screen are made from this table, so that none of them can say something else. Keys can be
changed in the settings by an action's `id`. No key here is one that tmux, screen or old terminals take for themselves
(ctrl+b, ctrl+a, ctrl+enter, shift+enter, alt). Knows nothing of Textual.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True, kw_only=True)
class Action:
    """One thing that the user can do on a screen."""

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
    leads_elsewhere: bool = False
    """Whether it leads to where the next keys belong, even if they come in one burst with it, as over a slow line."""


def _action(
    group: str,
    name: str,
    keys: str,
    label: str,
    title: str,
    text: str,
    action: str = "",
    *,
    is_priority: bool = False,
    leads_elsewhere: bool = False,
) -> Action:
    return Action(
        id=name,
        action=action or name,
        keys=keys,
        label=label,
        title=title,
        help=text,
        group=group,
        is_priority=is_priority,
        leads_elsewhere=leads_elsewhere,
    )


_leading = partial(_action, leads_elsewhere=True)

_RUN: tuple[Action, ...] = (
    _action("Run", "generate", "enter", "Enter", "Generate", "Answer the prompt twice: steered, and not."),
    _action(
        "Run", "stop", "space", "Space", "Stop", "Stop and keep the text; ctrl+c does too, unless text is selected."
    ),
    _action("Run", "interrupt", "ctrl+c", "^c", "Copy or stop", "Copy what is selected; else stop.", is_priority=True),
    _action("Run", "rerun", "r", "r", "Rerun", "The same seed again, under the present T and texts."),
    _action("Run", "new-seed", "R", "R", "New seed", "Run again with other noise.", "new_seed"),
)

_FLOW_TIME: tuple[Action, ...] = (
    _action("Flow time", "less", "left_square_bracket,f7", "[ F7", "T down", "By 0.05; F7 in inputs.", "nudge(-0.05)"),
    _action("Flow time", "more", "right_square_bracket,f8", "] F8", "T up", "By 0.05; F8 in inputs.", "nudge(0.05)"),
    _action("Flow time", "much-less", "left_curly_bracket", "{", "T well down", "By 0.25.", "nudge(-0.25)"),
    _action("Flow time", "much-more", "right_curly_bracket", "}", "T well up", "By 0.25.", "nudge(0.25)"),
    _leading("Flow time", "type-T", "t", "t", "Type T", "Any T from -8 to 8; then Enter.", "type_flow_time"),
    _leading("Flow time", "slider", "T", "T", "Slider", "Go to the slider.", "focus_field('slider')"),
    _action(
        "Flow time",
        "resteer",
        "a",
        "a",
        "Re-steer as T moves",
        "T, and Enter under another concept, act on the whole answer.",
        "toggle_resteer",
    ),
)

_MOVE: tuple[Action, ...] = (
    _leading("Move", "prompt", "i", "i", "Edit the prompt", "Type; Enter generates.", "focus_field('prompt')"),
    _leading("Move", "concept", "c", "c", "Edit the concept", "Any plain words.", "focus_field('concept')"),
    _action("Move", "leave", "escape", "Esc", "Leave", "Back from an input or the rail to the panes."),
    _leading(
        "Move",
        "concepts",
        "C",
        "C",
        "Concepts",
        "The flow's own, and those used before, with their T.",
        "show_rail('concepts')",
    ),
    _leading("Move", "history", "H", "H", "History", "Earlier runs; Enter restores one.", "show_rail('history')"),
    _action(
        "Move", "next", "tab", "Tab", "Next", "The next field, or the other pane where one shows.", is_priority=True
    ),
    _leading("Move", "search", "slash", "/", "Find", "Text in both panes; capitals count when typed."),
    _action("Move", "next-match", "n", "n", "Next match", "Around the end to the first.", "go_to_match(True)"),
    _action("Move", "previous-match", "N", "N", "Match before", "Around to the last.", "go_to_match(False)"),
    _action("Move", "left", "h", "h", "Baseline pane", "Move there.", "focus_lane(0)"),
    _action("Move", "right", "l", "l", "Steered pane", "Move there.", "focus_lane(1)"),
)

_VIEW: tuple[Action, ...] = (
    _action("View", "zoom", "z", "z", "Zoom", "One pane over the whole width, or both."),
    _action("View", "stack", "v", "v", "Stack", "Panes one above the other, or side by side."),
    _action("View", "difference", "d", "d", "Mark the difference", "The first token steered.", "toggle_difference"),
)

_KEEP: tuple[Action, ...] = (
    _action("Keep", "copy", "y", "y", "Copy", "The selection, or else the focused pane."),
    _action("Keep", "copy-command", "Y", "Y", "Copy the command", "It reproduces the run.", "copy_command"),
    _action("Keep", "save", "S", "S", "Save", "Both texts and how they were made, to files."),
)

_APP: tuple[Action, ...] = (
    _action("App", "models", "m", "m", "Models", "Choose, download and load a model."),
    _action("App", "training", "w", "w", "Watch a training run", "Its curves and samples, live or finished."),
    _action("App", "evaluations", "e", "e", "Browse an evaluation", "Its scores and texts; back to the one before."),
    _action("App", "help", "question_mark", "?", "Help", "This page.", "app.help"),
    _action("App", "help-anywhere", "f1", "F1", "Help", "This page, from inputs too.", "app.help", is_priority=True),
    _action(
        "App",
        "palette",
        "ctrl+p",
        "^p",
        "Palette",
        "Everything by name, themes included.",
        "app.command_palette",
        is_priority=True,
    ),
    _action(
        "App",
        "suspend",
        "ctrl+z",
        "^z",
        "Suspend",
        "To the shell; fg returns.",
        "app.suspend_process",
        is_priority=True,
    ),
    _action("App", "quit", "ctrl+q", "^q", "Quit", "What is written is kept.", "app.quit", is_priority=True),
)

_TRAINING: tuple[Action, ...] = (
    _action("Training", "next-chart", "c", "c", "Next chart", "Go to it; on small screens it takes a place.", "go(1)"),
    _action("Training", "previous-chart", "C", "C", "Chart before", "Around to the last.", "go(-1)"),
    _action("Training", "zoom-chart", "z", "z", "Zoom", "The focused chart alone, or all of them.", "zoom_chart"),
    _action("Training", "next-sample", "n", "n", "Next sample", "Of the texts that were written last.", "turn(1)"),
    _action("Training", "previous-sample", "N", "N", "Sample before", "Around to the last.", "turn(-1)"),
    _action("Training", "open-run", "o", "o", "Another run", "Type the folder of a training run.", "open_run"),
    _action("Training", "close-monitor", "escape", "Esc", "Close", "Training goes on.", "close_monitor"),
)

_EVALUATION: tuple[Action, ...] = (
    _action("Evaluation", "open-texts", "enter", "Enter", "Texts", "Those of the cell under the cursor.", "open_texts"),
    _action("Evaluation", "back", "escape", "Esc", "Back", "To the table; from a filter to all concepts; and away."),
    _action("Evaluation", "next-measure", "a", "a", "Aspect", "HM, concept, instruction or fluency.", "next_measure"),
    _action(
        "Evaluation", "next-judge", "J", "J", "Judge", "Another one's ratings, where several judged.", "next_judge"
    ),
    _action("Evaluation", "sort", "s", "s", "Sort", "By the column under the cursor; again, the other way round."),
    _action("Evaluation", "sort-by-gain", "p", "p", "Sort by gain", "Over prompting, or the baseline.", "sort_by_gain"),
    _action("Evaluation", "sort-by-name", "c", "c", "Sort by concept", "Again: as evaluated.", "sort_by_name"),
    _leading("Evaluation", "filter", "slash", "/", "Filter", "Keep the concepts that hold some words.", "search"),
    _action("Evaluation", "next-concept", "n", "n", "Next concept", "From the texts, too.", "walk_concepts(1)"),
    _action("Evaluation", "previous-concept", "N", "N", "Concept before", "Likewise.", "walk_concepts(-1)"),
    _action("Evaluation", "beside", "b", "b", "Beside", "Texts beside the baseline's or prompting's.", "turn_beside"),
    _action(
        "Evaluation",
        "open-in-compare",
        "o",
        "o",
        "Open in compare",
        "Runs the text again: the same model, seed, prompt, concept and T. e comes back.",
        "open_in_compare",
    ),
    _action("Evaluation", "open-other", "O", "O", "Another evaluation", "Type its folder.", "open_other"),
)

_EVERYWHERE = tuple(action for action in _APP if action.action.startswith("app."))

ACTIONS: tuple[Action, ...] = (*_RUN, *_FLOW_TIME, *_MOVE, *_VIEW, *_KEEP, *_APP)
"""Of the compare screen."""
TRAINING_ACTIONS: tuple[Action, ...] = (*_TRAINING, *_EVERYWHERE)
"""Of the training monitor."""
EVALUATION_ACTIONS: tuple[Action, ...] = (*_EVALUATION, *_EVERYWHERE)
"""Of the evaluation browser."""
ACTION_IDS = {action.id for action in (*ACTIONS, *TRAINING_ACTIONS, *EVALUATION_ACTIONS)}


def group_actions(actions: tuple[Action, ...]) -> dict[str, list[Action]]:
    """Return a screen's table by group, in its order."""
    groups: dict[str, list[Action]] = {}
    for action in actions:
        groups.setdefault(action.group, []).append(action)
    return groups
