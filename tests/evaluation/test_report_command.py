"""`flas-tui report`: what it prints, what it writes where, and what it says when it cannot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hand_table import hand_records
from judged_evaluation import JUDGE, OFFLINE, make_generation, rate, write_evaluation, write_lifelike

from flas_engine.evaluation.report_files import FORMS

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run

WRITTEN = {f"report.{form}" for form in FORMS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generations, judgements = hand_records()
    return write_evaluation(tmp_path / "EVAL", generations, {JUDGE: judgements}, seeds=(0,), prompts_per_concept=1)


def reports(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith("report")}


def test_tables_are_printed_and_all_forms_written_beside_the_evaluation(run: Run, folder: Path) -> None:
    done = run("report", str(folder))
    assert done.exit_code == 0
    assert "Best single flow time: T 1, HM 1.25" in done.out
    assert "HyperSteer" in done.out
    assert reports(folder) == WRITTEN
    assert f"wrote {folder / 'report.md'}" in done.err
    assert "<title>EVAL · flas-tui report</title>" in (folder / "report.html").read_text(encoding="utf-8")


def test_out_takes_all_forms_elsewhere(run: Run, folder: Path, tmp_path: Path) -> None:
    assert run("report", str(folder), "--out", str(tmp_path / "new" / "there")).exit_code == 0
    assert reports(tmp_path / "new" / "there") == WRITTEN
    assert reports(folder) == set()


def test_one_form_is_written_where_it_is_asked_for(run: Run, folder: Path, tmp_path: Path) -> None:
    done = run("report", str(folder), "--html", str(tmp_path / "page.html"), "--csv", str(tmp_path / "table.csv"))
    assert "Best single flow time" in done.out
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").startswith("concept_id,")
    assert reports(folder) == set()


@pytest.mark.parametrize(
    ("option", "begin"), [("--markdown", "# EVAL"), ("--html", "<!DOCTYPE"), ("--csv", "concept_id,")]
)
def test_a_form_on_standard_output_is_there_alone(run: Run, folder: Path, option: str, begin: str) -> None:
    done = run("report", str(folder), option, "-")
    assert done.out.startswith(begin)
    assert done.err == ""
    assert reports(folder) == set()


def test_json_on_standard_output_is_json_and_nothing_else(run: Run, folder: Path) -> None:
    content = json.loads(run("report", str(folder), "--json", "-").out)
    assert content["counts"]["num_texts"] == 35


def test_two_forms_cannot_share_standard_output(run: Run, folder: Path) -> None:
    done = run("report", str(folder), "--json", "-", "--csv", "-")
    assert (done.exit_code, done.out) == (1, "")
    assert "json and csv cannot both go to standard output" in done.err


def test_of_several_judges_one_is_named_and_has_files_of_its_own(run: Run, tmp_path: Path) -> None:
    text = make_generation("x", 0, flow_time=1.0)
    write_evaluation(
        tmp_path, [text], {JUDGE: rate(text, [2, 2, 2]), OFFLINE: rate(text, [1, 1, 1], judge=OFFLINE.slug)}
    )
    done = run("report", str(tmp_path))
    assert (done.exit_code, done.out) == (1, "")
    assert "gpt-4o-mini-flas, offline-demo; choose one with --judge" in done.err
    done = run("report", str(tmp_path), "--judge", OFFLINE.slug)
    assert "An estimate, not a judgement" in done.out
    assert reports(tmp_path) == {f"report-offline-demo.{form}" for form in FORMS}


def test_a_report_that_cannot_be_written_is_an_error_of_one_line(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = run("report", str(folder), "--html", str(tmp_path / "file" / "page.html"))
    assert done.exit_code == 1
    assert "page.html cannot be written (" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("kind", ["nothing", "empty", "unjudged", "unwritten", "damaged"])
def test_what_cannot_be_reported_says_what_to_do(run: Run, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / kind
    expected = {
        "nothing": "give the one that flas-tui eval wrote into",
        "empty": "make one with flas-tui eval",
        "unjudged": "run flas-tui judge on it",
        "unwritten": "holds no generations",
        "damaged": "generations.jsonl line 1 is no generation",
    }
    if kind == "empty":
        folder.mkdir()
    elif kind != "nothing":
        text = make_generation("x", 0, flow_time=1.0)
        write_evaluation(folder, [text], {} if kind == "unjudged" else {JUDGE: rate(text, [2, 2, 2])})
    if kind == "unwritten":
        (folder / "generations.jsonl").unlink()
    if kind == "damaged":
        (folder / "generations.jsonl").write_text("{}\n", encoding="utf-8")
    done = run("report", str(folder))
    assert (done.exit_code, done.out) == (1, "")
    assert expected[kind] in done.err
    assert len(done.err.splitlines()) <= 2


def test_a_report_of_a_running_evaluation_tells_what_is_missing(run: Run, tmp_path: Path) -> None:
    done = run("report", str(write_lifelike(tmp_path, num_concepts=5)), "--json", "-")
    counts = json.loads(done.out)["counts"]
    assert counts["num_not_written"] == 1
    assert counts["num_texts"] == counts["num_counted"] + counts["num_unjudged"] + counts["num_failed"] == 139
