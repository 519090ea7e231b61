"""What a decoding pass does once it is under way: what it allocates, and what its time goes into.

Both look at the engine's own loop from outside, through torch's profiler; a pass brings every lane's next token.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from flas_engine.benchmark.report import Allocations
from flas_engine.benchmark.subject import FLOW_TIME, request_at
from flas_engine.events import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flas_engine.engine import Engine

WARM_PASSES = 8
PASSES = 24
PROFILES, PROFILED_PASSES = 3, 8
NOTED = 5000
COUNTED = "counted passes"
PRODUCTS, ATTENTION, CHOOSING, POINTWISE = "products", "attention", "choosing the token", "norms and pointwise"
PRODUCT_OPERATIONS = (
    *("_linear_pointwise", "packed_product", "linear_dynamic_fp16", "half_product"),
    *("qlinear_pointwise", "int8pack_mm", "::mm", "::addmm"),
)
ATTENTION_OPERATIONS = ("scaled_dot_product", "flash_attention", "efficient_attention", "::bmm", "softmax")


def measure_allocations(engine: Engine) -> Allocations:
    """Count what passes of a pair allocate, and their page faults in passes without the profiler."""
    with _passes_under_way(engine, (0.0, FLOW_TIME)) as next_pass:
        faults = _minor_page_faults()
        for _ in range(PASSES):
            next_pass()
        faults = _minor_page_faults() - faults
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            next_pass()  # what it leaves to the next pass to free is known to the profiler
            with record_function(COUNTED):
                for _ in range(PASSES):
                    next_pass()
    sizes = _counted_memory_events(profiled)
    return Allocations(
        num_allocations=sum(size > 0 for size in sizes) / PASSES,
        net_bytes=sum(sizes) / PASSES,
        page_faults=faults / PASSES,
    )


def operation_seconds(engine: Engine) -> dict[str, float]:
    """Return the time that torch's operations take in a pass of two baseline lanes by part, by the profiler.

    What it costs to note an operation is taken off, as far as the operation took that long; a device's own times do not
    have it. Medians of some turns, because a machine is seldom quiet throughout.
    """
    on_cuda = engine.base.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    noting = 0.0 if on_cuda else noting_seconds()
    turns: list[defaultdict[str, float]] = []
    with _passes_under_way(engine, (0.0, 0.0)) as next_pass:
        for _ in range(PROFILES):
            with profile(activities=activities, record_shapes=True) as profiled:
                for _ in range(PROFILED_PASSES):
                    next_pass()
            turns.append(defaultdict(float))
            for event in profiled.events():
                seconds = (event.self_device_time_total if on_cuda else event.self_cpu_time_total) * 1e-6
                part = _part_of(event, engine.base.architecture.vocab_size)
                turns[-1][part] += max(0.0, seconds - noting) / PROFILED_PASSES
    return {part: median(turn[part] for turn in turns) for part in turns[0]}


def noting_seconds() -> float:
    """Return what the profiler makes an operation take longer: measured on one that does nothing."""
    x = torch.zeros(8)

    def seconds() -> float:
        started = time.perf_counter()
        for _ in range(NOTED):
            x.view(2, 4)
        return (time.perf_counter() - started) / NOTED

    unwatched = min(seconds() for _ in range(PROFILES))
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True):
        watched = min(seconds() for _ in range(PROFILES))
    return max(0.0, watched - unwatched)


@contextmanager
def _passes_under_way(engine: Engine, flow_times: Sequence[float]) -> Iterator[Callable[[], None]]:
    """Start a run, let it settle, and hand out what makes its next pass."""
    engine.forget()
    events = engine.stream(request_at(flow_times, WARM_PASSES + 2 * PASSES + 2))
    last_lane = len(flow_times) - 1

    def next_pass() -> None:
        next(event for event in events if isinstance(event, Token) and event.lane == last_lane)

    for _ in range(WARM_PASSES):
        next_pass()
    yield next_pass


def _minor_page_faults() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _counted_memory_events(profiled: profile) -> list[int]:
    """Return the bytes of every allocation, negative where memory is given back; only the trace has them all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    counted = next(event for event in events if event["name"] == COUNTED and "dur" in event)
    begin, end = counted["ts"], counted["ts"] + counted["dur"]
    return [event["args"]["Bytes"] for event in events if event["name"] == "[memory]" and begin <= event["ts"] <= end]


def _part_of(event: Any, vocab_size: int) -> str:
    """Say which part of a pass an operation belongs to, by its name and by whether it works on a whole vocabulary."""
    if any(name in event.name for name in PRODUCT_OPERATIONS):
        return PRODUCTS
    if any(_spans(shape, vocab_size) for shape in event.input_shapes):
        return CHOOSING
    return ATTENTION if any(name in event.name for name in ATTENTION_OPERATIONS) else POINTWISE


def _spans(shape: Sequence[int], vocab_size: int) -> bool:
    """Whether the last axis, or the last two where they are chunks of it, is the vocabulary."""
    return bool(shape) and vocab_size in (shape[-1], *([shape[-1] * shape[-2]] if len(shape) > 1 else []))
