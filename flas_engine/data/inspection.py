"""What is in rows: counts, lengths, samples by seed, and what did not fit. Knows nothing of how it is shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.data.drawing import draw
from flas_engine.data.rows import count_reasons

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flas_engine.data.rows import BadRow, Row, RowSet


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long texts are: smallest, median, 95th percentile, largest, in all."""

    least: int
    median: int
    p95: int
    most: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Rows, described."""

    num_rows: int
    num_concepts: int
    num_wordings: int
    num_prompts: int
    rows_per_concept: Lengths
    groups: dict[str, int]
    splits: dict[str, int]
    prompt_lengths: Lengths
    output_lengths: Lengths
    unit: str
    """What lengths are counted in: `characters` or `tokens`."""
    reasons: dict[str, int]
    """Bad rows by reason."""
    first_problems: tuple[BadRow, ...]
    """The first of each reason."""
    samples: tuple[Row, ...]


def inspect_rows(
    row_set: RowSet,
    *,
    num_samples: int = 3,
    seed: int = 0,
    count_tokens: Callable[[Sequence[str]], list[int]] | None = None,
) -> Inspection:
    """Describe `row_set`; lengths are in tokens when `count_tokens` is given, else in characters."""
    rows = row_set.rows
    count = count_tokens or (lambda texts: [len(text) for text in texts])
    first = {problem.reason: problem for problem in reversed(row_set.problems)}
    samples = sorted(rows, key=lambda row: draw(seed, "sample", row.prompt, row.output, row.concept_id))
    return Inspection(
        num_rows=len(rows),
        num_concepts=len({row.concept_id for row in rows}),
        num_wordings=len({wording for row in rows for wording in row.concepts}),
        num_prompts=len({row.prompt for row in rows}),
        rows_per_concept=describe_lengths(list(Counter(row.concept_id for row in rows).values())),
        groups=dict(Counter(row.group for row in rows).most_common()),
        splits=dict(Counter(row.split for row in rows).most_common()),
        prompt_lengths=describe_lengths(count([row.prompt for row in rows])),
        output_lengths=describe_lengths(count([row.output for row in rows])),
        unit="characters" if count_tokens is None else "tokens",
        reasons=count_reasons(row_set.problems),
        first_problems=tuple(first[reason] for reason in count_reasons(row_set.problems)),
        samples=tuple(samples[:num_samples]),
    )


def describe_lengths(lengths: Sequence[int]) -> Lengths:
    """Describe at least one length."""
    ordered = sorted(lengths)
    last = len(ordered) - 1
    return Lengths(
        least=ordered[0],
        median=ordered[last // 2],
        p95=ordered[round(0.95 * last)],
        most=ordered[-1],
        total=sum(ordered),
    )
