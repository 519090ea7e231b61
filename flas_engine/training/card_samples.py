"""The samples of a model card: texts drawn by seed, with the model's own answers beside them."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING

from flas_engine.markdown import fenced, inline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.training.evaluation_file import WrittenText

SAMPLES_A_CELL = 3
SHOWN_TIMES = (0.0, 1.0)
LIBRARY = "library"
"""Of this split every concept is shown, at T = 1.5 too: what the flow says of itself is to be seen whole."""
LIBRARY_TIMES = (0.0, 1.0, 1.5)


def describe_samples(texts: Sequence[WrittenText], seed: int) -> list[str]:
    """Return a Markdown part for every sample: some of each split and group, good or not, and the whole library."""
    answers: dict[tuple[str, str], dict[tuple[str, str], dict[float, WrittenText]]] = defaultdict(dict)
    for text in texts:
        answers[text.split, text.group].setdefault((text.concept, text.prompt), {})[text.flow_time] = text
    parts = []
    for cell, asked in answers.items():
        draw = random.Random(f"card {seed} {cell}")
        is_whole = cell[0] == LIBRARY
        drawn = sorted(asked) if is_whole else draw.sample(sorted(asked), min(SAMPLES_A_CELL, len(asked)))
        times = LIBRARY_TIMES if is_whole else SHOWN_TIMES
        parts += [_describe(" ".join(filter(None, cell)), asked[key], times) for key in drawn]
    return parts


def _describe(cell: str, by_time: dict[float, WrittenText], times: Sequence[float]) -> str:
    first = next(iter(by_time.values()))
    lines = [f"T {time:g}: {by_time[time].text.strip()}" for time in times if time in by_time]
    body = "\n\n".join([f"> {first.prompt.strip()}", *lines])
    return f"**{inline(first.concept)}** ({inline(cell)})\n\n{fenced(body)}"
