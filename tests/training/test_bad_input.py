"""What can go wrong with input and machine: each is told in a line or two, and leaves no half-written run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from filelock import FileLock
from tiny_run import CONCEPTS, tiny_recipe, write_base, write_rows

from flas_engine.errors import CheckpointError, DataError, FlasError, ModelError, TrainingError
from flas_engine.training import loop, trainer
from flas_engine.training.metrics import MetricsError, MetricsWriter, read_metrics
from flas_engine.training.recipe import DataSource, make_recipe, recipe_text
from flas_engine.training.run import dry_run, train

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from flas_engine.training.recipe import Recipe


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def recipe(base: Path, tmp_path: Path) -> Recipe:
    return tiny_recipe(base, write_rows(tmp_path / "rows.jsonl"), updates=4, validate_every=2)


def write_lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def assert_refused(recipe: Recipe, out: Path, kind: type[FlasError], *words: str) -> None:
    """The message names what is wrong in two lines at most, and nothing is left where nothing began."""
    with pytest.raises(kind) as refused:
        train(recipe, out)
    message = str(refused.value)
    assert all(word in message for word in words), message
    assert len(message.splitlines()) <= 2
    assert not out.exists()


def with_data(recipe: Recipe, path: Path) -> Recipe:
    return replace(recipe, data=(DataSource(path=str(path)),))


def test_a_missing_column_is_named(recipe: Recipe, tmp_path: Path) -> None:
    rows = write_lines(tmp_path / "bad.jsonl", {"input": "a", "concept": "b"})
    assert_refused(with_data(recipe, rows), tmp_path / "run", DataError, "no column output")


def test_empty_data_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    assert_refused(with_data(recipe, write_lines(tmp_path / "no.jsonl")), tmp_path / "run", DataError, "is empty")


def test_concept_ids_that_do_not_match_are_named(recipe: Recipe, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "axbench"
    folder.mkdir()
    columns = {"input": ["a"], "output": ["b"], "output_concept": ["sea"], "concept_id": [7], "category": ["positive"]}
    pq.write_table(pa.table(columns), folder / "train_data.parquet")
    write_lines(folder / "metadata.jsonl", {"concept_id": 0, "concept": "sea"})
    assert_refused(with_data(recipe, folder), tmp_path / "run", DataError, "concept_id 7")


def test_held_out_concepts_that_the_data_lacks_are_named(recipe: Recipe, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("sea\nmoon\n", encoding="utf-8")
    assert_refused(replace(recipe, held_out_file=str(ids)), tmp_path / "run", TrainingError, "'moon'", "ids.txt")


def test_rows_that_are_all_too_long_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    assert_refused(replace(recipe, max_len=8), tmp_path / "run", TrainingError, "8 tokens", "--max-len")


def test_the_same_file_twice_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    assert_refused(replace(recipe, data=recipe.data * 2), tmp_path / "run", DataError, "more than once")


def test_a_layer_that_the_base_lacks_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    assert_refused(replace(recipe, layer=4), tmp_path / "run", CheckpointError, "layer 4", "0 to 3")


def test_a_base_that_is_nowhere_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    assert_refused(replace(recipe, base=str(tmp_path / "no")), tmp_path / "run", ModelError, "no")


def test_a_run_that_does_not_fit_the_memory_is_refused_with_the_numbers(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = psutil.virtual_memory()._replace(available=600_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: small)
    large = replace(recipe, batch_size=512, max_len=512)
    assert_refused(large, tmp_path / "run", TrainingError, "0.6 GB are available", "--batch-size")


def test_float16_without_cuda_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    assert_refused(replace(recipe, dtype="float16"), tmp_path / "run", TrainingError, "float16", "bfloat16")


def test_a_folder_with_other_files_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "full"
    out.mkdir()
    (out / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(TrainingError, match="holds other files"):
        train(recipe, out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_a_run_in_use_by_another_process_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with FileLock(out / "run.lock"), pytest.raises(TrainingError, match="another process is training"):
        train(recipe, out)
    assert train(recipe, out) == "finished"


@pytest.mark.parametrize(
    ("change", "words"), [({"learning_rate": 0.5}, "learning_rate is 0.5, was 0.01"), ({"seed": 1}, "seed is 1, was 0")]
)
def test_going_on_with_other_options_is_refused_by_name(
    recipe: Recipe, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    out = tmp_path / "run"
    train(recipe, out, should_stop=lambda: True)
    with pytest.raises(TrainingError) as refused:
        train(replace(recipe, **change), out)
    assert words in str(refused.value)
    assert train(replace(recipe, keep=1, activations="memory"), out) == "finished"


def test_going_on_with_other_data_is_refused_by_name(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(recipe, out, should_stop=lambda: True)
    write_rows(tmp_path / "rows.jsonl", count=41)
    with pytest.raises(TrainingError, match=r"rows\.jsonl has changed since the run"):
        train(recipe, out)


def test_a_loss_that_is_not_finite_stops_says_where_and_keeps_the_last_good_checkpoint(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, backward = tmp_path / "run", trainer.Trainer._backward
    calls = []

    def explode(self: Any, batch: Any, num_tokens: int) -> torch.Tensor:
        calls.append(batch)
        sums = backward(self, batch, num_tokens)
        return sums * float("nan") if len(calls) > 2 * recipe.accumulation else sums  # from the third update on

    monkeypatch.setattr(trainer.Trainer, "_backward", explode)
    with pytest.raises(TrainingError) as stopped:
        train(recipe, out)
    message = str(stopped.value)
    assert "the loss of update 3 is not finite" in message
    assert "rows.jsonl row" in message
    assert "the state after update 2 is kept" in message
    assert (out / "checkpoints" / "update-0000002" / "config.json").exists()
    assert read_metrics(out / "metrics.jsonl")[-1].reason == "failed"
    monkeypatch.undo()
    assert train(recipe, out) == "finished"


@pytest.mark.parametrize("has_room", [True, False])
def test_a_checkpoint_that_could_not_be_written_is_not_named_as_the_best(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_room: bool
) -> None:
    def fail(*_: Any) -> None:
        if not has_room:
            monkeypatch.setattr(MetricsWriter, "write", fail_to_write)
        raise TrainingError("there is no room")

    def fail_to_write(*_: Any) -> None:
        raise MetricsError("not for metrics either")

    monkeypatch.setattr(loop, "save_flow", fail)
    with pytest.raises(TrainingError) as stopped:
        train(recipe, tmp_path / "run")
    assert str(stopped.value) == "there is no room\nno state was saved before"
    if has_room:
        assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1].best_update is None


def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(recipe: Recipe, small_disk: Path) -> None:
    out, ballast = small_disk / "run", small_disk / "ballast"
    assert train(recipe, out, should_stop=iter([False, True]).__next__) == "interrupted"
    free = psutil.disk_usage(str(small_disk)).free
    ballast.write_bytes(b"\0" * (free - 200_000))
    with pytest.raises(TrainingError) as full:
        train(recipe, out)
    assert "make room" in str(full.value)
    assert len(str(full.value).splitlines()) <= 2
    assert not list(out.rglob(".unfinished-*"))
    ballast.unlink()
    assert train(recipe, out) == "finished"


def test_activations_that_do_not_fit_the_disk_are_refused_before_anything_is_written(
    base: Path, small_disk: Path
) -> None:
    rows = write_rows(small_disk / "rows.jsonl")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (psutil.disk_usage(str(small_disk)).free - 100_000))
    recipe = tiny_recipe(base, rows, activations="disk")
    assert_refused(recipe, small_disk / "run", TrainingError, "of activations do not fit", "--activation-gigabytes")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learning_rte": 1.0}, "no learning_rte; its keys are"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; it must be a number"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be"),
        ({"epochs": float("inf")}, "epochs is inf; it must be 1e-12 or more, and finite"),
        ({"activation_gigabytes": float("inf")}, "activation_gigabytes is inf; it must be 0 or more, and finite"),
        ({"batch_size": 0}, "batch_size is 0; it must be 1 or more"),
        ({"blocks": 1.5}, "blocks is 1.5; it must be a whole number"),
        ({"mlp": 1}, "mlp is 1; it must be true or false"),
        ({"vocabulary": "some"}, "vocabulary is 'some'; choose one of full, data"),
        ({"flow_time_min": 3.0}, "flow_time_min 3 is above flow_time_max 2"),
        ({"data": []}, "give --data"),
        ({"data": [{"path": "x", "weight": 0}]}, "weight of x is 0"),
        ({"base": ""}, "give --base"),
    ],
)
def test_bad_values_of_a_recipe_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingError) as refused:
        make_recipe({"base": "demo", "data": [{"path": "x"}]} | values)
    assert words in str(refused.value)


def test_a_recipe_is_read_back_as_it_was_written(recipe: Recipe) -> None:
    import tomllib

    changed = replace(recipe, contrast=0.25, data=(DataSource(path='a "b" \\ c', weight=0.5), *recipe.data))
    assert make_recipe(tomllib.loads(recipe_text(changed))) == changed


def test_a_dry_run_counts_and_writes_nothing(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    found = dry_run(recipe, out)
    assert not out.exists()
    assert (found.num_rows, found.num_held_out, found.num_concepts) == (34, 6, len(CONCEPTS))
    assert found.num_updates == 4
    assert found.seconds > 0
