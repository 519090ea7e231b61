"""Lanes growing together on a terminal: while they run, the last lines of each; when they are done, all of them.

Rich draws the moving part below what is already printed and takes it away again, so the whole answers end up in the
scrollback once, in lane order. Model text passes through `visible_text` and is never parsed as markup.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from flas_engine.events import Finished, Token
from flas_tui.commands.lanes_output import NumberedLane, lane_label
from flas_tui.safe_text import visible_text

if TYPE_CHECKING:
    from collections.abc import Sequence

REDRAW_SECONDS = 0.1
TAIL_CHARACTERS = 4000
"""At least so much of a long text is wrapped for each picture, at most twice that: about a screenful."""
BASELINE_STYLE = "bold cyan"
STEERED_STYLE = "bold magenta"


class LiveBlocksWriter:
    """Draws a batch of lanes as they grow, at most ten times a second, then prints them."""

    def __init__(self, *, console: Console, names_prompts: bool = False) -> None:
        self._console = console
        self._names_prompts = names_prompts
        self._lanes: list[NumberedLane] = []
        self._texts: dict[int, str] = {}
        self._prompt: str | None = None
        self._drawn_at = 0.0
        self._live: Live | None = None

    def begin(self, lanes: Sequence[NumberedLane]) -> None:
        """Start to draw."""
        self._lanes = list(lanes)
        self._texts = {lane.number: "" for lane in lanes}
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def write(self, lane: NumberedLane, event: Token | Finished) -> None:
        """Let one lane grow."""
        self._texts[lane.number] += visible_text(event.tail if isinstance(event, Finished) else event.text)
        if self._live is not None and time.monotonic() - self._drawn_at >= REDRAW_SECONDS:
            self._drawn_at = time.monotonic()
            self._live.update(self._draw(), refresh=True)

    def end(self) -> None:
        """Take the moving part away and print the lanes in full, unless none of them came to a single character."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        for lane in self._lanes if any(self._texts.values()) else ():
            self._print_line(self._heading(lane))
            self._print_line(Text(self._texts[lane.number]))
            self._print_line(Text())
        self._lanes = []

    def _tail(self, lane: NumberedLane) -> Text:
        """Return the end of a lane's text, from a place that stays put for a while: lines must not jump as it grows."""
        text = self._texts[lane.number]
        return Text(text[max(0, len(text) // TAIL_CHARACTERS - 1) * TAIL_CHARACTERS :])

    def _print_line(self, line: Text) -> None:
        self._console.print(line, markup=False, highlight=False, emoji=False)

    def _heading(self, lane: NumberedLane) -> Text:
        style = BASELINE_STYLE if lane.lane.is_baseline else STEERED_STYLE
        heading = Text(visible_text(lane_label(lane.lane)), style=style)
        if self._names_prompts and lane.prompt != self._prompt:
            heading = Text(f"# {visible_text(lane.prompt)}\n\n", style="bold").append_text(heading)
        self._prompt = lane.prompt
        return heading

    def _draw(self) -> Group:
        width, height = self._console.size
        num_shown = max(1, min(len(self._lanes), (height - 2) // 2))
        num_lines = max(1, (height - 2) // num_shown - 1)
        parts: list[Text] = []
        for lane in self._lanes[:num_shown]:
            style = BASELINE_STYLE if lane.lane.is_baseline else STEERED_STYLE
            parts.append(Text(visible_text(lane_label(lane.lane)), style=style, no_wrap=True, overflow="ellipsis"))
            parts.extend(list(self._tail(lane).wrap(self._console, width))[-num_lines:])
        if num_shown < len(self._lanes):
            parts.append(Text(f"... and {len(self._lanes) - num_shown} more lanes", style="dim"))
        return Group(*parts)
