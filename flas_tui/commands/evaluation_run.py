"""What `flas-tui train evaluate` is wired to: which flow, which rows, and the engine that runs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flas_engine.data.rows import TRAIN, read_rows
from flas_engine.errors import DataError
from flas_engine.info import LoadSpec
from flas_engine.training.evaluate import evaluate
from flas_engine.training.held_out import find_flow_folder, held_out_rows
from flas_tui.commands.engine_loading import open_engine
from flas_tui.console import say
from flas_tui.download_bar import DownloadBar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.data.rows import Row, Source
    from flas_engine.training.evaluation_file import Evaluation, EvaluationSettings


def evaluate_flow(
    path: Path,
    data: Sequence[str],
    splits: Sequence[str],
    settings: EvaluationSettings,
    *,
    base: str | None,
    device: str | None,
    dtype: str | None,
) -> tuple[Path, Evaluation]:
    """Return the flow's folder and what was found; raises `FlasError`."""
    from flas_engine.engine import Engine

    folder = find_flow_folder(path)
    rows, sources = _read(path, data)
    chosen = _choose(rows, splits)
    engine = open_engine(LoadSpec(base=base, flow=str(folder), device=device, dtype=dtype))
    assert isinstance(engine, Engine)
    with DownloadBar() as bar:
        return folder, evaluate(engine, chosen, sources, settings, bar)


def _read(path: Path, data: Sequence[str]) -> tuple[list[Row], list[Source]]:
    if not data:
        return held_out_rows(path)
    sets = [read_rows(Path(each)) for each in data]
    return [row for each in sets for row in each.rows], [source for each in sets for source in each.sources]


def _choose(rows: Sequence[Row], splits: Sequence[str]) -> list[Row]:
    """Keep the rows of these splits; without any named, all that were held out of training."""
    present = sorted({row.split for row in rows})
    if unknown := [name for name in splits if name not in present]:
        raise DataError(f"no row is of the split {unknown[0]!r}; there are {', '.join(present)}")
    wanted = set(splits) or set(present) - {TRAIN}
    if not wanted:
        say("every row is of the split train: if the flow was trained on them, this says little of new ones")
        return list(rows)
    return [row for row in rows if row.split in wanted]
