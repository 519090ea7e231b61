"""From what a user asks for to the plan of an evaluation, and a folder to the plan that it was begun with.

Everything that can be wrong without a model is refused before one is loaded. Knows nothing of how texts are written.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from filelock import FileLock

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.prompting import PROMPTING_TEMPLATE
from flas_engine.evaluation.prompts import hash_prompts
from flas_engine.evaluation.results import (
    BASELINE,
    METHODS,
    PROMPTING,
    STEERING,
    Plan,
    PlannedConcept,
    plan_path,
    read_plan,
    write_plan,
)
from flas_engine.request import MAX_SEED, Limits, Sampling, check_flow_time
from flas_engine.solvers import find_solver
from flas_engine.versions import package_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flas_engine.evaluation.results import Method
    from flas_engine.info import EngineInfo

PROTOCOL_TIMES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
"""The published curve's."""
PROTOCOL_PROMPTS = 10
PROTOCOL_SAMPLING = Sampling(temperature=1.0)
PROTOCOL_LIMITS = Limits(max_new_tokens=256)
_NAMES_ALONE = ("model", "flow", "origin")
"""Fields that say how something is called; what it is, `base` and `checkpoint` tell."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a user asks for; the rest of a plan is the model's. Checked when it is made."""

    concepts: tuple[PlannedConcept, ...]
    prompt_source: str
    prompts: tuple[str, ...]
    """All to draw from."""
    prompts_per_concept: int = PROTOCOL_PROMPTS
    methods: tuple[str, ...] = METHODS
    flow_times: tuple[float, ...] = PROTOCOL_TIMES
    """Of steering; 0 asks for the baseline."""
    seeds: tuple[int, ...] = (0,)
    sampling: Sampling = PROTOCOL_SAMPLING
    limits: Limits = PROTOCOL_LIMITS
    solver: str = "euler"
    num_steps: int | None = None

    def __post_init__(self) -> None:
        if unknown := [method for method in self.methods if method not in METHODS]:
            raise EvaluationError(f"there is no method {unknown[0]!r}; there are {', '.join(METHODS)}")
        for flow_time in self.flow_times:
            check_flow_time(flow_time)
        if STEERING in self.methods and not any(self.flow_times):
            raise EvaluationError("steering needs a flow time other than 0; give for example --flow-times 0,1,2")
        if not self.planned_methods:
            raise EvaluationError(f"no method is asked for; give --methods {','.join(METHODS)}, or some of them")
        if not self.seeds or not all(0 <= seed <= MAX_SEED for seed in self.seeds):
            raise EvaluationError(f"the seeds are {list(self.seeds)}; give one or more whole numbers from 0")
        if not 1 <= self.prompts_per_concept <= len(self.prompts):
            raise EvaluationError(
                f"{self.prompts_per_concept:,} prompts a concept are asked for; {self.prompt_source} has "
                f"{len(self.prompts):,}, so give 1 to {len(self.prompts):,}"
            )
        find_solver(self.solver)

    @property
    def planned_methods(self) -> tuple[Method, ...]:
        """The methods in their usual order; a flow time of 0 is the baseline."""
        asked = {*self.methods, *([BASELINE] if 0.0 in self.flow_times else [])}
        return tuple(method for method in METHODS if method in asked)


def make_plan(wishes: Wishes, info: EngineInfo, checkpoint: str) -> Plan:
    """Complete a user's wishes by the engine's facts; raises `EvaluationError` when it cannot do what is asked."""
    methods = wishes.planned_methods
    has_steering = STEERING in methods
    require_flow(methods, info.name, has_flow=info.flow_id is not None)
    return Plan(
        model=info.name,
        base=info.base_id,
        flow=(info.flow_id or "") if has_steering else "",
        checkpoint=checkpoint if has_steering else "",
        dtype=info.dtype,
        prompt_format=info.prompt_format,
        concepts=wishes.concepts,
        prompts=wishes.prompt_source,
        prompts_hash=hash_prompts(wishes.prompts),
        prompts_per_concept=wishes.prompts_per_concept,
        methods=methods,
        flow_times=tuple(sorted({time for time in wishes.flow_times if time})) if has_steering else (),
        seeds=tuple(dict.fromkeys(wishes.seeds)),
        sampling=wishes.sampling,
        limits=wishes.limits,
        solver=wishes.solver,
        num_steps=(wishes.num_steps or info.num_steps) if has_steering else None,
        prompting=PROMPTING_TEMPLATE if PROMPTING in methods else "",
        versions=package_versions(),
    )


def require_flow(methods: Sequence[str], model: str, *, has_flow: bool) -> None:
    """Raise `EvaluationError` when steering is asked of a model without a flow."""
    if STEERING in methods and not has_flow:
        raise EvaluationError(
            f"{model} has no flow, so there is no steering to evaluate; give one with --flow, or leave steering out: "
            "--methods prompting,baseline"
        )


def require_plan(folder: Path, plan: Plan) -> None:
    """Begin an evaluation in `folder`, or go on with it; raises `EvaluationError` naming how another one differs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".plan.json.lock"):  # processes of one evaluation begin together
            if not plan_path(folder).exists():
                write_plan(folder, plan)
                return
    except OSError as error:
        raise EvaluationError(f"{folder} cannot be written: {error.strerror}; give another --out") from None
    check_plan(folder, plan)


def check_plan(folder: Path, plan: Plan) -> None:
    """Raise `EvaluationError` when `folder` holds another plan than this one, naming the difference."""
    if plan_path(folder).exists() and (difference := find_difference(read_plan(folder), plan)):
        raise EvaluationError(
            f"{folder} was begun with another plan: {difference}\nGive the same options as before, or another --out"
        )


def find_difference(begun: Plan, asked: Plan) -> str:
    """Name the first thing in which `asked` is another evaluation than `begun`; empty when it is the same."""
    if begun.concepts != asked.concepts:
        return _difference_of_concepts(begun.concepts, asked.concepts)
    before, now = _facts(begun), _facts(asked)
    for name in before | now:
        if before.get(name) != now.get(name):
            return f"its {name} {_verb(name)} {_show(before.get(name))}, and now {_show(now.get(name))}"
    return ""


def _facts(plan: Plan) -> dict[str, object]:
    """Return what a plan says, by the words for it."""
    facts: dict[str, object] = {}
    for name, value in asdict(plan).items():
        words = name.replace("_", " ")
        if isinstance(value, dict):
            facts |= {f"{words} {inner.replace('_', ' ')}": each for inner, each in value.items()}
        elif name not in _NAMES_ALONE:
            facts[words] = value
    return facts


def _difference_of_concepts(before: Sequence[PlannedConcept], now: Sequence[PlannedConcept]) -> str:
    if len(before) != len(now):
        return f"it has {len(before):,} concepts, and now {len(now):,}"
    number, (old, new) = next(
        (number, pair) for number, pair in enumerate(zip(before, now, strict=True), 1) if pair[0] != pair[1]
    )
    return f"its concept {number} is {old.concept[:60]!r} ({old.concept_id[:40]}), and now {new.concept[:60]!r}"


def _verb(name: str) -> str:
    return "were" if name.endswith("s") else "was"


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value) or "none"
    return str(value) if value not in ("", None) else "none"
