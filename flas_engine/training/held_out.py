"""The result of a run, and the rows that it held out, found in its folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flas_engine.data.rows import TRAIN, read_rows
from flas_engine.errors import TrainingError
from flas_engine.training.folder import RunFolder
from flas_engine.training.split import SPLIT_FILE, check_sources

if TYPE_CHECKING:
    from flas_engine.data.rows import Row, Source

UNSEEN_PROMPTS, UNSEEN_CONCEPTS = "val", "unseen"
"""What rows are called that a run held out by itself, as `flas-tui data make` calls its own."""


def find_flow_folder(path: Path) -> Path:
    """Return the folder of a flow: `path` itself, or the result of the run in it; raises `TrainingError`."""
    if not path.is_dir():
        raise TrainingError(f"there is no folder {path}; give a run's folder, or the folder of a flow")
    if any(path.glob("*.safetensors")):
        return path
    run = RunFolder(path)
    if run.is_begun and any(run.flow.glob("*.safetensors")):
        return run.flow
    if run.is_begun:
        raise TrainingError(f"the run in {path} has no result yet; give one of {run.checkpoints}")
    raise TrainingError(f"{path} holds neither a flow nor a training run; give what `flas-tui train --out` wrote")


def held_out_rows(path: Path) -> tuple[list[Row], list[Source]]:
    """Return the rows that the run at `path` held out, and its sources; raises `TrainingError` when they are gone.

    Rows that a source marks keep its own split; the others are `unseen` when their concept was held out, else `val`.
    """
    run = RunFolder(path)
    if not run.is_begun:
        raise TrainingError(f"{path} is no run with rows of its own; give some with --data")
    recipe = run.read_recipe()
    sets = [read_rows(Path(source.path)) for source in recipe.data]
    sources = [source for rows in sets for source in rows.sources]
    check_sources(run.path, sources)
    rows = [row for each in sets for row in each.rows]
    split = json.loads((run.path / SPLIT_FILE).read_text(encoding="utf-8"))
    held_out = set(split["held_out_concepts"])

    def name(row: Row) -> Row:
        if row.split != TRAIN:
            return row
        return replace(row, split=UNSEEN_CONCEPTS if row.concept_id in held_out else UNSEEN_PROMPTS)

    return [name(rows[number]) for number in split["validation"]], sources
