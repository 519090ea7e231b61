"""What the engine answers: a stream of events, in the order in which they happened.

`Prefilled` once, then for every token pass one `Token` a live lane, and one `Finished` a lane. Pane, stdout, JSONL
and metrics are all folds over this stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FinishReason(StrEnum):
    """Why a lane ended."""

    END_OF_TURN = "end_of_turn"
    STOP_STRING = "stop_string"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefilled:
    """The first lanes' prompts are read, and their first tokens follow; those of later lanes come as they are read."""

    prompt_token_ids: tuple[tuple[int, ...], ...]
    """[lane][position], of all lanes."""
    seconds: float
    """Since the run began."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """One token of one lane.

    `text` is what became readable with it: often a word, sometimes empty (half a character, or what may yet be the
    beginning of a stop string), sometimes more than the token's own characters. The texts of a lane's tokens, and the
    `tail` of its `Finished`, join to the lane's whole text.
    """

    lane: int
    index: int
    """0 for the lane's first new token."""
    token_id: int
    text: str
    logprob: float
    """Natural log of the model's own probability of the token, at temperature 1, before any filter."""
    flow_time: float
    """The flow time that this token was chosen under."""
    is_kept: bool = False
    """Whether it came with the request, given or as a draft, and so cost no pass of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A lane has ended; nothing more comes from it."""

    lane: int
    reason: FinishReason
    text: str
    """The lane's whole answer, without the end-of-turn token and cut before a stop string."""
    tail: str
    """The last piece of `text`, that no token carried."""
    token_ids: tuple[int, ...]
    """Every chosen id, an end-of-turn id included."""
    logprobs: tuple[float, ...]
    flow_time: float
    """The flow time at the end."""
    seconds: float
    """From the first token pass after the prompt to this lane's end."""
    num_kept: int = 0
    """How many of the tokens came with the request, and cost no pass of their own."""

    @property
    def tokens_per_second(self) -> float:
        """Decoding rate of this lane; 0 when it took no time."""
        return (len(self.token_ids) - self.num_kept) / self.seconds if self.seconds > 0 else 0.0


Event = Prefilled | Token | Finished
