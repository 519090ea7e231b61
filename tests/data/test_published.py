"""Published data sets fetched by a real process from a real server: checked, resumed, and what goes wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.publisher import Publisher
from hub_machine import Machine

from flas_engine.data.published import JUDGE_TEMPLATES, NUM_ALPACA_EVAL, PUBLICATIONS, ROWS_PER_CONCEPT

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = PUBLICATIONS["axbench"].github_files
PREFIX = "stanfordnlp/axbench/main/axbench"
HUB_16K = "pyvene/axbench-concept16k_v2"


def axbench_parquet(num_rows: int = ROWS_PER_CONCEPT) -> bytes:
    row = {"input": "a", "output": "b", "output_concept": "pirates", "category": "positive", "concept_id": 0}
    return parquet([row | {"input": f"Question {number}?"} for number in range(num_rows)])


def parquet(rows: list[dict[str, object]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def axbench_files() -> dict[str, bytes]:
    contents = {
        "train_data.parquet": axbench_parquet(),
        "metadata.jsonl": b'{"concept_id": 0, "concept": "pirates"}\n',
        "prompt_templates.py": b'TEMPLATE = "Rating: [[score]]"\n',
    }
    return {f"{PREFIX}/{file}": contents[Path(file).name] for file in SMALL}


def alpaca_eval(num_entries: int = NUM_ALPACA_EVAL) -> bytes:
    return json.dumps([{"instruction": f"Question {number}?"} for number in range(num_entries)]).encode()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    big = {"input": "a" * 50_000, "output": "b", "output_concept": "c"}
    sets = {
        "tatsu-lab/alpaca_eval": {"alpaca_eval.json": alpaca_eval(), "README.md": b"unwanted"},
        HUB_16K: {f"{part}/train/data.parquet": parquet([big]) for part in ("gemma/2b/l20", "gemma/9b/l20")},
    }
    with Publisher(files=axbench_files(), data_sets=sets) as running:
        yield running


@pytest.fixture
def computer(publisher: Publisher, tmp_path: Path) -> Machine:
    machine = Machine(tmp_path, publisher.url)
    machine.env["FLAS_GITHUB_RAW"] = publisher.url
    return machine


def leftovers(computer: Machine) -> list[Path]:
    return list((computer.home / "cache").rglob(".incomplete-*"))


def test_axbench_arrives_once_and_reads_as_rows(computer: Machine, publisher: Publisher) -> None:
    outcome = computer.run("data", "download", "axbench")
    assert outcome.exit_code == 0, outcome.err
    assert len(outcome.out.splitlines()) == len(SMALL)
    num_requests = len(publisher.seen)
    again = computer.run("data", "download", "axbench")
    assert again.out == outcome.out
    assert len(publisher.seen) == num_requests
    found = json.loads(computer.run("data", "inspect", "axbench", "--json").out)
    assert found["num_rows"] == 6 * ROWS_PER_CONCEPT
    found = json.loads(computer.run("data", "inspect", "axbench/conceptFD/prod_2b_l10_v1", "--json").out)
    assert found["num_rows"] == ROWS_PER_CONCEPT


@pytest.mark.parametrize("command", [("data", "inspect"), ("train", "--base", "demo", "--out", "run", "--data")])
def test_a_part_of_what_was_not_downloaded_says_how(computer: Machine, command: tuple[str, ...]) -> None:
    outcome = computer.run(*command, "axbench/conceptFD/prod_2b_l10_v1")
    assert (outcome.exit_code, "run: flas-tui data download axbench" in outcome.err) == (1, True)


def test_the_judges_templates_come_alone(computer: Machine, publisher: Publisher) -> None:
    outcome = computer.run("data", "download", "axbench-templates")
    assert outcome.exit_code == 0, outcome.err
    assert Path(outcome.out.strip()).read_bytes() == publisher.files[f"{PREFIX}/{JUDGE_TEMPLATES}"]
    publisher.files[f"{PREFIX}/{JUDGE_TEMPLATES}"] = b"moved\n"
    again = computer.run("data", "download", "axbench-templates", "--force")
    assert (again.exit_code, "does not hold the judge's templates" in again.err) == (1, True)


def test_a_cut_connection_is_taken_up_again_where_it_broke(computer: Machine, publisher: Publisher) -> None:
    publisher.cut_after = 10_000
    outcome = computer.run("data", "download", "alpaca-eval")
    assert outcome.exit_code == 0, outcome.err
    assert Path(outcome.out.strip()).read_bytes() == alpaca_eval()
    assert publisher.seen[-1][1] == "bytes=10000-"


def test_a_file_without_a_hash_is_fetched_from_the_beginning_again(computer: Machine, publisher: Publisher) -> None:
    publisher.cut_after = 1000
    assert computer.run("data", "download", "axbench").exit_code == 0
    assert {wanted for _, wanted in publisher.seen} == {None}


def test_a_garbled_file_is_refused_and_removed(computer: Machine, publisher: Publisher) -> None:
    publisher.garbles = True
    outcome = computer.run("data", "download", "alpaca-eval")
    assert outcome.exit_code == 1
    assert "arrived damaged" in outcome.err
    assert "Traceback" not in outcome.err
    assert leftovers(computer) == []
    publisher.garbles = False
    assert computer.run("data", "download", "alpaca-eval").exit_code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1", "cannot be read as parquet"),
        (axbench_parquet(70), "does not have 72 rows a concept"),
    ],
)
def test_rows_of_another_shape_are_refused(
    computer: Machine, publisher: Publisher, content: bytes, message: str
) -> None:
    name = next(path for path in publisher.files if path.endswith("train_data.parquet"))
    publisher.files[name] = content
    outcome = computer.run("data", "download", "axbench")
    assert outcome.exit_code == 1
    assert message in outcome.err
    assert leftovers(computer) == []


def test_alpaca_eval_must_have_all_its_instructions(computer: Machine, publisher: Publisher) -> None:
    publisher.data_sets["tatsu-lab/alpaca_eval"]["alpaca_eval.json"] = alpaca_eval(804)
    assert "does not hold 805 instructions" in computer.run("data", "download", "alpaca-eval").err


def test_a_set_in_parts_asks_for_one(computer: Machine, publisher: Publisher) -> None:
    outcome = computer.run("data", "download", "axbench-16k")
    assert outcome.exit_code == 1
    assert "choose one with --part: gemma/2b/l20, gemma/9b/l20" in outcome.err
    chosen = computer.run("data", "download", "axbench-16k", "--part", "gemma/2b")
    assert chosen.exit_code == 0, chosen.err
    assert chosen.out.strip().endswith("axbench-16k/gemma/2b/l20/train/data.parquet")
    assert not [path for path, _ in publisher.seen if "9b" in path]


def test_a_busy_server_is_asked_again(computer: Machine, publisher: Publisher) -> None:
    publisher.statuses = [503]
    assert computer.run("data", "download", "axbench").exit_code == 0


def test_what_was_moved_is_named(computer: Machine, publisher: Publisher) -> None:
    publisher.files.clear()
    outcome = computer.run("data", "download", "axbench")
    assert outcome.exit_code == 1
    assert "is not there (404)" in outcome.err


def test_offline_it_says_so_and_uses_what_is_here(computer: Machine) -> None:
    offline = computer.run("data", "download", "alpaca-eval", HF_HUB_OFFLINE="1")
    assert offline.exit_code == 1
    assert "alpaca-eval is not on this machine" in offline.err
    assert computer.run("data", "download", "alpaca-eval").exit_code == 0
    assert computer.run("data", "download", "alpaca-eval", HF_HUB_OFFLINE="1").exit_code == 0


def test_no_network_is_an_error_in_words(computer: Machine) -> None:
    outcome = computer.run("data", "download", "alpaca-eval", HF_ENDPOINT="http://127.0.0.1:9")
    assert outcome.exit_code == 1
    assert "no connection to http://127.0.0.1:9" in outcome.err


def test_an_unknown_name_lists_those_that_there_are(computer: Machine) -> None:
    outcome = computer.run("data", "download", "nonsense")
    assert outcome.exit_code == 1
    assert "there are axbench, axbench-templates, axbench-16k, alpaca-eval" in outcome.err
