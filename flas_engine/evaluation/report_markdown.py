"""A report as Markdown, for a repository or an issue; whatever a text holds, it shows as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.evaluation.notes import (
    ESTIMATE,
    MEASURE_NAMES,
    findings,
    judged_with,
    method_notes,
    missing,
    write_estimate,
)
from flas_engine.evaluation.published import CARE, PUBLISHED_TABLES
from flas_engine.evaluation.results import ASPECTS
from flas_engine.markdown import fenced, inline, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flas_engine.evaluation.report import ColumnSummary, Report, ShownConcept
    from flas_engine.evaluation.scores import EvaluatedText

MOST_CONCEPTS = 200
"""In the table of concepts; the CSV has them all."""


def render_markdown(report: Report) -> str:
    """Return the report as GitHub's Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {inline(report.name)}{', an estimate' if report.is_estimate else ''}"
    yield f"\n{inline(judged_with(report))}. Reported {report.made}.\n"
    if report.is_estimate:
        yield f"> **{inline(ESTIMATE)}**\n"
    yield from (f"- {inline(line)}" for line in findings(report))
    if gaps := missing(report):
        yield "\n**What is missing**\n"
        yield from (f"- {inline(line)}" for line in gaps)
    yield "\n## Means over all prompts\n"
    yield from _summary(report.columns)
    if report.halves:
        yield "\n## Choosing the flow time\n\nOn the prompts that did not choose.\n"
        yield from _summary(report.halves)
    if not report.is_estimate:
        yield from _published()
    yield from _concepts(report)
    if report.ranked_by is not None:
        for name, concepts in (("Best", report.best), ("Worst", report.worst)):
            yield f"\n## {name} concepts at {report.ranked_by.label}"
            for shown in concepts:
                yield from _shown(shown)
    yield "\n## How this was counted\n"
    yield from (f"- {inline(note)}" for note in method_notes(report))
    yield "\n## What was evaluated\n"
    yield from (f"- {inline(name)}: {inline(value)}" for name, value in report.facts)


def _summary(rows: Sequence[ColumnSummary]) -> Iterator[str]:
    heading = ["", *MEASURE_NAMES.values(), "HM against prompting", "against baseline", "missing", "HM, missing as 0"]
    yield table(heading, map(_summary_cells, rows))


def _summary_cells(row: ColumnSummary) -> list[str]:
    means = row.means
    cells = [inline(row.label)]
    cells += [write_estimate(None if means is None else getattr(means, measure)) for measure in MEASURE_NAMES]
    others = (row.to_prompting, row.to_baseline)
    cells += [write_estimate(None if each is None else each.hm, signed=True) for each in others]
    cells.append(f"{row.num_missing:,} of {row.num_texts:,}")
    cells.append("" if row.hm_missing_as_zero is None else f"{row.hm_missing_as_zero:.2f}")
    return cells


def _published() -> Iterator[str]:
    yield f"\n## Beside published numbers\n\n{CARE}"
    for published in PUBLISHED_TABLES:
        yield f"\n{published.caption}\n"
        yield table(published.heading, published.rows)


def _concepts(report: Report) -> Iterator[str]:
    yield "\n## Mean HM of each concept\n"
    if len(report.concepts) > MOST_CONCEPTS:
        yield f"The first {MOST_CONCEPTS:,} of {len(report.concepts):,}; the CSV has them all.\n"
    rows = (
        [inline(row.concept.concept), *("" if each is None else f"{each.hm:.2f}" for each in row.scores)]
        for row in report.concepts[:MOST_CONCEPTS]
    )
    yield table(["concept", *(inline(row.label) for row in report.columns)], rows)


def _shown(shown: ShownConcept) -> Iterator[str]:
    yield f"\n### {inline(shown.concept.concept)} ({shown.scores.hm:.2f})"
    for example in shown.examples:
        yield f"\n**{inline(example.prompt)}**"
        for text in example.texts:
            yield f"\n{inline(text.column.label)}: {_ratings(text)}\n\n{fenced(text.generation.text)}"


def _ratings(text: EvaluatedText) -> str:
    known = {MEASURE_NAMES[aspect]: text.judgements[aspect].rating for aspect in ASPECTS if aspect in text.judgements}
    said = (f"{name} {'failed' if rating is None else f'{rating:.3g}'}" for name, rating in known.items())
    return ", ".join(said) or "not judged"
