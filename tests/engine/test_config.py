from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flas_engine.config import PROMPT_FORMATS, FlowConfig, read_flow_config, write_flow_config
from flas_engine.errors import CheckpointError

KNOWN = {name for name in FlowConfig.__dataclass_fields__ if name != "other"}

counts = st.integers(1, 10_000)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
configs = st.builds(
    FlowConfig,
    model_id=st.text(max_size=20),
    layer=st.integers(0, 100),
    num_blocks=counts,
    n_steps=counts,
    T_min=st.floats(0, 4),
    T_max=st.floats(0, 8),
    concept_max_len=counts,
    disable_cross_attn=st.booleans(),
    disable_self_attn=st.booleans(),
    disable_mlp=st.booleans(),
    prompt_format=st.sampled_from(PROMPT_FORMATS),
    coordinates=st.sampled_from([None, "standardised"]),
    other=st.dictionaries(st.text(max_size=8).filter(lambda name: name not in KNOWN), json_values, max_size=4),
)


def written(folder: Path, content: Any) -> Path:
    path = folder / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@given(config=configs)
def test_what_is_written_is_read_again_unknown_fields_included(config: FlowConfig) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        write_flow_config(path, config)
        assert read_flow_config(path) == config


def test_a_released_config_is_read_with_its_defaults(tmp_path: Path) -> None:
    released = {"model_id": "google/gemma-2-2b-it", "layer": 20, "lr": 5e-5, "notes": {"seed": 1}, "coordinates": None}
    config = read_flow_config(written(tmp_path, released))
    assert config == FlowConfig(model_id="google/gemma-2-2b-it", layer=20, other={"lr": 5e-5, "notes": {"seed": 1}})
    assert (config.num_blocks, config.n_steps, config.T_min, config.T_max) == (1, 3, 0.5, 2.0)
    assert (config.prompt_format, config.concept_max_len, config.disable_self_attn) == ("chat", 64, False)


def test_a_config_of_a_golden_folder_names_no_base(tmp_path: Path) -> None:
    assert read_flow_config(written(tmp_path, {"layer": 2, "disable_self_attn": True})).model_id == ""


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"layer": -1}, "layer -1; it must be 0 or more"),
        ({"num_blocks": 0}, "num_blocks 0; it must be 1 or more"),
        ({"n_steps": 0}, "n_steps 0; it must be 1 or more"),
        ({"concept_max_len": 0}, "concept_max_len 0; it must be 1 or more"),
        ({"prompt_format": "vicuna"}, "prompt_format 'vicuna'; it must be chat or alpaca"),
        ({"coordinates": "whitened"}, "coordinates 'whitened'; it must be standardised or absent"),
        ({"layer": "20"}, "layer '20', which is of the wrong type"),
        ({"layer": 20.5}, "layer 20.5, which is of the wrong type"),
        ({"n_steps": [3]}, r"n_steps \[3\], which is of the wrong type"),
        ({"disable_mlp": "yes"}, "disable_mlp 'yes', which is of the wrong type"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(tmp_path: Path, fields: dict[str, object], told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        read_flow_config(written(tmp_path, {"model_id": "a/b", "layer": 20} | fields))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"model_id": "google/gemma-2-2b-it"}, "names no layer; it is not the config of a flow checkpoint"),
        ("[1, 2]", "is not a JSON object"),
        ('{"layer": 20', "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_file_that_is_no_flow_config_is_named(tmp_path: Path, content: object, told: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(CheckpointError, match=told) as caught:
        read_flow_config(path)
    assert str(path) in str(caught.value)


def test_a_config_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes('{"layer": 20, "model_id": "ü"}'.encode("utf-16"))
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_flow_config(path)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is missing; a flow checkpoint is a config\.json beside"):
        read_flow_config(tmp_path / "config.json")
