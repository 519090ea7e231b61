"""Evaluations small enough for a test: a random model and its flow on the disk, and the commands that run on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from command_line import Outcome
from tiny import tiny_architecture, tiny_flow
from tiny_run import write_base

from flas_engine.checkpoint import write_flow
from flas_engine.engine import load_engine
from flas_engine.training.threads import limit_threads

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.engine import Engine
    from flas_engine.evaluation.results import Generation

CONCEPTS = ("talk like a pirate", "robots", "the sea and {ships}", "tea", "café — naïve ☕")
PROMPTS = ("What is rain?", "Name a bird, and say why.", "How deep?", "Two words, please!", "Why?", "And the moon?")


def write_model(folder: Path) -> Path:
    """Write a tiny base and its flow, as downloads would leave them."""
    base = write_base(folder / "base", "llama")
    flow = tiny_flow(tiny_architecture("llama", vocab_size=288), layer=2, model_id=str(base))
    write_flow(folder / "flow", "tiny-flow", flow.config, flow.field)
    (folder / "concepts.txt").write_text("\n".join(CONCEPTS), encoding="utf-8")
    (folder / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    return folder


def load_tiny_engine(model: Path) -> Engine:
    """Load what `write_model` wrote, computing on one thread as the command does in these tests."""
    engine = load_engine(flow=str(model / "flow"), device="cpu", dtype="float32")
    limit_threads()
    return engine


def arguments(model: Path, out: Path, *more: str) -> list[str]:
    """The command line of a small evaluation: 5 concepts x 3 prompts x (2 flow times, prompting, baseline)."""
    return [
        *("eval", "--flow", str(model / "flow"), "--out", str(out), "--dtype", "float32", "--device", "cpu"),
        *("--concepts", str(model / "concepts.txt"), "--prompts", str(model / "prompts.txt")),
        *("--prompts-per-concept", "3", "--flow-times", "0,0.5,1.5", "--max-tokens", "12", "--lanes", "7"),
        *more,
    ]


NUM_TEXTS = 5 * 3 * 4


KILLED_PROGRAM = """
import os, signal, sys
from flas_tui.cli import main
from flas_tui.commands import eval_run

class Killer(eval_run.WorkNarrator):
    num_events = 0

    def __call__(self, progress):
        self.num_events += 1
        if self.num_events == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

eval_run.WorkNarrator = Killer
main(sys.argv[2:])
"""
"""`flas-tui`, which kills itself at the so many-th event of the engine."""


def start(*command: str, **environment: str) -> subprocess.Popen[str]:
    """Start Python with this command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for a process and return what it left."""
    out, err = process.communicate(timeout=300)
    return Outcome(exit_code=process.returncode, out=out, err=err)


def texts_by_key(generations: list[Generation]) -> dict[str, Generation]:
    """Return generations by key; each must be there once."""
    found = {generation.key: generation for generation in generations}
    assert len(found) == len(generations)
    return found


def lines_of(out: Path) -> list[str]:
    """The keys of all lines of all files of generations, in no order."""
    return sorted(
        json.loads(line)["key"] for path in out.glob("generations*.jsonl") for line in path.read_text().splitlines()
    )
