"""A chart of a few curves under a title that is its legend: the name, each curve's sign, label and latest value.

The plotting is textual-plot's, with its zooming and panning; here are the axes' words and what fits a small pane. Knows
nothing of training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static
from textual_plot import HiResMode, PlotWidget
from textual_plot.axis_formatter import AxisFormatter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult

LABEL_CELLS = 6
"""Of the numbers beside the axis, the space before the frame included."""
ROWS_A_TICK, CELLS_A_TICK = 3, 7
FLAT = 1e-3
"""A curve whose values differ by less, relative to their size, is drawn as a line through the middle."""
MARGIN = 0.06
"""Of the height, above and below the curves: what lies on the frame itself is not drawn."""
ROLES = ("first", "second", "third")
HIRES_COLUMNS = 2
"""Points that fit side by side in a cell: quarter blocks, which more fonts have than the finer braille."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve; `ys` may hold NaN, which is not drawn."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    shows_latest: bool = True
    """Whether the legend says the last value."""


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` multiples of 1, 2 or 5 times a power of ten from `low` to `high`."""
    if not high > low:
        return []
    power = 10.0 ** math.floor(math.log10((high - low) / max(1, most)))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [number * step for number in range(first, last + 1)]
    return []


def write_number(value: float) -> str:
    """Write a number in at most five characters: 0.5, 12.3, 20k, 1.5M, 3e-4."""
    size = abs(value)
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= unit:
            divisor = 1e3 if letter == "k" else unit
            return f"{value / divisor:.3g}{letter}"
    if size and size < 1e-2:
        mantissa, _, exponent = f"{value:.0e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.4g}"


class _Axis(AxisFormatter):
    """Ticks that keep their distance in a small frame."""

    def __init__(self, room: Callable[[], int]) -> None:
        self._room = room

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        return nice_ticks(min_, max_, max(2, min(max_ticks, self._room())))

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [write_number(round(tick, 12)) for tick in ticks]


class _Plot(PlotWidget):
    """The frame with the curves; its limits are given, until the user zooms or pans."""

    _limits = (0.0, 1.0)
    _is_moved = False

    def on_mount(self) -> None:
        """Keep to the room of a small pane."""
        self.margin_top, self.margin_bottom, self.margin_left = 0, 1, LABEL_CELLS
        self.set_x_formatter(_Axis(lambda: (self.size.width - LABEL_CELLS) // CELLS_A_TICK))
        self.set_y_formatter(_Axis(lambda: self.size.height // ROWS_A_TICK))

    def frame(self, low: float, high: float) -> None:
        """Let the vertical axis reach from `low` to `high`, unless the user has moved it."""
        self._limits = low, high
        if not self._is_moved:
            self.set_ylimits(low, high)

    def on_plot_widget_scale_changed(self) -> None:
        """Leave the axes where the user moves them."""
        self._is_moved = True

    def action_reset_scales(self) -> None:
        """Show the whole curves again."""
        self._is_moved = False
        self.set_xlimits(None, None)
        self.set_ylimits(*self._limits)


class LineChart(Vertical):
    """A title that is the legend, over the frame; `show` draws up to three curves."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"chart--{role}" for role in ROLES} | {"chart--title", "chart--quiet"}
    KEYS_HELP: ClassVar[tuple[tuple[str, str], ...]] = (
        ("+ -", "zoom; the mouse wheel does too"),
        ("← → ↑ ↓", "pan; the mouse drags"),
        ("r", "show the whole curve again"),
    )

    def __init__(self, title: str, *, write: Callable[[float], str] = write_number, id: str) -> None:
        super().__init__(id=id)
        self.title = title
        self._write = write
        self._legend = Static("", classes="legend", markup=False)
        self._plot = _Plot()

    def compose(self) -> ComposeResult:
        """Lay out the legend over the frame."""
        yield self._legend
        yield self._plot

    @property
    def num_points(self) -> int:
        """How many points of a curve can be told apart here; 0 while the chart does not show."""
        return HIRES_COLUMNS * max(0, self.size.width - LABEL_CELLS) if self.region.height else 0

    def focus_plot(self) -> None:
        """Let the keys zoom and pan here."""
        self._plot.focus()

    @property
    def has_plot_focus(self) -> bool:
        """Whether keys act here."""
        return self._plot.has_focus

    def show(self, series: Sequence[Series]) -> None:
        """Draw these curves, the most important one first."""
        drawn = [(role, each, *_finite(each)) for role, each in zip(ROLES, series, strict=False)]
        self._show_legend([(role, each, ys) for role, each, _, ys in drawn])
        self._plot.visible = any(xs for *_, xs, _ in drawn)  # an empty frame would have made-up numbers
        if not (self.num_points and self._plot.visible):
            return
        self._plot.clear()
        self._plot.frame(*_limits([y for *_, ys in drawn for y in ys]))
        for role, _, xs, ys in reversed(drawn):  # the first one on top
            style = str(self.get_component_rich_style(f"chart--{role}", partial=True))
            if len(xs) == 1:
                self._plot.scatter(xs, ys, marker="●", marker_style=style)
            elif xs:
                self._plot.plot(xs, ys, line_style=style, hires_mode=HiResMode.QUADRANT)

    def _show_legend(self, entries: list[tuple[str, Series, list[float]]]) -> None:
        parts = [self._styled(self.title, "title")]
        for role, each, ys in entries:
            value = f" {self._write(ys[-1])}" if ys and each.shows_latest else ""
            parts += [Content("  "), self._styled("━", role), self._styled(f" {each.label}".rstrip(), "quiet")]
            parts.append(Content(value))
        self._legend.update(Content("").join(parts) if any(ys for *_, ys in entries) else self._nothing())

    def _nothing(self) -> Content:
        return Content("").join([self._styled(self.title, "title"), self._styled("  nothing yet", "quiet")])

    def _styled(self, text: str, name: str) -> Content:
        return Content.styled(text, self.get_visual_style(f"chart--{name}", partial=True))


def _finite(series: Series) -> tuple[list[float], list[float]]:
    points = [(x, y) for x, y in zip(series.xs, series.ys, strict=True) if math.isfinite(y)]
    return [x for x, _ in points], [y for _, y in points]


def _limits(values: list[float]) -> tuple[float, float]:
    """Return the ends of an axis that holds `values`."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    spread, size = high - low, max(abs(low), abs(high))
    room = MARGIN * spread if spread > FLAT * size else 0.1 * size or 1.0
    return low - room, high + room
