"""The command line on the real embedded model, as a newcomer types it, with the network cut."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from flas_engine.hub.catalog import DEMO

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = "Tell me about your day."
PIRATE_WORDS = ("arr", "matey", "ahoy", "aye", "seven seas", "ye ")
NOBODY_LISTENS = "http://127.0.0.1:9"

pytestmark = pytest.mark.usefixtures("demo_model_dir")


def flas_tui(*arguments: str, home: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_HOME": str(home / "huggingface"),
        "HF_ENDPOINT": NOBODY_LISTENS,
        "HTTPS_PROXY": NOBODY_LISTENS,
        "XDG_STATE_HOME": str(home / "state"),
        "FLAS_CONFIG_DIR": str(home / "config"),
        "FLAS_DATA_DIR": str(home / "data"),
    }
    return subprocess.run(
        [sys.executable, "-m", "flas_tui", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def steered_rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Three lanes of the demo, by lane, under the seed that the README's tour uses."""
    done = flas_tui(
        *("generate", "--model", DEMO.name, "--concept", "talk like a pirate", "--prompt", PROMPT, "--seed", "7"),
        *("--flow-time", "0", "--flow-time", "1", "--flow-time", "2", "--max-tokens", "48", "--json"),
        home=tmp_path_factory.mktemp("home"),
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return sorted((json.loads(line) for line in done.stdout.splitlines()), key=lambda row: row["lane"])


def test_all_three_lanes_answer_in_full(steered_rows: list[dict[str, Any]]) -> None:
    assert [row["flow_time"] for row in steered_rows] == [0.0, 1.0, 2.0]
    for row in steered_rows:
        assert row["text"].strip()
        assert 0 < len(row["token_ids"]) <= 48
        assert len(row["token_ids"]) == len(row["logprobs"])
        assert all(math.isfinite(logprob) and logprob <= 0 for logprob in row["logprobs"])
        assert row["finish_reason"] == ("length" if len(row["token_ids"]) == 48 else "end_of_turn")
        assert row["tokens_per_second"] > 0


def test_the_steered_lanes_talk_like_a_pirate_and_the_baseline_does_not(steered_rows: list[dict[str, Any]]) -> None:
    is_pirate = [any(word in row["text"].lower() for word in PIRATE_WORDS) for row in steered_rows]
    assert is_pirate == [False, True, True]


def test_events_join_to_the_texts_and_equal_seeds_give_equal_texts(
    steered_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    done = flas_tui(
        *("generate", PROMPT, "-m", DEMO.name, "-c", "talk like a pirate", "-T", "0", "-T", "1", "-T", "2"),
        *("--seed", "7", "-n", "48", "--json", "--events", "--quiet"),
        home=tmp_path,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    joined = ["", "", ""]
    for row in rows:
        joined[row["lane"]] += row["text"] if row["event"] == "token" else row["tail"]
    assert joined == [row["text"] for row in steered_rows]
    assert done.stderr == ""


def test_a_byte_a_weight_answers_the_question_too(tmp_path: Path) -> None:
    done = flas_tui(
        *("generate", "What is the capital of France?", "-m", DEMO.name, "--dtype", "int8", "--greedy", "-n", "16"),
        home=tmp_path,
    )
    assert done.stdout == "The capital of France is Paris.\n"
    assert "demo on cpu in int8" in done.stderr


def test_a_chat_remembers_and_compares(tmp_path: Path) -> None:
    done = flas_tui(
        *("chat", "--model", DEMO.name, "--temperature", "0", "-n", "24"),
        home=tmp_path,
        stdin="What is the capital of France?\n/concept talk like a pirate\n/compare\nWhat is the capital of France?\n",
    )
    assert done.returncode == 0, done.stderr
    plain, _, compared = done.stdout.partition("\n[baseline]\n")
    assert plain == "The capital of France is Paris."
    assert "[talk like a pirate · T 1.5]" in compared


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "no-such-model"), "no-such-model"),
        (("--model", "gemma-2-2b-it"), "flas-tui download gemma-2-2b-it"),
        (("--model", DEMO.name, "--device", "abacus"), "device 'abacus' is unknown"),
        (("--model", DEMO.name, "--dtype", "int3"), "dtype 'int3' is unknown"),
        (("--model", DEMO.name, "--flow", "/nowhere"), "/nowhere"),
    ],
)
def test_what_cannot_be_loaded_is_told_in_a_line_or_two(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = flas_tui("generate", "Hi", *arguments, "--quiet", home=tmp_path)
    assert message in done.stderr
    assert done.stderr.count("\n") <= 2
    assert (done.returncode, done.stdout) == (1, "")


def test_a_prompt_over_the_context_is_refused_with_the_numbers(tmp_path: Path) -> None:
    done = flas_tui("generate", "-m", DEMO.name, "--quiet", home=tmp_path, stdin="word " * 9000)
    assert (done.returncode, done.stdout) == (1, "")
    assert "8,192" in done.stderr
