"""`flas-tui generate` on the scripted engine: what reaches the engine, and what reaches stdout."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from scripted_engine import ScriptedEngine

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run
    from scripted_engine import ScriptedLoader

PIRATE = ("--concept", "talk like a pirate")


def rows(out: str) -> list[dict[str, Any]]:
    assert out.endswith("\n")
    return [json.loads(line, parse_constant=pytest.fail) for line in out.removesuffix("\n").split("\n")]


def test_every_prompt_and_flow_time_is_a_lane(run: Run) -> None:
    outcome = run("generate", "-p", "one", "-p", "two", *PIRATE, "-T", "0", "-T", "1", "-T", "2", "--json")
    told = [(row["lane"], row["prompt"], row["flow_time"]) for row in rows(outcome.out)]
    assert sorted(told) == [(3 * i + j, prompt, float(j)) for i, prompt in enumerate(("one", "two")) for j in range(3)]
    assert outcome.exit_code == 0


def test_a_json_row_has_the_documented_fields(run: Run) -> None:
    (row,) = rows(run("generate", "Hello", "-n", "5", "--seed", "7", "--json").out)
    rate = row.pop("tokens_per_second")
    assert row.pop("text") == " ".join(row_words(7, 5))
    assert [len(row.pop(key)) for key in ("token_ids", "logprobs")] == [5, 5]
    assert rate > 0
    assert row == {
        "lane": 0,
        "flow_time": 0.0,
        "concept": None,
        "concepts": [],
        "seed": 7,
        "prompt": "Hello",
        "finish_reason": "length",
    }


def row_words(seed: int, count: int) -> list[str]:
    from flas_engine.events import Finished
    from flas_engine.request import Lane, Limits, Message, Request

    lane = Lane(conversation=(Message(role="user", content="Hello"),))
    request = Request(lanes=(lane,), seed=seed, limits=Limits(max_new_tokens=count))
    (end,) = [event for event in ScriptedEngine().stream(request) if isinstance(event, Finished)]
    return end.text.split()


def test_token_events_join_to_the_text_of_their_lane(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.answers = {0: ["ab", "c STO", "x ST"], 1: ["é", "\u2028", "\x1b]0;"]}
    outcome = run("generate", "Hi", *PIRATE, "--json", "--events", "--stop", "STOP", "-n", "3")
    joined = {0: "", 1: ""}
    for row in rows(outcome.out):
        if row["event"] == "token":
            joined[row["lane"]] += row["text"]
        else:
            joined[row["lane"]] += row["tail"]
            assert row["text"] == joined[row["lane"]]
    assert joined == {0: "abc STOx ST", 1: "é\u2028\x1b]0;"}


def test_json_is_written_lane_by_lane_as_lanes_end(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.answers = {0: ["long "] * 9, 1: ["short"]}
    assert [row["lane"] for row in rows(run("generate", "Hi", *PIRATE, "--json").out)] == [1, 0]


def test_one_lane_in_a_pipe_is_its_bare_text(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.answers = {0: ["raw \x1b[31m", "bytes"]}
    assert run("generate", "Hi").out == "raw \x1b[31mbytes\n"


def test_several_lanes_in_a_pipe_are_labelled_blocks_in_lane_order(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.answers = {0: ["long "] * 3, 1: ["short"]}
    assert run("generate", "Hi", *PIRATE).out == "[baseline]\nlong long long \n\n[talk like a pirate · T 1.5]\nshort\n"


def test_several_prompts_name_themselves_above_their_lanes(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.answers = {0: ["a"], 1: ["b"]}
    assert run("generate", "-p", "one", "-p", "two").out == "# one\n\n[baseline]\na\n\n# two\n\n[baseline]\nb\n"


def test_a_concept_is_taken_as_it_stands(run: Run, loader: ScriptedLoader) -> None:
    run("generate", "Hi", "-c", "a=b: 0.5, c:2", "-c", "robots", "-w", "1", "-w", "-0.5")
    (request,) = loader.engine.requests
    assert [(c.text, c.weight) for c in request.lanes[1].concepts] == [("a=b: 0.5, c:2", 1.0), ("robots", -0.5)]


def test_a_mix_is_told_with_its_weights(run: Run) -> None:
    row = rows(run("generate", "Hi", "-c", "a", "-c", "b", "-w", "1", "-w", "-0.5", "-T", "1", "--json").out)[0]
    assert row["concept"] == "a (1), b (-0.5)"
    assert row["concepts"] == [{"text": "a", "weight": 1.0}, {"text": "b", "weight": -0.5}]


def test_without_a_flow_time_the_baseline_stands_beside_the_steered_lane(run: Run, loader: ScriptedLoader) -> None:
    run("generate", "Hi", *PIRATE)
    run("generate", "Hi")
    assert [[lane.flow_time for lane in request.lanes] for request in loader.engine.requests] == [[0.0, 1.5], [0.0]]


def test_the_sampling_options_reach_the_engine(run: Run, loader: ScriptedLoader) -> None:
    run(
        *("generate", "Hi", "--temperature", "0.9", "--top-k", "40", "--top-p", "0.9", "--min-p", "0.05"),
        *("--repetition-penalty", "1.1", "--solver", "rk4", "--steps", "5", "--system", "Be brief."),
    )
    (request,) = loader.engine.requests
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.9, 40, 0.9, 0.05)
    assert (sampling.repetition_penalty, request.solver, request.num_steps) == (1.1, "rk4", 5)
    assert [(m.role, m.content) for m in request.lanes[0].conversation] == [("system", "Be brief."), ("user", "Hi")]


def test_greedy_is_temperature_zero(run: Run, loader: ScriptedLoader) -> None:
    run("generate", "Hi", "--greedy")
    assert loader.engine.requests[0].sampling.temperature == 0.0


def test_the_model_options_reach_the_loader(run: Run, loader: ScriptedLoader) -> None:
    run("generate", "Hi", "-m", "demo", "--base", "b", "--flow", "f", "--device", "cpu", "--dtype", "float32")
    (spec,) = loader.specs
    assert (spec.model, spec.base, spec.flow, spec.device, spec.dtype) == ("demo", "b", "f", "cpu", "float32")


@pytest.mark.parametrize(
    ("num_prompts", "num_flow_times", "batch_size", "sizes"),
    [(5, 3, 8, [6, 6, 3]), (1, 20, 8, [8, 8, 4]), (4, 1, 2, [2, 2]), (1, 1, 1, [1])],
)
def test_lanes_run_in_batches_that_keep_a_prompt_together(
    run: Run, loader: ScriptedLoader, num_prompts: int, num_flow_times: int, batch_size: int, sizes: list[int]
) -> None:
    prompts = [part for number in range(num_prompts) for part in ("-p", f"prompt {number}")]
    flow_times = [part for number in range(num_flow_times) for part in ("-T", str(number / 10))]
    outcome = run("generate", *prompts, *PIRATE, *flow_times, "--batch-size", str(batch_size), "--json", "-n", "2")
    assert [len(request.lanes) for request in loader.engine.requests] == sizes
    assert sorted(row["lane"] for row in rows(outcome.out)) == list(range(num_prompts * num_flow_times))


def test_piped_input_is_one_prompt_and_a_prompt_file_is_one_a_line(run: Run, loader: ScriptedLoader) -> None:
    run("generate", stdin="two\nlines\n")
    run("generate", "-", stdin="two\nlines\n")
    run("generate", "--prompt-file", "-", stdin="two\n\nlines\n")
    prompts = [[lane.conversation[-1].content for lane in request.lanes] for request in loader.engine.requests]
    assert prompts == [["two\nlines"], ["two\nlines"], ["two", "lines"]]


def test_a_prompt_file_may_be_json_lines(run: Run, loader: ScriptedLoader, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "one\\ntwo", "id": 3}\n{"prompt": "three"}\n')
    run("generate", "--prompt-file", str(path))
    assert [lane.conversation[-1].content for lane in loader.engine.requests[0].lanes] == ["one\ntwo", "three"]


def test_narration_goes_to_stderr_and_quiet_silences_it(run: Run) -> None:
    narrated, quiet = run("generate", "Hi", "-n", "3"), run("generate", "Hi", "-n", "3", "--quiet")
    assert "scripted on cpu in float32" in narrated.err
    assert "1 lane, 3 tokens" in narrated.err
    assert quiet.err == ""
    assert quiet.out == narrated.out


def test_ctrl_c_ends_the_lanes_and_keeps_their_text(run: Run, loader: ScriptedLoader) -> None:
    loader.engine.before_pass = lambda index: signal.raise_signal(signal.SIGINT) if index == 4 else None
    outcome = run("generate", "-p", "one", "-p", "two", "--batch-size", "1", "--json")
    (row,) = rows(outcome.out)
    assert (row["finish_reason"], len(row["token_ids"])) == ("cancelled", 4)
    assert outcome.exit_code == 130


def test_the_callers_interrupt_handler_is_put_back(run: Run) -> None:
    before = signal.getsignal(signal.SIGINT)
    run("generate", "Hi", "-n", "2")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", ""], "the prompt is empty"),
        (["generate", "   "], "the prompt is empty"),
        (["generate", "Hi", *PIRATE, "-T", "much"], "flow time 'much' is not a number"),
        (["generate", "Hi", *PIRATE, "-T", "8.5"], "flow time is 8.5; it must be at least -8 and at most 8"),
        (["generate", "Hi", *PIRATE, "-T", "nan"], "flow time is nan"),
        (["generate", "Hi", "-T", "1"], "flow time 1 has no concept"),
        (["generate", "Hi", "-c", " "], "the concept is empty"),
        (["generate", "Hi", "-c", "a", "-c", "b", "-w", "1"], "the number of weights (1) differs"),
        (["generate", "Hi", "-n", "0"], "the number of new tokens is 0"),
        (["generate", "Hi", "--top-p", "0"], "top-p is 0"),
        (["generate", "Hi", "--steps", "0"], "the number of solver steps is 0"),
        (["generate", "Hi", "--solver", "magic"], "solver 'magic' is unknown; choose one of euler"),
        (["generate", "Hi", "--seed", "-1"], "the seed is -1"),
        (["generate", "Hi", "--batch-size", "0"], "the batch size is 0"),
        (["generate", "Hi", "--events"], "--events writes JSON"),
        (["generate", "--prompt-file", "/nowhere/p.txt"], "the prompt file /nowhere/p.txt cannot be read"),
        (["generate", "--prompt-file", "/dev/null"], "the prompt file /dev/null is empty"),
        (["generate", "bad \udcff byte"], "is not valid UTF-8"),
    ],
)
def test_a_mistake_is_told_in_a_line_before_a_model_is_loaded(
    run: Run, loader: ScriptedLoader, arguments: list[str], message: str
) -> None:
    outcome = run(*arguments)
    assert message in outcome.err
    assert outcome.err.startswith("flas-tui: ")
    assert outcome.err.count("\n") <= 2
    assert (outcome.exit_code, outcome.out, loader.specs) == (1, "", [])


def test_bytes_that_are_no_text_are_refused(run: Run) -> None:
    outcome = run("generate", "-", stdin=b"caf\xe9")
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert "standard input is not valid text" in outcome.err


def test_a_bad_line_of_a_jsonl_file_is_named(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "one"}\n{"text": "two"}\n')
    outcome = run("generate", "--prompt-file", str(path))
    assert outcome.exit_code == 1
    assert f"{path} line 2" in outcome.err


def test_a_prompt_over_the_context_is_refused_with_the_numbers(run: Run) -> None:
    outcome = run("generate", "-", stdin="word " * 3000)
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert "3000 tokens" in outcome.err
    assert "2048" in outcome.err
