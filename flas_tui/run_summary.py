"""What the training monitor says of a run: words and numbers for what the metrics add up to, nothing drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flas_tui.widgets.inspector import format_bytes
from flas_tui.widgets.line_chart import Series

if TYPE_CHECKING:
    from flas_engine.training.curves import RunCurves

CHARTS = (
    ("loss", "loss"),
    ("flow-times", "loss over T"),
    ("concepts", "concept"),
    ("learning-rate", "learning rate"),
    ("throughput", "tokens/s"),
    ("memory", "memory"),
)
"""Of each chart, its name and its title, in the order of the screen."""
COMPARED_TIMES = (("right", "1"), ("none", "0"))


def format_duration(seconds: float) -> str:
    """Write a duration in its two largest units: 45 s, 3 min 20 s, 1 h 5 min, 2 d 3 h; empty when not known."""
    if not math.isfinite(seconds):
        return ""
    left = round(seconds)
    for size, unit, next_size, next_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if left >= size:
            rest = left % size // next_size
            return f"{left // size} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{left} s"


def format_fact(value: float, digits: int = 3) -> str:
    """Write a loss; empty when it is not known."""
    return f"{value:.{digits}f}" if math.isfinite(value) else ""


def describe_progress(run: RunCurves) -> tuple[str, float | None]:
    """Return how far the run is, in words and as a fraction."""
    if run.start is None:
        return "", None
    total = run.start.num_updates
    return f"{run.update:,} of {total:,}", min(1.0, run.update / total) if total else None


def describe_numbers(run: RunCurves) -> list[tuple[str, str]]:
    """Return the present numbers as (label, value), the most important ones first."""
    facts = [("loss", format_fact(run.curves["loss"].last))]
    if run.validations:
        facts.append(("validation", format_fact(run.validations[-1].losses.get("1", math.nan))))
    if (best := run.best) is not None:
        facts.append(("best", f"{format_fact(best.losses['1'])} at {best.update:,}"))
    if run.validations:
        facts.append(("concept worth", format_fact(run.validations[-1].gap)))
    facts.append(("lr", f"{run.curves['learning_rate'].last:.1e}"))
    facts.append(("gradient", format_fact(run.curves["gradient_norm"].last, 2)))
    if math.isfinite(rate := run.curves["tokens_per_second"].last):
        facts.append(("tokens/s", f"{rate:,.0f}"))
        facts.append(("memory", format_bytes(run.curves["resident_bytes"].last)))
    return [fact for fact in facts if fact[1] not in {"", "nan"}]


def describe_setting(run: RunCurves) -> str:
    """Return what is trained on what, in a line."""
    if run.start is None:
        return ""
    start = run.start
    parts = [
        start.base,
        f"{start.num_rows:,} rows",
        f"{start.num_concepts:,} concepts",
        f"{start.device} {start.dtype}",
    ]
    parts.append(f"{run.num_tokens:,} tokens trained")
    if run.resumed_from:
        parts.append("resumed after " + ", ".join(f"{update:,}" for update in run.resumed_from[-3:]))
    return " · ".join(parts)


def chart_series(name: str, run: RunCurves, num_points: int) -> list[Series]:
    """Return the curves of a chart, thinned to about `num_points` each."""
    if name == "loss":
        updates, losses = run.curves["lm_loss"].means(num_points)
        return [Series(label="train", xs=updates, ys=losses), _validated(run, "validation", "1")]
    if name == "concepts":
        right, none = (_validated(run, label, time) for label, time in COMPARED_TIMES)
        updates, shuffled = [each.update for each in run.validations], [each.shuffled for each in run.validations]
        return [right, Series(label="wrong", xs=updates, ys=shuffled), none]
    if name == "flow-times":
        return _over_flow_time(run)
    field = {"learning-rate": "learning_rate", "throughput": "tokens_per_second", "memory": "resident_bytes"}[name]
    updates, means = run.curves[field].means(num_points)
    return [Series(label="", xs=updates, ys=means)]


def _validated(run: RunCurves, label: str, flow_time: str) -> Series:
    return Series(
        label=label,
        xs=[each.update for each in run.validations],
        ys=[each.losses.get(flow_time, math.nan) for each in run.validations],
    )


def _over_flow_time(run: RunCurves) -> list[Series]:
    """Return the last validation, the one halfway, and the first one."""
    count = len(run.validations)
    chosen = sorted({count - 1, count // 2, 0}, reverse=True)[:count]
    return [
        Series(
            label=f"{run.validations[index].update:,}",
            xs=[float(time) for time in run.validations[index].losses],
            ys=list(run.validations[index].losses.values()),
            shows_latest=False,
        )
        for index in chosen
    ]
