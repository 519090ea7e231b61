"""The loss curves of a run as an SVG picture, for its model card."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.training.curves import RunCurves

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 32, 36
NUM_POINTS = 300
COLOURS = ("#a84f00", "#2459b8", "#646b78")


def draw_losses(run: RunCurves) -> str:
    """Return a picture of the loss in training, and on held-out rows with their own and with wrong concepts."""
    updates, losses = run.curves["lm_loss"].means(NUM_POINTS)
    curves = [
        ("training", list(zip(updates, losses, strict=True))),
        ("held out, T 1", [(each.update, each.losses.get("1", math.nan)) for each in run.validations]),
        ("wrong concept", [(each.update, each.shuffled) for each in run.validations]),
    ]
    finite = [(name, [point for point in points if math.isfinite(point[1])]) for name, points in curves]
    return _picture([(name, points) for name, points in finite if points])


def _picture(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    xs = [x for _, points in curves for x, _ in points] or [0.0, 1.0]
    ys = [y for _, points in curves for _, y in points] or [0.0, 1.0]
    low, high = min(ys), max(ys)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    last = max(xs)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + x / (last or 1.0) * (WIDTH - LEFT - RIGHT)
        return across, TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12" fill="#20242c">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fbfaf7"/>',
    ]
    for fraction in (0.0, 0.5, 1.0):
        y = low + fraction * (high - low)
        _, down = place(0.0, y)
        parts.append(f'<path d="M{LEFT} {down:.1f}H{WIDTH - RIGHT}" stroke="#e0dcd2"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{down + 4:.1f}" text-anchor="end">{y:.2f}</text>')
        across, _ = place(fraction * last, low)
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[fraction]
        parts.append(f'<text x="{across:.1f}" y="{HEIGHT - 14}" text-anchor="{anchor}">{fraction * last:,.0f}</text>')
    for index, (name, points) in enumerate(curves):
        line = " ".join(f"{across:.1f},{down:.1f}" for across, down in (place(x, y) for x, y in points))
        colour = COLOURS[index]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{LEFT + index * 140}" y="20" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
