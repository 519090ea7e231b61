"""`flas-tui bench`: one real run on the embedded model, and how results are read, shown and saved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from flas_engine.errors import FlasError
from flas_engine.hub.catalog import DEMO
from flas_tui.commands.bench_report import COLUMNS, render_markdown, render_text, save_results
from flas_tui.commands.bench_run import read_prompts

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run

TWO_PROMPTS = ["What is the tide?", "Who sails there?"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, demo_model_dir: Path) -> Path:
    """The folder that a run of a few tokens has written, beside what it printed."""
    del demo_model_dir
    folder = tmp_path_factory.mktemp("bench")
    (folder / "prompts.txt").write_text("\n".join(TWO_PROMPTS), encoding="utf-8")
    options = ["--tokens=8", "--rounds=1", "--no-app", f"--prompts={folder / 'prompts.txt'}", f"--save={folder}"]
    done = subprocess.run(
        [sys.executable, "-m", "flas_tui", "bench", f"--model={DEMO.name}", *options],
        capture_output=True,
        text=True,
        env=os.environ | {"XDG_STATE_HOME": str(folder / "state")},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return folder


@pytest.fixture
def report(saved: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((saved / "demo.json").read_text(encoding="utf-8"))
    return loaded


def with_app(report: dict[str, Any]) -> dict[str, Any]:
    """A result as a run with the app leaves it."""
    numbers = {
        "median_seconds": 0.011,
        "p95_seconds": 0.042,
        "tokens_per_second": 61.0,
        "cpu_share": 1.2,
        "bytes_per_token": 90.0,
    }
    model = report | {"app": numbers}
    app = numbers | {"seconds": 0.31, "smallest_seconds": 0.23, "help_seconds": 0.09, "libraries_seconds": 0.07}
    return {"command": report["command"], "date": report["date"], "models": [model], "app": app}


def test_a_run_has_every_row(report: dict[str, Any]) -> None:
    names = [row["name"] for row in report["rows"]]
    assert len(names) == len(set(names)) == 14
    assert {"plain transformers, one stream", "sequential design, a pair", "steered + baseline"} < set(names)
    assert all(row["passes_per_second"] > 0 and len(row["rounds"]) == 1 for row in report["rows"])


def test_a_run_has_every_number(report: dict[str, Any]) -> None:
    assert report["has_trained_flow"] is True
    assert report["int8_weight_bytes"] < report["weight_bytes"]
    assert report["quality"]["num_prompts"] == len(TWO_PROMPTS)
    assert 0.0 <= report["quality"]["mean_kl"] < 1.0
    assert report["start"]["first_token_seconds"] > 0.0
    assert report["memory_ratio"] > 1.0
    training = report["training"]
    assert training["ours"]["peak_bytes"] < 0.55 * training["plain"]["peak_bytes"]
    assert all(way["tokens_per_second"] > 0.0 for way in training.values())
    evaluation = report["evaluation"]
    assert evaluation["num_lanes"] == 64
    assert evaluation["ratio"] > 0.0
    assert 1e6 < evaluation["lane_bytes"] < 1e8
    assert 0.0 <= report["resteering"]["kept_share"] <= 1.0
    assert report["resteering"]["ratio"] > 0.0
    assert report["allocations"]["num_allocations"] >= 0.0
    assert len(report["parts"]) == 6
    assert "bench --model=demo --tokens=8" in report["command"]
    assert report["date"].endswith("UTC")


def test_the_text_fits_80_columns(saved: Path, report: dict[str, Any]) -> None:
    printed = (saved / "stdout.txt").read_text(encoding="utf-8")
    assert "sequential design, a pair" in printed
    assert max(map(len, printed.splitlines())) <= COLUMNS
    assert max(map(len, render_text(with_app(report)).splitlines())) <= COLUMNS


def test_the_readme_has_the_numbers_of_the_json(saved: Path, report: dict[str, Any]) -> None:
    readme = (saved / "README.md").read_text(encoding="utf-8")
    assert report["command"] in readme
    assert report["machine"] in readme
    for row in report["rows"]:
        assert f"| {row['name']} | {row['passes_per_second']:.1f} |" in readme
    for ratio in report["ratios"]:
        assert f"| {ratio['name']} | {ratio['value']:.2f} |" in readme


def test_the_app_is_shown_over_the_paced_engine_and_over_each_model(report: dict[str, Any]) -> None:
    shown = render_markdown(with_app(report))
    assert shown.count("11 ms median, 42 ms p95, at 61 tokens/s a pane") == 2
    assert "first paint 0.31 s" in shown
    assert "--help 0.09 s" in shown


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, report: dict[str, Any]) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(FlasError, match="taken cannot be written"):
        save_results(with_app(report), tmp_path / "taken")


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(TWO_PROMPTS),
        "\n".join(json.dumps({"instruction": prompt, "output": "x"}) for prompt in TWO_PROMPTS) + "\n",
        json.dumps([{"instruction": prompt} for prompt in TWO_PROMPTS], indent=2),
    ],
    ids=["lines", "json-lines", "json"],
)
def test_prompts_come_as_lines_or_as_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "prompts").write_text(text, encoding="utf-8")
    assert read_prompts(str(tmp_path / "prompts")) == TWO_PROMPTS


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"prompt": "x"}', "is neither one prompt a line nor JSON"), ("[1, 2]", "is neither"), (" \n", "no prompts")],
)
def test_prompts_that_are_none_are_refused_before_anything_is_loaded(
    run: Run, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "prompts").write_text(text, encoding="utf-8")
    done = run("bench", "--model", "no-such-model", "--prompts", str(tmp_path / "prompts"))
    assert (done.exit_code, done.out) == (1, "")
    assert message in done.err


def test_a_prompt_file_that_is_not_there_is_told(run: Run) -> None:
    done = run("bench", "--model", "no-such-model", "--prompts", "/nowhere")
    assert (done.exit_code, done.out) == (1, "")
    assert "the prompts in /nowhere cannot be read: No such file" in done.err
