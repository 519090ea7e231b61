"""The right-hand column of wide terminals: both lanes in numbers, the model, and the command that reproduces the run.

Draws what a `Session` holds; computes nothing that needs the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from flas_engine.events import FinishReason
from flas_tui.safe_text import visible_line
from flas_tui.session import LANES, command_line

if TYPE_CHECKING:
    from flas_tui.session import Comparison, LaneText, Session

FINISH_WORDS = {
    FinishReason.END_OF_TURN: "done",
    FinishReason.STOP_STRING: "stop string",
    FinishReason.LENGTH: "length limit",
    FinishReason.CANCELLED: "stopped",
}
BOXES = (("lanes", "lanes"), ("model", "model"), ("command", "reproduce"))
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_CELLS = 28
MOST_SURPRISING = 6.0
"""Nats at which a bar of the sparkline is full: a token the model gave one chance in 400."""


def format_bytes(count: float) -> str:
    """Write `count` bytes in the largest unit that keeps it above one."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def process_bytes() -> int:
    """Return the memory that this process holds."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def sparkline(values: list[float], *, full: float, cells: int) -> str:
    """Draw the last `cells` values as bars from 0 to `full`."""
    top = len(SPARKS) - 1
    return "".join(SPARKS[min(top, max(0, round(value / full * top)))] for value in values[-cells:])


def finish_reason(lane: LaneText, *, is_live: bool) -> str:
    """Say how a lane ended; 'writing' while it has not."""
    if lane.finish_reason is not None:
        return FINISH_WORDS[lane.finish_reason]
    return "writing" if is_live else ""


class Inspector(VerticalScroll):
    """Three boxes: lanes, model, command."""

    def show(self, session: Session) -> None:
        """Draw the present state; the boxes are made when first shown, so that narrow terminals start sooner."""
        if not self.children:
            self.mount(*(_box(name, title) for name, title in BOXES))
        run = session.comparison
        self._fill(
            "lanes",
            _describe_lanes(run)
            if run
            else ["What the two answers have in common and", "where they part is counted here."],
        )
        self._fill("model", _describe_model(session))
        self._fill("command", [visible_line(command_line(run.setup, run.writer))] if run else ["(after the first run)"])

    def _fill(self, name: str, lines: list[str]) -> None:
        self.query_one(f"#inspect-{name}", Static).update(Content("\n".join(lines)))


def _box(name: str, title: str) -> Static:
    box = Static("", id=f"inspect-{name}", classes="box", markup=False)
    box.border_title = Content(title)
    return box


def _describe_lanes(run: Comparison) -> list[str]:
    lanes = [run.lanes[number] for number in LANES]
    is_live = run.state == "running"
    rows = [
        ("", "baseline", "steered"),
        ("T", *(f"{lane.flow_time:.2f}" for lane in lanes)),
        ("tokens", *(str(len(lane.token_ids)) for lane in lanes)),
        ("ended by", *(finish_reason(lane, is_live=is_live) for lane in lanes)),
        ("log p, last", *(f"{lane.logprobs[-1]:.2f}" if lane.logprobs else "" for lane in lanes)),
        ("log p, mean", *(_mean(lane.logprobs) for lane in lanes)),
    ]
    lines = [f"{label:<12}{left:>13}{right:>13}" for label, left, right in rows]
    lines += ["", "surprise, -log p of the latest tokens"]
    for name, lane in zip(("baseline", "steered"), lanes, strict=True):
        bars = sparkline([-p for p in lane.logprobs], full=MOST_SURPRISING, cells=SPARK_CELLS)
        lines.append(f"{name:<10}{bars}")
    lines += ["", _describe_parting(run)]
    return lines


def _describe_parting(run: Comparison) -> str:
    for index, (ours, theirs) in enumerate(zip(*(lane.token_ids for lane in run.lanes), strict=False)):
        if ours != theirs:
            return f"they part at token {index + 1}"
    return "no token differs" if run.state == "over" else "no token differs yet"


def _describe_model(session: Session) -> list[str]:
    info = session.model.info
    if info is None:
        return ["not loaded yet"]
    flow = f"layer {info.layer} of {info.num_layers}, {info.num_steps} steps" if info.flow_id else "none: baseline only"
    return [
        f"{'base':<10}{visible_line(info.base_id.rpartition('/')[2])}",
        f"{'flow':<10}{visible_line(info.flow_id or '')}"[:40] if info.flow_id else f"{'flow':<10}none",
        f"{'moves':<10}{flow}",
        f"{'on':<10}{info.device}, {info.dtype}",
        f"{'weights':<10}{format_bytes(info.weight_bytes)}",
        f"{'process':<10}{format_bytes(process_bytes())}",
        f"{'context':<10}{info.context_length} tokens",
    ]


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else ""
