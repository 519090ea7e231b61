"""Lanes on a terminal: they grow together, end up whole and in order, and cannot command the terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from scripted_engine import ScriptedEngine

from flas_engine.control import RunControl
from flas_engine.request import Limits, Sampling
from flas_tui.commands import live_output
from flas_tui.commands.generation import Batch, mix_concepts, number_lanes, split_into_batches, stream_batch
from flas_tui.commands.lanes_output import TextBlocksWriter
from flas_tui.commands.live_output import LiveBlocksWriter
from flas_tui.safe_text import visible_text

HOSTILE = [
    "safe ",
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b31m",
    "\u202eback",
    "[/x] [bold]",
    ":smile:",
    "\x1b]52;c;aGk=\x07",
]
RICHS_OWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
"""Colours, cursor movements and erasures, which is all that Rich draws with."""


@pytest.fixture(autouse=True)
def _draw_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "REDRAW_SECONDS", 0.0)


def one_batch(*prompts: str) -> Batch:
    lanes = number_lanes(prompts, (0.0, 1.5), mix_concepts(["talk like a [bold]pirate\x1b[5m"], []))
    (batch,) = split_into_batches(
        lanes,
        num_flow_times=2,
        batch_size=8,
        sampling=Sampling(),
        seed=0,
        limits=Limits(max_new_tokens=40),
        solver="euler",
        num_steps=None,
    )
    return batch


def draw(engine: ScriptedEngine, batch: Batch, height: int = 24) -> str:
    """Everything that is sent to a terminal of 60 columns while `batch` runs."""
    sent = io.StringIO()
    console = Console(file=sent, force_terminal=True, width=60, height=height, color_system="256", legacy_windows=False)
    stream_batch(engine, batch, RunControl(), LiveBlocksWriter(console=console))
    return sent.getvalue()


def test_lanes_end_up_whole_and_in_order() -> None:
    sent = draw(ScriptedEngine(answers={0: ["plain ", "answer"], 1: ["steered ", "answer"]}), one_batch("Hi"))
    final = RICHS_OWN.sub("", sent).splitlines()[-6:]
    assert final == ["baseline", "plain answer", "", "talk like a [bold]pirate␛[5m · T 1.5", "steered answer", ""]


def test_lanes_show_while_they_grow() -> None:
    seen: list[str] = []
    sent = io.StringIO()
    console = Console(file=sent, force_terminal=True, width=60, height=24)
    engine = ScriptedEngine(
        answers={0: ["one ", "two ", "three"], 1: ["eins ", "zwei ", "drei"]},
        before_pass=lambda index: seen.append(sent.getvalue()) if index == 2 else None,
    )
    stream_batch(engine, one_batch("Hi"), RunControl(), LiveBlocksWriter(console=console))
    assert "one two" in seen[0]
    assert "eins zwei" in seen[0]
    assert "three" not in seen[0]


def test_model_text_cannot_command_the_terminal() -> None:
    sent = draw(ScriptedEngine(answers={0: HOSTILE, 1: HOSTILE}), one_batch("Hi"))
    shown = RICHS_OWN.sub("", sent)
    assert not [character for character in shown if visible_text(character) != character]
    assert "\x1b[2J" not in sent
    assert "\x1b[31m" not in sent
    assert "[/x] [bold]:smile:" in shown


def test_plain_blocks_shown_to_a_person_cannot_command_the_terminal() -> None:
    out = io.StringIO()
    writer = TextBlocksWriter(out=out, show=visible_text)
    stream_batch(ScriptedEngine(answers={0: HOSTILE, 1: HOSTILE}), one_batch("Hi"), RunControl(), writer)
    assert visible_text(out.getvalue()) == out.getvalue()


def test_more_lanes_than_fit_are_counted_and_shown_in_the_end() -> None:
    prompts = [f"prompt {number}" for number in range(4)]
    sent = RICHS_OWN.sub("", draw(ScriptedEngine(), one_batch(*prompts), height=8))
    assert "... and 5 more lanes" in sent
    assert sent.rpartition("more lanes")[2].count("· T 1.5") == 4


def test_what_is_written_stays_when_the_run_breaks_off() -> None:
    engine = ScriptedEngine(answers={0: ["kept ", "text"], 1: ["too"]})

    def fail(index: int) -> None:
        if index == 1:
            raise ZeroDivisionError

    engine.before_pass = fail
    sent = io.StringIO()
    console = Console(file=sent, force_terminal=True, width=60, height=24)
    with pytest.raises(ZeroDivisionError):
        stream_batch(engine, one_batch("Hi"), RunControl(), LiveBlocksWriter(console=console))
    assert sent.getvalue().rstrip().endswith("too")
    assert "\x1b[?25h" in sent.getvalue()
