"""Runs every row once a round, and works out medians of the rounds and of their ratios."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from flas_engine.benchmark.contestants import (
    BASELINE,
    EIGHT,
    INT8_BASELINE,
    INT8_PAIR,
    LINEAR_BASELINE,
    LINEAR_PAIR,
    LLAMA_CPP,
    OWN_BASELINE,
    OWN_PAIR,
    PAIR,
    PLAIN,
    SEQUENTIAL,
    SIXTEEN,
    STEERED,
    TWO,
)
from flas_engine.benchmark.machine import read_bandwidth
from flas_engine.benchmark.report import Part, Ratio, Row
from flas_engine.progress import Progress

if TYPE_CHECKING:
    import torch

    from flas_engine.benchmark.contestants import Contestant
    from flas_engine.benchmark.decoding import Timing
    from flas_engine.progress import ReportProgress

RATE_RATIOS = (
    ("steered + baseline over plain transformers, pairs/s over tokens/s", PAIR, PLAIN, False),
    ("steered + baseline over the sequential design, pairs/s", PAIR, SEQUENTIAL, False),
    ("one steered lane over one baseline lane", STEERED, BASELINE, False),
    ("one baseline lane over F.linear alone", BASELINE, LINEAR_BASELINE, False),
    ("one baseline lane over the engine's products alone", BASELINE, OWN_BASELINE, False),
    ("steered + baseline over F.linear alone", PAIR, LINEAR_PAIR, False),
    ("steered + baseline over the engine's products alone", PAIR, OWN_PAIR, False),
    ("16 flow times over one baseline lane, tokens/s", SIXTEEN, BASELINE, True),
    ("int8 over the usual dtype, one baseline lane", INT8_BASELINE, BASELINE, False),
    ("int8 over the usual dtype, steered + baseline", INT8_PAIR, PAIR, False),
    ("int8 steered + baseline over llama.cpp, tokens/s", INT8_PAIR, LLAMA_CPP, True),
)
"""What is compared: its name, a row, the row it is divided by, and whether tokens of all lanes count, not passes."""
FIRST_TOKEN_RATIO = "first token, 8 flow times over one steered lane"
ALL_LANES_RATIO = "first tokens of all lanes, 8 flow times over one steered lane"
REMAINDER = "Python, launching, detokenising"
FLOW = "flow"


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """What the rounds measured, entry by entry a round."""

    entries: list[Contestant]
    timings: dict[str, list[Timing]]
    bandwidths: list[float]
    """Bytes a second."""

    def rate(self, name: str) -> float:
        """Return the median of a row's passes a second."""
        return median(timing.passes_per_second for timing in self.timings[name])

    def ratio(self, name: str, other: str) -> float:
        """Return the median of the rounds' ratios of passes a second."""
        pairs = zip(self.timings[name], self.timings[other], strict=True)
        return median(ours.passes_per_second / theirs.passes_per_second for ours, theirs in pairs)


def run_rounds(entries: list[Contestant], device: torch.device, num_rounds: int, progress: ReportProgress) -> Rounds:
    """Run every entry and measure the bandwidth of `device` once a round; a first round warms up and is dropped."""
    timings: dict[str, list[Timing]] = {entry.name: [] for entry in entries}
    bandwidths = []
    for number in range(num_rounds + 1):
        for entry in entries:
            name = f"round {number} of {num_rounds}: {entry.name}" if number else f"warming up: {entry.name}"
            progress(Progress(activity=name, done=number, total=num_rounds + 1))
            timings[entry.name].append(entry.run())
        bandwidths.append(read_bandwidth(device))
    return Rounds(
        entries=entries,
        timings={name: of_row[1:] for name, of_row in timings.items()},
        bandwidths=bandwidths[1:],
    )


def make_rows(rounds: Rounds) -> tuple[Row, ...]:
    """Return the rows of the report; the best bandwidth of the rounds is the machine's."""
    bandwidth = max(rounds.bandwidths)
    return tuple(_make_row(rounds, entry, entry.read_bytes / bandwidth) for entry in rounds.entries)


def _make_row(rounds: Rounds, entry: Contestant, seconds_at_limit: float) -> Row:
    timings = rounds.timings[entry.name]
    return Row(
        name=entry.name,
        lanes=entry.lanes,
        passes_per_second=rounds.rate(entry.name),
        rounds=tuple(timing.passes_per_second for timing in timings),
        against_plain=rounds.ratio(entry.name, PLAIN),
        bandwidth_share=seconds_at_limit * rounds.rate(entry.name),
        first_token_seconds=_median([timing.first_token_seconds for timing in timings]),
        all_lanes_seconds=_median([timing.all_lanes_seconds for timing in timings]),
    )


def make_ratios(rounds: Rounds) -> tuple[Ratio, ...]:
    """Return what the rows say about each other; a comparison with a row that was not run is left out."""
    lanes = {entry.name: entry.lanes for entry in rounds.entries}
    ratios = [
        Ratio(name=name, value=rounds.ratio(row, other) * (lanes[row] / lanes[other] if counts_tokens else 1.0))
        for name, row, other, counts_tokens in RATE_RATIOS
        if other in lanes
    ]
    eight, one = rounds.timings[EIGHT], rounds.timings[STEERED]
    firsts = [_over(a.first_token_seconds, b.first_token_seconds) for a, b in zip(eight, one, strict=True)]
    alls = [_over(a.all_lanes_seconds, b.all_lanes_seconds) for a, b in zip(eight, one, strict=True)]
    return (
        *ratios,
        Ratio(name=FIRST_TOKEN_RATIO, value=median(firsts)),
        Ratio(name=ALL_LANES_RATIO, value=median(alls)),
    )


def make_parts(rounds: Rounds, operations: dict[str, float]) -> tuple[Part, ...]:
    """Return what a pass of the pair costs by part; the parts add up to it.

    `operations` are the profiler's, of a pass of two baseline lanes; the flow is what a pass of the pair takes longer
    than those, by the clock; the remainder is what is left of their time.
    """
    two, pair = 1.0 / rounds.rate(TWO), 1.0 / rounds.rate(PAIR)
    seconds = operations | {FLOW: pair - two, REMAINDER: two - sum(operations.values())}
    return tuple(Part(name=name, seconds=value) for name, value in seconds.items())


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _over(a: float | None, b: float | None) -> float:
    assert a is not None
    assert b is not None
    return a / b
