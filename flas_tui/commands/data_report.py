"""What `flas-tui data` prints for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flas_tui.safe_text import visible_text

if TYPE_CHECKING:
    from collections.abc import Mapping


def make_lines(summary: Mapping[str, Any]) -> str:
    """Render what `data make` made."""
    lines = [
        f"{summary['path']}: {summary['rows']:,} rows for {summary['concepts']:,} concepts",
        f"splits    {_counts(summary['splits'])}",
        f"groups    {_counts(summary['groups'])}",
    ]
    if summary["rejected"]:
        lines.append(f"rejected  {_counts(summary['rejected'])}")
    if summary["concepts_short"]:
        lines.append(f"short     {summary['concepts_short']:,} concepts have fewer rows than were wanted")
    return "".join(f"{visible_text(line)}\n" for line in lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
