"""From an evaluation's folder to its report: reads the plan, the texts and one judge, and says what they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flas_engine.errors import EvaluationError
from flas_engine.evaluation.results import judgements_path, read_plan
from flas_engine.evaluation.scores import load_evaluation
from flas_engine.evaluation.summarise import summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from flas_engine.evaluation.report import Report
    from flas_engine.evaluation.results import JudgeInfo, Plan

Facts = list[tuple[str, str]]


def report_on(folder: Path, judge: str | None = None) -> Report:
    """Report on the evaluation in `folder` as `judge` (a slug) sees it, or as the only judge does.

    Raises `EvaluationError` when there is no evaluation, nothing is judged, or the judge is unknown or unclear.
    """
    if not folder.is_dir():
        raise EvaluationError(f"there is no folder {folder}; give the one that flas-tui eval wrote into (its --out)")
    plan = read_plan(folder)
    evaluated = load_evaluation(folder, judge)
    facts = plan_facts(plan)
    facts += [("texts written until", _last_change(folder.glob("generations*.jsonl")))]
    if evaluated.judge is not None:
        facts += judge_facts(evaluated.judge)
        facts += [("judged until", _last_change([judgements_path(folder, evaluated.judge.slug)]))]
    return summarise(evaluated, name=folder.resolve().name, plan=plan, facts=facts)


def plan_facts(plan: Plan) -> Facts:
    """Say by what protocol the texts were written."""
    facts = [("model", plan.model), ("base", plan.base)]
    if plan.flow:
        facts += [("flow", f"{plan.flow} (sha256 {plan.checkpoint}...)")]
        facts += [("solver", f"{plan.solver}, {plan.num_steps} steps")]
    facts += [
        ("numbers", plan.dtype),
        ("concepts", f"{len(plan.concepts):,}"),
        ("prompts", f"{plan.prompts_per_concept:,} a concept, drawn by its id from {plan.prompts}"),
        ("prompt format", plan.prompt_format),
        ("seeds", ", ".join(map(str, plan.seeds))),
        ("sampling", ", ".join(_sampling(plan))),
    ]
    if plan.prompting:
        facts += [("prompting template", plan.prompting)]
    if plan.origin:
        facts += [("imported from", plan.origin)]
    return [*facts, ("versions", ", ".join(f"{name} {version}" for name, version in plan.versions.items()))]


def judge_facts(judge: JudgeInfo) -> Facts:
    """Say who judged, and by what."""
    facts = [("judge", judge.name), ("judge's model", judge.model)]
    if judge.rubric:
        facts += [("rubric", f"{judge.rubric} ({judge.rubric_hash})")]
    if judge.calibration:
        facts += [("calibration", judge.calibration)]
    return facts


def _sampling(plan: Plan) -> Iterator[str]:
    sampling = plan.sampling
    yield f"temperature {sampling.temperature:g}" if sampling.temperature else "greedy"
    if sampling.top_k:
        yield f"top-k {sampling.top_k}"
    if sampling.top_p < 1.0:
        yield f"top-p {sampling.top_p:g}"
    if sampling.min_p:
        yield f"min-p {sampling.min_p:g}"
    if sampling.repetition_penalty != 1.0:
        yield f"repetition penalty {sampling.repetition_penalty:g}"
    yield f"up to {plan.limits.max_new_tokens:,} tokens"


def _last_change(paths: Iterable[Path]) -> str:
    """Return when the last of the files was written to."""
    seconds = [path.stat().st_mtime for path in paths if path.exists()]
    return datetime.fromtimestamp(max(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else ""
