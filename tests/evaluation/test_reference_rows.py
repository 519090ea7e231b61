"""The reference's result rows become an evaluation, and an evaluation such rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from flas_engine.errors import FlasError
from flas_engine.evaluation.reference_rows import export_rows, import_rows
from flas_engine.evaluation.results import Generation, generations_path, read_generations, read_plan
from flas_engine.record_log import RecordLog

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run

ROWS: list[dict[str, Any]] = [
    {
        "concept_id": concept_id,
        "concept": concept,
        "input": f"Question {input_id}?",
        "input_id": input_id,
        "factor": factor,
        "generation_steered": f"{concept} {input_id} at {factor}\n☕",
    }
    for concept_id, concept in ((2, "robots"), (10, "tea"))
    for input_id in range(2)
    for factor in (0.0, 0.5, 2.0)
]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_survive_the_way_in_and_out(run: Run, tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    first, out, rows = tmp_path / "first", tmp_path / "second", tmp_path / f"rows{suffix}"
    import_rows(write_rows(tmp_path / "given.jsonl", ROWS), first)
    done = run("eval", "export", str(first), str(rows))
    assert (done.exit_code, done.out) == (0, f"{rows}\n"), done.err
    assert "12 rows" in done.err
    done = run("eval", "import", str(rows), str(out))
    assert (done.exit_code, done.out) == (0, f"{out}\n"), done.err
    export_rows(out, tmp_path / "again.jsonl")
    assert [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()] == ROWS


def test_an_imported_evaluation_says_what_rows_say_and_where_they_came_from(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "given.jsonl", ROWS)
    for _ in range(2):  # and once more: nothing is there twice
        assert import_rows(path, tmp_path / "out") == len(ROWS)
    plan = read_plan(tmp_path / "out")
    assert (plan.origin, plan.model, plan.methods) == ("given.jsonl", "unknown", ("baseline", "steering"))
    assert (plan.flow_times, plan.prompts_per_concept) == ((0.5, 2.0), 2)
    assert [concept.concept_id for concept in plan.concepts] == ["2", "10"]
    texts = read_generations(tmp_path / "out")
    assert [text.text for text in texts] == [row["generation_steered"] for row in ROWS]
    assert {(text.method, text.flow_time) for text in texts} == {
        ("baseline", 0.0),
        ("steering", 0.5),
        ("steering", 2.0),
    }


def test_other_rows_into_the_same_folder_are_refused(tmp_path: Path) -> None:
    import_rows(write_rows(tmp_path / "given.jsonl", ROWS), tmp_path / "out")
    other = write_rows(tmp_path / "other.jsonl", [*ROWS[:-1], ROWS[-1] | {"generation_steered": "another"}])
    with pytest.raises(FlasError, match="was begun with another plan: its prompts hash was"):
        import_rows(other, tmp_path / "out")


def test_texts_by_prompting_are_left_out_and_counted(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "concept_id": "style:pirate",
        "concept": "talk like a pirate",
        "genre": "",
        "input_id": 0,
        "input": "Why?",
        "flow_time": 0.0,
        "seed": 0,
        "checkpoint": "",
        "num_tokens": 1,
        "finish_reason": "length",
    }
    with RecordLog(generations_path(tmp_path), Generation, FlasError) as log:
        log.append(Generation(key="1", method="prompting", text="Arr!", **fields))
        log.append(Generation(key="2", method="baseline", text="Because.", **fields))
    assert export_rows(tmp_path, tmp_path / "rows.jsonl") == (1, 1)
    assert json.loads((tmp_path / "rows.jsonl").read_text())["concept_id"] == "style:pirate"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no rows; it needs concept_id, concept, input, input_id, factor, generation_steered"),
        ([ROWS[0], ROWS[1] | {"factor": None}], "given.jsonl row 2 has no usable 'factor'"),
        ([ROWS[0] | {"generation_steered": 3}], "row 1 has no usable 'generation_steered'"),
        ([ROWS[0] | {"input_id": True}], "row 1 has no usable 'input_id'"),
        ([ROWS[0], ROWS[0] | {"generation_steered": "other"}], "row 2 is another text for concept 2, input 0"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(FlasError, match=message):
        import_rows(write_rows(tmp_path / "given.jsonl", rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_of_no_known_form_is_not_written(tmp_path: Path) -> None:
    import_rows(write_rows(tmp_path / "given.jsonl", ROWS), tmp_path / "out")
    with pytest.raises(FlasError, match=r"rows.csv must end in .parquet or .jsonl"):
        export_rows(tmp_path / "out", tmp_path / "rows.csv")
