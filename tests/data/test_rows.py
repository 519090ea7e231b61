"""Rows read from files: the published sets as they are, and what is wrong with small files made for it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.shared_data import data_set

from flas_engine.data.rows import count_reasons, name_concept, read_rows
from flas_engine.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"input": "Name a fruit.", "output": "An apple, arr!", "concept": "talk like a pirate"}


def write_lines(path: Path, *records: Any) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_parquet(path: Path, *records: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(records)), path)
    return path


def axbench_row(**changes: Any) -> dict[str, Any]:
    row = {"input": "Name a fruit.", "output": "Arr.", "output_concept": "pirates", "concept_genre": "text"}
    return {**row, "category": "positive", "dataset_category": "instruction", "concept_id": 0, **changes}


def axbench_folder(folder: Path, *rows: dict[str, Any], concepts: tuple[str, ...] = ("pirates",)) -> Path:
    write_parquet(folder / "generate" / "train_data.parquet", *rows)
    records = [{"concept_id": number, "concept": concept} for number, concept in enumerate(concepts)]
    write_lines(folder / "generate" / "metadata.jsonl", *records)
    return folder


def test_axbench_concept10_has_72_rows_for_each_of_its_40_concepts() -> None:
    read = read_rows(data_set("axbench", "concept10"))
    assert len(read.sources) == 4
    assert len(read.rows) == 4 * 10 * 72
    assert len({row.concept_id for row in read.rows}) == 40
    assert {row.group for row in read.rows} == {"text", "code", "math"}
    assert count_reasons(read.problems) == {"category 'negative'": 4 * 216}


def test_axbench_concept_fd_is_read_with_every_positive_row() -> None:
    read = read_rows(data_set("axbench", "conceptFD"))
    assert [source.num_rows for source in read.sources] == [1224, 1152]
    assert {row.split for row in read.rows} == {"train"}


def test_a_folder_of_concept_lists_says_that_it_has_no_rows() -> None:
    with pytest.raises(DataError, match=r"no train_data\.parquet, only lists of concepts"):
        read_rows(data_set("axbench", "concept500"))


def test_our_own_parquet_keeps_wordings_keys_groups_and_splits() -> None:
    read = read_rows(data_set("demo", "concepts.parquet"))
    pirate = next(row for row in read.rows if row.concept_id == "s:pirate")
    assert "talk like a pirate" in pirate.concepts
    assert pirate.group == "style"
    assert {"train", "val", "unseen"} <= {row.split for row in read.rows}
    assert not read.problems


def test_flas_46k_columns_are_read(tmp_path: Path) -> None:
    read = read_rows(write_parquet(tmp_path / "flas.parquet", GOOD | {"concept_id": 7}))
    (row,) = read.rows
    assert (row.prompt, row.output, row.concepts) == ("Name a fruit.", "An apple, arr!", ("talk like a pirate",))
    assert row.concept_id == "talk like a pirate"  # 7 means another concept in another file


def test_one_concept_has_one_id_over_its_sources() -> None:
    assert name_concept("Talk  like a Pirate ") == name_concept("talk like a pirate")


def test_json_lines_name_their_bad_lines(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "rows.jsonl",
        GOOD,
        "{broken",
        "[1, 2]",
        "",
        GOOD | {"output": "  "},
        GOOD | {"input": 3},
        {"input": "a", "output": "b"},
        '{"input": "\\ud800", "output": "b", "concept": "c"}',
        GOOD | {"concepts": []},
        GOOD | {"concept": ["a", None]},
    )
    read = read_rows(path)
    assert [(problem.number, problem.reason) for problem in read.problems] == [
        (2, "no JSON"),
        (3, "no JSON object"),
        (5, "output is empty"),
        (6, "input is no text"),
        (7, "no concept"),
        (8, "input is no valid Unicode"),
        (9, "concept is empty"),
        (10, "concept is no text"),
    ]
    assert len(read.rows) == 1


def test_wordings_are_kept_once_and_without_their_outer_spaces(tmp_path: Path) -> None:
    wordings = ["talk like a pirate", " pirate speech", "pirate speech"]
    record = {"input": "a", "output": "b", "concepts": wordings, "concept_key": "s:pirate", "split": "val"}
    (row,) = read_rows(write_lines(tmp_path / "rows.jsonl", record)).rows
    assert row.concepts == ("talk like a pirate", "pirate speech")
    assert (row.concept_id, row.split) == ("s:pirate", "val")


def test_parquet_and_json_lines_of_the_same_rows_read_alike(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"input": "Name a bird."}]
    from_parquet = read_rows(write_parquet(tmp_path / "rows.parquet", *rows))
    from_lines = read_rows(write_lines(tmp_path / "rows.jsonl", *rows))
    assert from_parquet.rows == from_lines.rows


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path, name: str) -> None:
    write = write_parquet if name.endswith(".parquet") else write_lines
    path = write(tmp_path / name, {"instruction": "a", "output": "b", "concept": "c"})
    with pytest.raises(DataError, match=r"no column input; it has concept, instruction, output"):
        read_rows(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(DataError, match="is empty"):
        read_rows(tmp_path / "rows.jsonl")


def test_a_file_of_bad_rows_alone_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row that fits .output is empty: 2"):
        read_rows(write_lines(tmp_path / "rows.jsonl", GOOD | {"output": ""}, GOOD | {"output": " "}))


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", GOOD)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_rows(path)


@pytest.mark.parametrize(("name", "message"), [("none.jsonl", "does not exist"), ("rows.csv", "of no known form")])
def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "rows.csv").write_text("input,output\n")
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / name)


def test_axbench_ids_that_metadata_does_not_list_are_an_error(tmp_path: Path) -> None:
    folder = axbench_folder(tmp_path, axbench_row(), axbench_row(concept_id=5))
    with pytest.raises(DataError, match=r"row 2 has concept_id 5, which metadata\.jsonl beside it does not list"):
        read_rows(folder)


def test_axbench_concepts_that_differ_from_metadata_are_an_error(tmp_path: Path) -> None:
    folder = axbench_folder(tmp_path, axbench_row(), concepts=("robots",))
    with pytest.raises(DataError, match=r"concept_id 0 for 'pirates', but metadata\.jsonl beside it says 'robots'"):
        read_rows(folder)


def test_axbench_rows_without_metadata_are_an_error(tmp_path: Path) -> None:
    folder = axbench_folder(tmp_path, axbench_row())
    (folder / "generate" / "metadata.jsonl").unlink()
    with pytest.raises(DataError, match=r"metadata\.jsonl is missing"):
        read_rows(folder)


def test_reading_json_lines_needs_neither_pyarrow_nor_torch(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", GOOD)
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from flas_engine.data.rows import read_rows\n"
        f"assert len(read_rows({str(path)!r}).rows) == 1\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_pyarrow_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "rows.parquet", GOOD)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'pip install "flas-tui\[train\]"'):
        read_rows(path)
