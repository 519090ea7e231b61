"""The metrics file: what is written is read, a live file is followed, a resumed run goes on where it stood."""

from __future__ import annotations

import json
import math
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flas_engine.training import metrics
from flas_engine.training.metrics import (
    Checkpoint,
    End,
    MetricsError,
    MetricsReader,
    MetricsWriter,
    Sample,
    Start,
    Update,
    Validation,
    follow,
    format_flow_time,
    from_line,
    read_metrics,
    to_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flas_engine.training.metrics import Metric, Mirror


def start(resumed_from: int | None = None) -> Start:
    return Start(
        update=resumed_from or 0,
        seconds=1.0,
        num_updates=10,
        num_rows=80,
        num_concepts=4,
        base="demo",
        device="cpu",
        dtype="float32",
        resumed_from=resumed_from,
    )


def update(number: int, loss: float = 2.0) -> Update:
    return Update(
        update=number,
        seconds=float(number),
        loss=loss,
        lm_loss=loss,
        learning_rate=1e-3,
        gradient_norm=0.5,
        flow_time=1.25,
        tokens=640,
        tokens_per_second=300.0,
        resident_bytes=10**9,
        diversity=0.1,
    )


def validation(number: int) -> Validation:
    return Validation(
        update=number,
        seconds=float(number),
        losses={"0": 3.0, "0.5": 2.5, "1": 2.0, "1.5": 2.1, "2": 2.2},
        shuffled=2.9,
        num_tokens=5000,
        num_rows=100,
        is_best=True,
    )


SAMPLE = Sample(
    update=5, seconds=5.0, prompt="p", concept="c \u2028 \ud800", flow_time=1.0, text="a\nb\r\u0085", baseline="a"
)
CHECKPOINT = Checkpoint(update=5, seconds=5.0, path="checkpoints/update-0000005", val_loss=2.0)
END = End(update=10, seconds=10.0, reason="finished", message="", best_update=5)


def write(path: Path, *entries: Metric, resume_from: int | None = None) -> None:
    with MetricsWriter(path, resume_from=resume_from) as writer:
        for entry in entries:
            writer.write(entry)


@pytest.mark.parametrize("metric", [start(), start(5), update(1), validation(5), CHECKPOINT, END])
def test_what_is_written_is_read(tmp_path: Path, metric: Metric) -> None:
    write(tmp_path / "m.jsonl", metric)
    assert read_metrics(tmp_path / "m.jsonl") == (metric,)
    assert from_line(to_line(metric)) == metric


def test_a_text_that_is_no_unicode_takes_one_line_all_the_same(tmp_path: Path) -> None:
    write(tmp_path / "m.jsonl", SAMPLE)
    (sample,) = read_metrics(tmp_path / "m.jsonl")
    assert isinstance(sample, Sample)
    assert sample.text == SAMPLE.text
    assert sample.concept == "c \u2028 ?"


def test_a_loss_that_is_not_a_number_is_null_in_the_file_and_nan_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, update(1, loss=math.nan), update(2, loss=math.inf))
    assert json.loads(path.read_text().splitlines()[0])["loss"] is None
    assert all(isinstance(entry, Update) and math.isnan(entry.loss) for entry in read_metrics(path))


def test_fields_and_kinds_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    later = json.loads(to_line(update(1))) | {"new": 1}
    path.write_text(json.dumps(later) + "\n" + '{"kind": "weather", "update": 1}\n' + to_line(update(2)))
    assert read_metrics(path) == (update(1), update(2))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2"),
        ("[]", "not an object"),
        ('{"kind": "update", "update": 1}', "without seconds"),
        ('{"kind": "validation", "update": 1, "seconds": 1, "losses": 3}', "line 2"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(to_line(update(1)) + line + "\n" + to_line(update(2)))
    with pytest.raises(MetricsError, match=words):
        read_metrics(path)


def test_a_file_that_is_not_there_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="give the folder of a training run"):
        read_metrics(tmp_path / "none" / "metrics.jsonl")


def test_a_half_written_last_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    line = to_line(update(2))
    path.write_text(to_line(update(1)) + line[:20])
    reader = MetricsReader(path)
    assert reader.read_new().metrics == (update(1),)
    assert reader.read_new().metrics == ()
    with path.open("a") as file:
        file.write(line[20:])
    assert reader.read_new().metrics == (update(2),)


def test_a_reader_begins_before_the_run_does(tmp_path: Path) -> None:
    reader = MetricsReader(tmp_path / "m.jsonl")
    assert reader.read_new().metrics == ()
    write(tmp_path / "m.jsonl", start())
    assert reader.read_new().metrics == (start(),)


def test_a_long_file_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PIECE_BYTES", 100)  # less than a line
    entries = tuple(update(number) for number in range(1, 21))
    write(tmp_path / "m.jsonl", *entries)
    assert read_metrics(tmp_path / "m.jsonl") == entries
    first = MetricsReader(tmp_path / "m.jsonl").read_new()
    assert 0 < len(first.metrics) < len(entries)
    assert not first.is_all


def test_a_resumed_run_leaves_the_lines_of_one_that_was_not(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    later = [update(6), update(7), validation(7), END]
    earlier = [start(), *map(update, range(1, 5)), validation(4), update(5), SAMPLE, CHECKPOINT]
    write(whole, *earlier, *later)
    write(resumed, *earlier, update(6), update(7))
    with resumed.open("a") as file:
        file.write(to_line(update(8))[:30])  # killed while it wrote
    write(resumed, *later, resume_from=5)
    assert resumed.read_bytes() == whole.read_bytes()


def test_resuming_twice_at_one_update_leaves_one_start_and_no_end(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    interrupted = End(update=5, seconds=5.0, reason="interrupted")
    write(path, start(), update(5), interrupted)
    write(path, start(5), interrupted, resume_from=5)
    write(path, start(5), update(6), resume_from=5)
    assert read_metrics(path) == (start(), update(5), start(5), update(6))


def test_a_run_that_begins_anew_forgets_the_file_before(tmp_path: Path) -> None:
    write(tmp_path / "m.jsonl", start(), update(1))
    write(tmp_path / "m.jsonl", start())
    assert read_metrics(tmp_path / "m.jsonl") == (start(),)


@given(lines=st.integers(0, 30), resumed=st.integers(0, 30), cut=st.integers(0, 400))
def test_cut_anywhere_the_lines_up_to_the_resumed_update_stay(
    tmp_path_factory: pytest.TempPathFactory, lines: int, resumed: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "m.jsonl"
    write(path, *(update(number) for number in range(1, lines + 1)))
    with path.open("r+b") as file:
        file.truncate(max(0, path.stat().st_size - cut))
    whole = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    write(path, resume_from=resumed)
    assert path.read_bytes() == b"".join(whole[:resumed])


@pytest.mark.parametrize("resumed", [1, 2, 3])
def test_a_reader_notices_that_the_file_was_cut(tmp_path: Path, resumed: int) -> None:
    path = tmp_path / "m.jsonl"
    write(path, start(), *map(update, range(1, 5)))
    reader = MetricsReader(path)
    reader.read_new()
    again = [update(number, loss=1.0) for number in range(resumed + 1, 9)]
    write(path, *again, resume_from=resumed)
    news = reader.read_new()
    assert news.is_anew
    assert news.metrics == (start(), *map(update, range(1, resumed + 1)), *again)


def test_a_live_run_is_followed_until_one_stops(tmp_path: Path) -> None:
    path, stop = tmp_path / "m.jsonl", threading.Event()
    seen: list[Metric] = []

    def watch() -> None:
        for news in follow(path, stop, poll_seconds=0.001):
            seen.extend(news.metrics)
            if isinstance(seen[-1], End):
                stop.set()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    entries = [start(), *map(update, range(1, 11)), END]
    write(path, *entries)
    thread.join(20)
    assert not thread.is_alive()
    assert seen == entries


def test_a_hundred_thousand_lines_are_read_at_a_rate_nobody_waits_for(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("".join(to_line(update(number)) for number in range(20_000)))
    began = time.process_time()
    assert len(read_metrics(path)) == 20_000
    assert time.process_time() - began < 2.0  # a fifth of the lines, and ten times what it takes on a slow machine


def test_mirrors_get_every_metric_and_are_closed(tmp_path: Path) -> None:
    class Kept:
        def __init__(self) -> None:
            self.metrics: list[Metric] = []
            self.is_closed = False

        def write(self, metric: Metric) -> None:
            self.metrics.append(metric)

        def close(self) -> None:
            self.is_closed = True

    mirror = Kept()
    with MetricsWriter(tmp_path / "m.jsonl", mirrors=[mirror]) as writer:
        writer.write(update(1))
    assert mirror.metrics == [update(1)]
    assert mirror.is_closed


def test_a_mirror_that_fails_is_told_once_and_gets_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def write(self, metric: Metric) -> None:
            raise RuntimeError(f"no room for {metric.update}")

        def close(self) -> None:
            raise RuntimeError("nothing to close")

    class FailingAtTheEnd(Failing):
        def write(self, metric: Metric) -> None:
            pass

    with MetricsWriter(tmp_path / "m.jsonl", mirrors=[Failing(), FailingAtTheEnd()]) as writer:
        writer.write(update(1))
        writer.write(update(2))
    assert read_metrics(tmp_path / "m.jsonl") == (update(1), update(2))
    assert [record.getMessage() for record in caplog.records] == ["Failing failed and gets no more metrics"]


def test_mirrors_begin_only_once_the_file_does(tmp_path: Path) -> None:
    def never() -> Iterator[Mirror]:
        pytest.fail("a mirror was made")
        yield

    (tmp_path / "file").touch()
    with pytest.raises(MetricsError):
        MetricsWriter(tmp_path / "file" / "m.jsonl", mirrors=never())


def test_a_file_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MetricsError, match="cannot write"):
        MetricsWriter(tmp_path / "file" / "m.jsonl")


def test_the_gap_is_what_the_right_concept_is_worth() -> None:
    assert validation(1).gap == pytest.approx(0.9)
    assert [format_flow_time(time) for time in (0.0, 0.5, 1.0)] == ["0", "0.5", "1"]
