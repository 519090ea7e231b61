"""A slider for the flow time T: keys, digits, mouse, and a track that shows where T is worth setting.

It shows and changes a number; what T does to a run is the screen's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from flas_engine.request import FLOW_TIME_LIMIT

if TYPE_CHECKING:
    from textual import events

FINE_STEP = 0.05
COARSE_STEP = 0.25
GOOD_RANGE = (1.0, 2.5)
"""Where the published evaluations of the method are best."""
VALUE_CELLS = 8
ZONE_CELLS = 15


def track_range(value: float, usual: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of the track: the usual ones, or wider ones that hold `value` too."""
    low, high = usual
    if value < low:
        low = -4.0 if value >= -4.0 else -FLOW_TIME_LIMIT
    if value > high:
        high = FLOW_TIME_LIMIT
    return low, high


def describe_zone(value: float) -> str:
    """Say what the flow time means, in a word or two."""
    if value == 0.0:
        return "the baseline"
    if value < 0.0:
        return "away from it"
    if value < GOOD_RANGE[0]:
        return "gentle"
    return "good range" if value <= GOOD_RANGE[1] else "extrapolating"


class FlowTimeSlider(Widget, can_focus=True):
    """Holds T, rounded to hundredths, within [-8, 8]; posts `Moved` when the user changes it."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "slider--track",
        "slider--good",
        "slider--beyond",
        "slider--handle",
        "slider--value",
        "slider--zone",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,down,j", f"nudge({-FINE_STEP})", "T down", show=False),
        Binding("right,up,k", f"nudge({FINE_STEP})", "T up", show=False),
        Binding("pagedown,shift+left", f"nudge({-COARSE_STEP})", "T well down", show=False),
        Binding("pageup,shift+right", f"nudge({COARSE_STEP})", "T well up", show=False),
        Binding("home", "to_fraction(0)", "T to the low end", show=False),
        Binding("end", "to_fraction(1)", "T to the high end", show=False),
        *(Binding(str(tenth), f"to_fraction({tenth / 10})", f"T to {tenth}/10", show=False) for tenth in range(10)),
    ]
    KEYS_HELP: ClassVar[tuple[tuple[str, str], ...]] = (
        ("← →", "T by 0.05; PageUp and PageDown by 0.25"),
        ("0 … 9", "to that many tenths of the track"),
        ("Home End", "to the ends of the track"),
        ("mouse", "click or drag; the wheel turns T by 0.05"),
    )

    value: reactive[float] = reactive(0.0)

    class Moved(Message):
        """The user changed T."""

        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

    def __init__(self, value: float, *, usual: tuple[float, float] = (0.0, 4.0), id: str | None = None) -> None:
        super().__init__(id=id)
        self.usual = usual
        self.set_reactive(FlowTimeSlider.value, value)

    @property
    def ends(self) -> tuple[float, float]:
        """The flow times at the two ends of the track."""
        return track_range(self.value, self.usual)

    def move_to(self, value: float) -> None:
        """Set T as the user does: held to [-8, 8], rounded to hundredths, and told to the screen."""
        value = round(min(max(value, -FLOW_TIME_LIMIT), FLOW_TIME_LIMIT), 2) + 0.0  # + 0.0 turns -0.0 into 0.0
        if value != self.value:
            self.value = value
            self.post_message(self.Moved(value))

    def action_nudge(self, by: float) -> None:
        """Move T by a step, within the track."""
        low, high = self.ends
        self.move_to(min(max(self.value + by, low), high))

    def action_to_fraction(self, fraction: float) -> None:
        """Move T to a place on the track, 0 to 1."""
        low, high = self.ends
        self.move_to(low + fraction * (high - low))

    def render(self) -> Content:
        """Draw the track with its zones, the handle, T, and what T means."""
        low, high = self.ends
        cells = self._track_cells()
        handle = round((self.value - low) / (high - low) * (cells - 1))
        parts: list[Content] = []
        for cell in range(cells):
            at = low + (high - low) * cell / (cells - 1)
            parts.append(self._styled("●", "handle") if cell == handle else self._track_cell(at))
        return Content("").join(
            [
                self._styled("├", "track"),
                *parts,
                self._styled("┤", "track"),
                self._styled(f"{self.value:.2f}".rjust(VALUE_CELLS - 1) + " ", "value"),
                self._styled(describe_zone(self.value).ljust(ZONE_CELLS) if self._shows_zone else "", "zone"),
            ]
        )

    @property
    def _shows_zone(self) -> bool:
        return self.size.width >= 50

    def _track_cells(self) -> int:
        return max(2, self.size.width - 2 - VALUE_CELLS - (ZONE_CELLS if self._shows_zone else 0))

    def _track_cell(self, at: float) -> Content:
        if GOOD_RANGE[0] <= at <= GOOD_RANGE[1]:
            return self._styled("━", "good")
        return self._styled("─", "track") if 0.0 <= at < GOOD_RANGE[0] else self._styled("╌", "beyond")

    def _styled(self, text: str, name: str) -> Content:
        return Content.styled(text, self.get_visual_style(f"slider--{name}"))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take hold of the handle."""
        self.capture_mouse()
        self._follow(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag it."""
        if self.app.mouse_captured is self:
            self._follow(event.x)

    def on_mouse_up(self) -> None:
        """Let go of it."""
        self.release_mouse()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Turn T up."""
        event.stop()
        self.action_nudge(FINE_STEP)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Turn T down."""
        event.stop()
        self.action_nudge(-FINE_STEP)

    def _follow(self, x: int) -> None:
        low, high = self.ends
        fraction = min(max((x - 1) / (self._track_cells() - 1), 0.0), 1.0)
        self.move_to(round((low + fraction * (high - low)) / FINE_STEP) * FINE_STEP)
