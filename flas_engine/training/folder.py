"""The folder of a training run: what is where, who may write there, and whether a run there can go on.

- `config.toml` the recipe, `split.json` rows held out, `left_out.jsonl` rows that do not fit
- `metrics.jsonl` what happened, `run.lock` held by the process that trains
- `state/` what resuming needs, `checkpoints/` flows on the way, `flow/` the result
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from flas_engine.atomic import write_atomically
from flas_engine.errors import TrainingError
from flas_engine.training.curves import LOCK_FILE
from flas_engine.training.metrics import METRICS_FILE
from flas_engine.training.recipe import Recipe, differences, make_recipe, read_recipe, recipe_text
from flas_engine.training.split import check_sources, write_split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from flas_engine.data.rows import BadRow, Source
    from flas_engine.training.split import Split

CONFIG_FILE = "config.toml"
LEFT_OUT_FILE = "left_out.jsonl"
UNFINISHED = ".unfinished-"
"""What a folder is called while it is written."""


def update_name(update: int) -> str:
    """Return what state and checkpoint of an update are called; sorts by update."""
    return f"update-{update:07d}"


class RunFolder:
    """Paths inside a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / CONFIG_FILE
        self.metrics = path / METRICS_FILE
        self.states = path / "state"
        self.checkpoints = path / "checkpoints"
        self.flow = path / "flow"

    @property
    def is_begun(self) -> bool:
        """Whether a run began here."""
        return self.config.exists()

    def read_recipe(self) -> Recipe:
        """Return the recipe of the run that began here; raises `TrainingError` when it cannot be read."""
        return make_recipe(read_recipe(self.config))


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """Keep other processes out of the folder, which is made if need be; raises `TrainingError` when one is in it."""
    is_new = not folder.path.exists()
    if folder.path.exists() and not folder.path.is_dir():
        raise TrainingError(f"{folder.path} is a file; give a folder to --out")
    if not is_new and not folder.is_begun and any(path.name != LOCK_FILE for path in folder.path.iterdir()):
        raise TrainingError(f"{folder.path} holds other files and no {CONFIG_FILE}; give a new folder to --out")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.path / LOCK_FILE)
        lock.acquire(timeout=0)
    except Timeout:
        raise TrainingError(
            f"another process is training in {folder.path}; wait for it, stop it, or give another folder to --out"
        ) from None
    except OSError as error:
        raise TrainingError(
            f"{folder.path} cannot be written ({error.strerror}); give another folder to --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
        if is_new and not folder.is_begun:  # nothing came of it
            shutil.rmtree(folder.path, ignore_errors=True)


def begin(
    folder: RunFolder, recipe: Recipe, split: Split, sources: Sequence[Source], left_out: Sequence[BadRow]
) -> None:
    """Write what a run is, `config.toml` last: a folder without it holds no run. Raises `TrainingError`."""
    try:
        write_split(folder.path, split, sources)
        lines = [json.dumps(asdict(problem), ensure_ascii=False) + "\n" for problem in left_out]
        write_atomically(folder.path / LEFT_OUT_FILE, "".join(lines))
        write_atomically(folder.config, recipe_text(recipe))
    except OSError as error:
        raise TrainingError(f"{folder.path} cannot be written ({error.strerror}); make room there") from None


def check_same(folder: RunFolder, recipe: Recipe, sources: Sequence[Source]) -> None:
    """Raise `TrainingError` naming what is not as the run in `folder` began."""
    differing = differences(folder.read_recipe(), recipe)
    if differing:
        raise TrainingError(
            f"{folder.path} holds a run with other options: {'; '.join(differing)}\n"
            "go on with the same ones (--resume takes them from there), or begin a new run with another --out"
        )
    check_sources(folder.path, sources)


def sweep(folder: RunFolder, after: int) -> None:
    """Remove what a killed process left half-written, and checkpoints of updates that will be done again."""
    for parent in (folder.path, folder.states, folder.checkpoints):
        for unfinished in parent.glob(f"{UNFINISHED}*"):
            shutil.rmtree(unfinished, ignore_errors=True)
    for checkpoint in folder.checkpoints.glob("update-*"):
        if checkpoint.name > update_name(after):
            shutil.rmtree(checkpoint)
