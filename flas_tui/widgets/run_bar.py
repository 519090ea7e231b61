"""The rows at the top of the training monitor: which run, how it stands, how far it is; and the numbers of now."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from textual.content import Content
from textual.widget import Widget

from flas_tui.run_summary import describe_progress, format_duration
from flas_tui.safe_text import visible_line

if TYPE_CHECKING:
    from flas_engine.training.curves import RunCurves, RunState

BAR_CELLS = 12
NAME_CELLS = 18
SIGNS = {"running": "●", "waiting": "○", "finished": "✓", "early stopping": "✓"}
"""Of how a run stands; anything else is a cross."""
STYLES = {"running": "live", "waiting": "label", "finished": "good", "early stopping": "good", "interrupted": "warning"}
STATE_WORDS: dict[str, str] = {"early stopping": "stopped early", "gone": "stopped without a word"}


class FactBar(Widget):
    """One row; `draw` gives it its parts, of which the last go first when the row is too short."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "bar--brand",
        "bar--name",
        "bar--label",
        "bar--live",
        "bar--good",
        "bar--warning",
        "bar--error",
    }
    _parts: tuple[tuple[str, str], ...] = ()
    _fraction: float | None = None

    def draw(self, parts: tuple[tuple[str, str], ...], fraction: float | None) -> None:
        """Show these parts (style, text), and to the right a bar that is full to `fraction`, 0 to 1."""
        self._parts, self._fraction = parts, fraction
        self.refresh()

    def render(self) -> Content:
        """Draw as many parts as fit, and the bar of how far the run is at the right."""
        width = self.size.width
        bar = self._bar()
        shown = self._styled(" flas ", "brand")
        for style, text in self._parts:
            part = Content("").join([Content("  "), self._styled(text, style)])
            if shown.cell_length + part.cell_length + bar.cell_length + 2 > width:
                break
            shown = Content("").join([shown, part])
        gap = width - shown.cell_length - bar.cell_length - 1
        return Content("").join([shown, Content(" " * gap), bar]) if gap > 0 else shown

    def _bar(self) -> Content:
        if self._fraction is None:
            return Content("")
        full = int(self._fraction * BAR_CELLS)
        line = Content("").join([self._styled("━" * full, "live"), self._styled("─" * (BAR_CELLS - full), "label")])
        return Content("").join([line, self._styled(f" {int(self._fraction * 100):>3} %", "label")])

    def _styled(self, text: str, name: str) -> Content:
        return Content.styled(text, self.get_visual_style(f"bar--{name}"))


class RunBar(FactBar):
    """How a training run stands."""

    def show(self, name: str, run: RunCurves, state: RunState, *, is_reading: bool) -> None:
        """Draw how the run stands."""
        words, fraction = describe_progress(run)
        status = "reading" if is_reading else f"{SIGNS.get(state, '✗')} {STATE_WORDS.get(state, state)}"
        parts = [
            ("label" if is_reading else STYLES.get(state, "error"), visible_line(status)),
            ("name", Content(visible_line(name)).truncate(NAME_CELLS, ellipsis=True).plain),
        ]
        parts += [("label", words)] if words else []
        if state == "running" and (left := format_duration(run.seconds_left)):
            parts.append(("name", f"{left} left"))
        if state in {"interrupted", "gone"}:
            parts.append(("label", "the same command goes on"))
        if state != "running" and math.isfinite(run.last_seconds):
            parts.append(("label", f"{datetime.fromtimestamp(run.last_seconds).astimezone():%d %b %H:%M}"))
        self.draw(tuple(parts), fraction)


class RunFacts(Widget):
    """The numbers of now, and under them what is trained, as much as fits in two rows."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"facts--label", "facts--value"}
    _numbers: tuple[tuple[str, str], ...] = ()
    _setting: str = ""

    def show(self, numbers: list[tuple[str, str]], setting: str) -> None:
        """Draw these."""
        self._numbers, self._setting = tuple(numbers), visible_line(setting)
        self.refresh()

    def render(self) -> Content:
        """Draw the numbers that fit whole, then the setting."""
        width, shown = self.size.width, Content(" ")
        for label, value in self._numbers:
            fact = Content("").join([self._styled(f"{label} ", "label"), self._styled(value, "value"), Content("  ")])
            if shown.cell_length + fact.cell_length - 2 > width:
                break
            shown = Content("").join([shown, fact])
        setting = self._styled(f" {self._setting}", "label").truncate(width, ellipsis=True)
        return Content("\n").join([shown, setting])

    def _styled(self, text: str, name: str) -> Content:
        return Content.styled(text, self.get_visual_style(f"facts--{name}"))
