"""The training loop: updates, and between them validation, samples, checkpoints, state and metrics.

Everything on the way is told as metrics, written to the run's folder and handed to an observer. Knows nothing of how
an update is computed.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil

from flas_engine.errors import TrainingError
from flas_engine.machine import DTYPES
from flas_engine.training import metrics
from flas_engine.training.card import write_card
from flas_engine.training.folder import begin, sweep, update_name
from flas_engine.training.mirrors import installed_mirrors
from flas_engine.training.samples import FLOW_TIME, draw_prompts, write_samples
from flas_engine.training.state import (
    Progress,
    copy_folder,
    field_in,
    gathered_state,
    keep_checkpoints,
    latest_state,
    save_flow,
    save_state,
    with_validation,
)
from flas_engine.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch
    from accelerate import Accelerator

    from flas_engine.training.folder import RunFolder
    from flas_engine.training.metrics import EndReason, Metric
    from flas_engine.training.prepare import Prepared
    from flas_engine.training.trainer import UpdateResult


class Loop:
    """One process's part in a run, from where it begins to where it ends."""

    def __init__(
        self,
        prepared: Prepared,
        folder: RunFolder,
        accelerator: Accelerator,
        observe: Callable[[Metric], None] | None,
        should_stop: Callable[[], bool],
    ) -> None:
        self._prepared = prepared
        self._recipe = prepared.recipe
        self._folder = folder
        self._accelerator = accelerator
        self._observe = observe
        self._should_stop = should_stop
        self._progress = Progress()
        self._saved_at = time.monotonic()
        self._latest = latest_state(folder) if folder.is_begun else None
        self._trainer = Trainer(prepared, accelerator, folder.path, is_resumed=self._latest is not None)
        self._writer: metrics.MetricsWriter | None = None
        self._prompts = draw_prompts(prepared.held_out_rows, self._recipe.samples, self._recipe.seed)

    def go(self) -> EndReason:
        """Train to the end, or until something stops it."""
        resumed_from = self._resume()
        if self._progress.end_reason in ("finished", "early stopping"):
            raise TrainingError(
                f"the run in {self._folder.path} is finished ({self._progress.end_reason} after update "
                f"{self._progress.update}); its flow is in {self._folder.flow}"
            )
        with ExitStack() as stack:
            if self._accelerator.is_main_process:
                self._begin_writing()
                assert self._writer is not None
                stack.enter_context(self._writer)
            self._tell_start(resumed_from)
            try:
                reason = self._train()
                if reason != "interrupted":
                    self._export()
                self._progress = replace(self._progress, end_reason="" if reason == "interrupted" else reason)
                self._save()
            except TrainingError as error:
                with suppress(metrics.MetricsError):  # for the same reason, such as a full disk
                    self._tell(self._end("failed", str(error)))
                raise TrainingError(f"{error}\n{self._what_is_kept()}") from None
            self._tell(self._end(reason))
        if reason != "interrupted" and self._accelerator.is_main_process:
            write_card(self._folder.path)
        return reason

    def _resume(self) -> int | None:
        """Load the last whole state of a run that began here; returns its update."""
        if self._latest is None:
            return None
        path, self._progress = self._latest
        self._accelerator.load_state(str(path))
        return self._progress.update

    def _begin_writing(self) -> None:
        prepared, folder = self._prepared, self._folder
        if not folder.is_begun:
            begin(folder, self._recipe, prepared.split, prepared.sources, prepared.left_out)
        sweep(folder, self._progress.update)
        has_state = self._progress.update > 0
        resume_from = self._progress.update if has_state else None
        mirrors = installed_mirrors(folder.path, resume_from=resume_from)
        self._writer = metrics.MetricsWriter(folder.metrics, resume_from=resume_from, mirrors=mirrors)

    def _train(self) -> EndReason:
        while self._progress.update < self._prepared.plan.num_updates:
            started = time.monotonic()
            is_due = started - self._saved_at > 60.0 * self._recipe.save_minutes
            wants = (self._should_stop(), is_due and self._accelerator.is_main_process)
            result = self._trainer.update(self._progress.update, wants)
            self._progress = replace(self._progress, update=self._progress.update + 1)
            self._tell_update(result, time.monotonic() - started)
            stops, saves = result.flags
            update, is_last = self._progress.update, self._progress.update == self._prepared.plan.num_updates
            if is_last or update % self._recipe.validate_every == 0:
                self._validate()
                saves = True
            patience = self._recipe.patience
            if patience and self._progress.validations_since_best >= patience:
                return "early stopping"
            if is_last:
                break  # the end is saved once the result is written
            if stops:
                return "interrupted"
            if saves:
                self._save()
        return "finished"

    def _validate(self) -> None:
        """Measure, and write samples and a checkpoint."""
        update, prepared = self._progress.update, self._prepared
        loss, progress = None, self._progress
        if prepared.validation:
            losses = self._trainer.validate()
            loss = losses.decisive
            if not math.isfinite(loss):
                raise TrainingError(f"the validation loss after update {update} is not finite; lower --learning-rate")
            progress = with_validation(progress, loss, self._recipe.keep)
            self._tell(
                metrics.Validation(
                    update=update,
                    seconds=time.time(),
                    losses=losses.by_flow_time,
                    shuffled=losses.shuffled,
                    num_tokens=losses.num_tokens,
                    num_rows=losses.num_rows,
                    is_best=progress.best_update == update,
                )
            )
        state = gathered_state(self._accelerator, self._trainer.model)
        if self._accelerator.is_main_process:
            self._write_samples(state)
            self._write_checkpoint(state, loss)
        self._accelerator.wait_for_everyone()
        self._progress = progress  # only now: it names the checkpoint

    def _write_samples(self, state: Mapping[str, torch.Tensor]) -> None:
        if not self._prompts:
            return
        prepared = self._prepared
        field = field_in(state, prepared.base.architecture, prepared.config, prepared.base.dtype)
        for prompt, texts in zip(self._prompts, write_samples(prepared, field, self._prompts), strict=True):
            self._tell(
                metrics.Sample(
                    update=self._progress.update,
                    seconds=time.time(),
                    prompt=prompt.prompt,
                    concept=prompt.concept,
                    flow_time=FLOW_TIME,
                    text=texts.text,
                    baseline=texts.baseline,
                )
            )

    def _write_checkpoint(self, state: Mapping[str, torch.Tensor], loss: float | None) -> None:
        prepared, folder = self._prepared, self._folder
        dtype = DTYPES[self._recipe.save_dtype]
        field = field_in(state, prepared.base.architecture, prepared.config, dtype)
        path = folder.checkpoints / update_name(self._progress.update)
        save_flow(path, prepared.name, prepared.config, field)
        relative = str(path.relative_to(folder.path))
        self._tell(metrics.Checkpoint(update=self._progress.update, seconds=time.time(), path=relative, val_loss=loss))

    def _export(self) -> None:
        """Make the best checkpoint, or the last without validation, the run's result."""
        if not self._accelerator.is_main_process:
            return
        update = self._progress.best_update or self._progress.update
        source = self._folder.checkpoints / update_name(update)
        copy_folder(source, self._folder.flow)

    def _save(self) -> None:
        save_state(self._folder, self._accelerator, self._progress)
        if self._accelerator.is_main_process:
            keep_checkpoints(self._folder, self._progress)  # only now: the state before named others
        self._saved_at = time.monotonic()

    def _tell(self, metric: Metric) -> None:
        if self._writer is not None:
            self._writer.write(metric)
            if self._observe is not None:
                self._observe(metric)

    def _tell_start(self, resumed_from: int | None) -> None:
        prepared = self._prepared
        self._tell(
            metrics.Start(
                update=self._progress.update,
                seconds=time.time(),
                num_updates=prepared.plan.num_updates,
                num_rows=len(prepared.examples),
                num_concepts=prepared.num_concepts,
                base=prepared.base_id,
                device=str(prepared.base.device),
                dtype=str(prepared.compute_dtype).removeprefix("torch."),
                resumed_from=resumed_from,
            )
        )

    def _tell_update(self, result: UpdateResult, seconds: float) -> None:
        recipe = self._recipe
        self._tell(
            metrics.Update(
                update=self._progress.update,
                seconds=time.time(),
                loss=result.loss,
                lm_loss=result.lm_loss,
                diversity=result.diversity if recipe.diversity else None,
                contrast=result.contrast if recipe.contrast else None,
                learning_rate=result.learning_rate,
                gradient_norm=result.gradient_norm,
                flow_time=result.flow_time,
                tokens=result.num_tokens,
                tokens_per_second=result.num_tokens / seconds,
                resident_bytes=psutil.Process().memory_info().rss,
            )
        )

    def _end(self, reason: EndReason, message: str = "") -> metrics.End:
        return metrics.End(
            update=self._progress.update,
            seconds=time.time(),
            reason=reason,
            message=message,
            best_update=self._progress.best_update if self._best_checkpoint else None,
        )

    def _what_is_kept(self) -> str:
        latest = latest_state(self._folder)
        kept = f"the state after update {latest[1].update} is kept" if latest else "no state was saved before"
        best = self._best_checkpoint
        return f"{kept}, the best checkpoint is {best}" if best else kept

    @property
    def _best_checkpoint(self) -> Path | None:
        best = self._progress.best_update
        path = self._folder.checkpoints / update_name(best) if best else None
        return path if path and path.exists() else None
