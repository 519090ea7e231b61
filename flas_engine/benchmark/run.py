"""Puts a run of the benchmark together: loads what is compared, runs the rounds, and works out the report."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import torch

from flas_engine.benchmark.contestants import LLAMA_CPP, Contestant, Subjects, contestants
from flas_engine.benchmark.evaluating import measure_evaluation, that_ends
from flas_engine.benchmark.llama_cpp import gguf_bytes, time_llama_cpp
from flas_engine.benchmark.machine import describe_machine, versions
from flas_engine.benchmark.memory import measure_memory
from flas_engine.benchmark.quality import QUESTIONS, measure_quality
from flas_engine.benchmark.report import Report
from flas_engine.benchmark.resteering import measure_resteering
from flas_engine.benchmark.rounds import make_parts, make_ratios, make_rows, run_rounds
from flas_engine.benchmark.steady_state import measure_allocations, operation_seconds
from flas_engine.benchmark.subject import UNTRAINED, load_plain, load_subject, plain_flow
from flas_engine.events import Prefilled
from flas_engine.kernels.layout import INT8
from flas_engine.progress import Progress, ignore_progress
from flas_engine.request import GREEDY, Lane, Limits, Message, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.engine import Engine
    from flas_engine.info import LoadSpec
    from flas_engine.progress import ReportProgress

LONG_PROMPT_TOKENS = 512


def run_benchmark(
    spec: LoadSpec,
    *,
    new_tokens: int = 64,
    num_rounds: int = 5,
    prompts: Sequence[str] | None = None,
    llama_cpp: str | None = None,
    progress: ReportProgress = ignore_progress,
) -> Report:
    """Measure the model of `spec` in the machine's dtype, and in 8 bits beside it.

    `prompts` are what the cost of 8 bits is measured on, our own unless given; `llama_cpp` is a Python that has it.
    Raises `FlasError` when something cannot be loaded or measured, `Cancelled` when `progress` does.
    """
    spec = replace(spec, dtype=None)
    progress(Progress(activity="measuring the memory of a process of its own"))
    memory = measure_memory(spec, new_tokens)
    started = time.perf_counter()
    engine = load_subject(spec, progress)
    load_seconds = time.perf_counter() - started
    num_runs = num_rounds + 1  # one warms up
    others = [_llama_cpp(llama_cpp, spec, new_tokens, num_runs, progress)] if llama_cpp is not None else []
    subjects = _load_others(engine, spec, progress)
    rounds = run_rounds([*contestants(subjects, new_tokens), *others], engine.base.device, num_rounds, progress)
    progress(Progress(activity="measuring what 8 bits cost"))
    quality = measure_quality(engine, subjects.int8, prompts or QUESTIONS)
    progress(Progress(activity="measuring evaluation"))
    evaluation = measure_evaluation(that_ends(engine, spec), new_tokens, num_rounds)
    progress(Progress(activity="measuring re-steering"))
    resteering = measure_resteering(engine, new_tokens, num_rounds)
    info = engine.info
    return Report(
        model=info.name,
        device=info.device,
        dtype=info.dtype,
        has_trained_flow=info.flow_id != UNTRAINED,
        is_compiled=engine.warm_up is not None and engine.warm_up.failure is None,
        num_threads=torch.get_num_threads(),
        machine=describe_machine(engine.base.device),
        versions=versions(),
        new_tokens=new_tokens,
        num_rounds=num_rounds,
        weight_bytes=info.weight_bytes,
        int8_weight_bytes=subjects.int8.info.weight_bytes,
        read_bytes_per_second=max(rounds.bandwidths),
        load_seconds=load_seconds,
        prompt_tokens_per_second=_time_long_prompt(engine, num_rounds),
        rows=make_rows(rounds),
        ratios=make_ratios(rounds),
        quality=quality,
        memory=memory,
        memory_ratio=memory.ratio,
        allocations=measure_allocations(engine),
        evaluation=evaluation,
        resteering=resteering,
        parts=make_parts(rounds, operation_seconds(engine)),
    )


def _llama_cpp(command: str, spec: LoadSpec, new_tokens: int, num_runs: int, progress: ReportProgress) -> Contestant:
    """Run llama.cpp now, while nothing else runs; its turn in a round hands out the next of these runs."""
    progress(Progress(activity="measuring llama.cpp"))
    timings = time_llama_cpp(command, spec, torch.get_num_threads(), new_tokens, num_runs)
    return Contestant(name=LLAMA_CPP, lanes=1, read_bytes=gguf_bytes(spec), run=iter(timings).__next__)


def _load_others(engine: Engine, spec: LoadSpec, progress: ReportProgress) -> Subjects:
    int8 = load_subject(replace(spec, dtype=INT8), progress)
    progress(Progress(activity="loading plain transformers"))
    return Subjects(engine=engine, int8=int8, plain=load_plain(engine, spec), flow=plain_flow(engine, spec))


def _time_long_prompt(engine: Engine, num_rounds: int) -> float:
    word = engine.tokenizer(" sea", add_special_tokens=False)["input_ids"][0]
    text = str(engine.tokenizer.decode([word] * LONG_PROMPT_TOKENS))
    lane = Lane(conversation=(Message(role="user", content=text),))
    request = Request(lanes=(lane,), sampling=GREEDY, limits=Limits(max_new_tokens=1))
    rates = []
    for _ in range(num_rounds):
        engine.forget()
        prefilled = next(event for event in engine.stream(request) if isinstance(event, Prefilled))
        rates.append(len(prefilled.prompt_token_ids[0]) / prefilled.seconds)
    return median(rates)
