"""From a comparison on the screen to a run in the history, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.info import LoadSpec
from flas_tui.run_record import FlowTimeChange, LaneRecord, RunRecord
from flas_tui.session import STEERED, Comparison, FlowTimeMoved, LaneText, Parted, Setup, Writer, to_request

if TYPE_CHECKING:
    from datetime import datetime

    from flas_engine.request import Request

RESTORED = 0
"""The run id of a comparison from the history: the worker counts its own from 1."""


def to_record(run: Comparison, *, created_at: datetime) -> RunRecord:
    """Write down `run` as it stands; it has written something, so that its writer is known."""
    assert run.writer is not None
    return RunRecord(
        created_at=created_at,
        model=run.writer.name,
        spec=run.writer.spec,
        request=to_request(run.setup),
        lanes=tuple(_to_lane_record(lane) for lane in run.lanes),
        difference=run.parted.offsets if run.parted else None,
    )


def from_record(record: RunRecord) -> Comparison:
    """Bring back a run of two lanes, complete with where T moved and where the lanes part."""
    writer = Writer(name=record.model, spec=record.spec or LoadSpec(model=record.model))
    run = Comparison(run_id=RESTORED, setup=to_setup(record.request), writer=writer, state="over", is_kept=True)
    for number, (lane, written, flow_time) in enumerate(zip(run.lanes, record.lanes, record.flow_times, strict=True)):
        _fill(lane, number, written, flow_time)
    if record.difference is not None:
        baseline, steered = record.difference
        run.parted = Parted(offsets=(baseline, steered))
    return run


def to_setup(request: Request) -> Setup:
    """Read back the setup that `to_request` made `request` from."""
    steered = request.lanes[STEERED]
    return Setup(
        prompt=steered.conversation[-1].content,
        concept=steered.concepts[0].text if steered.concepts else "",
        flow_time=steered.flow_time,
        seed=request.seed,
        sampling=request.sampling,
        limits=request.limits,
        solver=request.solver,
        num_steps=request.num_steps,
    )


def _to_lane_record(lane: LaneText) -> LaneRecord:
    return LaneRecord(
        text=lane.text,
        token_ids=tuple(lane.token_ids),
        logprobs=tuple(lane.logprobs),
        flow_time_changes=tuple(FlowTimeChange(offset=move.offset, flow_time=move.flow_time) for move in lane.moves),
        finish_reason=lane.finish_reason,
    )


def _fill(lane: LaneText, number: int, written: LaneRecord, flow_time: float) -> None:
    lane.text, lane.finish_reason, lane.flow_time = written.text, written.finish_reason, flow_time
    lane.token_ids += written.token_ids
    lane.logprobs += written.logprobs
    lane.moves += (
        FlowTimeMoved(lane=number, offset=change.offset, flow_time=change.flow_time)
        for change in written.flow_time_changes
    )
