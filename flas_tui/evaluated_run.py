"""From a text of an evaluation to the comparison that writes it again: the same model, prompt, concept, T and noise."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.wanted import lane_of
from flas_engine.info import LoadSpec
from flas_tui.session import Setup

if TYPE_CHECKING:
    from flas_engine.evaluation.results import Generation, Plan
    from flas_engine.info import EngineInfo


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """A text of an evaluation, and how it came about."""

    plan: Plan
    setup: Setup
    text: str
    """What the steered lane wrote, and should write again."""


def to_run(plan: Plan, text: Generation) -> EvaluatedRun:
    """Return what is to be run; where the concept was asked for, the prompt is the one that asks for it.

    Raises `EvaluationError` for texts that were imported.
    """
    if plan.origin:
        raise EvaluationError(
            f"these texts came from {plan.origin}: what wrote them is not known, and cannot run again"
        )
    lane = lane_of(text)
    assert lane.seed is not None
    setup = Setup(
        prompt=lane.conversation[-1].content,
        concept=text.concept,
        flow_time=lane.flow_time,
        seed=lane.seed,
        sampling=plan.sampling,
        limits=plan.limits,
        solver=plan.solver,
        num_steps=plan.num_steps,
    )
    return EvaluatedRun(plan=plan, setup=setup, text=text.text)


def is_model_of(plan: Plan, info: EngineInfo) -> bool:
    """Whether `info` describes the model that wrote a plan's texts."""
    return (plan.base, plan.dtype) == (info.base_id, info.dtype) and plan.flow in {"", info.flow_id or ""}


def spec_of(plan: Plan) -> LoadSpec:
    """Return how to load a plan's model: by its name where the catalog means the same by it, else by its parts."""
    from flas_engine.hub.registry import look_up

    entry = look_up(plan.model)
    if entry is not None and entry.base == plan.base and plan.flow in {"", entry.flow or ""}:
        return LoadSpec(model=entry.name, dtype=plan.dtype)
    return LoadSpec(base=plan.base, flow=plan.flow or None, dtype=plan.dtype)


def describe_repetition(written: str, expected: str) -> str:
    """Say whether a text came out as it is in the evaluation, or how far."""
    if written == expected:
        return "the same text as in the evaluation; e goes back"
    num_same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(written, expected, strict=False)))
    return (
        f"the evaluation's text for {num_same:,} characters, then another: rounding depends on what is written beside "
        "a text, and on the machine; or the checkpoint has changed"
    )
