"""Metrics in TensorBoard, read back from the files that it would draw."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest
from training_run import finished, made_up_metrics

from flas_engine.training.metrics import METRICS_FILE, MetricsWriter
from flas_engine.training.mirrors import TENSORBOARD_FOLDER, TensorBoardMirror, installed_mirrors, scalars

if TYPE_CHECKING:
    from pathlib import Path


def test_numbers_are_mirrored_and_texts_are_not() -> None:
    named = {name for metric in made_up_metrics(100) for name in scalars(metric)}
    assert {"train/lm_loss", "validation/T 1", "validation/wrong concept", "validation/concept worth"} < named
    assert "train/contrast" not in named  # off in this run
    assert scalars(finished(1)) == {}


def test_what_is_not_installed_is_not_mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flas_engine.training.mirrors.find_spec", lambda _: None)
    assert list(installed_mirrors(tmp_path)) == []


def test_what_cannot_begin_is_not_mirrored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr("flas_engine.training.mirrors.find_spec", lambda _: True)
    monkeypatch.setattr("flas_engine.training.mirrors.TensorBoardMirror", fail)
    monkeypatch.setattr("flas_engine.training.mirrors.TrackioMirror", fail)
    assert list(installed_mirrors(tmp_path)) == []
    assert [record.getMessage().split()[0] for record in caplog.records] == ["tensorboard", "trackio"]


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsWriter(tmp_path / METRICS_FILE, mirrors=[TensorBoardMirror(tmp_path)]) as writer:
        for metric in made_up_metrics(60, every=20):
            writer.write(metric)
    events = EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER)).Reload()
    assert [event.step for event in events.Scalars("train/lm_loss")] == list(range(1, 61))
    assert [event.step for event in events.Scalars("validation/T 1")] == [20, 40, 60]
