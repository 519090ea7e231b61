"""What a run of the benchmark found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from flas_engine.errors import FlasError


class BenchmarkError(FlasError):
    """Something could not be measured here."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to decode; a pass makes one token in every lane."""

    name: str
    lanes: int
    passes_per_second: float
    rounds: tuple[float, ...]
    """Passes a second of each round."""
    against_plain: float
    """Passes a second over plain transformers' tokens a second; above 1 is faster."""
    bandwidth_share: float
    """Weights that a pass must read, times passes a second, over the measured read bandwidth."""
    first_token_seconds: float | None
    """From the request to the first token; None where nothing is decoded but weights multiplied."""
    all_lanes_seconds: float | None
    """From the request until every lane has its first token."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all lanes."""
        return self.lanes * self.passes_per_second


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How two rows compare."""

    name: str
    value: float
    """Median of the rounds' own ratios."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What the weights in 8 bits cost."""

    mean_kl: float
    """KL(engine's dtype || 8 bits) of the next token's distribution, in nats, mean over positions."""
    num_prompts: int
    num_positions: int
    """Positions of the greedy answers that were compared."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a process held at most that loaded the engine and decoded a pair."""

    peak_bytes: int
    interpreter_bytes: int
    """Of a process that imports torch and transformers and does nothing."""
    weight_bytes: int
    cache_bytes: int

    @property
    def ratio(self) -> float:
        """Peak above the interpreter's own, over weights and caches."""
        return (self.peak_bytes - self.interpreter_bytes) / (self.weight_bytes + self.cache_bytes)


@dataclass(frozen=True, kw_only=True)
class Allocations:
    """What a decoding pass of a pair takes from the system and gives back, in the steady state."""

    num_allocations: float
    """Blocks asked of torch's allocator in a pass, by the profiler."""
    net_bytes: float
    """What is not given back by the end of the pass."""
    page_faults: float
    """Minor page faults of the process in a pass, without the profiler."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSpeed:
    """How fast a list of lanes is written as evaluation asks for it, their prompts included."""

    num_lanes: int
    max_live: int
    tokens_per_second: float
    alone_tokens_per_second: float
    """Some of these lanes as requests of their own, one after the other."""
    shortest: int
    median_length: float
    longest: int
    lane_bytes: int
    """Memory of a lane as long as they may get."""

    ratio: float
    """How many times faster the full batch is, tokens/s."""


@dataclass(frozen=True, kw_only=True)
class Resteering:
    """How soon a pair is there again, whole, when T has moved."""

    num_tokens: int
    """Of each lane."""
    move: float
    """How far T has moved."""
    kept_share: float
    """Of the steered lane's tokens, those that the lane chooses under the new T too; the baseline keeps all."""
    seconds: float
    """With the texts before as drafts."""
    anew_seconds: float
    ratio: float
    """How many times as soon, median of the rounds."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of what a token of the pair costs."""

    name: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured, where, and with what."""

    model: str
    device: str
    dtype: str
    has_trained_flow: bool
    is_compiled: bool
    """Whether decoding passes were compiled."""
    num_threads: int
    machine: str
    versions: dict[str, str]
    new_tokens: int
    num_rounds: int
    weight_bytes: int
    int8_weight_bytes: int
    read_bytes_per_second: float
    load_seconds: float
    prompt_tokens_per_second: float
    """Reading a prompt of 512 tokens, one lane."""
    rows: tuple[Row, ...]
    ratios: tuple[Ratio, ...]
    quality: Quality
    memory: Memory
    memory_ratio: float
    allocations: Allocations
    evaluation: EvaluationSpeed
    resteering: Resteering
    parts: tuple[Part, ...]
    """Of a pass of the pair; they add up to it."""
