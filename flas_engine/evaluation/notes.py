"""The words of a report that all of its forms share: what was found, what is missing, and how it was counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.evaluation.report import BEST_LABEL
from flas_engine.evaluation.results import PROMPTING

if TYPE_CHECKING:
    from flas_engine.evaluation.bootstrap import Estimate
    from flas_engine.evaluation.report import ColumnSummary, Report

MOST_REASONS = 5
"""Of failed judgements, by name; the rest are counted together."""
FEW_CONCEPTS = 10
"""Below which intervals were seen to cover too rarely where most concepts score 0."""
MEASURE_NAMES = {"hm": "HM", "concept": "C", "instruction": "I", "fluency": "F"}
ESTIMATE = (
    "An estimate, not a judgement: no judge read these texts. The base model's own likelihoods stand for the ratings, "
    "on a scale of their own; these numbers are not comparable with those of a judge, nor with published ones."
)


def write_estimate(estimate: Estimate | None, *, signed: bool = False) -> str:
    """Write 0.93 [0.88, 0.97]; empty when there is nothing to write."""
    if estimate is None:
        return ""
    form = "+.2f" if signed else ".2f"
    mean = format(estimate.mean, form)
    if estimate.interval is None:
        return mean
    return f"{mean} [{format(estimate.interval.low, form)}, {format(estimate.interval.high, form)}]"


def findings(report: Report) -> list[str]:
    """Say the main result in a sentence or two each."""
    said = []
    rows = {row.label: row for row in report.halves}
    fixed = next((row for row in report.halves if row.column is not None), None)
    if fixed is not None and fixed.means is not None:
        said.append(
            f"Best single flow time: {fixed.label}, HM {write_estimate(fixed.means.hm)} on prompts that did not choose "
            f"it, over {fixed.means.hm.num_concepts:,} concepts.{_against(fixed)}"
        )
    best = rows.get(BEST_LABEL)
    if best is not None and best.means is not None and report.best_to_fixed is not None:
        said.append(
            f"A flow time of its own for each concept: HM {write_estimate(best.means.hm)}. "
            f"Difference: {write_estimate(report.best_to_fixed.hm, signed=True)} against the single one."
        )
    if fixed is None and report.ranked_by is not None:
        top = next(row for row in report.columns if row.column == report.ranked_by)
        if top.means is not None:
            said.append(f"Highest mean: {top.label}, HM {write_estimate(top.means.hm)}; nothing was chosen on halves.")
    return said


def missing(report: Report) -> list[str]:
    """Say what is not in the means, and why; nothing when all is."""
    counts, said = report.counts, []
    if counts.num_not_written:
        planned = counts.num_texts + counts.num_not_written
        said.append(
            f"{counts.num_not_written:,} of {planned:,} planned texts are not written yet; "
            "the same flas-tui eval command goes on."
        )
    if counts.num_counted < counts.num_texts:
        said.append(
            f"{counts.num_texts - counts.num_counted:,} of {counts.num_texts:,} texts are not in the means: "
            f"{counts.num_unjudged:,} not judged on every aspect yet, {counts.num_failed:,} with a failed judgement. "
            'Means are over the texts that are left; "HM, missing as 0" counts each of the others as 0.'
        )
    if counts.failures:
        named = list(counts.failures.items())[:MOST_REASONS]
        rest = sum(counts.failures.values()) - sum(count for _, count in named)
        reasons = [f"{count:,} x {reason}" for reason, count in named] + ([f"{rest:,} others"] if rest else [])
        said.append(f"Failed judgements: {'; '.join(reasons)}.")
    if report.num_single:
        said.append(
            f"{report.num_single:,} of {counts.num_concepts:,} concepts have one prompt, no half of which can choose a "
            "flow time: they are in the means over all prompts and in no choice."
        )
    if report.num_unscored:
        said.append(
            f"In no choice of a flow time, for want of a judged text: {report.num_unscored:,} of "
            f"{counts.num_concepts:,} concepts."
        )
    return said


def method_notes(report: Report) -> list[str]:
    """Say how the numbers were made."""
    notes = [
        "C: is the concept in the text; I: does it answer the instruction; F: is it fluent; each from 0 to 2. "
        "HM = 3 / (1/C + 1/I + 1/F) of each text, 0 when any is 0. A text counts once it has all three. Seeds are "
        "averaged within a prompt, prompts within a concept, and concepts weigh alike.",
        f"[low, high]: {report.level:.0%} intervals over concepts, BCa bootstrap with {report.resamples:,} resamples.",
        "Differences are taken prompt by prompt, where both texts count, then averaged within the concept.",
    ]
    if report.counts.num_concepts < FEW_CONCEPTS:
        notes.append(f"With fewer than {FEW_CONCEPTS} concepts an interval is a rough guess and may be too short.")
    if report.counts.prompt_tokens:
        read, written = report.counts.prompt_tokens, report.counts.completion_tokens
        notes.append(f"The judge read {read:,} tokens and wrote {written:,}.")
    if report.halves:
        notes.append(
            "Choosing: the first half of a concept's prompts (rounded down, in the order drawn) chooses T by mean HM, "
            "the other half scores it; of equal flow times the one nearest to 0 is taken. The single T is chosen by "
            "the mean over all first halves. Every row of that table is scored on the same other halves."
        )
    return notes


def judged_with(report: Report) -> str:
    """Say in a line who judged how much."""
    counts, judge = report.counts, report.judge
    rubric = f", rubric {judge.rubric}" if judge.rubric else ""
    kind = "offline estimate by" if report.is_estimate else "judged by"
    return (
        f"{counts.num_counted:,} of {counts.num_texts:,} texts count, {kind} {judge.name} ({judge.model}{rubric}); "
        f"{counts.num_concepts:,} concepts, {_range(counts.least_prompts, counts.most_prompts)} prompts each, "
        f"{counts.num_seeds:,} {'seed' if counts.num_seeds == 1 else 'seeds'}"
    )


def _against(row: ColumnSummary) -> str:
    said = [
        f"{write_estimate(means.hm, signed=True)} against {name}"
        for name, means in ((PROMPTING, row.to_prompting), ("the baseline", row.to_baseline))
        if means is not None
    ]
    return f" Difference: {', '.join(said)}." if said else ""


def _range(least: int, most: int) -> str:
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"
