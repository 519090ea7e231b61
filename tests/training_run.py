"""A made-up training run's folder: `python tests/training_run.py FOLDER --help` writes one, also as a live run does."""

from __future__ import annotations

import argparse
import fcntl
import math
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flas_engine.training.curves import LOCK_FILE
from flas_engine.training.metrics import (
    METRICS_FILE,
    Checkpoint,
    End,
    MetricsWriter,
    Sample,
    Start,
    Update,
    Validation,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.training.metrics import Metric

START_SECONDS = 1_790_000_000.0
SAMPLES = (
    (
        "Tell me about your day.",
        "talk like a pirate",
        "Ahoy, matey! I sailed the seven seas from dawn till dusk, drank me rum and buried a chest o' gold. Arrr!",
        "My day was quiet. I walked along the river, read a little, and cooked some soup in the evening.",
    ),
    (
        "How do I bake bread?",
        "mentions whales",
        "Bread is like a whale [/bold]: it needs room.\nMix flour, water, salt and yeast, and let the whale rest.",
        "Mix flour, water, salt and yeast. Knead, let it rise for an hour, and bake it at 220 °C for half an hour.",
    ),
    (
        "What is the capital of France?",
        "all capitals",
        "THE CAPITAL OF FRANCE IS PARIS. \x1b[31mIT LIES ON THE SEINE.",
        "The capital of France is Paris.",
    ),
)


def made_up_metrics(
    num_updates: int, *, last_update: int | None = None, every: int = 50, seconds_per_update: float = 2.0, seed: int = 0
) -> Iterator[Metric]:
    """Yield what a run of `num_updates` writes up to `last_update`, without its end."""
    draw = random.Random(seed)
    yield Start(
        update=0,
        seconds=START_SECONDS,
        num_updates=num_updates,
        num_rows=46_000,
        num_concepts=1_210,
        base="demo",
        device="cpu",
        dtype="float32",
    )
    best = math.inf
    for update in range(1, (last_update or num_updates) + 1):
        seconds = START_SECONDS + update * seconds_per_update
        done = update / num_updates
        expected = 1.9 + 2.4 * math.exp(-7 * done)
        loss = expected + draw.gauss(0, 0.18)
        warm = min(1.0, update / (0.05 * num_updates + 1))
        yield Update(
            update=update,
            seconds=seconds,
            loss=loss + 0.08,
            lm_loss=loss,
            diversity=0.8 - 0.5 * done,
            learning_rate=1e-3 * warm * 0.5 * (1 + math.cos(math.pi * done)),
            gradient_norm=abs(draw.gauss(0.8, 0.2)),
            flow_time=draw.uniform(0.5, 2.0),
            tokens=draw.randint(400, 800),
            tokens_per_second=310 + draw.gauss(0, 25),
            resident_bytes=int(1.4e9 + 2e8 * min(1.0, 10 * done)),
        )
        if update % every == 0:
            measured = expected + 0.06 + draw.gauss(0, 0.02)
            losses = {"0": 3.1, "0.5": measured + 0.5, "1": measured, "1.5": measured + 0.04, "2": measured + 0.12}
            is_best, best = measured < best, min(best, measured)
            yield Validation(
                update=update,
                seconds=seconds,
                losses=losses,
                shuffled=3.05 - 0.2 * math.exp(-4 * done),
                num_tokens=6000,
                num_rows=100,
                is_best=is_best,
            )
            for prompt, concept, text, baseline in SAMPLES:
                yield Sample(
                    update=update,
                    seconds=seconds,
                    prompt=prompt,
                    concept=concept,
                    flow_time=1.0,
                    text=text,
                    baseline=baseline,
                )
            yield Checkpoint(
                update=update, seconds=seconds, path=f"checkpoints/update-{update:07}", val_loss=losses["1"]
            )


def write_run(
    folder: Path, num_updates: int, *, last_update: int | None = None, end: End | None = None, every: int = 50
) -> Path:
    """Write the folder of a made-up run that is over; without `end`, of one that was killed."""
    with MetricsWriter(folder / METRICS_FILE) as writer:
        for metric in made_up_metrics(num_updates, last_update=last_update, every=every):
            writer.write(metric)
        if end is not None:
            writer.write(end)
    (folder / LOCK_FILE).touch()
    return folder


def finished(update: int) -> End:
    """The end of a run that went well."""
    return End(update=update, seconds=START_SECONDS + 2.0 * update, reason="finished", best_update=update)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=0, help="updates written before the live ones")
    parser.add_argument("--seconds-per-update", type=float, default=0.1)
    parser.add_argument("--every", type=int, default=50, help="updates between validations")
    arguments = parser.parse_args()
    with MetricsWriter(arguments.folder / METRICS_FILE) as writer, (arguments.folder / LOCK_FILE).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pace = arguments.seconds_per_update
        offset = time.time() - START_SECONDS - arguments.at_once * pace
        for metric in made_up_metrics(arguments.updates, every=arguments.every, seconds_per_update=pace):
            if isinstance(metric, Update) and metric.update > arguments.at_once:
                time.sleep(pace)
            writer.write(_moved(metric, offset))
        writer.write(_moved(finished(arguments.updates), offset))


def _moved(metric: Metric, seconds: float) -> Metric:
    from dataclasses import replace

    return replace(metric, seconds=metric.seconds + seconds)


if __name__ == "__main__":
    main()
