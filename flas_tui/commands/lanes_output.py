"""Lanes as data on stdout: JSON lines, or plain blocks of text. Folds over the engine's events, nothing more.

Text goes out as the model wrote it when nobody's terminal is at the other end; `show` is what makes it safe for one.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from flas_engine.events import Finished, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from flas_engine.request import Lane


@dataclass(frozen=True, kw_only=True)
class NumberedLane:
    """A lane of the whole command, which may take several requests to run."""

    number: int
    prompt: str
    lane: Lane


class LaneWriter(Protocol):
    """Takes the events of batches of lanes and writes them."""

    def begin(self, lanes: Sequence[NumberedLane]) -> None:
        """Take note of the lanes of the batch that starts."""

    def write(self, lane: NumberedLane, event: Token | Finished) -> None:
        """Take what happened in one of its lanes."""

    def end(self) -> None:
        """Write what is left of the batch, whether or not all of its lanes finished."""


def concept_label(lane: Lane) -> str | None:
    """Return the concept mix in a line: the one concept as it stands, or each with its weight."""
    if len(lane.concepts) == 1 and lane.concepts[0].weight == 1:
        return lane.concepts[0].text
    return ", ".join(f"{concept.text} ({concept.weight:g})" for concept in lane.concepts) or None


def lane_label(lane: Lane) -> str:
    """Return the heading of a lane: 'baseline', or 'talk like a pirate · T 1.5'."""
    return "baseline" if lane.is_baseline else f"{concept_label(lane)} · T {lane.flow_time:g}"


@dataclass(kw_only=True)
class JsonLinesWriter:
    """One strict JSON object a line: a lane when it ends and, `with_events`, every token as it comes."""

    out: TextIO
    seed: int
    with_events: bool = False

    def begin(self, lanes: Sequence[NumberedLane]) -> None:
        """Write nothing: every object stands for itself."""

    def write(self, lane: NumberedLane, event: Token | Finished) -> None:
        """Write the event's object, at once."""
        if isinstance(event, Finished):
            self._emit(self._finished(lane, event))
        elif self.with_events:
            self._emit(_token(lane, event))

    def end(self) -> None:
        """Write nothing: every object is out."""

    def _finished(self, lane: NumberedLane, event: Finished) -> dict[str, Any]:
        kind = {"event": "finished", "tail": event.tail} if self.with_events else {}
        return kind | {
            "lane": lane.number,
            "flow_time": event.flow_time,
            "concept": concept_label(lane.lane),
            "concepts": [{"text": concept.text, "weight": concept.weight} for concept in lane.lane.concepts],
            "seed": self.seed,
            "prompt": lane.prompt,
            "text": event.text,
            "token_ids": list(event.token_ids),
            "logprobs": [_finite(logprob) for logprob in event.logprobs],
            "finish_reason": str(event.reason),
            "tokens_per_second": round(event.tokens_per_second, 3),
        }

    def _emit(self, value: dict[str, Any]) -> None:
        self.out.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
        self.out.flush()


def _token(lane: NumberedLane, event: Token) -> dict[str, Any]:
    return {
        "event": "token",
        "lane": lane.number,
        "index": event.index,
        "token_id": event.token_id,
        "text": event.text,
        "logprob": _finite(event.logprob),
        "flow_time": event.flow_time,
    }


def _finite(value: float) -> float | None:
    """Strict JSON has no infinities: an impossible token's log-probability is null."""
    return value if math.isfinite(value) else None


@dataclass(kw_only=True)
class TextBlocksWriter:
    """Labelled blocks in lane order; the first unfinished lane streams, later ones wait until it is their turn."""

    out: TextIO
    is_bare: bool = False
    """One lane in all: its text alone, without a label."""
    names_prompts: bool = False
    """Put each prompt above its lanes."""
    show: Callable[[str], str] = str
    _lanes: list[NumberedLane] = field(default_factory=list)
    _waiting: dict[int, list[str]] = field(default_factory=dict)
    _ended: set[int] = field(default_factory=set)
    _has_begun: bool = False
    _num_blocks: int = 0
    _prompt: str | None = None

    def begin(self, lanes: Sequence[NumberedLane]) -> None:
        """Take note of the lanes; nothing is written before there is text, for the request may yet be refused."""
        self._lanes = list(lanes)
        self._waiting = {lane.number: [] for lane in lanes}
        self._ended = set()
        self._has_begun = False

    def write(self, lane: NumberedLane, event: Token | Finished) -> None:
        """Write the event's text now, or when its lane's turn comes."""
        if not self._has_begun:
            self._has_begun = True
            self._open(self._lanes[0])
        self._waiting[lane.number].append(event.tail if isinstance(event, Finished) else event.text)
        if isinstance(event, Finished):
            self._ended.add(lane.number)
        while self._lanes and self._lanes[0].number == lane.number:
            self._pour(lane)
            if lane.number not in self._ended:
                return
            self._close()
            if self._lanes:
                lane = self._lanes[0]
                self._open(lane)

    def end(self) -> None:
        """Write what waits of lanes that never finished."""
        while self._lanes and self._has_begun:
            self._pour(self._lanes[0])
            self._close()
            if self._lanes:
                self._open(self._lanes[0])

    def _open(self, lane: NumberedLane) -> None:
        if self.is_bare:
            return
        if self._num_blocks:
            self.out.write("\n")
        self._num_blocks += 1
        if self.names_prompts and lane.prompt != self._prompt:
            self.out.write(f"# {self.show(lane.prompt)}\n\n")
        self._prompt = lane.prompt
        self.out.write(f"[{self.show(lane_label(lane.lane))}]\n")
        self.out.flush()

    def _pour(self, lane: NumberedLane) -> None:
        text = "".join(self._waiting[lane.number])
        self._waiting[lane.number].clear()
        if text:
            self.out.write(self.show(text))
            self.out.flush()

    def _close(self) -> None:
        del self._lanes[0]
        self.out.write("\n")
        self.out.flush()
