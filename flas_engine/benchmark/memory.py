"""How much memory a process needs that loads the engine and decodes a pair, above what an idle interpreter needs.

Run as a program, this module is the process that is measured. On CUDA it is the device's memory that counts.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flas_engine.benchmark.report import BenchmarkError, Memory
from flas_engine.info import LoadSpec

if TYPE_CHECKING:
    import torch

    from flas_engine.engine import Engine
    from flas_engine.events import Finished
    from flas_engine.request import Request

IDLE_PROGRAM = "import psutil, torch, transformers; print(psutil.Process().memory_info().rss)"


def measure_memory(spec: LoadSpec, new_tokens: int) -> Memory:
    """Measure in fresh processes; raises `BenchmarkError` when one fails."""
    measured = _run("-m", "flas_engine.benchmark.memory", json.dumps(asdict(spec)), str(new_tokens))
    interpreter_bytes = 0 if measured.pop("is_on_cuda") else _run("-c", IDLE_PROGRAM)
    return Memory(**measured, interpreter_bytes=interpreter_bytes)


def _run(*arguments: str) -> Any:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError("the memory cannot be measured: " + done.stderr.strip().rpartition("\n")[2])
    return json.loads(done.stdout)


def _decode_pair(spec: LoadSpec, new_tokens: int) -> dict[str, int]:
    """Be the process that is measured."""
    from flas_engine.benchmark.subject import FLOW_TIME, load_subject, request_at

    engine, request = load_subject(spec), request_at((0.0, FLOW_TIME), new_tokens)
    ends = engine.generate(request)
    return {
        "peak_bytes": peak_bytes(engine.base.device),  # first: what follows takes memory too
        "weight_bytes": engine.info.weight_bytes,
        "cache_bytes": _cache_bytes(engine, request, ends),
        "is_on_cuda": engine.base.device.type == "cuda",
    }


def peak_bytes(device: torch.device) -> int:
    """Return the most that was resident; on CUDA the most that was allocated there."""
    if device.type == "cuda":
        import torch

        allocated: int = torch.cuda.max_memory_allocated(device)
        return allocated
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held when it started us
        lines = dict(line.partition(":")[::2] for line in status.read_text(encoding="utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    import resource

    unit = 1 if platform.system() == "Darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _cache_bytes(engine: Engine, request: Request, ends: tuple[Finished, ...]) -> int:
    """Return what the caches of these lanes take once their answers are written."""
    from flas_engine.batch import LaneBatch
    from flas_engine.solvers import find_solver
    from flas_engine.steering import Steering

    assert engine.flow is not None
    assert engine.concepts is not None
    encode = engine.concepts.encode
    mixes = [tuple((encode(concept.text), concept.weight) for concept in lane.concepts) for lane in request.lanes]
    flow_times = [lane.flow_time for lane in request.lanes]
    config = engine.flow.config
    steering = Steering(engine.flow.field, mixes, flow_times, find_solver(request.solver), config.n_steps)
    # A last id that no two lanes share: equal texts would be kept once below l.
    texts = [[*engine.render(lane), *end.token_ids, end.lane] for lane, end in zip(request.lanes, ends, strict=True)]
    return LaneBatch(engine.base, config.layer, steering, texts).num_bytes


if __name__ == "__main__":
    print(json.dumps(_decode_pair(LoadSpec(**json.loads(sys.argv[1])), int(sys.argv[2]))))  # noqa: T201
