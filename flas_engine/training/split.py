"""Which rows train and which are held out, decided by seed and stored in the run.

Held out are the rows that the source itself marks as anything but `train`, all rows of concepts held out by count or
by a file of ids, and a number of rows of the trained concepts. Knows nothing of tokens.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flas_engine.atomic import write_atomically
from flas_engine.data.rows import TRAIN, Row, Source
from flas_engine.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.training.recipe import Recipe

SPLIT_FILE = "split.json"


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows by their number over all sources in order; ascending."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    held_out_concepts: tuple[str, ...]
    """`concept_id`s of which no row trains."""


def make_split(rows: Sequence[Row], recipe: Recipe) -> Split:
    """Divide the rows; equal rows and recipes give equal splits. Raises `TrainingError` when none are left."""
    draw = random.Random(f"split {recipe.seed}")
    marked = [number for number, row in enumerate(rows) if row.split != TRAIN]
    candidates = [number for number, row in enumerate(rows) if row.split == TRAIN]
    concepts = sorted({rows[number].concept_id for number in candidates})
    held_out = _held_out_concepts(concepts, recipe, draw)
    of_concepts = [number for number in candidates if rows[number].concept_id in held_out]
    remaining = [number for number in candidates if rows[number].concept_id not in held_out]
    if recipe.held_out_rows >= len(remaining):
        raise TrainingError(
            f"held_out_rows is {recipe.held_out_rows} but only {len(remaining)} could train; hold fewer rows out"
        )
    drawn = set(draw.sample(remaining, recipe.held_out_rows))
    trained = [number for number in remaining if number not in drawn]
    trained_concepts = {rows[number].concept_id for number in trained}
    marked_concepts = {rows[number].concept_id for number in marked} - trained_concepts
    return Split(
        train=tuple(trained),
        validation=tuple(sorted([*marked, *of_concepts, *drawn])),
        held_out_concepts=tuple(sorted(held_out | marked_concepts)),
    )


def _held_out_concepts(concepts: list[str], recipe: Recipe, draw: random.Random) -> set[str]:
    if recipe.held_out_file:
        return _read_ids(Path(recipe.held_out_file), concepts)
    if recipe.held_out_concepts >= len(concepts) > 0:
        raise TrainingError(
            f"held_out_concepts is {recipe.held_out_concepts} and the data has {len(concepts)}; hold fewer out"
        )
    return set(draw.sample(concepts, recipe.held_out_concepts))


def _read_ids(path: Path, concepts: list[str]) -> set[str]:
    try:
        ids = {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"the held-out concepts in {path} cannot be read ({error})") from None
    unknown = sorted(ids.difference(concepts))
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise TrainingError(
            f"{path} names {', '.join(map(repr, unknown[:3]))}{more}, which no row of the data has as its concept_id"
        )
    return ids


def write_split(folder: Path, split: Split, sources: Sequence[Source]) -> None:
    """Store the split in a run's folder, with the sources that its row numbers count."""
    content = {"sources": [asdict(source) for source in sources], **asdict(split)}
    write_atomically(folder / SPLIT_FILE, json.dumps(content) + "\n")


def check_sources(folder: Path, sources: Sequence[Source]) -> None:
    """Raise `TrainingError` naming the source that is not what the run in `folder` began with."""
    path = folder / SPLIT_FILE
    try:
        stored: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["sources"]
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{path} cannot be read ({error}); begin a new run with another --out") from None
    before = {entry["path"]: entry["sha256"] for entry in stored}
    now = {source.path: source.sha256 for source in sources}
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            what = "has changed" if name in before and name in now else "is new" if name in now else "is no longer used"
            raise TrainingError(f"{name} {what} since the run in {folder} began; begin a new run with another --out")
