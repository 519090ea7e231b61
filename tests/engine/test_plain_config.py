"""Configs read without their family's class against those that transformers' AutoConfig makes of the same file."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny import FAMILY_NAMES, tiny_config
from transformers import AutoConfig

from flas_engine.base import load_config, load_generation_eos
from flas_engine.errors import ModelError
from flas_engine.families import RotarySpec, read_architecture
from flas_engine.plain_config import read_plain_config

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULT = {"rope_type": "default", "rope_theta": 10_000.0}
PLAIN_ROTARY = {"llama": _DEFAULT, "gemma3": {"full_attention": _DEFAULT, "sliding_attention": _DEFAULT}}


def assert_same(folder: Path) -> None:
    ours, reference = load_config(folder), AutoConfig.from_pretrained(folder)
    ours_shape, reference_shape = read_architecture(ours), read_architecture(reference)
    for field in fields(reference_shape):
        one, other = getattr(ours_shape, field.name), getattr(reference_shape, field.name)
        if isinstance(other, RotarySpec):
            assert torch.equal(one.inverse_frequencies, other.inverse_frequencies), field.name
            assert one.scaling == other.scaling
        else:
            assert one == other, field.name
    assert load_generation_eos(folder, ours) == load_generation_eos(folder, reference)


def write_config(folder: Path, settings: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(settings))


def saved_settings(family: str, folder: Path) -> dict[str, Any]:
    tiny_config(family).save_pretrained(folder)
    settings: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return settings


@pytest.mark.parametrize("fixture", ["demo_model_dir", "demo_gemma_dir"])
def test_an_embedded_models_config_needs_no_class(fixture: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(fixture)
    assert read_plain_config(folder) is not None
    assert_same(folder)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_saved_config_reads_as_by_its_class_whatever_is_missing(family: str, tmp_path: Path) -> None:
    settings = saved_settings(family, tmp_path)
    assert_same(tmp_path)
    if family in PLAIN_ROTARY:
        settings["rope_parameters"] = PLAIN_ROTARY[family]
        write_config(tmp_path, settings)
        assert read_plain_config(tmp_path) is not None
        assert_same(tmp_path)
    needed = {"model_type", "num_hidden_layers"}  # transformers refuses its default beside our layer types
    for name in settings.keys() - needed:
        write_config(tmp_path, {key: value for key, value in settings.items() if key != name})
        assert_same(tmp_path)


@pytest.mark.parametrize("family", ["gemma3", "llama"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rope_parameters", None),
        ("rope_parameters", {"rope_type": "default"}),
        ("rope_parameters", {"full_attention": {"rope_type": "default"}, "sliding_attention": None}),
        ("rope_parameters", {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}),
        ("head_dim", None),
        ("use_bidirectional_attention", True),
    ],
)
def test_what_is_not_spelt_out_is_left_to_the_class(family: str, name: str, value: object, tmp_path: Path) -> None:
    settings = saved_settings(family, tmp_path) | {"rope_parameters": PLAIN_ROTARY[family]}
    write_config(tmp_path, settings)
    assert read_plain_config(tmp_path) is not None
    write_config(tmp_path, settings | {name: value})
    assert read_plain_config(tmp_path) is None


@pytest.mark.parametrize("family", ["gemma3", "llama"])
@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers"])
def test_an_impossible_value_is_named_in_a_line(family: str, name: str, tmp_path: Path) -> None:
    write_config(tmp_path, saved_settings(family, tmp_path) | {name: "many"})
    with pytest.raises(ModelError, match=rf"impossible model config \(.*'{name}' expected int.*\); mend") as caught:
        load_config(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"model_type": "nonesuch"}'])
def test_a_damaged_config_is_named_in_a_line(damage: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(damage)
    with pytest.raises(ModelError, match=r"no readable model config \(.+\); download the model again") as caught:
        load_config(tmp_path)
    assert "\n" not in str(caught.value)
