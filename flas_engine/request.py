"""What the engine is asked for: lanes, how to sample, a seed, and limits.

A request is a set of lanes. A lane is a conversation, a concept mix and a flow time; a baseline is a lane at T = 0.
Compare (two lanes), sweep (a lane per T), several concepts, evaluation and chat are all this one request, decoded in
one batch by one token loop. Everything here is frozen data, checked when it is made, and knows nothing of tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from flas_engine.errors import RequestError

FLOW_TIME_LIMIT = 8.0
"""|T| beyond this is refused: the field is trained on T in [0.5, 2] and means nothing so far outside."""

LEAST_TEMPERATURE = 1e-3
"""Below it sampling is greedy in all but name."""

MAX_SEED = 2**63 - 1

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True)
class WeightedConcept:
    """A concept in plain words and its weight in the mix v = sum_i w_i v(h, t, c_i); negative steers away."""

    text: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise RequestError("the concept is empty; describe it in plain words, for example 'talk like a pirate'")
        if not math.isfinite(self.weight):
            raise RequestError(f"concept weight {self.weight} is not a finite number; use for example 1 or -0.5")


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One answer to be written: a conversation that ends with a user turn, a concept mix and a flow time."""

    conversation: tuple[Message, ...]
    concepts: tuple[WeightedConcept, ...] = ()
    flow_time: float = 0.0
    seed: int | None = None
    """Of this lane's noise; None is the request's."""
    given: tuple[int, ...] = ()
    """Token ids that the answer begins with, whatever this lane would choose."""
    draft: tuple[int, ...] = ()
    """Token ids that may follow: read at once, and kept up to the first that this lane chooses otherwise, by more than
    rounding. What the answer says does not depend on them but for that, only how soon it is there."""

    def __post_init__(self) -> None:
        if self.seed is not None:
            _check_seed(self.seed)
        if not self.conversation or not self.conversation[-1].content.strip():
            raise RequestError("the prompt is empty; type what the model should answer")
        check_flow_time(self.flow_time)
        if self.flow_time != 0.0 and not self.concepts:
            raise RequestError(
                f"flow time {self.flow_time:g} has no concept to steer towards; "
                "give a concept, or set the flow time to 0"
            )

    @property
    def is_baseline(self) -> bool:
        """Whether the flow leaves the lane's activations as they are."""
        return self.flow_time == 0.0


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen from the logits. Filters apply in the order of the fields; temperature 0 is greedy."""

    repetition_penalty: float = 1.0
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0.0, 100.0, "0 is greedy, 0.7 to 1 is usual")
        if 0.0 < self.temperature < LEAST_TEMPERATURE:  # logits over it would overflow float32
            raise RequestError(f"temperature {self.temperature:g} is too small to sample with; use 0, which is greedy")
        _check("top-k", self.top_k, 0, math.inf, "0 turns it off")
        _check("top-p", self.top_p, 0.0, 1.0, "1 turns it off", exclude_low=True)
        _check("min-p", self.min_p, 0.0, 1.0, "0 turns it off")
        _check("repetition penalty", self.repetition_penalty, 0.0, 100.0, "1 turns it off", exclude_low=True)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a lane ends besides the model's own end of turn."""

    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    """Strings that end a lane; the text is cut before the first one that appears."""

    def __post_init__(self) -> None:
        _check("the number of new tokens", self.max_new_tokens, 1, math.inf, "256 is usual")
        if any(not text for text in self.stop):
            raise RequestError("a stop string is empty; leave it out or give at least one character")


@dataclass(frozen=True, kw_only=True)
class Request:
    """Lanes to be decoded together; equal requests give equal text on one machine."""

    lanes: tuple[Lane, ...]
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    solver: str = "euler"
    num_steps: int | None = None
    """Solver steps over [0, T]; None is the checkpoint's own number."""
    max_live: int | None = None
    """At most so many lanes are decoded at once; as lanes end, the next ones in order take their places. None: all."""

    def __post_init__(self) -> None:
        if not self.lanes:
            raise RequestError("the request has no lanes; give at least one flow time")
        _check_seed(self.seed)
        if self.max_live is not None:
            _check("the number of lanes at once", self.max_live, 1, math.inf, "16 is usual on a CPU")
        if self.num_steps is not None:
            _check("the number of solver steps", self.num_steps, 1, 1000, "the released checkpoints use 3")


def check_flow_time(value: float) -> float:
    """Return `value` if it is a usable flow time; raises `RequestError` otherwise."""
    return _check("flow time", value, -FLOW_TIME_LIMIT, FLOW_TIME_LIMIT, "0 is the baseline, 1 to 2.5 works best")


def parse_flow_time(text: str) -> float:
    """Read the flow time in `text`; raises `RequestError` when it is no number or out of range."""
    try:
        value = float(text)
    except ValueError:
        raise RequestError(f"flow time {text!r} is not a number; give one from -8 to 8, for example 1.5") from None
    return check_flow_time(value)


def _check_seed(seed: int) -> None:
    _check("the seed", seed, 0, MAX_SEED, "any whole number")


def _check(name: str, value: float, low: float, high: float, hint: str, *, exclude_low: bool = False) -> float:
    inside = low < value <= high if exclude_low else low <= value <= high
    if not inside:  # also catches NaN
        bound = f"above {low:g}" if exclude_low else f"at least {low:g}"
        upper = "" if math.isinf(high) else f" and at most {high:g}"
        raise RequestError(f"{name} is {value:g}; it must be {bound}{upper} ({hint})")
    return value


GREEDY = Sampling(temperature=0.0)  # down here, where the checks that it runs are defined
