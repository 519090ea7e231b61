"""What `flas-tui eval` does: from options to wishes, the run itself with Ctrl+C, and what a dry run prints."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flas_engine.control import RunControl
from flas_engine.errors import EvaluationError
from flas_engine.evaluation.concepts import LIBRARY, choose_concepts, concept_of, read_concepts
from flas_engine.evaluation.plan import Wishes, make_plan, require_flow
from flas_engine.evaluation.prompts import read_prompts
from flas_engine.evaluation.shards import Shard, join_processes, leave_processes, parse_shard
from flas_engine.hub.capacity import gigabytes
from flas_engine.hub.resolve import default_model
from flas_engine.progress import ignore_progress
from flas_engine.request import parse_flow_time
from flas_tui.commands.engine_loading import LoadNarrator, open_engine
from flas_tui.commands.interrupts import stopped_by_interrupt
from flas_tui.commands.prompts import check_text
from flas_tui.commands.work_narrator import WorkNarrator
from flas_tui.console import EXIT_INTERRUPTED, data_stream, say

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.engine import Engine
    from flas_engine.evaluation.capacity import Room
    from flas_engine.evaluation.run import Work
    from flas_engine.info import LoadSpec
    from flas_engine.request import Limits, Sampling


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """The options of one run, as given."""

    out: Path
    concepts: str | None
    concept: tuple[str, ...]
    num_concepts: int | None
    concept_seed: int | None
    prompts: str
    prompts_per_concept: int
    methods: str
    flow_times: str
    seeds: str
    sampling: Sampling
    limits: Limits
    solver: str
    num_steps: int | None
    lanes: int | None
    memory_gigabytes: float | None
    shard: str | None
    spec: LoadSpec
    is_dry: bool
    as_json: bool
    quiet: bool


def make_wishes(options: EvalOptions) -> Wishes:
    """Return what the options ask for; raises `FlasError` naming what is wrong with it."""
    methods = tuple(_split(options.methods))
    flow_times = tuple(parse_flow_time(text) for text in _split(options.flow_times))
    for text in options.concept:
        check_text(text, "the concept")
    concepts = [concept_of(text) for text in options.concept]
    if options.concepts is not None:
        concepts += read_concepts(options.concepts, _named_model(options))
    return Wishes(
        concepts=choose_concepts(concepts, options.num_concepts, options.concept_seed),
        prompt_source=options.prompts,
        prompts=tuple(read_prompts(options.prompts)),
        prompts_per_concept=options.prompts_per_concept,
        methods=methods,
        flow_times=flow_times,
        seeds=tuple(_seed(text) for text in _split(options.seeds)),
        sampling=options.sampling,
        limits=options.limits,
        solver=options.solver,
        num_steps=options.num_steps,
    )


def _named_model(options: EvalOptions) -> str:
    """Return whose library is meant by `library`."""
    named = options.spec.flow or options.spec.model
    return named or (default_model().name if options.concepts == LIBRARY else "")


def evaluate_model(options: EvalOptions, wishes: Wishes) -> None:
    """Write what is missing, with progress on stderr; raises `FlasError`, and `SystemExit` after Ctrl+C."""
    shard = parse_shard(options.shard) if options.shard else Shard()
    own, device = join_processes(options.spec.device)
    spec = replace(options.spec, device=device)
    options = replace(options, spec=spec, quiet=options.quiet or own.index > 0)
    try:
        _evaluate(options, wishes, shard.split(own.index, own.count), is_first=own.index == 0)
    finally:
        leave_processes()


def _evaluate(options: EvalOptions, wishes: Wishes, shard: Shard, *, is_first: bool) -> None:
    from flas_engine.evaluation.capacity import choose_lanes
    from flas_engine.evaluation.run import survey

    checkpoint = _find_checkpoint(options, wishes)
    engine = _open(options)
    plan = make_plan(wishes, engine.info, checkpoint)
    work = survey(engine, plan, wishes.prompts, options.out, shard)
    room = choose_lanes(engine, work, num_lanes=options.lanes, memory_gigabytes=options.memory_gigabytes)
    if options.is_dry:
        if is_first:
            _write(_facts(work, room), options)
        return
    if work.num_done and not options.quiet:
        say(f"going on: {work.num_done:,} of {work.num_texts:,} texts are there")
    _run(engine, work, room, options)
    if is_first:
        if not options.quiet:
            say(f"{_part(work)} is done; go on with: flas-tui judge {shlex.quote(str(options.out))}")
        done = {"folder": str(work.folder), "texts": work.num_texts, "written": len(work.missing)}
        _write(done if options.as_json else {"folder": str(options.out)}, options)


def _run(engine: Engine, work: Work, room: Room, options: EvalOptions) -> None:
    from flas_engine.evaluation.run import run

    control = RunControl()
    with WorkNarrator() as narrator, stopped_by_interrupt(control):
        is_complete = run(engine, work, room.num_lanes, control, ignore_progress if options.quiet else narrator)
    if not is_complete:
        if not options.quiet:
            say(f"stopped; what is written is in {options.out}, and the same command goes on")
        raise SystemExit(EXIT_INTERRUPTED)


def _find_checkpoint(options: EvalOptions, wishes: Wishes) -> str:
    """Return the hash of the flow's file, before anything large is loaded; empty without a flow."""
    from flas_engine.data.tables import hash_file
    from flas_engine.hub.resolve import resolve

    narrator = LoadNarrator()
    try:
        found = resolve(options.spec, progress=ignore_progress if options.quiet else narrator)
    finally:
        narrator.end()
    require_flow(wishes.planned_methods, found.name, has_flow=found.flow is not None)
    return hash_file(found.flow)[:16] if found.flow is not None else ""


def _open(options: EvalOptions) -> Engine:
    from flas_engine.engine import Engine
    from flas_engine.training.threads import limit_threads

    engine = open_engine(options.spec, quiet=options.quiet)
    assert isinstance(engine, Engine)
    limit_threads()  # processes of one machine share its cores
    return engine


def _facts(work: Work, room: Room) -> dict[str, Any]:
    return {
        "folder": str(work.folder),
        "texts": work.num_texts,
        "done": work.num_done,
        "missing": len(work.missing),
        "longest_prompt": work.longest_prompt,
        "lanes": room.num_lanes,
        "lane_bytes": room.lane_bytes,
        "memory_bytes": room.num_lanes * room.lane_bytes,
    }


def _write(facts: dict[str, Any], options: EvalOptions) -> None:
    stream = data_stream(is_json=options.as_json)
    if options.as_json:
        stream.write(json.dumps(facts) + "\n")
    elif "texts" not in facts:
        stream.write(f"{facts['folder']}\n")
    else:
        lines = {
            "texts": f"{facts['texts']:,}, {facts['done']:,} are there, {facts['missing']:,} are missing",
            "tokens": f"{facts['missing'] * options.limits.max_new_tokens:,} new ones at most",
            "prompts": f"{facts['longest_prompt']:,} tokens at most",
            "at once": f"{facts['lanes']:,} texts",
            "memory": f"about {gigabytes(facts['memory_bytes'])}, {gigabytes(facts['lane_bytes'])} a text",
        }
        stream.writelines(f"{name:<10}{value}\n" for name, value in lines.items())


def _part(work: Work) -> str:
    shard = work.shard
    return "the evaluation" if shard.count == 1 else f"part {shard.index} of {shard.count}"


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise EvaluationError(f"the seed {text!r} is no whole number; give for example --seeds 0,1,2")
    return int(text)
