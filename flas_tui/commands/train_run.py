"""What `flas-tui train` does: from options to a recipe, the run itself with Ctrl+C, and what a dry run prints."""

from __future__ import annotations

import shlex
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flas_engine.errors import TrainingError
from flas_engine.paths import user_path
from flas_engine.training.folder import RunFolder
from flas_engine.training.prepare import absolute_paths
from flas_engine.training.recipe import DataSource, make_recipe, read_recipe
from flas_tui.commands.engine_loading import LoadNarrator
from flas_tui.commands.train_progress import TrainingBar
from flas_tui.console import EXIT_INTERRUPTED, data_stream, say
from flas_tui.logs import start_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from flas_engine.training.estimate import Estimate
    from flas_engine.training.recipe import Recipe


def recipe_of(out: Path, given: dict[str, Any], *, config: Path | None, resumes: bool) -> Recipe:
    """Return the recipe that a command line means; raises `TrainingError` naming what is wrong with it."""
    folder = RunFolder(out)
    if "data" in given:
        given["data"] = tuple(parse_source(text) for text in given["data"])
    if resumes and config is not None:
        raise TrainingError("--resume takes the recipe from the run's own folder; leave --config out")
    if resumes and not folder.is_begun:
        raise TrainingError(f"no run began in {out}, so none can be resumed; leave --resume out to begin one")
    values = read_recipe(config or folder.config) if config or resumes else {}
    values |= {key: value for key, value in given.items() if value != ()}
    if values.get("init_flow") and not folder.is_begun:
        from flas_engine.training.initialise import shape_of_init_flow

        values = shape_of_init_flow(values["init_flow"]) | values
    recipe = make_recipe(values)
    return absolute_paths(recipe)


def parse_source(text: str) -> DataSource:
    """Read `PATH` or `PATH:WEIGHT`; a colon that is part of an existing path is no weight's."""
    path, colon, weight = text.rpartition(":")
    if not colon or user_path(text).exists():
        return DataSource(path=text)
    try:
        number = float(weight)
    except ValueError:
        return DataSource(path=text)
    if not 0 < number < float("inf"):
        raise TrainingError(f"the weight of {path} is {weight}; it must be a number above 0")
    return DataSource(path=path, weight=number)


def run_training(recipe: Recipe, out: Path, *, quiet: bool) -> None:
    """Train with progress on stderr; raises `FlasError`, and `SystemExit` when Ctrl+C stopped it."""
    from flas_engine.training.run import train

    start_logging()
    is_quiet = quiet or not is_first_process()
    if RunFolder(out).is_begun and not is_quiet:
        say(f"going on with the run in {out}")
    bar = TrainingBar(is_quiet=is_quiet)
    with bar, stopped_after_update(bar.is_training) as should_stop:
        reason = train(recipe, out, observe=bar.observe, should_stop=should_stop, progress=bar.load)
    if not is_first_process():
        return
    if reason == "interrupted":
        if not quiet:
            again = f"flas-tui train --resume --out {shlex.quote(str(out))}"
            say(f"stopped, with everything saved; the same command goes on: {again}")
        raise SystemExit(EXIT_INTERRUPTED)
    flow = RunFolder(out).flow
    if not quiet:
        say(f"{reason}; try it: flas-tui --flow {shlex.quote(str(flow))}")
    data_stream(is_json=False).write(f"{flow}\n")


def show_estimate(recipe: Recipe, out: Path, *, quiet: bool) -> None:
    """Print what a run would do and take; raises `FlasError`."""
    from flas_engine.progress import ignore_progress
    from flas_engine.training.run import dry_run

    start_logging()
    narrator = LoadNarrator()
    try:
        found = dry_run(recipe, out, ignore_progress if quiet else narrator)
    finally:
        narrator.end()
    if is_first_process():
        data_stream(is_json=False).writelines(f"{name:<10}{value}\n" for name, value in estimate_lines(found))


def estimate_lines(found: Estimate) -> list[tuple[str, str]]:
    """Return the facts of a dry run in words."""
    from flas_engine.hub.capacity import gigabytes

    return [
        (
            "rows",
            f"{found.num_rows:,} train, {found.num_held_out:,} held out, {found.num_left_out:,} left out",
        ),
        ("concepts", f"{found.num_concepts:,}"),
        ("updates", f"{found.num_updates:,}, {found.num_epochs:.2g} epochs"),
        ("tokens", f"{found.num_tokens:,} of outputs"),
        ("memory", f"about {gigabytes(found.memory_bytes)}"),
        ("disk", f"about {gigabytes(found.disk_bytes)}"),
        ("time", f"about {duration(found.seconds)}, and validations"),
    ]


def duration(seconds: float) -> str:
    """Write a duration for people: '3 h 20 min', '45 s'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def is_first_process() -> bool:
    """Whether this process is the one that speaks and writes."""
    import os

    return os.environ.get("RANK", "0") == "0"


@contextmanager
def stopped_after_update(is_training: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Within, SIGINT or SIGTERM asks for a stop after the current update; the next one ends the process.

    Before training has begun the first one ends it too: there is nothing to save.
    """
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        if asked or not is_training():
            raise KeyboardInterrupt
        asked.append(number)
        say("stopping after this update; once more to stop at once, back to the last saved state")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
