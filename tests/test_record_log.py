"""Files of records: what was appended is there after a kill, a full disk and another process, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flas_engine.errors import EvaluationError
from flas_engine.record_log import RecordLog, read_records

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    key: str
    text: str
    rating: float | None = None


def log_at(path: Path) -> RecordLog[Note]:
    return RecordLog(path, Note, EvaluationError)


def read(path: Path) -> list[Note]:
    return read_records(path, Note, EvaluationError)


def test_what_was_appended_is_read_again_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "notes.jsonl"
    notes = [Note(key="b", text='line\nbreaks\u2028 and "quotes"\r'), Note(key="a", text="é☕", rating=1.5)]
    with log_at(path) as log:
        for note in notes:
            log.append(note)
        assert list(log) == notes
    with log_at(path) as log:
        assert (list(log), len(log), log.get("a"), log.get("c")) == (notes, 2, notes[1], None)
    assert read(path) == notes


def test_the_last_record_of_a_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    with log_at(path) as log:
        log.add([Note(key="a", text="failed"), Note(key="b", text="other")])
        log.append(Note(key="a", text="tried again", rating=2.0))
    assert read(path) == [Note(key="a", text="tried again", rating=2.0), Note(key="b", text="other")]


def test_a_file_that_does_not_exist_has_no_records(tmp_path: Path) -> None:
    assert read(tmp_path / "notes.jsonl") == []


@given(cut=st.integers(min_value=1, max_value=200))
def test_a_kill_in_the_middle_of_a_line_costs_that_line_alone(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "notes.jsonl"
    notes = [Note(key=str(number), text="é" * number) for number in range(4)]
    with log_at(path) as log:
        log.add(notes)
    content = path.read_bytes()[:-cut]
    path.write_bytes(content)
    kept = notes[: content.count(b"\n")]
    assert read(path) == kept
    assert path.read_bytes() == content  # a reader changes nothing
    with log_at(path) as log:
        assert list(log) == kept
        log.add(note for note in notes if log.get(note.key) is None)
    assert read(path) == notes


def test_a_reader_does_not_wait_for_the_writer_and_sees_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    with log_at(path) as log:
        log.append(Note(key="a", text="whole"))
        with path.open("ab") as file:
            file.write(b'{"key": "b", "te')
            file.flush()
            assert read(path) == [Note(key="a", text="whole")]


def test_a_damaged_line_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text('{"key": "a", "text": "fine"}\n{"key": "b", "txt": "?"}\n{"key": "c", "text": "fine"}\n')
    before = path.read_bytes()
    with pytest.raises(EvaluationError, match=r"notes.jsonl line 2 is no note; move the file away, or mend it"):
        read(path)
    with pytest.raises(EvaluationError, match="line 2 is no note"), log_at(path):
        pass
    assert path.read_bytes() == before


def test_a_log_is_open_to_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    with log_at(path), pytest.raises(EvaluationError, match="in use by another process"), log_at(path):
        pass
    with log_at(path):
        pass


def test_a_full_disk_leaves_whole_lines_and_says_what_to_do(small_disk: Path) -> None:
    path = small_disk / "notes.jsonl"
    with log_at(path) as log:
        log.append(Note(key="a", text="fits"))
        fill = small_disk / "fill"
        room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
        fill.write_bytes(b"0" * room)
        before = path.read_bytes()
        with pytest.raises(EvaluationError, match=r"No space left on device.*make room, then run the same command"):
            log.append(Note(key="b", text="too long " * 10_000))
        assert path.read_bytes() == before
        assert log.get("b") is None
        fill.unlink()
        log.append(Note(key="b", text="fits now"))
    assert [note.text for note in read(path)] == ["fits", "fits now"]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_record_log import Note, log_at
with log_at(Path(sys.argv[1])) as log:
    print(len(log), flush=True)
    for number in range(len(log), 10_000):
        log.append(Note(key=str(number), text="x" * 300))
        print(number, flush=True)
"""


def test_what_append_returned_from_survives_a_kill(tmp_path: Path) -> None:
    from pathlib import Path

    path = tmp_path / "notes.jsonl"
    program = WRITER.format(tests=str(Path(__file__).parent))
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [int(process.stdout.readline()) for _ in range(30)]
            process.send_signal(signal.SIGKILL)
            told += [int(line) for line in process.stdout.read().splitlines() if line.strip()]
        keys = [json.loads(line)["key"] for line in path.read_text().splitlines()[: told[-1] + 1]]
        assert keys == [str(number) for number in range(told[-1] + 1)]
