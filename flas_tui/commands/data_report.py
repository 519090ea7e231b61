"""What `flas-tui data` prints for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flas_tui.safe_text import visible_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flas_engine.data.inspection import Inspection, Lengths
    from flas_engine.data.rows import Source


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


def inspect_lines(found: Inspection, sources: Sequence[Source]) -> str:
    """Render what `data inspect` found."""
    lines = [
        *(f"{source.path}: {source.num_rows:,} rows, sha256 {source.sha256[:12]}" for source in sources),
        f"rows      {found.num_rows:,}, of {found.num_concepts:,} concepts in {found.num_wordings:,} wordings, "
        f"on {found.num_prompts:,} prompts",
        f"splits    {_counts(found.splits)}",
        f"groups    {_counts({group or '-': count for group, count in found.groups.items()})}",
        f"a concept {_lengths(found.rows_per_concept, 'rows')}",
        f"prompts   {_lengths(found.prompt_lengths, found.unit)}",
        f"outputs   {_lengths(found.output_lengths, found.unit)}",
        f"bad rows  {sum(found.reasons.values()):,}",
    ]
    lines += [
        f"  {found.reasons[problem.reason]:,} {problem.reason}; first: {problem.source} {problem.number}"
        for problem in found.first_problems
    ]
    for row in found.samples:
        lines += ["", f"[{row.concepts[0]}] {row.prompt}", *row.output.splitlines()]
    return "".join(f"{visible_text(line)}\n" for line in lines)


def _lengths(lengths: Lengths, unit: str) -> str:
    return (
        f"{lengths.least:,} to {lengths.most:,} {unit}, median {lengths.median:,}, 95 % up to {lengths.p95:,}, "
        f"in all {lengths.total:,}"
    )
