"""The runs and concepts of this user, kept across restarts in one SQLite file.

Every call is short enough for the thread that draws. Several programs may have the file open at once: writes are
single transactions, and a writer waits for another one. A file that is damaged is moved aside and said so, never
deleted. What a run holds is in `run_record`; no tokens or keys are ever part of it.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flas_engine.errors import FlasError
from flas_engine.paths import data_dir
from flas_tui.run_record import (
    RunRecord,
    lanes_from_json,
    lanes_to_json,
    request_from_json,
    request_to_json,
    spec_from_json,
    spec_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_SECONDS = 2.0
"""How long a write waits for another program's before it gives up: a user notices more, and no write takes as long."""

MIGRATIONS = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        created_at TEXT NOT NULL,
        model TEXT NOT NULL,
        request TEXT NOT NULL,
        lanes TEXT NOT NULL,
        difference TEXT
    );
    CREATE TABLE concepts (
        text TEXT PRIMARY KEY,
        last_used TEXT NOT NULL,
        uses INTEGER NOT NULL,
        last_flow_time REAL NOT NULL,
        is_pinned INTEGER NOT NULL DEFAULT 0
    );
    CREATE VIRTUAL TABLE words USING fts5(prompt, concepts, texts, tokenize = 'unicode61 remove_diacritics 2');
    """,
    "ALTER TABLE runs ADD COLUMN spec TEXT",
)
"""Step n brings the file from schema version n to n + 1. Steps that have been released are never edited."""

_ENTRY = (
    "id, created_at, request, CASE WHEN json_valid(lanes) "  # -Infinity, for one, is not
    "THEN json_extract(lanes, '$[#-1].flow_time_changes[#-1].flow_time') END AS moved_to"
)
"""The columns of a `RunEntry`: SQLite reads the lanes many times as fast as we could."""
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class HistoryError(FlasError):
    """The history cannot be read or written; the app goes on without it."""


@dataclass(frozen=True, kw_only=True)
class ConceptUse:
    """A concept that was used or pinned."""

    text: str
    last_used: datetime
    uses: int
    last_flow_time: float
    is_pinned: bool


@dataclass(frozen=True, kw_only=True)
class RunEntry:
    """A run as a list shows it."""

    id: int
    created_at: datetime
    prompt: str
    concept: str
    """The first one; empty without any."""
    flow_time: float
    """Of the last lane, at its end."""
    seed: int


def default_history_path() -> Path:
    """Where this user's history lies on this system."""
    return data_dir() / "history.db"


class History:
    """An open history; use it from the thread that opened it, and close it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notice: str | None = None
        """What the user should be told about the opening, if anything."""
        with self._explained("open"):
            try:
                self._connection = _open(path)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                kept = _move_aside(path)
                self._connection = _open(path)
                self.notice = f"the history was damaged and starts anew; the old file is kept as {kept}"

    def add_run(self, record: RunRecord) -> int:
        """Store `record` and note the use of its concepts; returns the run's id."""
        with self._explained("write"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            run_id = self._insert_run(record)
            for lane, flow_time in zip(record.request.lanes, record.flow_times, strict=True):
                for concept in lane.concepts:
                    self._note_use(concept.text, flow_time, record.created_at)
        return run_id

    def runs(self, limit: int = 100, search: str = "") -> list[RunRecord]:
        """Return the newest runs first; `search` keeps those with every word of it in prompt, concepts or texts."""
        return [_run(row) for row in self._newest("*", limit, search)]

    def entries(self, limit: int = 100, search: str = "") -> list[RunEntry]:
        """Return what lists show of the same runs: much less to read, since tokens stay in the file."""
        return [_entry(row) for row in self._newest(_ENTRY, limit, search)]

    def _newest(self, columns: str, limit: int, search: str) -> list[sqlite3.Row]:
        words = re.findall(r"\w+", search)
        if search.strip() and not words:
            return []
        query, values = f"SELECT {columns} FROM runs", []
        if words:
            query += " WHERE id IN (SELECT rowid FROM words WHERE words MATCH ?)"
            values.append(" ".join(f'"{word}"*' for word in words))
        with self._explained("read"):
            rows: list[sqlite3.Row] = self._connection.execute(
                f"{query} ORDER BY id DESC LIMIT ?", (*values, limit)
            ).fetchall()
        return rows

    def run(self, run_id: int) -> RunRecord | None:
        """Return the run `run_id`, or None when it is not there (any more)."""
        with self._explained("read"):
            row = self._connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        return None if row is None else _run(row)

    def concepts(self, limit: int = 100) -> list[ConceptUse]:
        """Return the pinned concepts, then the others, the latest used first."""
        with self._explained("read"):
            rows = self._connection.execute(
                "SELECT * FROM concepts ORDER BY is_pinned DESC, last_used DESC, rowid DESC LIMIT ?", (limit,)
            ).fetchall()
        return [_concept(row) for row in rows]

    def pin(self, concept: str, *, is_pinned: bool = True) -> None:
        """Keep `concept` at the top of the list, or no longer."""
        with self._explained("write"), self._connection:
            self._connection.execute(
                "UPDATE concepts SET is_pinned = ? WHERE text = ?", (is_pinned, _storable(concept))
            )

    def forget_concept(self, concept: str) -> None:
        """Take `concept` off the list; runs that used it stay."""
        with self._explained("write"), self._connection:
            self._connection.execute("DELETE FROM concepts WHERE text = ?", (_storable(concept),))

    def forget_run(self, run_id: int) -> None:
        """Delete a run for good."""
        with self._explained("write"), self._connection:
            self._connection.execute("DELETE FROM runs WHERE id = ?", (run_id,))
            self._connection.execute("DELETE FROM words WHERE rowid = ?", (run_id,))
            self._connection.execute("INSERT INTO words (words) VALUES ('optimize')")  # the index drops old words late

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()

    def _insert_run(self, record: RunRecord) -> int:
        difference = None if record.difference is None else " ".join(map(str, record.difference))
        cursor = self._connection.execute(
            "INSERT INTO runs (created_at, model, request, lanes, difference, spec) VALUES (?, ?, ?, ?, ?, ?)",
            (
                _timestamp(record.created_at),
                record.model,
                request_to_json(record.request),
                lanes_to_json(record.lanes),
                difference,
                None if record.spec is None else spec_to_json(record.spec),
            ),
        )
        run_id = cursor.lastrowid
        assert run_id is not None
        concepts = {concept.text for lane in record.request.lanes for concept in lane.concepts}
        self._connection.execute(
            "INSERT INTO words (rowid, prompt, concepts, texts) VALUES (?, ?, ?, ?)",
            (run_id, *map(_storable, (record.prompt, "\n".join(concepts), "\n".join(x.text for x in record.lanes)))),
        )
        return run_id

    def _note_use(self, text: str, flow_time: float, used_at: datetime) -> None:
        self._connection.execute(
            "INSERT INTO concepts (text, last_used, uses, last_flow_time) VALUES (?, ?, 1, ?) "
            "ON CONFLICT (text) DO UPDATE SET uses = uses + 1, last_used = excluded.last_used, "
            "last_flow_time = excluded.last_flow_time",
            (_storable(text), _timestamp(used_at), flow_time),
        )

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """Turn what SQLite and the system say into a message with the next step."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            hint = "check its permissions and the free disk space"
            if isinstance(error, sqlite3.Error):
                if _is_damage(error):
                    hint = "it is damaged; it will be moved aside at the next start"
                elif _is_busy(error):
                    hint = "another program is writing to it; try again"
            raise HistoryError(f"cannot {verb} the history {self.path} ({error}); {hint}") from error


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its side files the same permissions
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        _keep_a_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")  # what is forgotten leaves no traces
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            error = sqlite3.DatabaseError(verdict)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _keep_a_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to a log once; of programs that start at once SQLite refuses some here without waiting, so we wait."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _schema_version(connection) == len(MIGRATIONS):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # of two programs that start at once, the second finds the work done
        version = _schema_version(connection)
        if version > len(MIGRATIONS):
            raise HistoryError(
                f"the history {path} has schema {version}, this flas-tui reads up to {len(MIGRATIONS)}; "
                "update flas-tui, or move the file away to start a new history"
            )
        for step in MIGRATIONS[version:]:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_damage(error: sqlite3.Error) -> bool:
    return _primary_code(error) in _DAMAGE


def _is_busy(error: sqlite3.Error) -> bool:
    return _primary_code(error) == sqlite3.SQLITE_BUSY


def _primary_code(error: sqlite3.Error) -> int:
    # Extended codes carry the primary one in their low byte; an error of the module itself has none.
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _move_aside(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    kept = path.with_name(f"{path.name}.damaged-{stamp}")
    for suffix in ("-wal", "-shm", ""):
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.rename(kept.with_name(kept.name + suffix))
    return kept


def _storable(text: str) -> str:
    """SQLite stores UTF-8, which has no lone surrogates; a model's broken output may."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _timestamp(moment: datetime) -> str:
    """In UTC and always as long, so that the order of the texts is the order in time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _run(row: sqlite3.Row) -> RunRecord:
    difference = row["difference"]
    return RunRecord(
        id=row["id"],
        created_at=datetime.fromisoformat(row["created_at"]),
        model=row["model"],
        request=request_from_json(row["request"]),
        lanes=lanes_from_json(row["lanes"]),
        difference=None if difference is None else tuple(map(int, difference.split())),
        spec=None if row["spec"] is None else spec_from_json(row["spec"]),
    )


def _entry(row: sqlite3.Row) -> RunEntry:
    request = request_from_json(row["request"])
    concepts = [concept.text for lane in request.lanes for concept in lane.concepts]
    return RunEntry(
        id=row["id"],
        created_at=datetime.fromisoformat(row["created_at"]),
        prompt=request.lanes[0].conversation[-1].content,
        concept=concepts[0] if concepts else "",
        flow_time=request.lanes[-1].flow_time if row["moved_to"] is None else row["moved_to"],
        seed=request.seed,
    )


def _concept(row: sqlite3.Row) -> ConceptUse:
    return ConceptUse(
        text=row["text"],
        last_used=datetime.fromisoformat(row["last_used"]),
        uses=row["uses"],
        last_flow_time=row["last_flow_time"],
        is_pinned=bool(row["is_pinned"]),
    )
