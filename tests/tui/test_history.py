"""Runs and concepts survive: restarts, two programs at once, newer versions, damage."""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flas_engine.events import FinishReason
from flas_engine.info import LoadSpec
from flas_engine.request import Lane, Limits, Message, Request, Sampling, WeightedConcept
from flas_tui import history as history_module
from flas_tui.history import MIGRATIONS, History, HistoryError, RunEntry
from flas_tui.recording import from_record
from flas_tui.run_record import (
    FlowTimeChange,
    LaneRecord,
    RunRecord,
    lanes_from_json,
    lanes_to_json,
    request_from_json,
    request_to_json,
)
from flas_tui.session import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(
    *,
    prompt: str = "Tell me about the sea",
    concept: str = "pirate",
    text: str = "Ahoy",
    flow_time: float = 1.5,
    hours: int = 0,
) -> RunRecord:
    conversation = (Message(role="system", content="Be brief."), Message(role="user", content=prompt))
    return RunRecord(
        created_at=NOON + timedelta(hours=hours),
        model="demo",
        spec=LoadSpec(model="demo", dtype="int8"),
        request=Request(
            lanes=(
                Lane(conversation=conversation),
                Lane(
                    conversation=conversation,
                    concepts=(WeightedConcept(text=concept), WeightedConcept(text="rude", weight=-0.5)),
                    flow_time=flow_time,
                ),
            ),
            sampling=Sampling(temperature=0.8, top_p=0.9),
            seed=2**63 - 1,
            limits=Limits(max_new_tokens=40, stop=("\n\n", "END")),
            num_steps=5,
        ),
        lanes=(
            LaneRecord(text="The sea is wide.", token_ids=(5, 6), logprobs=(-0.5, -1.25)),
            LaneRecord(
                text=text,
                token_ids=(7,),
                logprobs=(-0.1,),
                flow_time_changes=(FlowTimeChange(offset=2, flow_time=flow_time + 0.25),),
                finish_reason=FinishReason.CANCELLED,
            ),
        ),
        difference=(0, 4),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.db"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    opened = History(path)
    yield opened
    opened.close()


def test_a_run_comes_back_exactly_after_a_restart(path: Path) -> None:
    history = History(path)
    kept = record()
    run_id = history.add_run(kept)
    history.close()
    history = History(path)
    assert history.run(run_id) == replace(kept, id=run_id)
    assert history.runs() == [replace(kept, id=run_id)]
    history.close()


def test_an_entry_is_what_lists_show_of_a_run(history: History) -> None:
    kept = record()
    run_id = history.add_run(kept)
    unusual = replace(kept, lanes=(kept.lanes[0], replace(kept.lanes[1], logprobs=(-math.inf,), flow_time_changes=())))
    history.add_run(unusual)
    entry = RunEntry(
        id=run_id,
        created_at=NOON,
        prompt="Tell me about the sea",
        concept="pirate",
        flow_time=1.75,
        seed=2**63 - 1,
    )
    assert history.entries() == [replace(entry, id=run_id + 1, flow_time=1.5), entry]
    assert history.entries(search="zanzibar") == []


def test_a_run_written_in_another_time_zone_is_the_same_moment(history: History) -> None:
    kept = replace(record(), created_at=NOON.astimezone(timezone(timedelta(hours=9))))
    assert history.run(history.add_run(kept)) == replace(kept, id=1)


def test_lone_surrogates_in_a_broken_answer_are_kept(history: History) -> None:
    kept = record(text="broken \ud83d half", prompt="say \udc4b", concept="half \ud83d")
    assert history.run(history.add_run(kept)) == replace(kept, id=1)


TEXTS = st.text(st.characters(codec=None, categories=None), max_size=20)
WORDS = TEXTS.filter(lambda text: text.strip())
LANES = st.builds(
    Lane,
    conversation=st.lists(st.builds(Message, role=st.sampled_from(["system", "user"]), content=WORDS), min_size=1).map(
        tuple
    ),
    concepts=st.lists(
        st.builds(WeightedConcept, text=WORDS, weight=st.floats(allow_nan=False, allow_infinity=False)), min_size=1
    ).map(tuple),
    flow_time=st.floats(-8, 8),
    seed=st.none() | st.integers(0, 2**63 - 1),
    given=st.lists(st.integers(0, 300_000), max_size=3).map(tuple),
    draft=st.lists(st.integers(0, 300_000), max_size=3).map(tuple),
)
REQUESTS = st.builds(
    Request,
    lanes=st.lists(LANES, min_size=1, max_size=3).map(tuple),
    sampling=st.builds(
        Sampling, temperature=st.just(0.0) | st.floats(1e-3, 100), top_k=st.integers(0, 1000), min_p=st.floats(0, 1)
    ),
    seed=st.integers(0, 2**63 - 1),
    limits=st.builds(Limits, max_new_tokens=st.integers(1, 10_000), stop=st.lists(WORDS, max_size=2).map(tuple)),
    solver=st.sampled_from(["euler", "rk4"]),
    num_steps=st.none() | st.integers(1, 1000),
    max_live=st.none() | st.integers(1, 100),
)
WRITTEN = st.builds(
    LaneRecord,
    text=TEXTS,
    token_ids=st.lists(st.integers(0, 300_000)).map(tuple),
    logprobs=st.lists(st.floats(max_value=0, allow_nan=False)).map(tuple),
    flow_time_changes=st.lists(
        st.builds(FlowTimeChange, offset=st.integers(0, 1000), flow_time=st.floats(-8, 8)), max_size=3
    ).map(tuple),
    finish_reason=st.none() | st.sampled_from(FinishReason),
)


@given(REQUESTS)
def test_any_request_is_read_as_it_was_written(request: Request) -> None:
    assert request_from_json(request_to_json(request)) == request


@given(st.lists(WRITTEN, max_size=3).map(tuple))
def test_any_lanes_are_read_as_they_were_written(lanes: tuple[LaneRecord, ...]) -> None:
    assert lanes_from_json(lanes_to_json(lanes)) == lanes


def test_the_newest_runs_come_first_and_no_more_than_asked(history: History) -> None:
    for hour in range(5):
        history.add_run(record(prompt=f"prompt {hour}", hours=hour))
    assert [run.prompt for run in history.runs(limit=3)] == ["prompt 4", "prompt 3", "prompt 2"]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("sea", [2, 1]),
        ("lighthouse", [1]),
        ("lightho", [1]),
        ("CAFE", [2]),
        ("pirate sea", [2, 1]),
        ("lighthouse café", []),
        ('"AND OR NOT (', []),
        ("pirate*", [2, 1]),
        ("'; DROP TABLE runs; --", []),
        ("  ", [2, 1]),
        ("!?", []),
    ],
)
def test_searching_finds_words_and_their_beginnings_anywhere(history: History, search: str, found: list[int]) -> None:
    history.add_run(record(text="the lighthouse"))
    history.add_run(record(text="un café"))
    assert [run.id for run in history.runs(search=search)] == found


def test_concepts_are_counted_with_their_last_flow_time(history: History) -> None:
    history.add_run(record(concept="pirate", flow_time=1.0))
    history.add_run(record(concept="poet", flow_time=2.0, hours=1))
    history.add_run(record(concept="pirate", flow_time=0.5, hours=2))
    uses = {use.text: use for use in history.concepts()}
    assert list(uses) == ["rude", "pirate", "poet"]
    assert (uses["pirate"].uses, uses["pirate"].last_flow_time) == (2, 0.75)
    assert uses["pirate"].last_used == NOON + timedelta(hours=2)
    assert uses["poet"].uses == 1


def test_pinned_concepts_stay_on_top(history: History) -> None:
    history.add_run(record(concept="pirate"))
    history.add_run(record(concept="poet", hours=1))
    history.pin("pirate")
    assert [(use.text, use.is_pinned) for use in history.concepts(limit=1)] == [("pirate", True)]
    history.add_run(record(concept="pirate", hours=2))
    assert history.concepts()[0].is_pinned
    history.pin("pirate", is_pinned=False)
    assert not any(use.is_pinned for use in history.concepts())


def test_what_is_forgotten_leaves_no_trace_in_the_files(history: History, path: Path) -> None:
    run_id = history.add_run(record(text="zanzibar-one", concept="xylophone-two"))
    history.forget_run(run_id)
    history.forget_concept("xylophone-two")
    assert history.runs() == history.runs(search="zanzibar") == []
    assert [use.text for use in history.concepts()] == ["rude"]
    history.close()
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"zanzibar" not in stored
    assert b"xylophone" not in stored


def test_only_the_owner_can_read_it(history: History, path: Path) -> None:
    history.add_run(record())
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_damaged_file_is_moved_aside_and_said_so(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all " * 100)
    history = History(path)
    kept = next(path.parent.glob("history.db.damaged-*"))
    assert kept.read_bytes().startswith(b"not a database")
    assert history.notice is not None
    assert str(kept) in history.notice
    history.add_run(record())
    history.close()
    assert History(path).notice is None


def test_a_file_damaged_inside_is_moved_aside_too(path: Path) -> None:
    history = History(path)
    for number in range(200):
        history.add_run(record(text=f"text {number} " * 50))
    history.close()
    data = bytearray(path.read_bytes())
    data[4096 : len(data) // 2] = b"\x5a" * (len(data) // 2 - 4096)
    path.write_bytes(data)
    history = History(path)
    assert history.notice is not None
    assert history.runs() == []
    assert any(kept.read_bytes() == data for kept in path.parent.glob("history.db.damaged-*"))
    history.close()


def test_a_history_of_an_earlier_version_is_brought_forward(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(path)
    history.add_run(record())
    history.close()
    step = "ALTER TABLE concepts ADD COLUMN note TEXT; CREATE TABLE later (id INTEGER)"
    monkeypatch.setattr(history_module, "MIGRATIONS", (*MIGRATIONS, step))
    history = History(path)
    assert (len(history.runs()), history.notice) == (1, None)
    history.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert connection.execute("SELECT note FROM concepts").fetchall() == [(None,), (None,)]


def test_a_run_from_before_specs_were_kept_comes_back_by_the_models_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "MIGRATIONS", MIGRATIONS[:1])
    History(path).close()
    kept = record()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO runs (created_at, model, request, lanes) VALUES (?, 'demo', ?, ?)",
            (NOON.isoformat(), request_to_json(kept.request), lanes_to_json(kept.lanes)),
        )
    monkeypatch.undo()
    history = History(path)
    (old,) = history.runs()
    history.close()
    assert old.spec is None
    assert from_record(old).writer == Writer(name="demo", spec=LoadSpec(model="demo"))


def test_a_step_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    History(path).close()
    monkeypatch.setattr(history_module, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE later (id); CREATE TABLE runs (id)"))
    with pytest.raises(HistoryError, match="already exists"):
        History(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("SELECT * FROM sqlite_master WHERE name = 'later'").fetchall() == []


def test_a_history_of_a_later_version_is_refused_and_left_alone(path: Path) -> None:
    History(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(HistoryError, match="schema 99, this flas-tui reads up to 2; update flas-tui"):
        History(path)
    assert path.exists()
    assert not list(path.parent.glob("*damaged*"))


def test_a_place_that_cannot_be_written_is_told_with_the_path(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    with pytest.raises(HistoryError, match=r"cannot open the history .*history\.db.*permissions and the free disk"):
        History(blocker / "history.db")


def test_a_write_that_another_program_blocks_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "BUSY_SECONDS", 0.0)
    history = History(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(HistoryError, match="another program is writing"):
        history.add_run(record())
    other.execute("ROLLBACK")
    assert history.add_run(record()) == 1
    other.close()
    history.close()


def test_many_can_open_a_history_that_is_not_there_yet_at_once(tmp_path: Path) -> None:
    def open_and_close(path: Path) -> str | None:
        at_once.wait()
        history = History(path)
        history.close()
        return history.notice

    at_once = threading.Barrier(6)
    with ThreadPoolExecutor(6) as pool:
        for number in range(30):
            notices = list(pool.map(open_and_close, [tmp_path / str(number) / "history.db"] * 6))
            assert notices == [None] * 6


def test_two_programs_can_start_and_write_at_once(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from test_history import record; from flas_tui.history import History\n"
        "history = History(Path(sys.argv[1]))\n"
        "for number in range(40): history.add_run(record(concept=sys.argv[2]))\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), name],
            cwd=Path(__file__).parent,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stderr=subprocess.PIPE,
        )
        for name in ("pirate", "poet")
    ]
    for process in running:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr.decode()
    history = History(path)
    assert len(history.runs(limit=1000)) == 80
    assert {use.text: use.uses for use in history.concepts()} == {"pirate": 40, "poet": 40, "rude": 80}
    history.close()
