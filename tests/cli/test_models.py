"""`flas-tui models` as it is typed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flas_engine.hub.catalog import BUILT_IN

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAS_CONFIG_DIR", str(tmp_path / "config"))


def test_the_table_has_a_line_a_model(run: Run) -> None:
    outcome = run("models")
    assert outcome.exit_code == 0
    header, *lines = outcome.out.splitlines()
    assert header.split() == ["NAME", "LAYER", "SIZE", "HERE", "FITS", "GATED", "BASE"]
    assert [line.split()[0] for line in lines] == [entry.name for entry in BUILT_IN]
    assert outcome.err == ""


def test_json_has_an_object_a_line_and_model(run: Run) -> None:
    rows = [json.loads(line) for line in run("models", "--json").out.splitlines()]
    gemma = next(row for row in rows if row["name"] == "gemma-2-2b-it")
    assert gemma["flow"] == "flas-ai/flas-gemma-2-2b-it"
    assert gemma["is_gated"] is True
    assert gemma["licence_url"] == "https://ai.google.dev/gemma/terms"
    assert gemma["bytes"] == 5_430_000_000


def test_a_model_is_added_listed_and_removed(run: Run, tmp_path: Path) -> None:
    added = run("models", "add", "mine", "--base", str(tmp_path), "--flow", "owner/flow", "--layer", "7")
    assert (added.exit_code, added.out) == (0, "")
    assert str(tmp_path / "config" / "models.toml") in added.err
    assert run("models").out.splitlines()[-1].split() == ["mine", "7", "?", "no", "?", "no", str(tmp_path)]
    assert run("models", "remove", "mine").exit_code == 0
    assert "mine" not in run("models").out


def test_a_base_that_is_nowhere_is_refused(run: Run) -> None:
    outcome = run("models", "add", "mine", "--base", "./nowhere")
    assert outcome.exit_code == 1
    assert outcome.err == (
        "flas-tui: the base './nowhere' is neither an existing file or folder nor a Hub repository (owner/name)\n"
    )


def test_removing_what_is_not_registered_fails(run: Run) -> None:
    outcome = run("models", "remove", "nobody")
    assert outcome.exit_code == 1
    assert "no registered model is called 'nobody'" in outcome.err


def test_path_prints_where_the_files_are(run: Run, demo_model_dir: Path) -> None:
    outcome = run("models", "path", "demo")
    assert outcome.exit_code == 0
    base, flow = outcome.out.splitlines()
    assert base == str(demo_model_dir)
    assert flow.endswith("flows/demo")


def test_path_of_what_is_not_here_names_the_download(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nowhere")
    outcome = run("models", "path", "gemma-2-2b-it")
    assert outcome.exit_code == 1
    assert "flas-tui download gemma-2-2b-it" in outcome.err


def test_the_concepts_that_a_flow_brings_along_are_listed(run: Run, tmp_path: Path) -> None:
    entry = {"concept_id": "noun:cats", "concept": "cats\x1b[31m", "group": "noun", "prompt": "Why?", "flow_time": 1.5}
    (tmp_path / "concepts.jsonl").write_text(json.dumps(entry) + "\n", encoding="utf-8")
    listed = run("models", "concepts", str(tmp_path))
    assert listed.exit_code == 0
    assert listed.out.split()[-3:] == ["T", "1.5", "Why?"]
    assert "\x1b" not in listed.out
    assert json.loads(run("models", "concepts", str(tmp_path), "--json").out) == entry


def test_a_model_that_brings_no_concepts_says_that_any_can_be_tried(run: Run) -> None:
    refused = run("models", "concepts", "gemma-2-2b-it")
    assert (refused.exit_code, refused.out) == (1, "")
    assert "gemma-2-2b-it brings no list of concepts; any concept in plain words can be tried" in refused.err
