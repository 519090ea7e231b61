"""`flas-tui data make` as it is typed: with a server, with the real small model, killed and gone on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from data.chat_server import ChatServer
from hub_machine import COMMAND

from flas_engine.data.rows import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_SECONDS = 240
CONCEPTS = ("--concept", "talk like a pirate|pirate speech", "--concept", "only questions", "--topics", "6")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        running.behavior.answer = lambda question: f"All of it is known to those who read this: {question[::-1]}."
        yield running


def command(*arguments: str) -> list[str]:
    return [*COMMAND, "data", "make", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=TIMEOUT_SECONDS)


def asking(server: ChatServer) -> tuple[str, ...]:
    return ("--endpoint", server.url, "--endpoint-model", "tiny", "--num-prompts", "60", "--rows", "5")


def test_rows_come_from_a_server_with_splits_and_a_summary(server: ChatServer, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    server.behavior.answer = lambda question: f"Well, {question.split('words ')[-1]} and that is what I have to say."
    held_out = ("--val-prompts", "0.2", "--unseen-wordings", "1", "--unseen-concepts", "2", "--max-tries", "1")
    done = run(str(out), *CONCEPTS, *asking(server), *held_out, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    read = read_rows(out)
    assert summary["rows"] == len(read.rows) > 20
    assert set(summary["splits"]) == {"train", "val", "wording", "unseen"} == {row.split for row in read.rows}
    assert not [row for row in read.rows if "Begin your answer" in row.prompt]
    assert done.stderr == ""


def test_refusals_and_what_does_not_show_its_topic_are_counted(server: ChatServer, tmp_path: Path) -> None:
    server.behavior.answer = lambda question: (
        "I'm sorry, but I can't help with that." if "pirate" in question else "There is nothing of the kind in here."
    )
    done = run(str(tmp_path / "rows.jsonl"), *CONCEPTS, *asking(server), "--json")
    rejected = json.loads(done.stdout)["rejected"]
    assert rejected["refusal"] == 5 * 3
    assert rejected["does not show the concept"] == 6 * 5 * 3
    assert rejected["duplicate"] > 0


def test_a_killed_run_goes_on_and_ends_like_one_that_was_not(server: ChatServer, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed.jsonl", tmp_path / "killed.jsonl"
    assert run(str(undisturbed), *CONCEPTS, *asking(server)).returncode == 0
    num_questions = len(server.questions)
    server.questions.clear()
    process = subprocess.Popen(command(str(killed), *CONCEPTS, *asking(server), "--concurrency", "1"))

    def kill(number: int) -> None:
        if number == num_questions // 2:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(timeout=TIMEOUT_SECONDS)

    server.behavior.after_request = kill
    assert process.wait(timeout=TIMEOUT_SECONDS) == -signal.SIGKILL
    assert not killed.exists()
    server.behavior.after_request = None
    assert run(str(killed), *CONCEPTS, *asking(server)).returncode == 0
    assert killed.read_bytes() == undisturbed.read_bytes()
    assert len(server.questions) == num_questions + 1  # the one under way at the kill was asked twice


def test_a_finished_run_is_not_asked_again(server: ChatServer, tmp_path: Path) -> None:
    out = str(tmp_path / "rows.jsonl")
    first = run(out, *CONCEPTS, *asking(server))
    num_questions = len(server.questions)
    assert run(out, *CONCEPTS, *asking(server)).stdout == first.stdout
    assert len(server.questions) == num_questions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there are no concepts to make rows for"),
        (("--concept", " "), "is empty"),
        (("--rewrite", "nonsense"), "there is no style 'nonsense'"),
        (("--topics", "nowhere.txt"), "nowhere.txt cannot be read"),
        (("--weave", "3", "--prompts", "nowhere.txt"), "nowhere.txt cannot be read"),
        (("--weave", "3", "--endpoint", "http://127.0.0.1:9/v1"), "belong together"),
        (("--weave", "3", "--unseen-wordings", "1"), "--val-prompts"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run(str(tmp_path / "rows.jsonl"), *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("*.jsonl")) == []


@pytest.mark.usefixtures("demo_model_dir")
def test_the_embedded_model_answers_and_its_answers_become_rows(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    few = ("--model", "demo", "--num-prompts", "6", "--rows", "2", "--max-tokens", "24", "--device", "cpu")
    done = run(str(out), "--weave", "2", "--rewrite", "all", *few)
    assert done.returncode == 0, done.stderr
    answers = (tmp_path / "rows.plain.answers.jsonl").read_bytes()
    assert len(answers.splitlines()) == 6
    assert {row.group for row in read_rows(out).rows} == {"noun", "phrase", "style"}
    again = run(str(out), "--weave", "2", "--rewrite", "all", *few)
    assert again.stdout == done.stdout
    assert "reading the weights" not in again.stderr  # nothing was left to ask
    assert (tmp_path / "rows.plain.answers.jsonl").read_bytes() == answers
