"""What `flas-tui eval` writes is the same however often it is killed, in however many parts it is done."""

from __future__ import annotations

import json
import random
import signal
import socket
from shutil import disk_usage
from typing import TYPE_CHECKING

import pytest
from tiny_evaluation import (
    KILLED_PROGRAM,
    NUM_TEXTS,
    arguments,
    finish,
    lines_of,
    load_tiny_engine,
    start,
    texts_by_key,
)

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.merging import merge
from flas_engine.evaluation.results import (
    JudgeInfo,
    Judgement,
    find_generations,
    generations_path,
    judgement_key,
    judgements_path,
    plan_path,
    read_generations,
    read_judgements,
    read_plan,
    write_judge,
)
from flas_engine.evaluation.wanted import lane_of
from flas_engine.record_log import RecordLog
from flas_engine.request import Request
from flas_tui.cli import main
from flas_tui.commands import eval_run
from flas_tui.commands.work_narrator import WorkNarrator

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run

    from flas_engine.evaluation.results import Generation
    from flas_engine.progress import Progress


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation that nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "evaluation"
    with pytest.raises(SystemExit) as ended:
        main(arguments(tiny_model, out))
    assert not ended.value.code
    return out


@pytest.fixture(scope="module")
def expected(undisturbed: Path) -> dict[str, Generation]:
    return texts_by_key(read_generations(undisturbed))


def test_everything_that_was_asked_for_is_written_once(undisturbed: Path, expected: dict[str, Generation]) -> None:
    assert len(expected) == NUM_TEXTS
    assert lines_of(undisturbed) == sorted(expected)
    for text in expected.values():
        assert 1 <= text.num_tokens <= 12
        assert text.finish_reason in ("length", "end_of_turn")
        assert (text.checkpoint != "") == (text.method == "steering") == (text.flow_time != 0.0)
    groups = {(text.concept_id, text.input_id) for text in expected.values()}
    assert len(groups) == 15
    assert len({text.text for text in expected.values()}) > NUM_TEXTS / 2


def test_every_text_is_what_the_engine_writes_for_its_lane_alone(
    tiny_model: Path, undisturbed: Path, expected: dict[str, Generation]
) -> None:
    engine = load_tiny_engine(tiny_model)
    plan = read_plan(undisturbed)
    for text in random.Random(0).sample(sorted(expected.values(), key=lambda each: each.key), 6):
        request = Request(lanes=(lane_of(text),), sampling=plan.sampling, limits=plan.limits)
        (alone,) = engine.generate(request)
        assert (alone.text, len(alone.token_ids)) == (text.text, text.num_tokens)


def test_the_same_command_again_writes_nothing_and_another_one_is_refused(
    run: Run, tiny_model: Path, undisturbed: Path
) -> None:
    before = {path.name: path.read_bytes() for path in undisturbed.iterdir()}
    again = run(*arguments(tiny_model, undisturbed, "--json"))
    assert json.loads(again.out) == {"folder": str(undisturbed), "texts": NUM_TEXTS, "written": 0}, again.err
    other = run(*arguments(tiny_model, undisturbed, "--flow-times", "0,0.5,2"))
    assert (other.exit_code, other.out) == (1, "")
    assert "was begun with another plan: its flow times were 0.5, 1.5, and now 0.5, 2" in other.err
    assert {path.name: path.read_bytes() for path in undisturbed.iterdir()} == before


def test_a_run_killed_at_a_random_moment_ends_as_the_undisturbed_one(
    run: Run, tiny_model: Path, expected: dict[str, Generation], tmp_path: Path
) -> None:
    out, draw = tmp_path / "killed", random.SystemRandom()
    killed = finish(start("-c", KILLED_PROGRAM, str(draw.randrange(100, 500)), *arguments(tiny_model, out)))
    assert killed.exit_code == -signal.SIGKILL, killed.err
    content = generations_path(out).read_bytes()
    last_line = content[content[:-1].rfind(b"\n") + 1 :]
    torn_bytes = draw.randrange(len(last_line))  # 0 is a kill between two lines
    generations_path(out).write_bytes(content[: len(content) - torn_bytes])
    num_there = content.count(b"\n") - bool(torn_bytes)
    assert len(find_generations(out)) == num_there < NUM_TEXTS
    done = run(*arguments(tiny_model, out, "--json"))
    assert json.loads(done.out)["written"] == NUM_TEXTS - num_there, (torn_bytes, done.err)
    assert texts_by_key(read_generations(out)) == expected
    assert lines_of(out) == sorted(expected)


def test_an_interrupted_run_keeps_what_is_written_and_goes_on(
    run: Run, tiny_model: Path, expected: dict[str, Generation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupter(WorkNarrator):
        num_calls = 0

        def __call__(self, progress: Progress) -> None:
            self.num_calls += progress.done >= 5
            if self.num_calls == 1:
                signal.raise_signal(signal.SIGINT)

    out = tmp_path / "interrupted"
    with monkeypatch.context() as patch:
        patch.setattr(eval_run, "WorkNarrator", Interrupter)
        stopped = run(*arguments(tiny_model, out, "--lanes", "2"))
    assert (stopped.exit_code, stopped.out) == (130, "")
    assert f"stopped; what is written is in {out}, and the same command goes on" in stopped.err
    assert 5 <= len(read_generations(out)) < NUM_TEXTS
    assert run(*arguments(tiny_model, out)).exit_code == 0
    assert texts_by_key(read_generations(out)) == expected


def test_a_full_disk_says_what_to_do_and_the_same_command_goes_on(
    run: Run, tiny_model: Path, expected: dict[str, Generation], small_disk: Path
) -> None:
    out, fill = small_disk / "evaluation", small_disk / "fill"
    fill.write_bytes(b"0" * (disk_usage(small_disk).free - 3 * 4096))
    full = run(*arguments(tiny_model, out))
    assert (full.exit_code, full.out) == (1, "")
    assert "No space left on device" in full.err
    assert "run the same command: it goes on" in full.err
    fill.unlink()
    assert run(*arguments(tiny_model, out)).exit_code == 0
    assert texts_by_key(read_generations(out)) == expected
    assert lines_of(out) == sorted(expected)


# --- shards ---


def test_two_processes_of_a_launcher_are_one_run(
    tiny_model: Path, expected: dict[str, Generation], tmp_path: Path
) -> None:
    out = tmp_path / "processes"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = ["-m", "flas_tui", *arguments(tiny_model, out)]
    running = [start(*command, RANK=str(rank), LOCAL_RANK=str(rank), **group) for rank in range(2)]
    first, second = [finish(process) for process in running]
    assert (first.exit_code, second.exit_code) == (0, 0), first.err + second.err
    assert (first.out, second.out) == (f"{out}\n", "")
    assert texts_by_key(read_generations(out)) == expected
    assert lines_of(out) == sorted(expected)
    assert sorted(path.name for path in out.glob("*.jsonl")) == ["generations-0-of-2.jsonl", "generations-1-of-2.jsonl"]


@pytest.fixture(scope="module")
def shards(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two shards in folders of their own, as two machines write them."""
    folders = [tmp_path_factory.mktemp("shards") / str(index) for index in range(2)]
    for index, folder in enumerate(folders):
        with pytest.raises(SystemExit) as ended:
            main(arguments(tiny_model, folder, "--shard", f"{index}/2", "--quiet"))
        assert not ended.value.code
    return folders


def test_shards_in_folders_of_their_own_merge_to_the_whole(
    run: Run, tiny_model: Path, shards: list[Path], expected: dict[str, Generation], tmp_path: Path
) -> None:
    out = tmp_path / "merged"
    for _ in range(2):  # and once more: nothing is there twice
        done = run("eval", "merge", str(out), *map(str, shards))
        assert (done.exit_code, done.out) == (0, f"{out}\n"), done.err
        assert texts_by_key(read_generations(out)) == expected
        assert lines_of(out) == sorted(expected)
    again = run(*arguments(tiny_model, out, "--json", "--quiet"))
    assert json.loads(again.out)["written"] == 0


def test_a_run_without_shards_writes_only_what_those_of_before_left(
    run: Run, tiny_model: Path, shards: list[Path], expected: dict[str, Generation], tmp_path: Path
) -> None:
    out = tmp_path / "continued"
    out.mkdir()
    for name in ("plan.json", "generations-0-of-2.jsonl"):
        (out / name).write_bytes((shards[0] / name).read_bytes())
    num_there = len(read_generations(out))
    done = run(*arguments(tiny_model, out, "--json"))
    assert json.loads(done.out)["written"] == NUM_TEXTS - num_there
    assert lines_of(out) == sorted(expected)
    assert texts_by_key(read_generations(out)) == expected


def judge(folder: Path, ratings: list[float | None], model: str = "small") -> list[Judgement]:
    """Let a judge rate the concept of a folder's first texts."""
    write_judge(
        folder,
        JudgeInfo(
            slug="small", name="Small", kind="endpoint", model=model, rubric="flas", rubric_hash="0", calibration=""
        ),
    )
    judgements = [
        Judgement(
            key=judgement_key(text.key, "small", "concept"),
            generation=text.key,
            judge="small",
            aspect="concept",
            rating=rating,
            failure="" if rating is not None else "no rating",
            comment="",
            prompt_tokens=1,
            completion_tokens=1,
        )
        for text, rating in zip(read_generations(folder), ratings, strict=False)
    ]
    with RecordLog(judgements_path(folder, "small"), Judgement, EvaluationError) as log:
        log.add(judgements)
    return judgements


def copy_evaluation(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.glob("*.json*"):
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_judgements_are_merged_with_their_texts(shards: list[Path], tmp_path: Path) -> None:
    folders = [copy_evaluation(folder, tmp_path / folder.name) for folder in shards]
    given = judge(folders[0], [2.0, None]) + judge(folders[1], [0.0])
    out = tmp_path / "merged"
    merge(out, folders)
    assert read_judgements(out) == given
    tried_again = judge(folders[0], [2.0, 1.0])
    merge(out, folders)
    assert {each.key: each for each in read_judgements(out)} == {each.key: each for each in [*tried_again, given[2]]}
    judge(folders[1], [], model="another")
    with pytest.raises(EvaluationError, match="is by another judge than"):
        merge(tmp_path / "again", folders)


def test_shards_of_two_plans_do_not_merge(shards: list[Path], tmp_path: Path) -> None:
    other = copy_evaluation(shards[1], tmp_path / "other")
    plan_path(other).write_text(plan_path(other).read_text().replace('"max_new_tokens": 12', '"max_new_tokens": 13'))
    with pytest.raises(EvaluationError, match=r"is another evaluation than .*: its limits max new tokens were 12"):
        merge(tmp_path / "merged", [shards[0], other])
    assert not (tmp_path / "merged").exists()
