"""Read and write flow checkpoints, strictly: every missing, extra or misshapen tensor is an error that names it.

Read are released folders (`*.safetensors` beside `config.json`) and the reference trainer's `.pt` files; written is
the released form.
"""

from __future__ import annotations

import pickle
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from flas_engine.config import read_flow_config, write_flow_config
from flas_engine.errors import CheckpointError
from flas_engine.field import VelocityField

if TYPE_CHECKING:
    from flas_engine.config import FlowConfig
    from flas_engine.families import Architecture

NAMED_PROBLEMS = 8
"""How many tensors an error names before it counts the rest."""

_BLOCK = re.compile(r"blocks\.(\d+)\.")
# Fields trained with `disable_self_attn` by early versions of the reference carry these all the same.
_UNUSED_SELF_ATTENTION = re.compile(r"blocks\.\d+\.(pre_sa_norm|post_sa_norm|self_attn|self_attn_gate)(\.|$)")


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A flow checkpoint in memory."""

    config: FlowConfig
    field: VelocityField
    encoder_state: dict[str, torch.Tensor] | None = None
    """Weights of a concept encoder that was trained along; None when it is the base model's own."""


def find_flow_file(path: Path) -> Path:
    """Return the tensor file of a flow: `path` itself, or the one in the folder `path`."""
    if not path.exists():
        raise CheckpointError(
            f"there is no flow checkpoint at {path}; give a folder with config.json and *.safetensors"
        )
    if path.is_file():
        return path
    files = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.pt"))
    if len(files) != 1:
        raise CheckpointError(
            f"{path} holds {len(files)} flow files; it should hold one *.safetensors (or name the file)"
        )
    return files[0]


def read_flow(path: Path, architecture: Architecture, device: torch.device, dtype: torch.dtype) -> Flow:
    """Read the flow at `path` (a folder or a file with `config.json` beside it) for a base of the given shape.

    Raises `CheckpointError` when it is damaged or does not belong to the base.
    """
    file = find_flow_file(path)
    config = read_flow_config(file.parent / "config.json")
    check_layer(config.layer, architecture)
    state, encoder_state = _read_tensors(file)
    if config.disable_self_attn:
        state = {name: tensor for name, tensor in state.items() if not _UNUSED_SELF_ATTENTION.match(name)}
    _check_blocks(state, config, file)  # before any number of them is built
    with torch.device("meta"):
        field = VelocityField(architecture, config)
    _check_tensors(state, field, file)
    # Coordinates are float32 in every checkpoint: they are statistics, not weights of a product.
    cast = {
        name: tensor.to(device, torch.float32 if name.startswith("coordinates.") else dtype)
        for name, tensor in state.items()
    }
    field.load_state_dict(cast, assign=True)
    return Flow(config=config, field=field.requires_grad_(requires_grad=False).eval(), encoder_state=encoder_state)


def write_flow(folder: Path, name: str, config: FlowConfig, field: VelocityField) -> Path:
    """Write `config.json` and `<name>.safetensors` into `folder`, both or neither; returns the tensor file.

    Raises `CheckpointError` when they cannot be written; what the folder held before is then as it was.
    """
    file = folder / f"{name}.safetensors"
    state = {key: tensor.detach().contiguous().cpu() for key, tensor in field.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
            config_file, tensor_file = Path(unfinished) / "config.json", Path(unfinished) / file.name
            write_flow_config(config_file, config)
            save_file(state, tensor_file)
            tensor_file.chmod(config_file.stat().st_mode)  # safetensors writes for the owner alone
            config_file.replace(folder / config_file.name)
            tensor_file.replace(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be written ({error}); make room, or choose another folder") from None
    return file


def check_layer(layer: int, architecture: Architecture) -> None:
    """Raise `CheckpointError` when the base model has no such layer."""
    last = architecture.num_layers - 1
    if not 0 <= layer <= last:
        raise CheckpointError(
            f"layer {layer} is out of range for this base model (0 to {last}); use the flow's own base"
        )


def _read_tensors(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor] | None]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file), None
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise CheckpointError(f"{file} is damaged or no flow checkpoint ({reason}); download it again") from None
    if not isinstance(saved, dict) or not _is_state(saved.get("flow_fn")):
        raise CheckpointError(f"{file} holds no 'flow_fn' tensors; it is not a checkpoint of a FLAS training")
    encoder_state = saved.get("concept_enc")
    if encoder_state is not None and not _is_state(encoder_state):
        raise CheckpointError(f"{file} holds a 'concept_enc' that is no tensors; it is damaged, download it again")
    return saved["flow_fn"], encoder_state


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items()
    )


def _check_blocks(state: dict[str, torch.Tensor], config: FlowConfig, file: Path) -> None:
    blocks = {int(match.group(1)) for name in state if (match := _BLOCK.match(name))}
    if len(blocks) != config.num_blocks or blocks != set(range(config.num_blocks)):
        raise CheckpointError(
            f"{file} holds blocks {sorted(blocks)} but its config.json says num_blocks {config.num_blocks}; "
            "correct the config, or download the flow again"
        )


def _check_tensors(state: dict[str, torch.Tensor], field: VelocityField, file: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in field.state_dict().items()}
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is not expected" for name in state if name not in expected]
    problems += [
        f"{name} is {list(tensor.shape)} and should be {list(expected[name])}"
        for name, tensor in state.items()
        if name in expected and tuple(tensor.shape) != expected[name]
    ]
    if problems:
        more = f"; and {len(problems) - NAMED_PROBLEMS} more" if len(problems) > NAMED_PROBLEMS else ""
        raise CheckpointError(
            f"{file} does not fit the base model and its config.json: {'; '.join(problems[:NAMED_PROBLEMS])}{more}"
        )
