"""How long the command line takes to answer, as a ratio within one run."""

from __future__ import annotations

import subprocess
import sys
import time

LIMIT = 1.5
"""`flas-tui --help` against importing typer and rich alone."""
NUM_RUNS = 9


def seconds(program: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return time.perf_counter() - started


def test_help_takes_little_longer_than_its_libraries() -> None:
    alone = "import typer, rich"
    with_help = "from flas_tui.cli import main; main(['--help'])"
    # Alternating runs see the same machine; the shortest of each is the one that others disturbed least.
    runs = [(seconds(alone), seconds(with_help)) for _ in range(NUM_RUNS)]
    libraries, command = (min(times) for times in zip(*runs, strict=True))
    assert command / libraries < LIMIT
