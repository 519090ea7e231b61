"""A run can begin with a flow that was trained before, whose shape is then its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_run import tensors_in, tiny_recipe, write_base, write_rows

from flas_engine.errors import TrainingError
from flas_engine.training import initialise
from flas_engine.training.feed import ConceptStates
from flas_engine.training.initialise import make_field, measure_coordinates
from flas_engine.training.prepare import prepare
from flas_engine.training.run import train
from flas_tui.commands.train_run import recipe_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def first(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    train(tiny_recipe(base, write_rows(base / "rows.jsonl"), standardised=True, save_dtype="float32"), out)
    return out / "flow"


def test_a_run_begins_with_the_flow_it_is_given(base: Path, first: Path, tmp_path: Path) -> None:
    hardly_learning = {"learning_rate": 1e-9, "updates": 1, "weight_decay": 0.0, "seed": 7, "save_dtype": "float32"}
    recipe = tiny_recipe(base, base / "rows.jsonl", standardised=True, init_flow=str(first), **hardly_learning)
    train(recipe, tmp_path / "second")
    begun, went_on = tensors_in(first), tensors_in(tmp_path / "second" / "flow")
    assert begun.keys() == went_on.keys()
    for name, tensor in begun.items():
        torch.testing.assert_close(went_on[name], tensor, atol=1e-7, rtol=0.0)
    assert "Began with the flow of first." in (tmp_path / "second" / "flow" / "README.md").read_text()


def test_a_command_line_takes_the_shape_of_the_flow_unless_it_says_another(
    base: Path, first: Path, tmp_path: Path
) -> None:
    given = {"base": str(base), "data": [str(base / "rows.jsonl")], "init_flow": str(first)}
    recipe = recipe_of(tmp_path / "out", dict(given), config=None, resumes=False)
    assert (recipe.layer, recipe.self_attention, recipe.standardised) == (2, False, True)
    other = recipe_of(tmp_path / "out", {**given, "self_attention": True}, config=None, resumes=False)
    assert other.self_attention


def test_a_flow_of_another_shape_is_refused_and_nothing_is_written(base: Path, first: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(base, base / "rows.jsonl", init_flow=str(first), standardised=False)
    with pytest.raises(TrainingError, match="has standardised True, the recipe False"):
        train(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_coordinates_are_measured_on_the_first_rows_and_the_others_are_not_read(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initialise, "MEASURED_ROWS", 3)
    rows = write_rows(tmp_path / "rows.jsonl")
    prepared = prepare(tiny_recipe(base, rows, standardised=True), torch.device("cpu"))
    field = make_field(prepared.base, prepared.config, from_base=False, seed=0)
    concepts = ConceptStates(prepared.base, prepared.tokenizer, 64)
    unreadable: Any = ("no", "ids")
    few, many = prepared.examples[:3], [replace(each, prompt_ids=unreadable) for each in prepared.examples[3:]]
    means = []
    for examples in (few, [*few, *many]):
        measure_coordinates(field, prepared.base, examples, concepts)
        assert field.coordinates is not None
        means.append(field.coordinates.h_mean.clone())
    assert torch.equal(*means)
