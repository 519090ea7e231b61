"""A run that is killed, or stopped, and goes on is the run that was not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_run import tensors_in, tiny_recipe, write_base, write_rows

from flas_engine.errors import TrainingError
from flas_engine.training.folder import RunFolder, update_name
from flas_engine.training.metrics import Update, Validation, read_metrics
from flas_engine.training.recipe import recipe_text
from flas_engine.training.run import train
from flas_engine.training.state import PROGRESS_FILE, copy_folder, latest_state

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.training.recipe import Recipe

PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from flas_engine.training import state
from flas_engine.training.recipe import make_recipe, read_recipe
from flas_engine.training.run import train
recipe, out, where, update = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def die(metric):
    if where == "update" and metric.kind == "update" and metric.update == update:
        os.kill(os.getpid(), signal.SIGKILL)

if where == "saving":
    write_text = Path.write_text
    def write_and_die(path, text, **options):
        if path.name == "progress.json" and f'"update": {update}' in text:
            os.kill(os.getpid(), signal.SIGKILL)
        return write_text(path, text, **options)
    Path.write_text = write_and_die
if where == "checkpoint":
    from flas_engine import checkpoint
    save_file = checkpoint.save_file
    def save_and_die(tensors, path):
        save_file(tensors, path)
        if f"update-{update:07d}" in str(path):
            os.kill(os.getpid(), signal.SIGKILL)
    checkpoint.save_file = save_and_die
train(make_recipe(read_recipe(recipe)), out, observe=die)
"""
"""A run that kills itself: after an update, or in the middle of writing its state or its checkpoint."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), "gemma2")


@pytest.fixture(scope="module")
def recipe(base: Path) -> Recipe:
    rows = write_rows(base / "rows.jsonl")
    return tiny_recipe(
        base, rows, contrast=0.5, standardised=True, self_attention=True, activations="memory", updates=7, keep=2
    )


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert train(recipe, out) == "finished"
    return out


def measured(out: Path) -> list[dict[str, Any]]:
    """What a run measured, without what depends on the clock and on the machine's memory."""
    from dataclasses import asdict

    kept = [metric for metric in read_metrics(out / "metrics.jsonl") if isinstance(metric, (Update, Validation))]
    clocks = ("seconds", "tokens_per_second", "resident_bytes")
    return [{name: value for name, value in asdict(metric).items() if name not in clocks} for metric in kept]


def assert_same_run(out: Path, other: Path) -> None:
    assert measured(out) == measured(other)
    ours, theirs = tensors_in(out / "flow"), tensors_in(other / "flow")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    names = [sorted(path.name for path in (run / "checkpoints").iterdir()) for run in (out, other)]
    assert names[0] == names[1]
    assert not list(out.rglob(".unfinished-*"))


def run_and_die(recipe: Recipe, out: Path, where: str, update: int) -> None:
    file = out.with_suffix(".toml")
    file.write_text(recipe_text(recipe), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file), str(out), where, str(update)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_run_killed_at_a_random_update_goes_on_bit_for_bit(recipe: Recipe, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    run_and_die(recipe, out, "update", random.SystemRandom().randrange(1, 8))
    assert train(recipe, out) == "finished"
    assert_same_run(out, undisturbed)


@pytest.mark.parametrize(("where", "kept"), [("saving", 3), ("checkpoint", 3)])
def test_a_kill_while_a_checkpoint_is_written_loses_at_most_that_one(
    recipe: Recipe, undisturbed: Path, tmp_path: Path, where: str, kept: int
) -> None:
    out = tmp_path / "killed"
    run_and_die(recipe, out, where, 6)
    (state,) = (out / "state").glob("update-*")
    assert state.name == f"update-{kept:07d}"
    assert (state / PROGRESS_FILE).exists()
    assert (out / "checkpoints" / f"update-{kept:07d}" / "config.json").exists()
    assert train(recipe, out) == "finished"
    assert_same_run(out, undisturbed)


def test_a_stopped_run_has_saved_everything_and_goes_on_bit_for_bit(
    recipe: Recipe, undisturbed: Path, tmp_path: Path
) -> None:
    out, stops = tmp_path / "stopped", iter([False, True])
    assert train(recipe, out, should_stop=lambda: next(stops)) == "interrupted"
    assert not (out / "flow").exists()
    assert [metric.kind for metric in read_metrics(out / "metrics.jsonl")][-1] == "end"
    updates = []
    assert train(recipe, out, observe=lambda metric: updates.append(metric.update)) == "finished"
    assert updates[:2] == [2, 3]
    assert_same_run(out, undisturbed)


@pytest.mark.parametrize(("learning_rate", "end"), [(1e-2, "finished"), (1.0, "early stopping")])
def test_a_whole_state_and_the_checkpoints_it_names_are_there_at_every_moment(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learning_rate: float, end: str
) -> None:
    folder, remove, seen = RunFolder(tmp_path / "run"), shutil.rmtree, []

    def remove_and_look(path: Path, **options: Any) -> None:
        remove(path, **options)
        if (latest := latest_state(folder)) is not None:
            seen.append(latest[1].update)
            assert all((folder.checkpoints / update_name(update)).exists() for update, _ in latest[1].best)
        assert latest is not None or not seen

    monkeypatch.setattr(shutil, "rmtree", remove_and_look)
    stopping = replace(recipe, learning_rate=learning_rate, validate_every=1, patience=2, keep=1)
    assert train(stopping, folder.path) == end
    assert len(set(seen)) > 2


def test_a_folder_is_replaced_before_what_it_was_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, remove = tmp_path / "flow", shutil.rmtree

    def remove_and_look(path: Path, **options: Any) -> None:
        remove(path, **options)
        assert (target / "file").exists()

    monkeypatch.setattr(shutil, "rmtree", remove_and_look)
    for text in ("old", "new"):
        source = tmp_path / text
        source.mkdir()
        target.mkdir(exist_ok=True)
        (source / "file").write_text(text)
        (target / "file").touch()
        copy_folder(source, target)
    assert (target / "file").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flow", "new", "old"]


def test_a_finished_run_does_not_begin_again(recipe: Recipe, undisturbed: Path) -> None:
    before = (undisturbed / "metrics.jsonl").read_bytes()
    with pytest.raises(TrainingError, match="is finished"):
        train(recipe, undisturbed)
    assert (undisturbed / "metrics.jsonl").read_bytes() == before
