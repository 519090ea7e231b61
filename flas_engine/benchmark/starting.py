"""How long a whole process takes to its first token, against importing torch and transformers and reading the weights.

The command that answers is the caller's; both are timed from the start of the process to the first byte it writes, in
turn, with all files in the system's cache.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from flas_engine.benchmark.report import BenchmarkError
from flas_engine.benchmark.subject import base_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.info import LoadSpec

READING_PROGRAM = """
import sys
import torch, transformers
block = bytearray(1 << 24)
for name in sys.argv[1:]:
    with open(name, "rb", buffering=0) as file:
        while file.readinto(block):
            pass
print("read", flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Seconds from the start of a process, medians."""

    first_token_seconds: float
    imports_and_reading_seconds: float
    """Until torch and transformers are imported and the weights' files read once, by a process that does no more."""
    ratio: float
    """Of the two, median of the pairs'."""


def measure_start(command: Sequence[str], spec: LoadSpec, *, starts: int) -> Start:
    """Time `command`, which writes an answer of `spec`; raises `BenchmarkError` when it writes none."""
    path = base_path(spec)
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    reading = [sys.executable, "-c", READING_PROGRAM, *map(str, files)]
    pairs = [(_seconds_to_first_byte(reading), _seconds_to_first_byte(command)) for _ in range(starts + 1)]
    pairs = pairs[1:]  # the first brings the files into the cache
    return Start(
        first_token_seconds=median(ours for _, ours in pairs),
        imports_and_reading_seconds=median(least for least, _ in pairs),
        ratio=median(ours / least for least, ours in pairs),
    )


def _seconds_to_first_byte(command: Sequence[str]) -> float:
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        seconds = time.perf_counter() - started
        _, problem = process.communicate()
    if not first:
        raise BenchmarkError(f"the start cannot be timed: {problem.decode(errors='replace').strip()}")
    return seconds
