"""What `flas-tui judge` prints: a summary of the judgements, or an estimate of what they would take."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flas_tui.safe_text import visible_line

if TYPE_CHECKING:
    from flas_engine.judge.judging import Estimate
    from flas_engine.judge.summary import AspectSummary, JudgingSummary

_SMALL = 0.1
"""Dollars below which cents are too coarse."""


def render_summary(summary: JudgingSummary) -> str:
    """Return the summary as lines of text."""
    judge = summary.judge
    by = (
        f"rubric {judge.rubric} ({judge.rubric_hash})"
        if judge.rubric
        else f"an estimate, calibration {judge.calibration}"
    )
    lines = [f"judge       {judge.name}, {by}", f"texts       {summary.num_generations:,}"]
    lines += [f"{name:<12}{_counts(aspect)}" for name, aspect in summary.aspects.items()]
    if summary.num_open:
        lines.append(f"open        {summary.num_open:,} not asked yet")
    lines += [f"failed      {count:,} {reason}" for reason, count in summary.failures.items()]
    if judge.kind == "endpoint":
        lines.append(f"tokens      {summary.prompt_tokens:,} asked, {summary.completion_tokens:,} answered")
    if summary.num_uncounted and judge.kind == "endpoint":
        lines.append(f"            {summary.num_uncounted:,} answers came without a count of tokens")
    if summary.dollars is not None:
        lines.append(f"cost        {dollars(summary.dollars)}")
    return "".join(f"{visible_line(line)}\n" for line in lines)


def summary_json(summary: JudgingSummary) -> dict[str, Any]:
    """Return the summary as JSON has it."""
    return asdict(summary) | {"num_rated": summary.num_rated, "num_failed": summary.num_failed}


def estimate_lines(found: Estimate) -> str:
    """Return an estimate as a line of text."""
    return describe_estimate(found) + "\n"


def estimate_json(found: Estimate) -> dict[str, Any]:
    """Return an estimate as JSON has it."""
    return asdict(found)


def describe_estimate(found: Estimate) -> str:
    """Say '240 questions, about 96,000 tokens asked and 19,200 answered, about $0.026'."""
    told = (
        f"{found.num_questions:,} questions, about {found.prompt_tokens:,} tokens asked and "
        f"{found.completion_tokens:,} answered"
    )
    return told if found.dollars is None else f"{told}, about {dollars(found.dollars)}"


def dollars(amount: float) -> str:
    """Write an amount: '$12.34', '$0.0056'."""
    return f"${amount:.4f}" if amount < _SMALL else f"${amount:.2f}"


def _counts(aspect: AspectSummary) -> str:
    mean = "    -" if aspect.mean is None else f"{aspect.mean:.3f}"
    failed = f", {aspect.num_failed:,} failed" if aspect.num_failed else ""
    return f"{mean}  {aspect.num_rated:,} rated{failed}"
