"""Times llama.cpp on the GGUF file of an embedded model, in a process of its own.

llama.cpp is nothing that we install: the caller names a Python that can import `llama_cpp`.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flas_engine.benchmark.decoding import Timing
from flas_engine.benchmark.report import BenchmarkError
from flas_engine.benchmark.subject import PROMPT
from flas_engine.hub.registry import find_entry

if TYPE_CHECKING:
    from flas_engine.info import LoadSpec

PROGRAM = """
import json, sys, time
import llama_cpp
path, num_threads, new_tokens, num_runs, prompt = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
model = llama_cpp.Llama(path, n_ctx=2048, n_threads=num_threads, n_threads_batch=num_threads, verbose=False)
ids = model.tokenize(prompt.encode())
for _ in range(num_runs):
    model.reset()
    started, arrivals = time.perf_counter(), []
    for _ in model.generate(ids, top_k=1, temp=0.0, repeat_penalty=1.0, reset=True):
        arrivals.append(time.perf_counter())
        if len(arrivals) == new_tokens:
            break
    rate = (new_tokens - 1) / (arrivals[-1] - arrivals[0])
    print(json.dumps({"passes_per_second": rate, "first_token_seconds": arrivals[0] - started}))
"""


def time_llama_cpp(command: str, spec: LoadSpec, num_threads: int, new_tokens: int, num_runs: int) -> list[Timing]:
    """Decode greedily with `command`, a Python that has llama_cpp; raises `BenchmarkError` when that fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = gguf_file(spec, Path(folder))
        numbers = map(str, (num_threads, new_tokens, num_runs))
        try:
            done = subprocess.run(
                [*shlex.split(command), "-c", PROGRAM, str(path), *numbers, PROMPT],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise BenchmarkError(f"{command} cannot be run ({error.strerror}); give a Python with llama_cpp") from None
    if done.returncode != 0:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise BenchmarkError(f"llama.cpp could not be measured with {command}: {reason}")
    return [Timing(**json.loads(line)) for line in done.stdout.splitlines()]


def gguf_file(spec: LoadSpec, folder: Path) -> Path:
    """Return the GGUF file in one piece, put together in `folder` where it comes in several."""
    parts = _gguf_parts(spec)
    if len(parts) == 1:
        return parts[0]
    whole = folder / "model.gguf"
    with whole.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out)
    return whole


def gguf_bytes(spec: LoadSpec) -> int:
    """Return the size of the GGUF file of a model."""
    return sum(part.stat().st_size for part in _gguf_parts(spec))


def _gguf_parts(spec: LoadSpec) -> list[Path]:
    if spec.base is not None and spec.base.endswith(".gguf"):
        return [Path(spec.base)]
    embedded = find_entry(spec.model).embedded if spec.model is not None else None
    if embedded is None:
        raise BenchmarkError(f"{spec.model} has no GGUF file that llama.cpp could read; leave --llama-cpp out")
    parts = []
    for package, path in embedded.parts:
        found = importlib.util.find_spec(package)  # looks, runs nothing of the package
        if found is None or not found.submodule_search_locations:
            raise BenchmarkError(f"{spec.model} needs {package} for llama.cpp; run: {embedded.install}")
        parts.append(Path(found.submodule_search_locations[0]) / path)
    return parts
