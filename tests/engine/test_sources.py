"""What the name of a base or a flow means, where it is a folder or a file of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_machine import SHARD, WANTED, Machine, refusal, resolved, tiny_base, tiny_flow


@pytest.fixture
def base_folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "a-base", {name: tiny_base()[name] for name in WANTED})


def test_a_folder_is_a_base_without_a_flow(machine: Machine, base_folder: Path) -> None:
    answer = resolved(machine, model=str(base_folder))
    assert (answer["name"], answer["base"], answer["flow"]) == ("a-base", str(base_folder), None)


def test_a_folder_with_a_flow_brings_the_base_that_it_names(
    machine: Machine, base_folder: Path, tmp_path: Path
) -> None:
    files = tiny_flow() | {"config.json": json.dumps({"model_id": str(base_folder), "layer": 1}).encode()}
    folder = write_folder(tmp_path / "a-flow", files)
    answer = resolved(machine, model=str(folder))
    assert (answer["base"], answer["flow"]) == (str(base_folder), str(folder / "flow.safetensors"))


def test_another_base_goes_under_a_flow(machine: Machine, base_folder: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a-flow", tiny_flow())
    answer = resolved(machine, flow=str(folder), base=str(base_folder))
    assert (answer["base"], Path(answer["flow"]).parent) == (str(base_folder), folder)


def test_the_base_of_a_flow_may_be_called_by_its_short_name(
    machine: Machine, base_folder: Path, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "a-flow", tiny_flow())
    assert machine.run("models", "add", "mine", "--base", str(base_folder)).exit_code == 0
    assert resolved(machine, flow=str(folder), base="mine")["base"] == str(base_folder)


def test_a_flow_without_config_is_refused(machine: Machine, base_folder: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a-flow", {"flow.safetensors": tiny_flow()["flow.safetensors"]})
    assert "has no config.json beside it" in refusal(machine, base=str(base_folder), flow=str(folder))


def test_a_folder_with_a_shard_missing_names_it(machine: Machine, base_folder: Path) -> None:
    (base_folder / SHARD).unlink()
    assert SHARD in refusal(machine, model=str(base_folder))


def test_a_garbled_weight_file_is_named(machine: Machine, base_folder: Path) -> None:
    (base_folder / SHARD).write_bytes(b"\xff" * 4000)
    message = refusal(machine, model=str(base_folder))
    assert SHARD in message
    assert "damaged" in message


def test_a_file_that_is_no_gguf_is_refused_as_a_base(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"nothing of the kind")
    assert "is no GGUF file" in refusal(machine, base=str(path))


def test_a_path_that_is_not_there_is_named(machine: Machine) -> None:
    assert "'/nowhere/at-all'" in refusal(machine, base="/nowhere/at-all")


def test_a_model_too_large_for_the_memory_is_refused_with_the_numbers(machine: Machine, tmp_path: Path) -> None:
    header = {"w": {"dtype": "BF16", "shape": [10**12], "data_offsets": [0, 2 * 10**12]}}
    encoded = json.dumps(header).encode()
    folder = write_folder(tmp_path / "huge", {"config.json": b"{}", "tokenizer.json": b"{}"})
    with (folder / "model.safetensors").open("wb") as file:  # sparse: takes no room
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(8 + len(encoded) + 2 * 10**12)
    message = refusal(machine, model=str(folder), device="cpu", dtype="bfloat16")
    assert "needs about 2100.4 GB of memory" in message
    assert "available on cpu" in message


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
