"""The forms of a report: whatever texts hold, they show as texts; what is an estimate says so; files are whole."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from judged_evaluation import CONCEPTS, HOSTILE, JUDGE, OFFLINE, make_generation, rate, write_lifelike
from markdown_it import MarkdownIt

from flas_engine.evaluation.notes import ESTIMATE
from flas_engine.evaluation.report_files import FORMS, render_csv, render_json
from flas_engine.evaluation.report_html import escaped, render_html
from flas_engine.evaluation.report_markdown import render_markdown
from flas_engine.evaluation.reporting import report_on
from flas_engine.evaluation.scores import score
from flas_engine.evaluation.summarise import summarise
from flas_engine.markdown import fenced, inline
from flas_tui.commands.report_view import COLUMNS, draw_scale, render

if TYPE_CHECKING:
    from flas_engine.evaluation.report import Report

VOID = {"meta", "input", "br"}
SHAPES = {"path", "circle", "rect", "polyline"}
ATTRIBUTES = {"class", "style", "id", "dir", "lang", "role", "tabindex", "scope", "name", "content", "charset", "type"}
ATTRIBUTES |= {"checked", "http-equiv", "viewbox", "d", "x", "y", "cx", "cy", "r", "width", "height", "points"}
ATTRIBUTES |= {"text-anchor", "aria-label", "aria-labelledby"}
"""All that the page needs; none of them fetches or runs anything."""


class Page(HTMLParser):
    """Reads a page as strictly as it was meant: every element closed, in its order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SHAPES
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_on(write_lifelike(tmp_path_factory.mktemp("lifelike") / "<b>name & co"))


@pytest.fixture(scope="module")
def estimate(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_on(write_lifelike(tmp_path_factory.mktemp("offline"), num_concepts=4, judge=OFFLINE))


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(render_html(report))


def test_a_page_fetches_and_runs_nothing(page: Page) -> None:
    assert not {tag for tag, _ in page.elements} & {"script", "img", "link", "iframe", "object", "a", "form", "base"}
    assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES
    styles = [attributes["style"] or "" for _, attributes in page.elements if "style" in attributes]
    assert styles
    assert all(re.fullmatch(r"(--[a-z]+:[\d.]+;?)+", style) for style in styles)
    policies = [attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert not re.search(r"url\(|@import|https?:", "".join(page.words))


def test_hostile_texts_show_as_they_are(page: Page) -> None:
    shown = "".join(page.words)
    assert "<script>alert(1)</script><img src=x onerror=alert(2)></p></td> &amp; ␛[31m ␀ \ufffd2J" in shown
    assert "<b>name & co" in shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)


def test_a_page_can_be_read_without_seeing_it(page: Page) -> None:
    headings = [attributes for tag, attributes in page.elements if tag == "th"]
    assert headings
    assert all(attributes["scope"] in {"row", "col"} for attributes in headings)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    figures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(figures) == 4
    for attributes in figures:
        assert attributes["role"] == "img"
        assert set((attributes["aria-labelledby"] or "").split()) <= set(ids)
    num_tables = sum(tag == "table" for tag, _ in page.elements)
    assert num_tables == sum(tag == "caption" for tag, _ in page.elements) > 4


def test_the_heat_map_holds_every_concept_and_column(page: Page, report: Report) -> None:
    cells = [
        attributes for tag, attributes in page.elements if tag == "td" and "--hm" in (attributes.get("style") or "")
    ]
    assert len(cells) == sum(scores is not None for row in report.concepts for scores in row.scores)
    assert len(report.concepts) == len(CONCEPTS)


def test_what_a_page_says_of_a_number_is_in_the_report(page: Page, report: Report) -> None:
    means = report.columns[1].means
    assert means is not None
    assert means.hm.interval is not None
    assert f"{means.hm.mean:.2f}[{means.hm.interval.low:.2f}, {means.hm.interval.high:.2f}]" in "".join(page.words)


@pytest.mark.parametrize("text", [HOSTILE, "\x00\x1b\x7f\x85\ud800", "a\nb\tc", "\"'<&>"])
def test_escaped_text_is_harmless_and_in_utf8(text: str) -> None:
    shown = escaped(text)
    assert not re.search(r"[<>\"'\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    shown.encode("utf-8")


def test_markdown_acts_on_nothing_of_a_text(report: Report) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(render_markdown(report))
    nested = [child for token in tokens for child in (token.children or [])]
    kinds = {token.type for token in (*tokens, *nested)}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "code_inline", "em_open"}
    fences = [token.content for token in tokens if token.type == "fence"]
    texts = [text for shown in (*report.best, *report.worst) for each in shown.examples for text in each.texts]
    assert len(fences) == len(texts)
    rows = [token for token in tokens if token.type == "tr_open"]
    cells = [token for token in tokens if token.type in {"td_open", "th_open"}]
    of_concepts = (len(report.concepts) + 1) * (len(report.columns) + 1)
    of_means = (len(report.columns) + len(report.halves) + 2) * 9
    assert len(cells) == of_concepts + of_means + 10 * 5 + 9 * 5
    assert len(rows) == len(report.concepts) + 1 + len(report.columns) + len(report.halves) + 2 + 10 + 9


@pytest.mark.parametrize("text", [HOSTILE, "```\n````", "`" * 9, "", "| a |\n|---|"])
def test_a_fence_holds_whatever_is_in_it(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(f"before\n\n{fenced(text)}\n\nafter")
    assert [token.type for token in tokens].count("fence") == 1
    assert "after" in tokens[-2].content


@pytest.mark.parametrize(
    "text", ["# a", "- a", "1. a", "a | b", "<b>", "[a](b)", "![a](b)", "*a*", "a\nb", "&amp;", "~~a~~"]
)
def test_inline_text_reads_as_it_was(text: str) -> None:
    (inner,) = (token for token in MarkdownIt("commonmark").parse(f"x {inline(text)}") if token.type == "inline")
    assert "".join(child.content for child in inner.children or []) == "x " + " ".join(text.split())


def test_json_holds_every_number_strictly(report: Report) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    content = json.loads(render_json(report), parse_constant=refuse)
    assert len(content["columns"]) == len(report.columns)
    assert content["is_estimate"] is False
    mean = report.columns[0].means
    assert mean is not None
    assert content["columns"][0]["means"]["hm"]["mean"] == mean.hm.mean
    assert content["judge"]["slug"] == JUDGE.slug


def test_csv_has_a_row_for_each_concept_and_column(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(report))))
    assert len(rows) == len(report.concepts) * len(report.columns)
    first = report.concepts[0].scores[1]
    assert first is not None
    assert float(rows[1]["mean_hm"]) == pytest.approx(first.hm, abs=1e-5)
    assert {row["concept"] for row in rows} == set(CONCEPTS)
    assert sum(int(row["missing"]) for row in rows) == report.counts.num_texts - report.counts.num_counted


def test_an_estimate_says_so_and_stands_beside_no_published_number(estimate: Report) -> None:
    shown = {"terminal": " ".join(render(estimate, is_terminal=False).split())}
    shown |= {"html": "".join(Page(render_html(estimate)).words), "md": render_markdown(estimate).replace("\\", "")}
    for form, text in shown.items():
        assert ESTIMATE in text, form
        assert "2605.05892" not in text, form
        assert "HyperSteer" not in text, form
    assert json.loads(render_json(estimate))["is_estimate"] is True
    rows = csv.DictReader(io.StringIO(render_csv(estimate)))
    assert {(row["judge"], row["is_estimate"]) for row in rows} == {(estimate.judge.name, "true")}


def test_a_judges_report_stands_beside_published_numbers_with_care(report: Report) -> None:
    for text in (render(report, is_terminal=False), render_html(report), render_markdown(report)):
        assert "HyperSteer" in text
        assert "1.025" in text
        assert "compare with care" in " ".join(text.split())
        assert "An estimate" not in text


def test_every_form_of_a_report_without_any_rating_can_be_made() -> None:
    texts = [make_generation("x", place, flow_time=1.0) for place in range(2)]
    judgements = [each for text in texts for each in rate(text, [None, None, None])]
    report = summarise(score(texts, judgements, judge=JUDGE), name="refused", resamples=10)
    assert all(form(report) for form in FORMS.values())
    assert "2 of 2 texts are not in the means" in " ".join(render(report, is_terminal=False).split())


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal(report: Report, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for is_terminal, room in ((True, columns), (False, COLUMNS)):
        text = re.sub(r"\x1b\[[\d;]*m", "", render(report, is_terminal=is_terminal))
        assert max(map(len, text.splitlines())) <= room
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        for row in report.columns:
            assert row.means is not None
            assert re.search(rf"{row.label} +{row.means.hm.mean:.2f} +\[", text)


def test_the_scale_draws_means_where_they_are(report: Report) -> None:
    means = report.columns[1].means
    assert means is not None
    assert means.hm.interval is not None
    drawn = draw_scale(means, 201).plain
    assert len(drawn) == 201
    assert drawn[round(means.hm.mean * 100)] == "●"
    assert drawn[round(means.instruction.mean * 100)] == "I"
    assert drawn[round(means.hm.interval.low * 100)] == "├"
    assert draw_scale(None, 5).plain == "·····"
