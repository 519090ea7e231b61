"""A report as one HTML page: figures inline, no scripts, nothing fetched, light and dark, readable on a phone.

Generations, prompts and judges' words are hostile text: every one of them goes through `escaped`, none into a style, a
link or an attribute that acts, and the page's own policy forbids scripts and requests besides.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from flas_engine.evaluation.figures import draw_chosen, draw_curves, draw_differences, draw_worth
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
from flas_engine.evaluation.results import ASPECTS, MAX_RATING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from flas_engine.evaluation.bootstrap import Estimate
    from flas_engine.evaluation.report import ColumnSummary, ConceptRow, Report, ShownConcept
    from flas_engine.evaluation.scores import EvaluatedText, Scores

MOST_CONCEPTS = 1000
"""In the table of concepts; more would make the page slow, and are in the CSV."""
MOST_CHARACTERS = 6000
"""Of a text that is shown."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | dict.fromkeys(
    [*range(0x7F, 0xA0), *range(0xD800, 0xE000)], "\ufffd"
)
"""What HTML forbids, and half surrogates, which UTF-8 cannot spell."""
_MEASURE_WORDS = {"hm": "harmonic mean", "concept": "concept", "instruction": "instruction", "fluency": "fluency"}


def render_html(report: Report) -> str:
    """Return the page."""
    style = files("flas_engine.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    title = escaped(report.name)
    kind = " · estimate" if report.is_estimate else ""
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}{kind} · flas-tui report</title>\n<style>\n{style}</style>\n</head>\n<body>",
            f"<header>\n<h1>{title}</h1>\n<p>{escaped(judged_with(report))}. Reported {report.made}.</p>\n</header>",
            "<main>",
            *_body(report),
            "</main>\n</body>\n</html>\n",
        ]
    )


def escaped(text: str) -> str:
    """Return text that shows as it is and does nothing."""
    return escape(text.translate(_CONTROLS), quote=True)


def _body(report: Report) -> Iterator[str]:
    if report.is_estimate:
        yield _note([ESTIMATE])
    yield f'<ul class="findings">{_items(findings(report))}</ul>'
    if gaps := missing(report):
        yield _note(gaps)
    yield "<h2>Means over all prompts</h2>"
    yield _summary_table(report.columns, "Each column over all prompts of all concepts, with intervals")
    yield f'<div class="figures">{draw_curves(report)}{draw_differences(report)}</div>'
    if report.halves:
        yield "<h2>Choosing the flow time</h2>"
        yield _summary_table(report.halves, "On the prompts that did not choose")
        yield f'<div class="figures">{draw_chosen(report)}{draw_worth(report)}</div>'
    if not report.is_estimate:
        yield from _published(report)
    yield from _heat_map(report)
    if report.ranked_by is not None:
        yield f"<h2>Best and worst concepts at {escaped(report.ranked_by.label)}</h2>"
        yield '<p class="quiet">By their mean HM; the texts are those of the first prompts drawn, not picked.</p>'
        yield f"<h3>Best</h3>{''.join(map(_shown, report.best))}"
        yield f"<h3>Worst</h3>{''.join(map(_shown, report.worst))}" if report.worst else ""
    yield f"<h2>How this was counted</h2><ul>{_items(method_notes(report))}</ul>"
    facts = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in report.facts)
    yield f"<h2>What was evaluated</h2><dl>{facts}</dl>"


def _note(lines: Iterable[str]) -> str:
    return f'<aside class="note">{"".join(f"<p>{escaped(line)}</p>" for line in lines)}</aside>'


def _items(lines: Iterable[str]) -> str:
    return "".join(f"<li>{escaped(line)}</li>" for line in lines)


def _table(caption: str, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table that scrolls by itself when the page is narrow; the cells are HTML."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heading)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return (
        f'<div class="scroll" role="region" aria-label="{escaped(caption)}" tabindex="0"><table>'
        f"<caption>{escaped(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _summary_table(rows: Sequence[ColumnSummary], caption: str) -> str:
    has_missing = any(row.num_missing for row in rows)
    heading = ["", *MEASURE_NAMES.values(), "HM against prompting", "HM against baseline"]
    heading += ["texts missing", "HM, missing as 0"] if has_missing else []
    return _table(caption, heading, (_summary_cells(row, has_missing=has_missing) for row in rows))


def _summary_cells(row: ColumnSummary, *, has_missing: bool) -> list[str]:
    means = row.means
    cells = [escaped(row.label)]
    cells += [_number(None if means is None else getattr(means, measure)) for measure in MEASURE_NAMES]
    cells += [_number(None if each is None else each.hm, signed=True) for each in (row.to_prompting, row.to_baseline)]
    if has_missing:
        zero = row.hm_missing_as_zero
        cells += [f"{row.num_missing:,} of {row.num_texts:,}", "" if zero is None else f"{zero:.2f}"]
    return cells


def _number(estimate: Estimate | None, *, signed: bool = False) -> str:
    mean, bracket, interval = write_estimate(estimate, signed=signed).partition(" [")
    return f"{mean}<small>[{interval}</small>" if bracket else mean


def _published(report: Report) -> Iterator[str]:
    yield "<h2>Beside published numbers</h2>"
    yield _note([CARE])
    ours = [(escaped(row.label), _number(None if row.means is None else row.means.hm)) for row in report.halves]
    yield '<div class="figures">'
    if ours:
        yield _table(f"This evaluation, {report.name}, judged by {report.judge.name}", ["", "HM"], ours)
    yield from (_table(each.caption, each.heading, each.rows) for each in PUBLISHED_TABLES)
    yield "</div>"


def _heat_map(report: Report) -> Iterator[str]:
    rows = report.concepts[:MOST_CONCEPTS]
    yield '<section class="concepts"><h2>Concepts</h2><fieldset><legend>Colours and digits show</legend>'
    for measure, words in _MEASURE_WORDS.items():
        checked = " checked" if measure == "hm" else ""
        yield f'<label><input type="radio" name="measure" id="by-{measure}"{checked}> {words}</label>'
    yield "</fieldset>"
    if len(rows) < len(report.concepts):
        yield f"<p>The first {len(rows):,} of {len(report.concepts):,} concepts; the CSV has them all.</p>"
    head = "".join(f'<th scope="col">{escaped(row.label)}</th>' for row in report.columns)
    yield (
        '<div class="scroll tall" role="region" aria-label="Scores of concepts" tabindex="0"><table class="heat">'
        f'<caption class="hidden">Mean scores of each concept in each column, from 0 to {MAX_RATING:g}</caption>'
        f'<thead><tr><th scope="col">concept</th>{head}</tr></thead><tbody>'
    )
    yield from map(_heat_row, rows)
    yield "</tbody></table></div></section>"


def _heat_row(row: ConceptRow) -> str:
    return f'<tr><th scope="row">{escaped(row.concept.concept)}</th>{"".join(map(_heat_cell, row.scores))}</tr>'


def _heat_cell(scores: Scores | None) -> str:
    if scores is None:
        return '<td class="none"><span class="hidden">no judged text</span></td>'
    names = {"hm": "hm", "concept": "concept", "instruction": "instruction", "fluency": "fluent"}
    style = ";".join(f"--{name}:{getattr(scores, measure) / MAX_RATING:.3g}" for measure, name in names.items())
    digits = "".join(f'<span class="{measure}">{getattr(scores, measure):.2f}</span>' for measure in names)
    return f'<td style="{style}">{digits}</td>'


def _shown(shown: ShownConcept) -> str:
    parts = [f"<details><summary><b>{shown.scores.hm:.2f}</b>{escaped(shown.concept.concept)}</summary>"]
    for example in shown.examples:
        parts.append(f'<p class="prompt" dir="auto">{escaped(example.prompt)}</p><div class="texts">')
        parts += map(_article, example.texts)
        parts.append("</div>")
    return "".join([*parts, "</details>"])


def _article(text: EvaluatedText) -> str:
    ratings = " · ".join(
        f"{MEASURE_NAMES[aspect]} {_rating(text, aspect)}" for aspect in ASPECTS if aspect in text.judgements
    )
    shown = text.generation.text[:MOST_CHARACTERS]
    if len(shown) < len(text.generation.text):
        shown += f"\n... ({MOST_CHARACTERS:,} of {len(text.generation.text):,} characters)"
    said = "".join(
        f"<p><b>{MEASURE_NAMES[aspect]}</b> {escaped(text.judgements[aspect].comment)}</p>"
        for aspect in ASPECTS
        if aspect in text.judgements and text.judgements[aspect].comment
    )
    details = f'<details class="said"><summary>what the judge said</summary>{said}</details>' if said else ""
    return (
        f'<article class="{escaped(text.generation.method)}"><h4>{escaped(text.column.label)}'
        f'<span>{ratings or "not judged"}</span></h4><p class="text" dir="auto">{escaped(shown)}</p>{details}</article>'
    )


def _rating(text: EvaluatedText, aspect: str) -> str:
    rating = next(each.rating for name, each in text.judgements.items() if name == aspect)
    return "failed" if rating is None else f"{rating:.3g}"
