"""What a report says of the table that was worked out by hand: means, differences, halves, counts and examples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hand_table import T1, A, B, C, D, hand_records, hand_set
from judged_evaluation import JUDGE, make_generation, rate, write_evaluation, write_lifelike

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.notes import findings, method_notes, missing
from flas_engine.evaluation.report import BEST_LABEL
from flas_engine.evaluation.reporting import report_on
from flas_engine.evaluation.scores import MEASURES, Column, score
from flas_engine.evaluation.summarise import summarise

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.evaluation.report import ColumnSummary, Means, Report

RESAMPLES = 200


@pytest.fixture(scope="module")
def report() -> Report:
    return summarise(hand_set(), name="by hand", resamples=RESAMPLES)


def rows(summaries: tuple[ColumnSummary, ...]) -> dict[str, ColumnSummary]:
    return {row.label: row for row in summaries}


def four(means: Means | None) -> list[float]:
    assert means is not None
    return [getattr(means, measure).mean for measure in MEASURES]


def hm(means: Means | None) -> float:
    return four(means)[0]


def test_a_column_is_the_mean_over_concepts(report: Report) -> None:
    row = rows(report.columns)["T 1"]  # A 1.125, B 1.5, C 2, D 1
    assert hm(row.means) == pytest.approx(1.40625)
    assert row.means is not None
    assert row.means.hm.num_concepts == 4
    assert four(row.means)[1:] == pytest.approx([(1.25 + 1.5 + 2 + 1) / 4, (1.75 + 1.5 + 2 + 1.5) / 4, 1.625])
    assert hm(rows(report.columns)["baseline"].means) == 0.0


def test_missing_texts_are_counted_and_what_zeros_would_make_is_said(report: Report) -> None:
    row = rows(report.columns)["T 1"]
    assert (row.num_missing, row.num_texts) == (2, 12)
    assert row.hm_missing_as_zero == pytest.approx((1.125 + 1.0 + 2.0 + 0.75) / 4)
    counts = report.counts
    assert (counts.num_texts, counts.num_counted, counts.num_unjudged, counts.num_failed) == (35, 32, 2, 1)
    assert counts.failures == {"no rating": 1}
    assert (counts.least_prompts, counts.most_prompts, counts.num_seeds, counts.num_concepts) == (1, 4, 2, 4)


def test_differences_are_taken_prompt_by_prompt_where_both_count(report: Report) -> None:
    """A: 1.125 - 1; of B's prompts only the first counts in both, 1 - 0; C and D were never prompted."""
    row = rows(report.columns)["T 1"]
    assert hm(row.to_prompting) == pytest.approx((0.125 + 1.0) / 2)
    assert row.to_prompting is not None
    assert row.to_prompting.hm.num_concepts == 2
    assert hm(row.to_baseline) == pytest.approx(1.125)
    assert rows(report.columns)["prompting"].to_prompting is None


def test_halves_compare_all_ways_on_the_same_prompts(report: Report) -> None:
    halves = rows(report.halves)
    assert [*halves] == [BEST_LABEL, "T 1", "prompting", "baseline"]
    assert hm(halves[BEST_LABEL].means) == pytest.approx((0.75 + 1.0 + 1.0) / 3)
    assert hm(halves["T 1"].means) == pytest.approx((0.75 + 2.0 + 1.0) / 3)
    assert hm(halves["prompting"].means) == pytest.approx(1.0)  # A's prompts 2 and 3, B's 1
    assert hm(halves["T 1"].to_prompting) == pytest.approx(-0.25)  # A alone: B has no prompt that counts in both
    assert hm(report.best_to_fixed) == pytest.approx((0.0 - 2.0 + 0.0) / 3)
    assert (halves[BEST_LABEL].num_texts, halves[BEST_LABEL].num_missing) == (6, 1)
    assert report.num_single == 1


def test_means_and_intervals_keep_their_order(report: Report) -> None:
    for row in (*report.columns, *report.halves):
        for means in (row.means, row.to_prompting, row.to_baseline):
            for measure in MEASURES if means is not None else ():
                estimate = getattr(means, measure)
                if estimate.interval is not None:
                    assert estimate.interval.low <= estimate.mean <= estimate.interval.high


def test_concepts_are_ranked_by_the_single_flow_time(report: Report) -> None:
    assert report.ranked_by == T1
    assert [(shown.concept, shown.scores.hm) for shown in report.best] == [(C, 2.0), (B, 1.5)]
    assert [(shown.concept, shown.scores.hm) for shown in report.worst] == [(D, 1.0), (A, 1.125)]


def test_shown_texts_are_those_of_the_first_prompts_beside_each_other(report: Report) -> None:
    (worst,) = (shown for shown in report.worst if shown.concept == A)
    assert [[text.column.label for text in example.texts] for example in worst.examples] == [
        ["T 1", "prompting", "baseline"]
    ] * 2
    assert [text.generation.input_id for example in worst.examples for text in example.texts] == [0, 0, 0, 1, 1, 1]


def test_the_heat_map_has_a_place_for_every_pair(report: Report) -> None:
    assert [row.concept for row in report.concepts] == [A, B, C, D]
    table = {row.concept: [None if each is None else each.hm for each in row.scores] for row in report.concepts}
    assert table[C] == [None, 2.0, 0.0, None]


def test_the_words_say_the_main_numbers(report: Report) -> None:
    said = " ".join(findings(report))
    assert "Best single flow time: T 1, HM 1.25" in said
    assert "-0.25 against prompting" in said
    assert "A flow time of its own for each concept: HM 0.92" in said
    gaps = " ".join(missing(report))
    assert "3 of 35 texts are not in the means: 2 not judged on every aspect yet, 1 with a failed judgement" in gaps
    assert "1 x no rating" in gaps
    assert "1 of 4 concepts have one prompt" in gaps


def test_few_concepts_and_what_the_judge_read_are_said(report: Report) -> None:
    notes = " ".join(method_notes(report))
    assert "With fewer than 10 concepts an interval is a rough guess" in notes
    assert "The judge read 39,600 tokens and wrote 2,970." in notes  # 33 texts on three aspects, 400 and 30 each


def test_a_whole_evaluation_has_no_gaps_to_tell(tmp_path: Path) -> None:
    report = report_on(write_lifelike(tmp_path, num_concepts=3, gaps=False))
    assert missing(report) == []


def test_texts_that_the_plan_lacks_are_counted(tmp_path: Path) -> None:
    generations, judgements = hand_records()
    write_evaluation(tmp_path, generations, {JUDGE: judgements}, prompts_per_concept=4, seeds=(0, 1))
    report = report_on(tmp_path)  # 4 concepts x 4 prompts x (T 1, T 2, prompting, baseline) x 2 seeds
    assert report.counts.num_not_written == 128 - 35
    assert "93 of 128 planned texts are not written yet" in missing(report)[0]


def test_imported_texts_have_no_plan_to_lack_from(tmp_path: Path) -> None:
    generations, judgements = hand_records()
    write_evaluation(tmp_path, generations, {JUDGE: judgements}, prompts_per_concept=4, origin="rows.parquet")
    report = report_on(tmp_path)
    assert report.counts.num_not_written == 0
    assert ("imported from", "rows.parquet") in report.facts


def test_without_steering_the_best_other_way_ranks_and_nothing_is_chosen() -> None:
    texts, judgements = [], []
    for method, digits in (("prompting", (2, 2, 2)), ("baseline", (1, 1, 1))):
        for place in range(2):
            texts.append(make_generation("x", place, method=method))  # type: ignore[arg-type]
            judgements += rate(texts[-1], digits)
    report = summarise(score(texts, judgements, judge=JUDGE), name="plain", resamples=RESAMPLES)
    assert report.halves == ()
    assert report.best_to_fixed is None
    assert report.ranked_by == Column(method="prompting")
    assert "Highest mean: prompting, HM 2.00" in findings(report)[0]


def test_texts_that_were_all_refused_make_a_report_without_numbers() -> None:
    texts = [make_generation("x", place, flow_time=1.0) for place in range(2)]
    judgements = [each for text in texts for each in rate(text, [None, None, None], failure="refused")]
    report = summarise(score(texts, judgements, judge=JUDGE), name="refused", resamples=RESAMPLES)
    (row,) = report.columns
    assert row.means is None
    assert row.hm_missing_as_zero == 0.0
    assert (report.best, report.worst, report.ranked_by) == ((), (), None)
    assert report.counts.failures == {"refused": 6}


def test_an_evaluation_that_nobody_judged_says_what_to_run() -> None:
    with pytest.raises(EvaluationError, match="flas-tui judge"):
        summarise(replace(hand_set(), judge=None), name="unjudged")


def test_the_report_states_protocol_judge_and_versions(tmp_path: Path) -> None:
    facts = dict(report_on(write_lifelike(tmp_path, num_concepts=2)).facts)
    assert facts["sampling"] == "temperature 1, up to 256 tokens"
    assert facts["prompts"] == "4 a concept, drawn by its id from alpaca-eval"
    assert facts["flow"].startswith("flas-smollm2-135m-instruct (sha256 0123456789abcdef")
    assert facts["rubric"] == "flas 1 (5c1f09d2a7b3)"
    assert facts["versions"] == "flas-tui 0.1.0, torch 2.13.0, transformers 5.3.0"
    assert facts["judged until"].endswith("UTC")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"there is no folder .*nowhere"):
        report_on(tmp_path / "nowhere")
