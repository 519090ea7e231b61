"""A training run in its folder: what begins one, goes on in one, or tells beforehand what one would take.

On Hugging Face Accelerate: under `accelerate launch` or torchrun every process calls `train`, and the first one writes.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from flas_engine.allocator import keep_freed_memory
from flas_engine.errors import TrainingError
from flas_engine.machine import choose_device
from flas_engine.progress import ignore_progress
from flas_engine.training.estimate import Estimate, estimate
from flas_engine.training.folder import RunFolder, check_same, held
from flas_engine.training.loop import Loop
from flas_engine.training.prepare import choose_compute_dtype, prepare
from flas_engine.training.threads import limit_threads
from flas_engine.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from accelerate import Accelerator

    from flas_engine.progress import ReportProgress
    from flas_engine.training.metrics import EndReason, Metric
    from flas_engine.training.recipe import Recipe


def train(
    recipe: Recipe,
    out: Path,
    *,
    observe: Callable[[Metric], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: ReportProgress = ignore_progress,
) -> EndReason:
    """Train in the folder `out`, from the start or from where a run of the same recipe was stopped there.

    `observe` gets every metric as it is written. `should_stop` is asked after every update; then everything is saved
    and the reason is `interrupted`. Raises `FlasError` when the run cannot begin, go on or be written; a folder in
    which no run began is left as it was.
    """
    accelerator, device = make_accelerator(recipe)
    folder = RunFolder(out)
    with ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(held(folder))
        accelerator.wait_for_everyone()
        prepared = prepare(recipe, device, progress)
        if folder.is_begun:
            check_same(folder, recipe, prepared.sources)
        return Loop(prepared, folder, accelerator, observe, should_stop).go()


def dry_run(recipe: Recipe, out: Path, progress: ReportProgress = ignore_progress) -> Estimate:
    """Work out what `train` would do and take, from a few real updates; writes nothing. Raises as `train` does."""
    accelerator, device = make_accelerator(recipe)
    prepared = prepare(recipe, device, progress)
    folder = RunFolder(out)
    if folder.is_begun:
        check_same(folder, recipe, prepared.sources)
    probed = replace(prepared, recipe=replace(recipe, activations="none"))
    return estimate(prepared, Trainer(probed, accelerator, out).update)


def make_accelerator(recipe: Recipe) -> tuple[Accelerator, torch.device]:
    """Return Accelerate's view of the processes, and this process's device; raises `FlasError`."""
    try:
        from accelerate import Accelerator
    except ImportError:
        raise TrainingError('training needs the accelerate package; run: pip install "flas-tui[train]"') from None
    limit_threads()
    keep_freed_memory()
    device = choose_device(recipe.device or None)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where Accelerate puts the model
    scales = choose_compute_dtype(recipe.dtype, device) == torch.float16
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="fp16" if scales else "no")
    return accelerator, accelerator.device if accelerator.num_processes > 1 else device
