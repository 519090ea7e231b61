"""`flas-tui chat` through a pipe: conversations, commands, and what reaches the engine."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flas_engine.errors import RequestError
from flas_engine.request import Limits, Sampling
from flas_tui.commands.chat_session import COMMANDS, ChatSession, ChatSettings, record_answers, run_command

if TYPE_CHECKING:
    from command_line import Run
    from scripted_engine import ScriptedLoader


def turns(loader: ScriptedLoader, request: int, lane: int = 0) -> list[str]:
    return [message.content for message in loader.engine.requests[request].lanes[lane].conversation]


def flow_times(loader: ScriptedLoader) -> list[list[float]]:
    return [[lane.flow_time for lane in request.lanes] for request in loader.engine.requests]


def test_answers_alone_reach_stdout(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.answers = {0: ["Ahoy", "!"]}
    outcome = run("chat", stdin="Hello\n/status\nAgain\n")
    assert (outcome.out, outcome.exit_code) == ("Ahoy!\nAhoy!\n", 0)
    assert "turns so far: 1" in outcome.err


def test_a_turn_carries_the_conversation_so_far(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.answers = {0: ["Ahoy"]}
    run("chat", "--system", "Be brief.", stdin="Hello\nAgain\n")
    assert turns(loader, 1) == ["Be brief.", "Hello", "Ahoy", "Again"]


def test_compared_lanes_keep_their_own_conversations(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.answers = {0: ["plain"], 1: ["steered"]}
    outcome = run("chat", "-c", "talk like a pirate", "--compare", stdin="Hello\nAgain\n")
    assert (turns(loader, 1, 0), turns(loader, 1, 1)) == (["Hello", "plain", "Again"], ["Hello", "steered", "Again"])
    assert outcome.out.startswith("[baseline]\nplain\n\n[talk like a pirate · T 1.5]\nsteered\n")


def test_after_an_uncompared_turn_there_is_one_conversation_again(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.answers = {0: ["first"], 1: ["second"]}
    run("chat", "-c", "talk like a pirate", "--compare", stdin="a\n/compare\nb\n/compare\nc\n")
    assert turns(loader, 2, 0) == turns(loader, 2, 1) == ["a", "second", "b", "first", "c"]


def test_commands_act_on_the_next_turn(run: Run, loader: ScriptedLoader) -> None:
    lines = ["a", "/concept robots", "/flowtime 2", "b", "/off", "c", "/on", "/steps 5", "/temp 0", "/seed 9", "d"]
    assert run("chat", stdin="\n".join(lines)).exit_code == 0
    assert flow_times(loader) == [[0.0], [2.0], [0.0], [2.0]]
    last = loader.engine.requests[-1]
    assert (last.num_steps, last.sampling.temperature, last.seed) == (5, 0.0, 9)


def test_reset_forgets_the_conversation(run: Run, loader: ScriptedLoader) -> None:
    run("chat", stdin="a\n/reset\nb\n")
    assert turns(loader, 1) == ["b"]


def test_quit_leaves_the_rest_unread(run: Run, loader: ScriptedLoader) -> None:
    assert run("chat", stdin="a\n/quit\nb\n").exit_code == 0
    assert len(loader.engine.requests) == 1


def test_help_lists_every_command(run: Run) -> None:
    err = run("chat", stdin="/help\n").err
    assert all(f"/{name}" in err for name in COMMANDS)


def test_a_line_with_two_slashes_is_a_message(run: Run, loader: ScriptedLoader) -> None:
    run("chat", stdin="//etc is a path\n")
    assert turns(loader, 0) == ["/etc is a path"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/foo", "/foo is no command"),
        ("/flowtime much", "flow time 'much' is not a number"),
        ("/flowtime 9", "flow time is 9"),
        ("/temp hot", "temperature 'hot' is not a number"),
        ("/temp -1", "temperature is -1"),
        ("/steps some", "'some' is not a whole number"),
        ("/steps 0", "the number of solver steps is 0"),
        ("/seed -2", "the seed is -2"),
        ("/on", "there is no concept"),
        ("/compare", "there is no concept"),
    ],
)
def test_a_mistake_is_told_and_changes_nothing(run: Run, loader: ScriptedLoader, line: str, message: str) -> None:
    outcome = run("chat", stdin=f"a\n{line}\na\n")
    assert message in outcome.err
    assert outcome.exit_code == 1
    first, second = loader.engine.requests
    assert (first.num_steps, first.sampling, first.seed) == (second.num_steps, second.sampling, second.seed)
    assert first.lanes[0].flow_time == second.lanes[0].flow_time


def test_a_refused_turn_leaves_no_trace(run: Run, loader: ScriptedLoader) -> None:
    outcome = run("chat", "-n", "3", stdin="word " * 3000 + "\nHello\n")
    assert "3000 tokens" in outcome.err
    assert turns(loader, 1) == ["Hello"]
    assert outcome.exit_code == 1


def test_ctrl_c_stops_the_answer_and_keeps_the_text(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.answers = {0: ["one ", "two ", "three"]}

    def interrupt(index: int) -> None:
        if index == 2 and len(loader.engine.requests) == 1:
            signal.raise_signal(signal.SIGINT)

    loader.engine.before_pass = interrupt
    outcome = run("chat", stdin="a\nb\n")
    assert outcome.out == "one two \none two three\n"
    assert turns(loader, 1) == ["a", "one two ", "b"]


def test_a_second_ctrl_c_leaves(run: Run, loader: ScriptedLoader) -> None:
    def interrupt_twice(index: int) -> None:
        if index == 1:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    loader.engine.before_pass = interrupt_twice
    outcome = run("chat", stdin="a\nb\n")
    assert outcome.exit_code == 130
    assert len(loader.engine.requests) == 1


def new_session() -> ChatSession:
    return ChatSession(
        settings=ChatSettings(
            concepts=(),
            flow_time=1.5,
            sampling=Sampling(),
            seed=0,
            limits=Limits(),
            solver="euler",
            num_steps=None,
            system=None,
        )
    )


def test_an_answer_stopped_before_its_first_word_leaves_no_turn() -> None:
    session = new_session()
    record_answers(session, "Hello", [" "])
    assert session.turns == ()


def test_an_unusable_setting_is_not_taken_up() -> None:
    session = new_session()
    with pytest.raises(RequestError):
        run_command(session, "/steps 5000")
    assert session.settings.num_steps is None


SCRIPTED_CHAT = """
from scripted_engine import ScriptedLoader
from flas_tui.commands import engine_loading
from flas_tui.cli import main
loader = ScriptedLoader()
engine_loading.load_function = lambda: loader
main(["chat", "-n", "3"])
"""


def read_until(descriptor: int, wanted: bytes) -> None:
    """Read until `wanted` has come; fails after half a minute of silence."""
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([descriptor], [], [], 30)
        assert ready, f"{wanted!r} did not come after {seen!r}"
        seen += os.read(descriptor, 4096)


def test_lines_typed_at_a_terminal_are_kept_in_a_private_file(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    environment = os.environ | {
        "XDG_STATE_HOME": str(tmp_path),
        "TERM": "dumb",
        "PYTHONPATH": f"{tests}:{tests.parent}",
    }
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPTED_CHAT], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    with process, os.fdopen(ours, "rb", buffering=0):
        os.close(theirs)
        read_until(ours, b"> ")
        os.write(ours, b"hello there\n")
        read_until(ours, b"\n> ")
        os.write(ours, b"\x04")
        assert process.wait(30) == 0
    (history,) = tmp_path.rglob("chat_history")
    assert "hello there" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
