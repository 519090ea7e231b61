"""Measures a flow on rows it was not trained on: losses over T and under wrong concepts, and texts that show them.

Rows are put into cells by split and group; of each cell, rows, concepts, prompts, wordings and wrong concepts are drawn
by seed. All of it runs through the engine that front ends use.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from flas_engine.errors import DataError
from flas_engine.progress import Progress, ignore_progress
from flas_engine.request import Lane, Limits, Message, Request, Sampling, WeightedConcept
from flas_engine.training.evaluation_file import CellLosses, CellMarkers, Evaluation, WrittenText
from flas_engine.training.examples import make_examples
from flas_engine.training.markers import find_marker
from flas_engine.training.metrics import format_flow_time
from flas_engine.versions import package_versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flas_engine.data.rows import Row, Source
    from flas_engine.engine import Engine
    from flas_engine.progress import ReportProgress
    from flas_engine.training.evaluation_file import EvaluationSettings
    from flas_engine.training.examples import Example

ROWS_AT_ONCE = 8
"""Rows scored together, each at every flow time: some fifty lanes."""
LANES_AT_ONCE = 16
MAX_LEN = 512
"""Longer rows are left out: attention over them would take what many others need."""

Cell = tuple[str, str]
LIBRARY_CELL: Cell = ("library", "")
"""The concepts that the flow's own library lists, with the prompts that it gives them."""


class _Asked(NamedTuple):
    concept_id: str
    concept: str
    prompt: str


def evaluate(
    engine: Engine,
    rows: Sequence[Row],
    sources: Sequence[Source],
    settings: EvaluationSettings,
    progress: ReportProgress = ignore_progress,
) -> Evaluation:
    """Measure the engine's flow on `rows`; raises `DataError` when none of them can be used."""
    cells = _cells(rows)
    if not cells:
        raise DataError("there are no rows to evaluate on; give data with splits other than train, or --split train")
    losses, texts = [], []
    for index, (cell, of_cell) in enumerate(cells.items()):
        name = " ".join(filter(None, cell))
        progress(Progress(activity=f"losses: {name}", done=index, total=len(cells)))
        own = {row.concept_id for row in of_cell}
        others = [row for row in rows if row.concept_id not in own]
        losses.append(_measure(engine, cell, of_cell, others, sources, settings))
    for index, (cell, of_cell) in enumerate(cells.items()):
        progress(Progress(activity=f"texts: {' '.join(filter(None, cell))}", done=index, total=len(cells)))
        asked = _draw_prompts(of_cell, _draw(settings, "texts", cell), settings)
        texts += _write(engine, cell, asked, settings)
    if library := [_Asked(each.concept_id, each.concept, each.prompt) for each in engine.info.library]:
        progress(Progress(activity="texts: the flow's library", done=len(cells), total=len(cells)))
        texts += _write(engine, LIBRARY_CELL, library, settings)
    info = engine.info
    return Evaluation(
        flow=_public(info.flow_id or ""),
        base=_public(info.base_id),
        dtype=info.dtype,
        data=tuple(asdict(source) | {"path": _public(source.path)} for source in sources),
        settings=settings,
        versions=package_versions(),
        losses=tuple(each for each in losses if each is not None),
        markers=tuple(count_markers(texts)),
        texts=tuple(texts),
    )


def _public(name: str) -> str:
    """Return a name or path as it may be published: nothing of where this user's files lie."""
    path = Path(name)
    return path.name if path.is_absolute() else name


def count_markers(texts: Sequence[WrittenText]) -> list[CellMarkers]:
    """Count, cell by cell and flow time by flow time, which texts show their concept."""
    cells: dict[Cell, list[WrittenText]] = defaultdict(list)
    for text in texts:
        if text.shows is not None:
            cells[text.split, text.group].append(text)
    return [_count(cell, of_cell) for cell, of_cell in cells.items()]


def _count(cell: Cell, texts: Sequence[WrittenText]) -> CellMarkers:
    by_time: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for text in texts:
        by_time[format_flow_time(text.flow_time)][text.concept_id].append(bool(text.shows))
    return CellMarkers(
        split=cell[0],
        group=cell[1],
        num_concepts=len({text.concept_id for text in texts}),
        num_texts=len(texts) // len(by_time),
        rates={
            time: fmean(shown for each in concepts.values() for shown in each) for time, concepts in by_time.items()
        },
        concepts_shown={
            time: fmean(2 * sum(each) >= len(each) for each in concepts.values()) for time, concepts in by_time.items()
        },
    )


def _cells(rows: Sequence[Row]) -> dict[Cell, list[Row]]:
    cells: dict[Cell, list[Row]] = defaultdict(list)
    for row in rows:
        cells[row.split, row.group].append(row)
    return dict(sorted(cells.items()))


def _draw(settings: EvaluationSettings, what: str, cell: Cell) -> random.Random:
    return random.Random(f"{what} {settings.seed} {cell[0]} {cell[1]}")


# Losses


def _measure(
    engine: Engine,
    cell: Cell,
    rows: Sequence[Row],
    others: Sequence[Row],
    sources: Sequence[Source],
    settings: EvaluationSettings,
) -> CellLosses | None:
    """Return the losses of a cell; None when no row of it fits."""
    draw = _draw(settings, "rows", cell)
    drawn = draw.sample(rows, min(settings.num_rows, len(rows)))
    made = make_examples(drawn, range(len(drawn)), sources, engine.tokenizer, engine.info.prompt_format, MAX_LEN)
    examples = sorted(made.examples, key=lambda example: example.num_tokens)
    if not examples:
        return None
    keys = [*map(format_flow_time, settings.flow_times), "shuffled"]
    sums: dict[str, list[float]] = {key: [] for key in keys}
    for start in range(0, len(examples), ROWS_AT_ONCE):
        few = examples[start : start + ROWS_AT_ONCE]
        wrong = [_wrong_wording(example, drawn, others, draw) for example in few]
        of_rows = [
            _score_lanes(drawn[example.row], draw.choice(example.concepts), other, settings)
            for example, other in zip(few, wrong, strict=True)
        ]
        answers = [example.output_ids for example, lanes in zip(few, of_rows, strict=True) for _ in lanes]
        scores = iter(engine.score_ids([lane for lanes in of_rows for lane in lanes], answers))
        for lanes in of_rows:
            for key, _ in zip(keys, lanes, strict=False):
                sums[key].append(-sum(next(scores)))
    num_tokens = sum(len(example.output_ids) for example in examples)
    has_wrong = len(sums["shuffled"]) == len(examples)
    pairs = list(zip(sums["1"], sums["shuffled"], strict=False))
    return CellLosses(
        split=cell[0],
        group=cell[1],
        num_rows=len(examples),
        num_concepts=len({example.concept_id for example in examples}),
        num_tokens=num_tokens,
        losses={key: sum(sums[key]) / num_tokens for key in keys[:-1]},
        shuffled=sum(sums["shuffled"]) / num_tokens if has_wrong else None,
        preferred=fmean(right < wrong for right, wrong in pairs) if has_wrong else None,
    )


def _wrong_wording(example: Example, rows: Sequence[Row], others: Sequence[Row], draw: random.Random) -> str | None:
    """Draw a wording of another concept of the cell, or of any other; None when there is no other."""
    candidates = [row for row in rows if row.concept_id != example.concept_id] or others
    return draw.choice(draw.choice(candidates).concepts) if candidates else None


def _score_lanes(row: Row, concept: str, wrong: str | None, settings: EvaluationSettings) -> list[Lane]:
    lanes = [_lane(row.prompt, concept, flow_time) for flow_time in settings.flow_times]
    return lanes if wrong is None else [*lanes, _lane(row.prompt, wrong, 1.0)]


def _lane(prompt: str, concept: str, flow_time: float) -> Lane:
    concepts = (WeightedConcept(text=concept),) if flow_time else ()
    return Lane(conversation=(Message(role="user", content=prompt),), concepts=concepts, flow_time=flow_time)


# Texts


def _write(engine: Engine, cell: Cell, asked: Sequence[_Asked], settings: EvaluationSettings) -> list[WrittenText]:
    lanes_each = len(settings.text_times)
    texts: list[WrittenText] = []
    num_prompts = max(1, LANES_AT_ONCE // lanes_each)
    for start in range(0, len(asked), num_prompts):
        few = asked[start : start + num_prompts]
        lanes = [_lane(each.prompt, each.concept, time) for each in few for time in settings.text_times]
        request = Request(
            lanes=tuple(lanes),
            sampling=Sampling(temperature=settings.temperature),
            seed=settings.seed,
            limits=Limits(max_new_tokens=settings.max_new_tokens),
        )
        answers = engine.generate(request)
        for index, each in enumerate(few):
            of_prompt = answers[index * lanes_each : (index + 1) * lanes_each]
            marker = find_marker(each.concept_id)
            texts += [
                WrittenText(
                    split=cell[0],
                    group=cell[1],
                    concept_id=each.concept_id,
                    concept=each.concept,
                    prompt=each.prompt,
                    flow_time=time,
                    text=answer.text,
                    shows=None if marker is None else marker(answer.text),
                )
                for time, answer in zip(settings.text_times, of_prompt, strict=True)
            ]
    return texts


def _draw_prompts(rows: Sequence[Row], draw: random.Random, settings: EvaluationSettings) -> list[_Asked]:
    """Draw concepts, rows of each with prompts of their own, and a wording for each row."""
    of_concept: Mapping[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        of_concept[row.concept_id].setdefault(row.prompt, row)
    concepts = draw.sample(sorted(of_concept), min(settings.num_concepts, len(of_concept)))
    asked = []
    for concept in concepts:
        candidates = list(of_concept[concept].values())
        drawn = draw.sample(candidates, min(settings.num_prompts, len(candidates)))
        asked += [_Asked(row.concept_id, draw.choice(row.concepts), row.prompt) for row in drawn]
    return asked
