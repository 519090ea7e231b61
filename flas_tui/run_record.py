"""What the history keeps of a run, as plain data, and its form as JSON. Knows nothing of databases or screens."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flas_engine.events import FinishReason
from flas_engine.info import LoadSpec
from flas_engine.request import Lane, Limits, Message, Request, Sampling, WeightedConcept

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class FlowTimeChange:
    """From character `offset` of a lane's text on, tokens were chosen under `flow_time`."""

    offset: int
    flow_time: float


@dataclass(frozen=True, kw_only=True)
class LaneRecord:
    """What one lane of the request wrote."""

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    flow_time_changes: tuple[FlowTimeChange, ...] = ()
    """Changes after the start; the lane of the request has the first flow time."""
    finish_reason: FinishReason | None = None
    """None when the run failed before the lane ended."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as it was asked for and as it came out: enough to restore it exactly and to run it again."""

    created_at: datetime
    """With its time zone."""
    model: str
    """What the model that wrote it is called."""
    request: Request
    lanes: tuple[LaneRecord, ...]
    """In the order of `request.lanes`."""
    difference: tuple[int, ...] | None = None
    """Where the lanes part: by lane, the character at which the first different token begins."""
    spec: LoadSpec | None = None
    """How that model was loaded, so that the run can be repeated; None in records that are older than the field."""
    id: int | None = None
    """Given by the history."""

    @property
    def prompt(self) -> str:
        """The user's last turn, the same in all lanes of a comparison."""
        return self.request.lanes[0].conversation[-1].content

    @property
    def concepts(self) -> tuple[WeightedConcept, ...]:
        """The concepts of the first lane that has any."""
        return next((lane.concepts for lane in self.request.lanes if lane.concepts), ())

    @property
    def flow_times(self) -> tuple[float, ...]:
        """Each lane's flow time at its end."""
        return tuple(
            written.flow_time_changes[-1].flow_time if written.flow_time_changes else asked.flow_time
            for asked, written in zip(self.request.lanes, self.lanes, strict=True)
        )


def request_to_json(request: Request) -> str:
    """Write `request` so that `request_from_json` gives an equal one."""
    return json.dumps(asdict(request))


def request_from_json(text: str) -> Request:
    """Read what `request_to_json` wrote."""
    data = json.loads(text)
    return Request(
        lanes=tuple(_lane(lane) for lane in data["lanes"]),
        sampling=Sampling(**data["sampling"]),
        seed=data["seed"],
        limits=Limits(**(data["limits"] | {"stop": tuple(data["limits"]["stop"])})),
        solver=data["solver"],
        num_steps=data["num_steps"],
        max_live=data.get("max_live"),  # a history may be older than some fields
    )


def _lane(data: dict[str, Any]) -> Lane:
    return Lane(
        conversation=tuple(Message(**message) for message in data["conversation"]),
        concepts=tuple(WeightedConcept(**concept) for concept in data["concepts"]),
        flow_time=data["flow_time"],
        seed=data.get("seed"),
        given=tuple(data.get("given", ())),
        draft=tuple(data.get("draft", ())),
    )


def spec_to_json(spec: LoadSpec) -> str:
    """Write `spec` so that `spec_from_json` gives an equal one."""
    return json.dumps(asdict(spec))


def spec_from_json(text: str) -> LoadSpec:
    """Read what `spec_to_json` wrote."""
    return LoadSpec(**json.loads(text))


def lanes_to_json(lanes: tuple[LaneRecord, ...]) -> str:
    """Write `lanes` so that `lanes_from_json` gives equal ones."""
    return json.dumps([asdict(lane) for lane in lanes])


def lanes_from_json(text: str) -> tuple[LaneRecord, ...]:
    """Read what `lanes_to_json` wrote."""
    return tuple(
        LaneRecord(
            text=lane["text"],
            token_ids=tuple(lane["token_ids"]),
            logprobs=tuple(lane["logprobs"]),
            flow_time_changes=tuple(FlowTimeChange(**change) for change in lane["flow_time_changes"]),
            finish_reason=FinishReason(lane["finish_reason"]) if lane["finish_reason"] else None,
        )
        for lane in json.loads(text)
    )
