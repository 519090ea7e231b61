"""`flas-tui judge` as it is typed: its tables, its mistakes, its secrets, and what a kill leaves behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from typing import TYPE_CHECKING, Protocol

import pytest
from command_line import Outcome
from data.chat_server import GOOD_KEY, ChatServer
from hub_machine import COMMAND
from judge.small_evaluation import write_generations

from flas_engine.evaluation.results import judgements_path, read_judgements
from flas_engine.judge.rubric import find_rubric
from flas_tui.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_SECONDS = 240
NUM_TEXTS = 12


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        running.behavior.answer = lambda question: f"It may be.\nRating: [[{random.Random(question).randrange(3)}]]"
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_generations(tmp_path / "eval", [f"text {number}" for number in range(NUM_TEXTS)])
    return tmp_path / "eval"


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's keys and the usual log out of the tests."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "FLAS_JUDGE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("FLAS_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Judge:
    """Run `flas-tui judge` in this process."""

    def run_command(folder: Path, *arguments: str, **environment: str) -> Outcome:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main(["judge", str(folder), *arguments])
        captured = capfd.readouterr()
        code = ended.value.code
        return Outcome(exit_code=code if isinstance(code, int) else 0, out=captured.out, err=captured.err)

    return run_command


class Judge(Protocol):
    """Runs `flas-tui judge folder arguments`, with these variables set from now on."""

    def __call__(self, folder: Path, *arguments: str, **environment: str) -> Outcome: ...


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start `flas-tui judge` as a process."""
    return subprocess.Popen(
        [*COMMAND, "judge", str(folder), *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_all_texts_are_judged_and_summed_up(server: ChatServer, folder: Path, judge: Judge) -> None:
    done = judge(folder, "--model", "tiny", "--price-input", "1", "--price-output", "2", OPENAI_BASE_URL=server.url)
    assert done.exit_code == 0, done.err
    assert f"judge       tiny, rubric flas 1 ({find_rubric('flas').hash})" in done.out
    assert "12 rated" in done.out
    assert "tokens      3,600 asked, 360 answered" in done.out
    assert "cost        $0.0043" in done.out
    assert "asking tiny: 36 questions" in done.err
    again = judge(folder, "--base-url", server.url, "--quiet", "--json", FLAS_JUDGE_MODEL="tiny")
    summary = json.loads(again.out)
    assert (summary["num_rated"], summary["num_failed"], summary["num_open"]) == (36, 0, 0)
    assert summary["judge"]["kind"] == "endpoint"
    assert again.err == ""
    assert len(server.questions) == 36


def test_a_dry_run_asks_nothing(server: ChatServer, folder: Path, judge: Judge) -> None:
    priced = ("--price-input", "0.15", "--price-output", "0.6")
    done = judge(folder, "--model", "tiny", "--base-url", server.url, *priced, "--dry-run", "--json")
    found = json.loads(done.out)
    assert found["num_questions"] == 36
    assert found["dollars"] > 0
    assert server.questions == []
    assert not (folder / "judgements").exists()
    openai = judge(folder, "--dry-run", OPENAI_API_KEY=GOOD_KEY)
    assert "36 questions, about" in openai.out
    assert "about $0.00" in openai.out


def test_a_killed_run_goes_on_and_ends_like_one_that_was_not(
    server: ChatServer, folder: Path, tmp_path: Path, judge: Judge
) -> None:
    undisturbed = tmp_path / "undisturbed"
    write_generations(undisturbed, [f"text {number}" for number in range(NUM_TEXTS)])
    arguments = ("--model", "tiny", "--base-url", server.url, "--concurrency", "4")
    assert judge(undisturbed, *arguments).exit_code == 0
    num_kills = 3
    for moment in random.Random(5).sample(range(1, 12), num_kills):
        kill_at(server, folder, len(server.questions) + moment, arguments)
    server.behavior.after_request = None
    assert judge(folder, *arguments).exit_code == 0
    lines = [judgements_path(each, "tiny").read_text().splitlines() for each in (folder, undisturbed)]
    assert sorted(lines[0]) == sorted(lines[1])
    assert len({json.loads(line)["key"] for line in lines[0]}) == len(lines[0]) == 36
    assert len(server.questions) <= 2 * 36 + 4 * num_kills  # a kill loses what was under way


def kill_at(server: ChatServer, folder: Path, number: int, arguments: tuple[str, ...]) -> None:
    """Run the command until the server has seen so many questions, then kill it as the kernel does."""
    with start(folder, *arguments) as process:

        def kill(seen: int) -> None:
            if seen == number:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(timeout=TIMEOUT_SECONDS)

        server.behavior.after_request = kill
        assert process.wait(timeout=TIMEOUT_SECONDS) == -signal.SIGKILL


def test_ctrl_c_ends_at_once_and_keeps_what_there_is(server: ChatServer, folder: Path) -> None:
    with start(folder, "--model", "tiny", "--base-url", server.url, "--concurrency", "2") as process:

        def hold(number: int) -> None:
            if number == 10:
                process.send_signal(signal.SIGINT)
            if number >= 9:
                server.is_over.wait()

        server.behavior.after_request = hold
        _, told = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 130
    assert "the same command goes on" in told
    assert len(read_judgements(folder)) == 8


def test_the_limit_of_the_cost_is_an_error_that_says_how_to_go_on(
    server: ChatServer, folder: Path, judge: Judge
) -> None:
    priced = ("--price-input", "1", "--price-output", "1", "--max-tokens", "20", "--limit-cost", "0.005")
    done = judge(folder, "--model", "tiny", "--base-url", server.url, *priced)
    assert done.exit_code == 1
    assert "raise --limit-cost" in done.err
    assert "not asked yet" in done.out
    assert 0 < len(read_judgements(folder)) < 36


def test_failures_are_counted_by_reason(server: ChatServer, folder: Path, judge: Judge) -> None:
    server.behavior.fault_of = lambda question: "Fine!" if "text 3" in question else ""
    done = judge(folder, "--model", "tiny", "--base-url", server.url, "--tries", "2")
    assert done.exit_code == 0
    assert len(server.questions) == 36 + 3
    assert "failed      3 no rating in the answer" in done.out
    assert "11 rated, 1 failed" in done.out


def test_the_key_appears_nowhere(server: ChatServer, folder: Path, tmp_path: Path) -> None:
    server.behavior.answer = lambda _: f"You are {GOOD_KEY}. Rating: [[1]]"
    server.behavior.fault_of = lambda question: (
        "500" if "text 1\n" in question else "401 nope" if "text 11" in question else ""
    )
    url = server.url.replace("//", "//someone:hunter2hunter2@")
    options = ("--model", "tiny", "--base-url", url, "--concurrency", "1")
    with start(folder, *options, OPENAI_API_KEY=GOOD_KEY, OPENAI_LOG="debug") as process:
        told = "".join(process.communicate(timeout=TIMEOUT_SECONDS))
    kept = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "refuses the key (401)" in told
    assert "500 Internal Server Error" in kept
    assert "You are [secret]" in kept
    assert not [secret for secret in (GOOD_KEY, "hunter2") if secret in told + kept]


HERE = ("--base-url", "http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "OPENAI_API_KEY is empty"),
        (HERE, "name it with --model or in FLAS_JUDGE_MODEL"),
        (("--base-url", "sk-SomeKeyInTheWrongPlace", "--model", "m"), "is no URL"),
        ((*HERE, "--model", "m", "--rubric", "nonsense"), "no rubric 'nonsense'"),
        ((*HERE, "--model", "m", "--rubric", "axbench"), "flas-tui data download axbench-templates"),
        ((*HERE, "--model", "m", "--price-input", "1"), "belong together"),
        ((*HERE, "--model", "m", "--limit-cost", "1"), "prices of m are unknown"),
        ((*HERE, "--model", "m"), "no connection to http://127.0.0.1:9/v1"),
    ],
)
def test_mistakes_are_told_in_a_line(folder: Path, judge: Judge, arguments: tuple[str, ...], message: str) -> None:
    done = judge(folder, *arguments, "--quiet")
    assert done.exit_code == 1
    assert message in done.err
    assert done.err.count("\n") == 1
    assert "sk-Some" not in done.err


def test_a_folder_without_texts_is_told(tmp_path: Path, judge: Judge) -> None:
    done = judge(tmp_path, *HERE, "--model", "m")
    assert done.exit_code == 1
    assert "holds no generations" in done.err
