"""The slider: keys, digits, mouse, track."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from flas_tui.widgets.flow_time_slider import FlowTimeSlider, describe_zone, track_range


class SliderApp(App[None]):
    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.slider = FlowTimeSlider(value, id="slider")
        self.moves: list[float] = []

    def compose(self) -> ComposeResult:
        yield self.slider

    def on_flow_time_slider_moved(self, event: FlowTimeSlider.Moved) -> None:
        self.moves.append(event.value)


@given(st.floats(-8, 8))
def test_the_track_always_holds_the_value(value: float) -> None:
    low, high = track_range(value, (0.0, 4.0))
    assert -8 <= low <= value <= high <= 8


@pytest.mark.parametrize(
    ("value", "zone"),
    [(0.0, "the baseline"), (0.5, "gentle"), (1.0, "good range"), (2.5, "good range"), (2.55, "extrapolating")],
)
def test_the_zone_is_named(value: float, zone: str) -> None:
    assert describe_zone(value) == zone


@pytest.mark.parametrize(
    ("key", "value"),
    [("right", 1.05), ("left", 0.95), ("pageup", 1.25), ("pagedown", 0.75), ("home", 0.0), ("end", 4.0), ("5", 2.0)],
)
async def test_keys_move_it(key: str, value: float) -> None:
    app = SliderApp()
    async with app.run_test(size=(60, 3)) as pilot:
        app.slider.focus()
        await pilot.press(key)
        assert app.slider.value == pytest.approx(value)
        assert app.moves == [pytest.approx(value)]


async def test_steps_end_at_the_ends_of_the_track() -> None:
    app = SliderApp(3.98)
    async with app.run_test(size=(60, 3)) as pilot:
        app.slider.focus()
        await pilot.press("right", "right")
        assert app.moves == [4.0]


async def test_a_hundred_small_steps_do_not_drift() -> None:
    app = SliderApp(0.0)
    async with app.run_test(size=(60, 3)) as pilot:
        for _ in range(60):
            app.slider.action_nudge(0.05)
        await pilot.pause()
        assert app.slider.value == 3.0


async def test_the_mouse_drags_it_and_lets_go() -> None:
    app = SliderApp(0.0)
    async with app.run_test(size=(60, 3)) as pilot:
        await pilot.mouse_down("#slider", offset=(1, 0))
        await pilot.hover("#slider", offset=(18, 0))
        dragged = app.slider.value
        await pilot.mouse_up("#slider", offset=(18, 0))
        await pilot.hover("#slider", offset=(30, 0))
        assert dragged == pytest.approx(2.0, abs=0.1)
        assert app.slider.value == dragged


async def test_the_handle_stands_where_the_value_is() -> None:
    app = SliderApp(0.0)
    async with app.run_test(size=(60, 3)):
        assert app.slider.render().plain.startswith("├●")
        app.slider.move_to(4.0)
        assert "●┤" in app.slider.render().plain
        app.slider.move_to(-2.0)
        assert app.slider.render().plain[1:].startswith("╌")
