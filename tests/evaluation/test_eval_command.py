"""`flas-tui eval`: what it says before it writes, and what it refuses without a traceback."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from tiny_evaluation import NUM_TEXTS, arguments, load_tiny_engine

from flas_engine.errors import EvaluationError
from flas_engine.evaluation import capacity
from flas_engine.evaluation.capacity import choose_lanes, measure_lane
from flas_engine.evaluation.plan import make_plan
from flas_engine.evaluation.run import survey
from flas_engine.evaluation.shards import Shard, parse_shard

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run

    from flas_engine.engine import Engine
    from flas_engine.evaluation.run import Work
    from flas_engine.request import Request


def test_a_dry_run_counts_and_writes_nothing(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "evaluation"
    done = run(*arguments(tiny_model, out, "--dry-run"))
    assert done.exit_code == 0, done.err
    facts = dict(line.split(maxsplit=1) for line in done.out.splitlines() if not line.startswith("at once"))
    assert facts["texts"] == f"{NUM_TEXTS}, 0 are there, {NUM_TEXTS} are missing"
    assert facts["tokens"] == f"{NUM_TEXTS * 12} new ones at most"
    assert "at once   7 texts" in done.out
    assert not out.exists()
    as_json = json.loads(run(*arguments(tiny_model, out, "--dry-run", "--json", "--shard", "1/4")).out)
    assert (as_json["texts"], as_json["missing"], as_json["done"]) == (16, 16, 0)
    assert as_json["memory_bytes"] == 7 * as_json["lane_bytes"] > 0


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--methods", "steering,lora"), 1, "there is no method 'lora'; there are steering, prompting, baseline"),
        (("--flow-times", "0,nine"), 1, "flow time 'nine' is not a number"),
        (("--flow-times", "9"), 1, "flow time is 9; it must be at least -8 and at most 8"),
        (("--flow-times", "0", "--methods", "steering"), 1, "steering needs a flow time other than 0"),
        (("--seeds", "0,one"), 1, "the seed 'one' is no whole number"),
        (("--shard", "2/2"), 1, "the shard '2/2' is none; give I/N"),
        (("--num-concepts", "6"), 1, "6 concepts are asked for, but there are 1 to 5"),
        (("--prompts-per-concept", "7"), 1, "7 prompts a concept are asked for"),
        (("--concepts", "nowhere.txt"), 1, "nowhere.txt cannot be read"),
        (("--concepts", "library"), 1, "comes with no library of concepts"),
        (("--prompts", "alpaca-eval"), 1, "run: flas-tui data download alpaca-eval"),
        (("--lanes", "0"), 1, "give --lanes 1 or more"),
        (("--memory-gigabytes", "-1"), 1, "the memory for texts is -1 GB"),
        (("--memory-gigabytes", "1e-9"), 1, "takes about .* of memory, and 0 MB are allowed; lower --max-tokens"),
        (("--temperature", "-1"), 1, "temperature is -1"),
        (("--concept", "robots", "--concept", " "), 1, "the concept is empty"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    run: Run,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    import re

    monkeypatch.setenv("FLAS_CACHE_DIR", str(tmp_path / "cache"))
    done = run(*arguments(tiny_model, tmp_path / "evaluation", *more))
    assert (done.exit_code, done.out) == (code, "")
    assert re.search(message, done.err), done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "evaluation").exists()


def test_without_a_folder_it_is_a_usage_error(run: Run) -> None:
    done = run("eval", "--concept", "robots")
    assert done.exit_code == 2
    assert "--out is missing" in done.err


def test_a_model_without_a_flow_is_evaluated_without_steering(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "evaluation"
    command = [part for part in arguments(tiny_model, out) if part not in ("--flow", str(tiny_model / "flow"))]
    command += ["--base", str(tiny_model / "base")]
    refused = run(*command)
    assert refused.exit_code == 1
    assert "base has no flow, so there is no steering to evaluate; give one with --flow" in refused.err
    done = run(*command, "--methods", "prompting,baseline", "--num-concepts", "1", "--json", "--quiet")
    assert (json.loads(done.out)["written"], done.err) == (6, "")


def test_a_folder_in_use_is_refused(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "evaluation"
    out.mkdir()
    with FileLock(out / ".generations.jsonl.lock"):
        done = run(*arguments(tiny_model, out))
    assert done.exit_code == 1
    assert "generations.jsonl is in use by another process; wait for it, or write elsewhere" in done.err


def test_a_folder_that_cannot_be_written_is_refused(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(*arguments(tiny_model, tmp_path / "file" / "evaluation"))
    assert done.exit_code == 1
    assert "cannot be written: Not a directory; give another --out" in done.err


# --- shards ---


def test_a_shard_of_a_shard_is_a_shard_of_the_whole() -> None:
    parts = [parse_shard(f"{index}/3").split(inner, 2) for index in range(3) for inner in range(2)]
    assert parts == [Shard(index=index, count=6) for index in range(6)]


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "1/0", "a/b", "1/2/3", "1.0/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(EvaluationError, match="give I/N with I from 0 to N - 1"):
        parse_shard(text)


# --- memory ---


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return load_tiny_engine(tiny_model)


@pytest.fixture(scope="module")
def work(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Work:
    from flas_engine.evaluation.concepts import concept_of
    from flas_engine.evaluation.plan import Wishes

    prompts = tuple("word " * number + "?" for number in range(1, 31))
    wishes = Wishes(concepts=(concept_of("robots"),), prompt_source="words", prompts=prompts, prompts_per_concept=30)
    plan = make_plan(wishes, engine.info, "0" * 16)
    return survey(engine, plan, prompts, tmp_path_factory.mktemp("none"), Shard())


def test_the_longest_prompts_come_first_and_those_of_one_prompt_together(engine: Engine, work: Work) -> None:
    from flas_engine.evaluation.wanted import lane_of

    lengths = [len(engine.render(lane_of(each))) for each in work.missing]
    assert lengths == sorted(lengths, reverse=True)
    assert work.longest_prompt == lengths[0]
    assert work.lane_tokens == lengths[0] + 256
    places = [(each.method == "prompting", each.input) for each in work.missing]
    assert sum(place != before for place, before in zip(places[1:], places, strict=False)) == 2 * 30 - 1


def test_so_many_texts_at_once_as_the_memory_holds(engine: Engine, work: Work) -> None:
    few = choose_lanes(engine, work, num_lanes=5)
    assert (few.num_lanes, few.is_measured) == (5, False)
    limit = 9.5 * few.lane_bytes / 1e9
    within = choose_lanes(engine, work, memory_gigabytes=limit)
    assert within.is_measured
    assert 1 <= within.num_lanes <= 9
    assert within.num_lanes * within.lane_bytes <= limit * 1e9
    assert choose_lanes(engine, work, num_lanes=3, memory_gigabytes=1.0).num_lanes == 3
    assert choose_lanes(engine, replace(work, missing=work.missing[:2]), memory_gigabytes=1.0).num_lanes == 2


def test_what_is_not_counted_is_measured(engine: Engine, work: Work) -> None:
    assert not choose_lanes(engine, work, memory_gigabytes=8.0).is_measured
    for change in ({"solver": "rk4"}, {"num_steps": 30}):
        other = replace(work, plan=replace(work.plan, **change))  # type: ignore[arg-type]
        assert choose_lanes(engine, other, memory_gigabytes=8.0).is_measured


def test_a_probe_runs_lanes_as_long_as_they_can_grow(
    engine: Engine, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:

    seen: list[Request] = []
    generate = engine.generate
    monkeypatch.setattr(engine, "generate", lambda request: (seen.append(request), generate(request))[1])
    assert measure_lane(engine, work) >= 0
    (request,) = seen
    assert len(request.lanes) == capacity.PROBED_LANES
    assert all(lane.flow_time != 0.0 for lane in request.lanes)
    assert len({lane.conversation for lane in request.lanes}) == len(request.lanes)
    tokens = len(engine.render(request.lanes[0])) + request.limits.max_new_tokens
    assert work.lane_tokens - 10 <= tokens <= work.lane_tokens
