"""Measure the engine against plain transformers, in one run on one machine, so that ratios mean something.

Rates are of decoding alone: reading the prompt is timed apart. Every round runs every row once, so that a machine
whose speed drifts drifts under all of them; what is reported is the median of the rounds.

A model without a flow is timed with an untrained one of the usual shape: the time does not depend on the values.
"""

from __future__ import annotations

import gc
import platform
import time
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
import torch

from flas_engine.checkpoint import Flow
from flas_engine.config import FlowConfig
from flas_engine.engine import Engine, load_engine
from flas_engine.events import Prefilled, Token
from flas_engine.field import VelocityField
from flas_engine.progress import Progress, ignore_progress
from flas_engine.request import GREEDY, Lane, Limits, Message, Request, WeightedConcept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flas_engine.info import LoadSpec
    from flas_engine.progress import ReportProgress

PROMPT = "Tell me a long story about the sea, the people who live by it, and the ships that never come back."
CONCEPT = "talk like a pirate"
SWEEP = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0)
LONG_PROMPT_TOKENS = 512
BANDWIDTH_BYTES = 1 << 30
BANDWIDTH_PASSES = 5

PLAIN = "plain transformers, one stream"
BASELINE = "engine, one baseline lane"
STEERED = "engine, one steered lane"
PAIR = "engine, steered + baseline"
EIGHT = "engine, 8 flow times"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to decode; a pass makes one token in every lane."""

    name: str
    lanes: int
    passes_per_second: float
    rounds: tuple[float, ...]
    """Passes a second of each round."""
    time_to_first_token_seconds: float
    time_against_plain: float
    """Time of a pass over the time of plain transformers' token in the same round, median; under 1 is faster."""
    bandwidth_share: float
    """Weights that a pass must read, times passes a second, over the measured read bandwidth."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all lanes."""
        return self.lanes * self.passes_per_second


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured, where, and with what."""

    model: str
    device: str
    dtype: str
    has_trained_flow: bool
    num_threads: int
    machine: str
    versions: dict[str, str]
    new_tokens: int
    weight_bytes: int
    read_bytes_per_second: float
    load_seconds: float
    peak_bytes: int
    """Most memory the process held, before plain transformers was loaded beside the engine; on CUDA the device's."""
    prompt_tokens_per_second: float
    """Reading a prompt of 512 tokens, one lane."""
    rows: tuple[Row, ...]


def run_benchmark(
    spec: LoadSpec, *, new_tokens: int = 64, rounds: int = 5, progress: ReportProgress = ignore_progress
) -> Report:
    """Measure the model of `spec`; raises `FlasError` when it cannot be loaded, `Cancelled` when `progress` does."""
    engine, load_seconds = _timed_load(spec, progress)
    has_trained_flow = engine.flow is not None
    engine = _endless(engine)
    rows: dict[str, tuple[int, Callable[[], _Timing]]] = {
        BASELINE: (1, lambda: _time_engine(engine, [0.0], new_tokens)),
        STEERED: (1, lambda: _time_engine(engine, [1.5], new_tokens)),
        PAIR: (2, lambda: _time_engine(engine, [0.0, 1.5], new_tokens)),
        EIGHT: (len(SWEEP), lambda: _time_engine(engine, SWEEP, new_tokens)),
    }
    for _, run in rows.values():
        run()  # warm-up, and what the peak of memory is read after
    peak_bytes = _peak_bytes(engine)
    plain = _load_plain(engine, spec, progress)
    rows = {PLAIN: (1, lambda: _time_plain(plain, engine, new_tokens))} | rows
    plain_warm_up = rows[PLAIN][1]
    plain_warm_up()
    timings: dict[str, list[_Timing]] = {name: [] for name in rows}
    for number in range(rounds):
        for name, (_, run) in rows.items():
            progress(Progress(activity=f"round {number + 1} of {rounds}: {name}", done=number, total=rounds))
            timings[name].append(run())
    bandwidth = measure_read_bandwidth(engine.base.device)
    return Report(
        model=engine.info.name,
        device=engine.info.device,
        dtype=engine.info.dtype,
        has_trained_flow=has_trained_flow,
        num_threads=torch.get_num_threads(),
        machine=_describe_machine(engine.base.device),
        versions=_versions(),
        new_tokens=new_tokens,
        weight_bytes=engine.info.weight_bytes,
        read_bytes_per_second=bandwidth,
        load_seconds=load_seconds,
        peak_bytes=peak_bytes,
        prompt_tokens_per_second=_time_long_prompt(engine, rounds),
        rows=tuple(
            _make_row(name, lanes, timings, _pass_bytes(engine, name) / bandwidth) for name, (lanes, _) in rows.items()
        ),
    )


def measure_read_bandwidth(device: torch.device) -> float:
    """Return bytes a second at which `device` reads memory that no cache holds: a sum over 1 GiB, best of some."""
    data = torch.ones(BANDWIDTH_BYTES // 4, dtype=torch.float32, device=device)
    best = 0.0
    for _ in range(BANDWIDTH_PASSES):
        started = time.perf_counter()
        data.sum().item()  # .item() waits for the device
        best = max(best, BANDWIDTH_BYTES / (time.perf_counter() - started))
    return best


@dataclass(frozen=True, kw_only=True)
class _Timing:
    passes_per_second: float
    first_token_seconds: float


def _timed_load(spec: LoadSpec, progress: ReportProgress) -> tuple[Engine, float]:
    started = time.perf_counter()
    engine = load_engine(spec, progress=progress)
    return engine, time.perf_counter() - started


def _endless(engine: Engine) -> Engine:
    """Return the engine with no end of turn, so that every row makes the same number of tokens, and with a flow."""
    info, flow = engine.info, engine.flow or _untrained_flow(engine)
    return Engine(
        name=info.name,
        base_id=info.base_id,
        base=engine.base,
        tokenizer=engine.tokenizer,
        end_ids=frozenset(),
        flow=flow,
        flow_id=info.flow_id or "untrained",
        prompt_format=info.prompt_format,
    )


def _untrained_flow(engine: Engine) -> Flow:
    architecture = engine.base.architecture
    config = FlowConfig(model_id=engine.info.base_id, layer=architecture.num_layers * 2 // 3, disable_self_attn=True)
    with engine.base.device:
        field = VelocityField(architecture, config).to(engine.base.dtype)
    return Flow(config=config, field=field.requires_grad_(requires_grad=False).eval())


def _time_engine(engine: Engine, flow_times: Iterable[float], new_tokens: int) -> _Timing:
    conversation = (Message(role="user", content=PROMPT),)
    concepts = (WeightedConcept(text=CONCEPT),)
    lanes = tuple(Lane(conversation=conversation, concepts=concepts, flow_time=t) for t in flow_times)
    request = Request(lanes=lanes, sampling=GREEDY, limits=Limits(max_new_tokens=new_tokens))
    started = time.perf_counter()
    arrivals = [time.perf_counter() for e in engine.stream(request) if isinstance(e, Token) and e.lane == 0]
    return _Timing(
        passes_per_second=(len(arrivals) - 1) / (arrivals[-1] - arrivals[0]), first_token_seconds=arrivals[0] - started
    )


def _time_plain(model: Any, engine: Engine, new_tokens: int) -> _Timing:
    """Time transformers' own greedy generate; its streamer is called once for the prompt and once a token."""
    from transformers.generation.streamers import BaseStreamer

    arrivals: list[float] = []

    class Clock(BaseStreamer):
        def put(self, value: object) -> None:
            del value
            arrivals.append(time.perf_counter())

        def end(self) -> None:
            pass

    ids = torch.tensor([engine.render(Lane(conversation=(Message(role="user", content=PROMPT),)))], device=model.device)
    started = time.perf_counter()
    with torch.inference_mode():
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            do_sample=False,
            streamer=Clock(),
        )
    tokens = arrivals[1:]
    return _Timing(
        passes_per_second=(len(tokens) - 1) / (tokens[-1] - tokens[0]), first_token_seconds=tokens[0] - started
    )


def _time_long_prompt(engine: Engine, rounds: int) -> float:
    word = engine.tokenizer(" sea", add_special_tokens=False)["input_ids"][0]
    text = str(engine.tokenizer.decode([word] * LONG_PROMPT_TOKENS))
    lane = Lane(conversation=(Message(role="user", content=text),))
    request = Request(lanes=(lane,), sampling=GREEDY, limits=Limits(max_new_tokens=1))
    prefills = [next(e for e in engine.stream(request) if isinstance(e, Prefilled)) for _ in range(rounds)]
    return median(len(event.prompt_token_ids[0]) / event.seconds for event in prefills)


def _load_plain(engine: Engine, spec: LoadSpec, progress: ReportProgress) -> Any:
    from transformers import AutoModelForCausalLM

    from flas_engine.hub.resolve import resolve

    progress(Progress(activity="loading plain transformers"))
    gc.collect()
    resolved = resolve(replace(spec, flow=None), progress=progress)
    model: Any = AutoModelForCausalLM.from_pretrained(resolved.base, dtype=engine.base.dtype)
    return model.to(engine.base.device).eval()


def _make_row(name: str, lanes: int, timings: dict[str, list[_Timing]], seconds_at_limit: float) -> Row:
    rates = [timing.passes_per_second for timing in timings[name]]
    against = [p.passes_per_second / t.passes_per_second for p, t in zip(timings[PLAIN], timings[name], strict=True)]
    return Row(
        name=name,
        lanes=lanes,
        passes_per_second=median(rates),
        rounds=tuple(rates),
        time_to_first_token_seconds=median(timing.first_token_seconds for timing in timings[name]),
        time_against_plain=median(against),
        bandwidth_share=seconds_at_limit * median(rates),
    )


def _pass_bytes(engine: Engine, row: str) -> int:
    """Bytes of weights that one pass must read at least: the base once, the flow once an evaluation of it.

    The embedding table is read by its use as the head; where the two are apart, only a row of it is read.
    """
    assert engine.flow is not None
    field_bytes: int = sum(p.numel() * p.element_size() for p in engine.flow.field.blocks.parameters())
    flow_bytes = sum(tensor.numel() * tensor.element_size() for tensor in engine.flow.field.state_dict().values())
    base = engine.base
    base_bytes: int = engine.info.weight_bytes - flow_bytes
    if base.head is not base.embedding:
        base_bytes -= base.embedding.numel() * base.embedding.element_size()
    return base_bytes + (engine.flow.config.n_steps * field_bytes if row in (STEERED, PAIR, EIGHT) else 0)


def _peak_bytes(engine: Engine) -> int:
    if engine.base.device.type == "cuda":
        allocated: int = torch.cuda.max_memory_allocated(engine.base.device)
        return allocated
    import resource

    unit = 1 if platform.system() == "Darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB elsewhere
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * unit


def _describe_machine(device: torch.device) -> str:
    cores = f"{psutil.cpu_count(logical=False) or psutil.cpu_count()} cores"
    memory = f"{psutil.virtual_memory().total / 1e9:.0f} GB"
    accelerator = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{platform.system()} {platform.machine()}, {_processor()}, {cores}, {memory}{accelerator}"


def _processor() -> str:
    from pathlib import Path

    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("flas-tui", "torch", "transformers")
    return {"python": platform.python_version()} | {name: version(name) for name in names}
