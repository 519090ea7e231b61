"""What the header, the panes' borders and the status line say of a session: words for numbers, nothing drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from flas_tui.widgets.header_bar import HeaderState
from flas_tui.widgets.inspector import finish_reason, format_bytes

if TYPE_CHECKING:
    from flas_tui.session import Session, Setup
    from flas_tui.widgets.status_line import Hints

Place = Literal["input", "slider", "rail", "panes"]

_LEAVE: Hints = (("?", "help"), ("^p", "palette"), ("^q", "quit"))
_HINTS: dict[Place, Hints] = {
    "input": (("Enter", "generate"), ("Tab", "next"), ("F7 F8", "T"), ("Esc", "leave"), ("F1", "help"), ("^q", "quit")),
    "slider": (("← →", "T"), ("0-9", "jump"), ("t", "type T"), ("Enter", "generate"), *_LEAVE),
    "rail": (("Enter", "use"), ("← →", "tab"), ("/", "search"), ("p", "pin"), ("x", "forget"), ("Esc", "leave")),
}


def hints_for(place: Place, *, is_running: bool, has_run: bool, resteers: bool) -> Hints:
    """Return the keys that matter where the focus is, and what moving T does."""
    move = ("[ ]", "re-steer" if resteers else "T")
    if is_running and place != "input":
        return (("Space", "stop"), move, ("Tab", "next"), ("z", "zoom"), *_LEAVE)
    if place != "panes":
        return _HINTS[place]
    run: Hints = (("r", "rerun"), ("R", "new seed")) if has_run else (("Enter", "generate"),)
    return (*run, move, ("i", "prompt"), ("c", "concept"), ("z", "zoom"), *_LEAVE)


def describe_machine(session: Session, setup: Setup) -> HeaderState:
    """Return what the header shows."""
    model, run = session.model, session.comparison
    rate = run.tokens_per_second if run is not None else 0.0
    if model.info is not None:
        return HeaderState(
            model=model.info.name,
            layer=model.info.layer,
            flow_time=setup.flow_time,
            seed=setup.seed,
            device=model.info.device,
            memory=format_bytes(model.info.weight_bytes),
            rate=rate,
        )
    activity, fraction = "no model: m chooses one", None
    if model.phase != "failed":
        activity = model.progress.activity if model.progress else "starting the engine"
        if model.progress is not None and model.progress.total:
            fraction = model.progress.done / model.progress.total
    return HeaderState(activity=activity, fraction=fraction)


def describe_lane(session: Session, lane: int) -> str:
    """Return what the lower border of a lane's pane says."""
    run = session.comparison
    if run is None:
        return ""
    if run.state == "queued":
        return "queued" if session.model.phase == "ready" else "queued, the model is loading"
    text = run.lanes[lane]
    count = len(text.token_ids)
    if not count:
        return "reading the prompt" if run.state != "over" else "nothing written"
    words = [
        f"{count} token{'s' if count != 1 else ''}",
        f"{text.num_kept} kept" if text.num_kept else "",
        finish_reason(text, is_live=run.state == "running"),
    ]
    return " · ".join(word for word in words if word)
