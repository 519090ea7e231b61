"""The figures of a report as inline SVG: means over T, which flow times were chosen, and what choosing was worth.

Colours are classes that the page's style sheet fills for light and dark; each figure has a title and a description for
those who cannot see it. A figure is as wide as a phone, so that its letters stay readable there.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from flas_engine.evaluation.notes import MEASURE_NAMES, write_estimate
from flas_engine.evaluation.results import BASELINE, MAX_RATING, PROMPTING, STEERING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from flas_engine.evaluation.bootstrap import Estimate
    from flas_engine.evaluation.report import Means, Report

WIDTH, HEIGHT = 420, 290
LEFT, RIGHT, TOP, BOTTOM = 36, 78, 14, 42
LINE = 14
"""Between two labels, at least."""
SHIFT = 3
"""Between the intervals of two measures at one flow time, which would cover each other."""
DOT, LARGEST_DOT = 3.2, 9.0
MOST_TICKS = 9
HALF = 0.5
"""Between two ticks of ratings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Frame:
    """Places values in the plot."""

    left: float
    right: float
    """The values at the ends of the horizontal axis."""
    top: float
    bottom: float = 0.0
    """The values at the ends of the vertical one."""
    margin: int = RIGHT

    def x(self, value: float) -> float:
        return LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - LEFT - self.margin)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.bottom) / (self.top - self.bottom) * (HEIGHT - TOP - BOTTOM)


def draw_curves(report: Report) -> str:
    """Draw HM, C, I and F over the flow time with their intervals; T = 0 is the baseline, prompting a dashed line.

    Empty where there are fewer than two flow times.
    """
    points = [
        (row.column.flow_time, row.means)
        for row in report.columns
        if row.column is not None and row.column.method in {STEERING, BASELINE} and row.means is not None
    ]
    if len(points) < 2:
        return ""
    times = sorted({time for time, _ in points})
    points.sort(key=lambda point: point[0])
    frame = _Frame(left=times[0], right=times[-1], top=MAX_RATING)
    parts = [*_vertical_axis(frame, (0.0, 0.5, 1.0, 1.5, 2.0)), *_horizontal_axis(frame, _few(times), "flow time T")]
    ends = [(name, measure, frame.y(getattr(points[-1][1], measure).mean)) for measure, name in MEASURE_NAMES.items()]
    prompting = next((row.means for row in report.columns if row.label == PROMPTING), None)
    if prompting is not None:
        down = frame.y(prompting.hm.mean)
        parts.append(f'<path class="prompting" d="M{LEFT} {down:.1f}H{WIDTH - RIGHT}"/>')
        ends.append(("prompting", "prompting", down))
    for index, measure in reversed([*enumerate(MEASURE_NAMES)]):  # the harmonic mean on top
        estimates = [(time, getattr(means, measure)) for time, means in points]
        parts += _curve(frame, measure, estimates, SHIFT * (index - 1.5))
    parts += _end_labels(ends)
    values = "; ".join(f"T {time:g}: {_four(means)}" for time, means in points)
    known = [*(["T 0: baseline"] if 0.0 in times else []), *([] if prompting is None else ["dashed: prompting's HM"])]
    return _figure("curves", f"Means over T ({'; '.join(known)})" if known else "Means over T", values, parts)


def draw_differences(report: Report) -> str:
    """Draw HM against prompting and against the baseline over the flow time; empty below two flow times."""
    steered = [row for row in report.columns if row.column is not None and row.column.method == STEERING]
    times = [row.column.flow_time for row in steered if row.column is not None]
    lines = [
        (kind, [(time, means.hm) for time, means in zip(times, of_rows, strict=True) if means is not None])
        for kind, of_rows in (
            (BASELINE, [row.to_baseline for row in steered]),
            (PROMPTING, [row.to_prompting for row in steered]),
        )
    ]
    lines = [(kind, points) for kind, points in lines if len(points) > 1]
    if not lines:
        return ""
    ends = [end for _, points in lines for _, each in points for end in _ends(each)]
    bottom, top = (_outward(end, sign) for end, sign in ((min(0.0, *ends), -1), (max(0.0, *ends), 1)))
    frame = _Frame(left=times[0], right=times[-1], top=top, bottom=bottom)
    ticks = [HALF * number for number in range(round(bottom / HALF), round(top / HALF) + 1)]
    parts = [*_vertical_axis(frame, ticks), *_horizontal_axis(frame, _few(times), "flow time T")]
    parts.append(f'<path class="zero" d="M{LEFT} {frame.y(0):.1f}H{WIDTH - RIGHT}"/>')
    for index, (kind, points) in enumerate(lines):
        parts += _curve(frame, kind, points, SHIFT * (index - 0.5))
    parts += _end_labels([(kind, kind, frame.y(points[-1][1].mean)) for kind, points in lines])
    values = "; ".join(
        f"to {kind}: {', '.join(f'T {time:g} {write_estimate(each, signed=True)}' for time, each in points)}"
        for kind, points in lines
    )
    return _figure("differences", "HM of steering less that of prompting and of the baseline", values, parts)


def draw_chosen(report: Report) -> str:
    """Draw how many concepts chose each flow time; empty where none could choose."""
    if not report.choices:
        return ""
    counts = Counter(each.column.flow_time for each in report.choices)
    times = [row.column.flow_time for row in report.columns if row.column is not None and row.column.method == STEERING]
    top = max(counts.values())
    frame = _Frame(left=-0.5, right=len(times) - 0.5, top=top * 1.08, margin=10)
    width = 0.7 * (frame.x(1) - frame.x(0))
    step = max(1, math.ceil(top / 4))
    parts = [*_vertical_axis(frame, range(0, top + 1, step))]
    for place, time in enumerate(times):
        across, up = frame.x(place), frame.y(counts[time])
        parts.append(
            f'<rect class="bar" x="{across - width / 2:.1f}" y="{up:.1f}" width="{width:.1f}" '
            f'height="{frame.y(0) - up:.1f}"/>'
        )
        parts.append(_text(across, HEIGHT - BOTTOM + 17, f"{time:g}", "middle"))
    parts.append(_text((LEFT + WIDTH - 10) / 2, HEIGHT - 6, "flow time chosen by the first half", "middle"))
    values = ", ".join(f"T {time:g}: {counts[time]}" for time in times)
    return _figure("chosen", "How many concepts chose each flow time", values, parts)


def draw_worth(report: Report) -> str:
    """Draw each concept's HM with its own T over that with the single T; empty where none has both."""
    pairs = Counter(
        (round(each.with_fixed.hm, 2), round(each.scores.hm, 2))
        for each in report.choices
        if each.scores is not None and each.with_fixed is not None
    )
    if not pairs:
        return ""
    frame = _Frame(left=0.0, right=MAX_RATING, top=MAX_RATING, margin=10)
    ticks = (0.0, 0.5, 1.0, 1.5, 2.0)
    parts = [*_vertical_axis(frame, ticks), *_horizontal_axis(frame, ticks, "HM with the single T")]
    parts.append(f'<path class="even" d="M{frame.x(0):.1f} {frame.y(0):.1f}L{frame.x(2):.1f} {frame.y(2):.1f}"/>')
    parts.append(_text(LEFT + 6, TOP + 12, "HM with its own T", "start"))
    scale = min(DOT, LARGEST_DOT / math.sqrt(max(pairs.values())))
    for (fixed, own), count in sorted(pairs.items()):
        radius = scale * math.sqrt(count) + 0.8
        parts.append(f'<circle class="dot" cx="{frame.x(fixed):.1f}" cy="{frame.y(own):.1f}" r="{radius:.1f}"/>')
    above = sum(count for (fixed, own), count in pairs.items() if own > fixed)
    below = sum(count for (fixed, own), count in pairs.items() if own < fixed)
    values = f"{above} concepts do better with their own, {below} worse, {pairs.total() - above - below} alike"
    return _figure("worth", "What a flow time of its own is worth to each concept", values, parts)


def _curve(frame: _Frame, kind: str, points: Sequence[tuple[float, Estimate]], shift: float) -> Iterator[str]:
    placed = [(frame.x(time) + shift, each) for time, each in points]
    line = " ".join(f"{across:.1f},{frame.y(each.mean):.1f}" for across, each in placed)
    yield f'<g class="{kind}"><polyline points="{line}"/>'
    for across, each in placed:
        if each.interval is not None:
            low, high = frame.y(each.interval.low), frame.y(each.interval.high)
            yield f'<path d="M{across:.1f} {low:.1f}V{high:.1f}"/>'
        yield f'<circle cx="{across:.1f}" cy="{frame.y(each.mean):.1f}" r="{DOT}"/>'
    yield "</g>"


def _vertical_axis(frame: _Frame, ticks: Iterable[float]) -> Iterator[str]:
    for tick in ticks:
        down = frame.y(tick)
        yield f'<path class="grid" d="M{LEFT} {down:.1f}H{WIDTH - frame.margin}"/>'
        yield _text(LEFT - 6, down + 4, f"{tick:g}", "end")


def _horizontal_axis(frame: _Frame, ticks: Iterable[float], name: str) -> Iterator[str]:
    for tick in ticks:
        yield _text(frame.x(tick), HEIGHT - BOTTOM + 17, f"{tick:g}", "middle")
    yield _text((LEFT + WIDTH - frame.margin) / 2, HEIGHT - 6, name, "middle")


def _end_labels(ends: Sequence[tuple[str, str, float]]) -> Iterator[str]:
    """Write the curves' names at their ends, moved apart where they would cover each other."""
    ends = sorted(ends, key=lambda end: end[2])
    places = [down for *_, down in ends]
    for _ in range(len(places)):
        for index in range(1, len(places)):
            overlap = LINE - (places[index] - places[index - 1])
            if overlap > 0:
                places[index - 1] -= overlap / 2
                places[index] += overlap / 2
    for (name, kind, _), place in zip(ends, places, strict=True):
        yield f'<text class="name {kind}" x="{WIDTH - RIGHT + 10}" y="{place + 4:.1f}">{name}</text>'


def _ends(estimate: Estimate) -> tuple[float, ...]:
    interval = estimate.interval
    return (estimate.mean,) if interval is None else (interval.low, interval.high)


def _outward(value: float, sign: int) -> float:
    """Return the half on or beyond `value`, away from 0, and at least one half away."""
    return sign * HALF * max(1, math.ceil(sign * value / HALF))


def _few(times: Sequence[float]) -> Sequence[float]:
    return times[:: math.ceil(len(times) / MOST_TICKS)]


def _four(means: Means) -> str:
    return ", ".join(f"{name} {write_estimate(getattr(means, measure))}" for measure, name in MEASURE_NAMES.items())


def _text(across: float, down: float, words: str, anchor: str) -> str:
    return f'<text x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _figure(name: str, title: str, values: str, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<figure><figcaption id="{name}-title">{escape(title)}</figcaption>\n'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-title {name}-values">\n'
        f'<desc id="{name}-values">{escape(values)}</desc>\n{body}\n</svg></figure>'
    )
