"""What the evaluation browser says in words: of the judge, the order, a cell, and what is still to be done."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from flas_engine.evaluation.results import PROMPTING
from flas_tui.evaluation_table import AS_READ, BY_NAME, GAIN, MEASURE_TITLES, TableRow, mean_of, value_of
from flas_tui.safe_text import visible_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flas_engine.evaluation.results import JudgeInfo, Plan
    from flas_engine.evaluation.scores import Cell, Column, Concept, EvaluatedSet
    from flas_tui.evaluation_table import EvaluationTable, View

MEASURE_NAMES = {"hm": "harmonic mean", "concept": "concept", "instruction": "instruction", "fluency": "fluency"}


def count_planned(plan: Plan) -> int:
    """Return how many texts a plan asks for; 0 for texts that were imported, of which all there are were planned."""
    if plan.origin:
        return 0
    num_columns = len(plan.flow_times) + sum(method != "steering" for method in plan.methods)
    return len(plan.concepts) * plan.prompts_per_concept * len(plan.seeds) * num_columns


def describe_measure(view: View) -> str:
    """Name what the scores are."""
    return f"{MEASURE_TITLES[view.measure]} {MEASURE_NAMES[view.measure]}"


def describe_judge(judge: JudgeInfo | None, num_judges: int) -> str:
    """Name the judge; an offline one only estimates what a judge would say."""
    if judge is None:
        return "not judged"
    kind = "estimate by" if judge.kind == "offline" else "judge"
    others = f", one of {num_judges}" if num_judges > 1 else ""
    return f"{kind} {visible_line(judge.name)}{others}"


def describe_counts(evaluated: EvaluatedSet, num_planned: int) -> tuple[str, float | None]:
    """Say how many texts are written and rated, and which part of all that is, 0 to 1."""
    texts = list(evaluated.texts())
    num_rated = sum(text.scores is not None for text in texts)
    if len(texts) < num_planned:
        return f"{len(texts):,} of {num_planned:,} texts, {num_rated:,} rated", num_rated / num_planned
    return f"{num_rated:,} of {len(texts):,} texts rated", num_rated / len(texts) if texts else None


def describe_order(view: View) -> str:
    """Say how the table is sorted."""
    if view.sort == AS_READ:
        return "in the evaluation's order"
    if view.sort == BY_NAME:
        return "by concept"
    return f"by {view.sort}, {'highest' if view.is_descending else 'lowest'} first"


def describe_cell(evaluated: EvaluatedSet, concept: Concept, column: Column) -> str:
    """Return a cell's measures and how many texts they are of."""
    cell = evaluated.cells.get((concept, column))
    if cell is None or not cell.texts:
        return f"{column.label}: no texts (yet)"
    if cell.means is None:
        return f"{column.label}  no text is rated in full  ·  {_describe_texts(cell)}"
    means = "  ".join(f"{title} {_write(value_of(cell.means, name))}" for name, title in MEASURE_TITLES.items())
    return f"{column.label}  {means}  ·  {_describe_texts(cell)}"


def describe_gain(evaluated: EvaluatedSet, concept: Concept, compared: tuple[Column, Column], measure: str) -> str:
    """Say what is compared and what each side has."""
    ours, theirs = compared
    sides = [f"{each.label} {_write(value_of(evaluated.scores(concept, each), measure))}" for each in compared]
    why = f"{ours.label} has the best mean, {_write(mean_of(evaluated, evaluated.concepts, ours, measure))}"
    what = "prompting" if theirs.method == PROMPTING else "the baseline, as there is no prompting"
    return f"{sides[0]} over {sides[1]}  ·  {why}; it is compared with {what}"


def describe_row(table: EvaluationTable, concept: Concept, column: str | None) -> list[str]:
    """Return a concept's scores, column by column; that of the column that is looked at stands in brackets."""
    row = next((row for row in table.rows if row.concept == concept), TableRow())
    pairs = [(each, f"{each.title} {_write(cell.value)}") for each, cell in zip(table.columns, row.cells, strict=False)]
    return [f"[{text}]" if each.key == column else text for each, text in pairs if each.key != GAIN]


def describe_missing(evaluated: EvaluatedSet, folder: Path) -> list[str]:
    """Say in two lines what to run where nothing is judged yet; none when there is nothing to say."""
    if evaluated.judges:
        return []
    command = f"flas-tui judge {shlex.quote(str(folder))}"
    return [f"not judged yet: {command}", f"or, without any server, an estimate: {command} --offline"]


def choose_judge(judges: Sequence[JudgeInfo]) -> str | None:
    """Return the slug of the judge to begin with: one that rates, before one that estimates."""
    in_order = sorted(judges, key=lambda judge: (judge.kind == "offline", judge.slug))
    return in_order[0].slug if in_order else None


def _describe_texts(cell: Cell) -> str:
    num_failed = sum(bool(text.failures) for text in cell.texts)
    num_open = cell.num_missing - num_failed
    words = [_count(len(cell.texts), "text")]
    words += [f"{num_failed} could not be rated"] if num_failed else []
    words += [f"{num_open} not judged yet"] if num_open else []
    return ", ".join(words)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _write(value: float | None) -> str:
    return "·" if value is None else f"{value:.2f}"
