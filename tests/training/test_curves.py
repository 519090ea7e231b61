"""What the metrics of a run add up to: means, rates, the time left, and how the run stands."""

from __future__ import annotations

import fcntl
import math
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_run import START_SECONDS, finished, made_up_metrics

from flas_engine.training.curves import LOCK_FILE, Curve, RunCurves, is_live
from flas_engine.training.metrics import Update

if TYPE_CHECKING:
    from pathlib import Path


def curves_of(num_updates: int, last_update: int) -> RunCurves:
    curves = RunCurves()
    curves.add(made_up_metrics(num_updates, last_update=last_update))
    return curves


@given(values=st.lists(st.floats(-10, 10), min_size=1, max_size=400), num_points=st.integers(1, 100))
def test_a_thinned_curve_ends_with_the_last_update_and_stays_within_the_values(
    values: list[float], num_points: int
) -> None:
    curve = Curve()
    for update, value in enumerate(values, 1):
        curve.add(update, value)
    updates, means = curve.means(num_points)
    assert updates[-1] == len(values)
    assert updates == sorted(set(updates))
    assert len(updates) <= 2 * num_points + 1
    assert all(min(values) - 1e-9 <= mean <= max(values) + 1e-9 for mean in means)


def test_a_value_that_is_no_number_leaves_a_gap() -> None:
    curve = Curve()
    for update, value in enumerate([1.0, math.nan, 3.0], 1):
        curve.add(update, value)
    assert curve.means(10)[0] == [1, 3]


def test_the_time_left_is_the_present_rate_over_what_remains() -> None:
    curves = curves_of(1000, 400)
    assert curves.seconds_per_update == pytest.approx(2.0)
    assert curves.seconds_left == pytest.approx(1200.0)
    assert math.isnan(curves_of(1000, 1).seconds_left)


def test_tokens_best_and_samples_are_those_of_the_metrics() -> None:
    metrics = list(made_up_metrics(300))
    curves = RunCurves()
    curves.add(metrics)
    assert curves.num_tokens == sum(metric.tokens for metric in metrics if isinstance(metric, Update))
    assert curves.best is not None
    assert curves.best.losses["1"] == min(each.losses["1"] for each in curves.validations)
    assert {sample.update for sample in curves.latest_samples()} == {300}


def test_a_run_stands_as_its_lock_and_its_end_say() -> None:
    curves = RunCurves()
    assert curves.state(is_live=True) == "waiting"
    curves = curves_of(100, 50)
    assert curves.state(is_live=True) == "running"
    assert curves.state(is_live=False) == "gone"
    curves.add([finished(100)])
    assert curves.state(is_live=False) == "finished"


def test_a_run_lives_while_its_lock_is_held_or_its_file_grows(tmp_path: Path) -> None:
    assert is_live(tmp_path, time.time())
    assert not is_live(tmp_path, START_SECONDS)
    with (tmp_path / LOCK_FILE).open("wb") as lock:
        assert not is_live(tmp_path, START_SECONDS)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_live(tmp_path, START_SECONDS)
    assert not is_live(tmp_path, math.nan)
