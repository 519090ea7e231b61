from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import FAMILY_NAMES, tiny_architecture, tiny_flow, tiny_transformers_model

from flas_engine.base import from_transformers
from flas_engine.checkpoint import NAMED_PROBLEMS, Flow, find_flow_file, read_flow, write_flow
from flas_engine.concept import encode_tokens, make_encoder
from flas_engine.config import read_flow_config
from flas_engine.errors import CheckpointError
from flas_engine.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parents[1] / "golden"
ABLATIONS = ({}, {"disable_cross_attn": True}, {"disable_self_attn": True}, {"disable_mlp": True})
GEMMA2 = tiny_architecture("gemma2")
SELF_ATTENTION = "blocks.0.self_attn.q_proj.weight"


def saved(folder: Path, flow: Flow, name: str = "flow") -> Path:
    return write_flow(folder, name, flow.config, flow.field)


def read(path: Path, family: str = "gemma2", dtype: torch.dtype = torch.float32) -> Flow:
    return read_flow(path, tiny_architecture(family), CPU, dtype)


def rewrite(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(file)
    change(state)
    save_file(state, file)


def problem_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- load and save ---


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: next(iter(ablation), "whole"))
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_what_is_written_is_read_again(tmp_path: Path, family: str, ablation: dict[str, bool]) -> None:
    flow = tiny_flow(tiny_architecture(family), num_blocks=2, **ablation)
    again = read(saved(tmp_path, flow), family)
    assert again.config == flow.config
    expected, state = flow.field.state_dict(), again.field.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_load_then_save_gives_the_same_bytes(tmp_path: Path, dtype: torch.dtype) -> None:
    flow = tiny_flow(GEMMA2, coordinates="standardised")
    first = saved(tmp_path / "first", Flow(config=flow.config, field=flow.field.to(dtype)))
    loaded = read(first, dtype=dtype)
    second = saved(tmp_path / "second", loaded)
    if dtype == torch.float32:
        assert second.read_bytes() == first.read_bytes()
    else:  # coordinates are kept in float32 from the first reading on
        third = saved(tmp_path / "third", read(second, dtype=dtype))
        assert third.read_bytes() == second.read_bytes()
    assert (second.parent / "config.json").read_bytes() == (first.parent / "config.json").read_bytes()


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_golden_flows_keep_their_tensors(tmp_path: Path, family: str) -> None:
    source = GOLDEN / family
    shutil.copy(source / "flow_config.json", tmp_path / "config.json")
    shutil.copy(source / "flow.safetensors", tmp_path / "flow.safetensors")
    flow = read(tmp_path, family)
    original, again = load_file(source / "flow.safetensors"), load_file(saved(tmp_path / "again", flow))
    assert again.keys() == original.keys()
    assert all(torch.equal(again[name], original[name]) for name in original)


EVERY_BLOCK = {
    *(f"{when}_{what}_norm.weight" for when in ("pre", "post") for what in ("cross", "sa", "mlp")),
    *("cross_gate", "self_attn_gate", "mlp_gate", "gate_proj.weight", "up_proj.weight", "down_proj.weight"),
    *(f"{which}_attn.{each}_proj.weight" for which in ("cross", "self") for each in "qkvo"),
    *("cross_attn.q_norm.weight", "cross_attn.k_norm.weight"),
}
TIME = {f"time_embed.mlp.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_tensor_names_are_the_released_ones(family: Any) -> None:
    flow = tiny_flow(tiny_architecture(family.name), num_blocks=2)
    own = {f"self_attn.{each}_norm.weight" for each in "qk"} if family.has_qk_norm else set()
    expected = TIME | {f"blocks.{block}.{name}" for block in range(2) for name in EVERY_BLOCK | own}
    assert set(flow.field.state_dict()) == expected


def test_a_base_with_attention_biases_gives_the_flow_biases() -> None:
    flow = tiny_flow(tiny_architecture("llama", attention_bias=True))
    biases = {f"blocks.0.{which}_attn.{each}_proj.bias" for which in ("cross", "self") for each in "qkvo"}
    assert biases <= set(flow.field.state_dict())


def test_standardised_coordinates_stay_float32_and_are_undone_exactly(tmp_path: Path) -> None:
    flow = tiny_flow(GEMMA2, coordinates="standardised")
    again = read(saved(tmp_path, flow), dtype=torch.bfloat16)
    coordinates = again.field.coordinates
    assert coordinates is not None
    assert flow.field.coordinates is not None
    for name in ("h_mean", "h_scale", "c_mean", "c_scale"):
        vector = getattr(coordinates, name)
        assert vector.dtype == torch.float32
        assert torch.equal(vector, getattr(flow.field.coordinates, name))
    assert again.field.dtype == torch.bfloat16
    h = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    z = again.field.enter(h)
    assert torch.allclose(z, (h - coordinates.h_mean) / coordinates.h_scale)
    assert torch.allclose(again.field.leave(z), h, atol=1e-6)
    assert read_flow_config(tmp_path / "config.json").coordinates == "standardised"


def test_without_coordinates_nothing_is_moved_or_written(tmp_path: Path) -> None:
    flow = read(saved(tmp_path, tiny_flow(GEMMA2)))
    h = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(flow.field.leave(flow.field.enter(h)), h)
    assert "coordinates" not in (tmp_path / "config.json").read_text()


def test_a_loaded_flow_is_frozen(tmp_path: Path) -> None:
    flow = read(saved(tmp_path, tiny_flow(GEMMA2)))
    assert not any(parameter.requires_grad for parameter in flow.field.parameters())
    assert not flow.field.training


# --- what does not fit is named ---


def test_every_misfit_is_named_at_once(tmp_path: Path) -> None:
    file = saved(tmp_path, tiny_flow(GEMMA2))

    def damage(state: dict[str, torch.Tensor]) -> None:
        del state["blocks.0.cross_gate"]
        del state["time_embed.mlp.0.bias"]
        state["blocks.0.adapter.weight"] = torch.zeros(2)
        state["blocks.0.mlp_gate"] = torch.zeros(3)

    rewrite(file, damage)
    problem = problem_of(file)
    assert str(file) in problem
    for told in (
        "blocks.0.cross_gate is missing",
        "time_embed.mlp.0.bias is missing",
        "blocks.0.adapter.weight is not expected",
        "blocks.0.mlp_gate is [3] and should be [64]",
    ):
        assert told in problem


def test_more_misfits_than_can_be_read_are_counted(tmp_path: Path) -> None:
    flow = tiny_flow(tiny_architecture("gemma2", hidden_size=32))
    problem = problem_of(saved(tmp_path, flow))
    assert problem.count(" and should be ") == NAMED_PROBLEMS
    assert problem.endswith(f"; and {len(flow.field.state_dict()) - NAMED_PROBLEMS - num_equal(flow)} more")


def num_equal(flow: Flow) -> int:
    """How many tensors have the shape that they would have for the usual base."""
    usual = tiny_flow(GEMMA2).field.state_dict()
    return sum(tensor.shape == usual[name].shape for name, tensor in flow.field.state_dict().items())


@pytest.mark.parametrize(("said", "held"), [(1, 2), (3, 2), (10**9, 2)])
def test_num_blocks_is_held_to_the_tensors(tmp_path: Path, said: int, held: int) -> None:
    flow = tiny_flow(GEMMA2, num_blocks=held)
    file = write_flow(tmp_path, "flow", dataclasses.replace(flow.config, num_blocks=said), flow.field)
    assert f"holds blocks [0, 1] but its config.json says num_blocks {said}" in problem_of(file)


@pytest.mark.parametrize(
    ("ablation", "num_missing"),
    [({"disable_cross_attn": True}, 9), ({"disable_self_attn": True}, 7), ({"disable_mlp": True}, 6)],
    ids=["cross", "self", "mlp"],
)
def test_a_part_that_the_config_wants_is_missed(tmp_path: Path, ablation: dict[str, bool], num_missing: int) -> None:
    flow = tiny_flow(GEMMA2, **ablation)
    whole = dataclasses.replace(flow.config, **dict.fromkeys(ablation, False))
    problem = problem_of(write_flow(tmp_path, "flow", whole, flow.field))
    assert problem.count("is missing") == min(num_missing, NAMED_PROBLEMS)


@pytest.mark.parametrize("ablation", [{"disable_cross_attn": True}, {"disable_mlp": True}], ids=["cross", "mlp"])
def test_a_part_that_the_config_denies_is_an_error(tmp_path: Path, ablation: dict[str, bool]) -> None:
    flow = tiny_flow(GEMMA2)
    denied = dataclasses.replace(flow.config, **ablation)
    assert "is not expected" in problem_of(write_flow(tmp_path, "flow", denied, flow.field))


def test_legacy_self_attention_is_ignored_where_it_is_disabled(tmp_path: Path) -> None:
    whole = tiny_flow(GEMMA2)
    legacy = dataclasses.replace(whole.config, disable_self_attn=True)
    flow = read(write_flow(tmp_path, "flow", legacy, whole.field))
    assert SELF_ATTENTION not in flow.field.state_dict()
    assert not flow.field.needs_cache


def test_only_self_attention_is_ignored_where_it_is_disabled(tmp_path: Path) -> None:
    whole = tiny_flow(GEMMA2)
    file = write_flow(tmp_path, "flow", dataclasses.replace(whole.config, disable_self_attn=True), whole.field)
    rewrite(file, lambda state: state.update({"blocks.0.self_attn_gates": torch.zeros(2)}))
    problem = problem_of(file)
    assert "blocks.0.self_attn_gates is not expected" in problem
    assert SELF_ATTENTION not in problem


@pytest.mark.parametrize("layer", [4, 30])
def test_a_layer_out_of_range_is_named_with_the_range(tmp_path: Path, layer: int) -> None:
    file = saved(tmp_path, tiny_flow(GEMMA2, layer=layer))
    assert problem_of(file).startswith(f"layer {layer} is out of range for this base model (0 to 3)")


def test_a_flow_for_another_base_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, tiny_flow(tiny_architecture("qwen3")))
    assert "blocks.0.self_attn.q_norm.weight is not expected" in problem_of(file)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_called_damaged(tmp_path: Path, share: float) -> None:
    file = saved(tmp_path, tiny_flow(GEMMA2))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert "is damaged or no flow checkpoint" in problem_of(file)


# --- finding the file ---


def test_a_folder_stands_for_its_one_file(tmp_path: Path) -> None:
    file = saved(tmp_path, tiny_flow(GEMMA2), "flas-tiny")
    assert find_flow_file(tmp_path) == find_flow_file(file) == file == tmp_path / "flas-tiny.safetensors"


def test_two_files_in_a_folder_are_one_too_many(tmp_path: Path) -> None:
    for name in ("one", "two"):
        saved(tmp_path, tiny_flow(GEMMA2), name)
    assert f"{tmp_path} holds 2 flow files; it should hold one" in problem_of(tmp_path)


def test_an_empty_folder_and_no_folder_are_told_apart(tmp_path: Path) -> None:
    assert f"{tmp_path} holds 0 flow files" in problem_of(tmp_path)
    assert f"there is no flow checkpoint at {tmp_path / 'nowhere'}" in problem_of(tmp_path / "nowhere")


def test_tensors_without_a_config_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, tiny_flow(GEMMA2))
    (tmp_path / "config.json").unlink()
    assert "config.json is missing" in problem_of(tmp_path)


# --- files of the reference's trainer ---


def trained(folder: Path, flow: Flow, content: object) -> Path:
    saved(folder, flow).unlink()
    file = folder / "best.pt"
    torch.save(content, file)
    return file


def test_a_training_file_is_read_as_its_flow(tmp_path: Path) -> None:
    flow = tiny_flow(GEMMA2)
    file = trained(tmp_path, flow, {"flow_fn": flow.field.state_dict(), "step": 500, "val_loss": 1.25})
    again = read(file)
    assert again.encoder_state is None
    assert all(torch.equal(again.field.state_dict()[name], t) for name, t in flow.field.state_dict().items())
    assert find_flow_file(tmp_path) == file


def test_a_concept_encoder_that_was_trained_along_is_used(tmp_path: Path) -> None:
    base, own = (from_transformers(tiny_transformers_model("gemma2", seed=seed)) for seed in (0, 1))
    state = dict(tiny_transformers_model("gemma2", seed=1).model.state_dict())
    flow = tiny_flow(GEMMA2)
    again = read(trained(tmp_path, flow, {"flow_fn": flow.field.state_dict(), "concept_enc": state}))

    def words(_text: str) -> dict[str, list[int]]:
        return {"input_ids": [5, 6, 7]}

    encoded: Any = make_encoder(base, again, words).encode("anything")  # type: ignore[arg-type]
    expected = flow.field.encode_keys_values(encode_tokens(own, torch.tensor([[5, 6, 7]]))[0])
    assert torch.equal(encoded.keys[0], expected.keys[0])
    assert torch.equal(encoded.values[0], expected.values[0])


def test_a_concept_encoder_of_another_shape_is_refused(tmp_path: Path) -> None:
    base = from_transformers(tiny_transformers_model("gemma2"))
    state = dict(tiny_transformers_model("gemma2").model.state_dict())
    state["layers.1.mlp.up_proj.weight"] = torch.zeros(2, 2)
    flow = tiny_flow(GEMMA2)
    again = read(trained(tmp_path, flow, {"flow_fn": flow.field.state_dict(), "concept_enc": state}))
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj\.weight is \[2, 2\]"):
        make_encoder(base, again, None)  # type: ignore[arg-type]


class Malice:
    """Would make a file of this name if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    flow, trace = tiny_flow(GEMMA2), tmp_path / "trace"
    file = trained(tmp_path, flow, {"flow_fn": flow.field.state_dict(), "step": Malice(trace)})
    assert "is damaged or no flow checkpoint" in problem_of(file)
    file.write_bytes(pickle.dumps(Malice(trace), protocol=2))
    assert "is damaged or no flow checkpoint" in problem_of(file)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"step": 500},
        [1, 2],
        {"flow_fn": [1]},
        {"flow_fn": {"blocks.0.mlp_gate": 1.0}},
        {"flow_fn": {1: torch.zeros(1)}},
    ],
    ids=str,
)
def test_a_training_file_without_a_flow_is_no_checkpoint(tmp_path: Path, content: object) -> None:
    assert "holds no 'flow_fn' tensors" in problem_of(trained(tmp_path, tiny_flow(GEMMA2), content))


@pytest.mark.parametrize("encoder", [7, {"embed_tokens.weight": "x"}], ids=str)
def test_a_concept_encoder_that_is_no_tensors_is_refused(tmp_path: Path, encoder: object) -> None:
    flow = tiny_flow(GEMMA2)
    file = trained(tmp_path, flow, {"flow_fn": flow.field.state_dict(), "concept_enc": encoder})
    assert "holds a 'concept_enc' that is no tensors" in problem_of(file)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a checkpoint at all"])
def test_a_training_file_of_noise_is_called_damaged(tmp_path: Path, content: bytes) -> None:
    file = trained(tmp_path, tiny_flow(GEMMA2), {})
    file.write_bytes(content)
    assert "is damaged or no flow checkpoint" in problem_of(file)


# --- interrupted writing ---


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_write_that_fails_at_the_config_leaves_no_file(tmp_path: Path) -> None:
    flow = tiny_flow(GEMMA2, other={"callback": print})  # no JSON
    with pytest.raises(TypeError, match="not JSON serializable"):
        saved(tmp_path, flow)
    assert contents(tmp_path) == {}


def test_a_write_that_fails_leaves_the_checkpoint_before_it_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path, tiny_flow(GEMMA2))
    before = contents(tmp_path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        saved(tmp_path, tiny_flow(GEMMA2, seed=1, other={"callback": print}))
    assert contents(tmp_path) == before


def test_a_write_without_room_leaves_the_checkpoint_before_it_as_it_was(tmp_path: Path) -> None:
    """The limit on a file's size stands in for a full disk: the system refuses to write on."""
    import resource
    import signal

    saved(tmp_path, tiny_flow(GEMMA2))
    before = contents(tmp_path)
    limits, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"flow\.safetensors cannot be written"):
            saved(tmp_path, tiny_flow(GEMMA2, seed=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, action)
    assert contents(tmp_path) == before


def test_a_checkpoint_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        file = saved(tmp_path, tiny_flow(GEMMA2))
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in (file, tmp_path / "config.json")} == {"0o644"}
