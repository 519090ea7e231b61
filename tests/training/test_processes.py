"""Two processes with gloo on the CPU do what one does with the same global batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from tiny_run import tensors_in, tiny_recipe, write_base, write_rows

from flas_engine.training.metrics import Update, Validation, read_metrics
from flas_engine.training.recipe import recipe_text
from flas_engine.training.run import train

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.training.recipe import Recipe

PROGRAM = """
import sys
from pathlib import Path
from flas_engine.training.recipe import make_recipe, read_recipe
from flas_engine.training.run import train
train(make_recipe(read_recipe(Path(sys.argv[1]))), Path(sys.argv[2]))
"""
PATIENCE_SECONDS = 300.0
"""How long a process may wait for the other, on a busy machine, before a test gives up."""
ROUNDING = 1e-5
"""Sums of float32 in another order, over a few updates."""
WEIGHT_ROUNDING = 1e-4
"""A hundredth of an update: Adam divides a gradient by its own size, so that rounding shows where it is near 0."""


def run_two(recipe: Recipe, out: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run `recipe` on two processes, started as torchrun starts them."""
    file = out.with_suffix(".toml")
    file.write_text(recipe_text(recipe), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = []
    for rank in range(2):
        group = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", PROGRAM, str(file), str(out)]
        running.append(
            subprocess.Popen(command, env=os.environ | group | place, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
    try:
        ends = [process.communicate(timeout=PATIENCE_SECONDS) for process in running]
    finally:
        for process in running:
            process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, out.decode(), err.decode())
        for process, (out, err) in zip(running, ends, strict=True)
    ]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("base")
    base = write_base(folder, "qwen3")
    return tiny_recipe(
        base, write_rows(folder / "rows.jsonl"), contrast=0.5, accumulation=4, updates=4, save_dtype="float32"
    )


@pytest.mark.parametrize(
    "few_batches",
    [False, pytest.param(True, id="fewer batches to validate than processes, and buffers that these keep equal")],
)
def test_two_processes_train_as_one_does_with_the_same_global_batch(
    recipe: Recipe, tmp_path: Path, *, few_batches: bool
) -> None:
    if few_batches:
        recipe = replace(recipe, validation_rows=recipe.batch_size, standardised=True)
    one, two = tmp_path / "one", tmp_path / "two"
    assert train(recipe, one) == "finished"
    for done in run_two(recipe, two):
        assert done.returncode == 0, done.stderr
    ours, theirs = (read_metrics(out / "metrics.jsonl") for out in (one, two))
    assert [metric.kind for metric in ours] == [metric.kind for metric in theirs]
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, Update) and isinstance(b, Update):
            assert a.tokens == b.tokens
            for name in ("loss", "lm_loss", "diversity", "contrast", "gradient_norm"):
                assert getattr(b, name) == pytest.approx(getattr(a, name), rel=ROUNDING, abs=ROUNDING), name
        if isinstance(a, Validation) and isinstance(b, Validation):
            assert b.losses == pytest.approx(a.losses, rel=ROUNDING)
            assert b.shuffled == pytest.approx(a.shuffled, rel=ROUNDING)
    flow, other = tensors_in(one / "flow"), tensors_in(two / "flow")
    for name, tensor in flow.items():
        torch.testing.assert_close(other[name], tensor, rtol=0.0, atol=WEIGHT_ROUNDING)


def test_processes_that_cannot_share_an_update_are_refused(tmp_path: Path, recipe: Recipe) -> None:
    ends = run_two(replace(recipe, accumulation=3), tmp_path / "odd")
    assert all("cannot be shared by 2 processes" in done.stderr for done in ends)
    assert not (tmp_path / "odd").exists()
