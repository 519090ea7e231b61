"""The one row at the top: what is loaded, under which setting, where, and how fast.

Draws a `HeaderState`; drops the least needed parts first when the row is too short. Knows nothing of workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from flas_tui.safe_text import visible_line

BAR_CELLS = 12


@dataclass(frozen=True, kw_only=True)
class HeaderState:
    """What the header shows."""

    model: str = ""
    layer: int | None = None
    flow_time: float = 0.0
    seed: int = 0
    device: str = ""
    memory: str = ""
    rate: float = 0.0
    """Tokens per second of each pane; 0 shows nothing."""
    activity: str = ""
    """What is being waited for, in place of the model's facts."""
    fraction: float | None = None
    """How far the activity is, 0 to 1; None when nobody knows."""


class HeaderBar(Widget):
    """One row; set `state`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"header--brand", "header--name", "header--label", "header--busy"}
    state: reactive[HeaderState] = reactive(HeaderState())

    def render(self) -> Content:
        """Brand and facts to the left, machine to the right, as much as fits."""
        state, width = self.state, self.size.width
        brand = self._styled(" flas ", "brand")
        right = self._machine(state)
        left_parts = self._activity(state) if state.activity else self._facts(state)
        space = Content(" ")
        while True:
            left = Content("").join([brand, *(part for each in left_parts for part in (space, space, each))])
            gap = width - left.cell_length - right.cell_length - 1
            if gap >= 2 or len(left_parts) <= 1:
                break
            left_parts = left_parts[:-1]
        if gap < 1:
            return left.truncate(width, ellipsis=True)
        return Content("").join([left, Content(" " * gap), right, space])

    def _facts(self, state: HeaderState) -> list[Content]:
        facts = [self._styled(visible_line(state.model), "name")] if state.model else []
        facts += [self._fact("T", f"{state.flow_time:.2f}"), self._fact("seed", str(state.seed))]
        if state.layer is not None:
            facts.append(self._fact("layer", str(state.layer)))
        return facts

    def _activity(self, state: HeaderState) -> list[Content]:
        parts = [self._styled(visible_line(state.activity), "busy")]
        if state.fraction is not None:
            full = round(min(max(state.fraction, 0.0), 1.0) * BAR_CELLS)
            bar = Content("").join([self._styled("━" * full, "busy"), self._styled("─" * (BAR_CELLS - full), "label")])
            parts.append(Content("").join([bar, self._styled(f" {state.fraction:4.0%}", "label")]))
        return parts

    def _machine(self, state: HeaderState) -> Content:
        facts = [f"{state.device} {state.memory}".strip()] if state.device else []
        facts += [f"{state.rate:.0f} tok/s"] if state.rate else []
        return self._styled("   ".join(facts), "label")

    def _fact(self, label: str, value: str) -> Content:
        return Content("").join([self._styled(f"{label} ", "label"), Content(value)])

    def _styled(self, text: str, name: str) -> Content:
        return Content.styled(text, self.get_visual_style(f"header--{name}"))
