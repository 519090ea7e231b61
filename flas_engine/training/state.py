"""Checkpoints: flows in the released form, and the state that a run goes on from. Written whole or not at all.

The state is Accelerate's own (weights, optimiser, gradient scale, random generators), with a record of what the loop
counts. Everything else that resuming needs is a function of the update's number: schedule, batches, flow times.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from flas_engine.checkpoint import write_flow
from flas_engine.errors import CheckpointError, TrainingError
from flas_engine.field import VelocityField
from flas_engine.hub.capacity import free_disk, gigabytes
from flas_engine.training.folder import UNFINISHED, update_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from accelerate import Accelerator
    from torch import nn

    from flas_engine.config import FlowConfig
    from flas_engine.families import Architecture
    from flas_engine.training.folder import RunFolder

PROGRESS_FILE = "progress.json"
_FIELD_PREFIX = "field."


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is."""

    update: int = 0
    """Updates done."""
    best: tuple[tuple[int, float], ...] = ()
    """Updates of the checkpoints that are kept for being best, with their validation losses; the best first."""
    validations_since_best: int = 0
    end_reason: str = ""
    """Empty while there is more to do."""

    @property
    def best_update(self) -> int | None:
        """The update whose checkpoint is the best so far."""
        return self.best[0][0] if self.best else None


def with_validation(progress: Progress, loss: float, keep: int) -> Progress:
    """Return the progress after a validation at its update."""
    is_best = not progress.best or loss < progress.best[0][1]
    ranked = sorted([*progress.best, (progress.update, loss)], key=lambda entry: entry[1])
    return Progress(
        update=progress.update,
        best=tuple(ranked[:keep]),
        validations_since_best=0 if is_best else progress.validations_since_best + 1,
    )


def latest_state(folder: RunFolder) -> tuple[Path, Progress] | None:
    """Return the newest whole state and how far it is; None when there is none. Raises `TrainingError`."""
    paths = sorted(folder.states.glob("update-*"))
    if not paths:
        return None
    file = paths[-1] / PROGRESS_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        best = tuple((int(update), float(loss)) for update, loss in values.pop("best"))
        return paths[-1], Progress(best=best, **values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{file} cannot be read ({error}); remove {paths[-1]} to go on from before it") from None


def save_state(folder: RunFolder, accelerator: Accelerator, progress: Progress) -> None:
    """Save what resuming needs in the place of the last state; all processes call it. Raises `TrainingError`."""
    final = folder.states / update_name(progress.update)
    unfinished = final.with_name(UNFINISHED + final.name)
    with _writing(unfinished):
        if accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(unfinished))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            (unfinished / PROGRESS_FILE).write_text(json.dumps(asdict(progress)), encoding="utf-8")
            unfinished.rename(final)
            for older in folder.states.glob("update-*"):
                if older != final:
                    shutil.rmtree(older)
    accelerator.wait_for_everyone()


def save_flow(folder: Path, name: str, config: FlowConfig, field: VelocityField) -> None:
    """Write a flow in the released form as `folder`, whole or not at all; raises `TrainingError`."""
    unfinished = folder.with_name(UNFINISHED + folder.name)
    with _writing(unfinished):
        shutil.rmtree(unfinished, ignore_errors=True)
        write_flow(unfinished, name, config, field)
        replace_folder(folder, unfinished)


def keep_checkpoints(folder: RunFolder, progress: Progress) -> None:
    """Remove all checkpoints but the best and the last."""
    kept = {update_name(update) for update, _ in progress.best}
    for checkpoint in sorted(folder.checkpoints.glob("update-*"))[:-1]:
        if checkpoint.name not in kept:
            shutil.rmtree(checkpoint)


def field_in(
    state: Mapping[str, torch.Tensor], architecture: Architecture, config: FlowConfig, dtype: torch.dtype
) -> VelocityField:
    """Return a copy of the trained field with weights in `dtype`; coordinates stay float32."""
    with torch.device("meta"):
        field = VelocityField(architecture, config)
    tensors = {name.removeprefix(_FIELD_PREFIX): tensor for name, tensor in state.items()}
    cast = {
        name: tensor.detach().to(torch.float32 if name.startswith("coordinates.") else dtype, copy=True)
        for name, tensor in tensors.items()
    }
    field.load_state_dict(cast, assign=True)
    return field.requires_grad_(requires_grad=False).eval()


def gathered_state(accelerator: Accelerator, model: nn.Module) -> Mapping[str, torch.Tensor]:
    """Return the whole state of the trained module on the main process; all processes call it."""
    state: Mapping[str, torch.Tensor] = accelerator.get_state_dict(model)
    return state


def copy_folder(source: Path, target: Path) -> None:
    """Put a copy of `source` in the place of `target`, whole or not at all; raises `TrainingError`."""
    unfinished = target.with_name(UNFINISHED + target.name)
    with _writing(unfinished):
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(source, unfinished)
        replace_folder(target, unfinished)


def replace_folder(target: Path, new: Path) -> None:
    """Give `new` the name of `target`, whose old content goes once it is in place; raises `OSError`."""
    old = target.with_name(f"{UNFINISHED}old-{target.name}")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _writing(unfinished: Path) -> Iterator[None]:
    """Say what went wrong with the disk, and leave nothing half-written behind."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, CheckpointError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = str(error).strip().split("\n", 1)[0]
        free = gigabytes(free_disk(unfinished))
        raise TrainingError(
            f"{unfinished.parent} cannot be written ({reason}; {free} are free); make room and run the "
            "same command again: it goes on from the last state that is whole"
        ) from None
