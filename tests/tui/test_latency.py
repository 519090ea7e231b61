"""The measurements of the app measure the real one, and say so when they cannot."""

from __future__ import annotations

import pytest

from flas_engine.hub.catalog import DEMO
from flas_engine.info import LoadSpec
from flas_tui import latency
from flas_tui.latency import KeyToPaint, LatencyError, measure_first_paint, measure_help, measure_key_to_paint
from flas_tui.measured_app import Load


def test_every_press_is_timed_on_the_streaming_app() -> None:
    measured = measure_key_to_paint(Load(tokens_per_second=50.0, tokens_shown=200), presses=5)
    assert len(measured.seconds) == 5
    assert all(0.0 < seconds < latency.PATIENCE_SECONDS for seconds in measured.seconds)
    assert measured.tokens_per_second == pytest.approx(50.0, rel=0.5)
    assert 0.0 < measured.cpu_share < 2.0
    assert measured.bytes_per_token > 0.0


@pytest.mark.usefixtures("demo_model_dir")
def test_every_press_is_timed_while_the_real_engine_streams() -> None:
    measured = measure_key_to_paint(LoadSpec(model=DEMO.name), presses=3)
    assert len(measured.seconds) == 3
    assert measured.tokens_per_second > 0.0


def test_the_first_paint_is_timed_on_the_app_as_it_is_started() -> None:
    measured = measure_first_paint(starts=1)
    assert 0.0 < measured.smallest_seconds < latency.PATIENCE_SECONDS
    assert 0.0 < measured.seconds < latency.PATIENCE_SECONDS


def test_help_is_timed_beside_its_libraries() -> None:
    measured = measure_help(starts=1)
    assert 0.0 < measured.libraries_seconds < latency.PATIENCE_SECONDS
    assert 0.0 < measured.help_seconds < latency.PATIENCE_SECONDS


def test_quantiles_are_of_the_presses() -> None:
    measured = KeyToPaint(
        seconds=tuple(n / 1000 for n in range(1, 100)), tokens_per_second=0.0, cpu_share=0.0, bytes_per_token=0.0
    )
    assert measured.median_seconds == pytest.approx(0.050)
    assert measured.p95_seconds == pytest.approx(0.095)


@pytest.mark.parametrize("presses", [1, 71])
def test_a_number_of_presses_that_shows_nothing_is_refused(presses: int) -> None:
    with pytest.raises(LatencyError, match=f"{presses} key presses; between 2 and 70"):
        measure_key_to_paint(presses=presses)


def test_an_app_that_ends_by_itself_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency.sys, "executable", "/bin/true")
    with pytest.raises(LatencyError, match="ended by itself"):
        measure_key_to_paint()
