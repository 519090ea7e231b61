"""Threads that wait for each other leave the processor to others soon, unless the user wishes otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOAD_TORCH = "import sys; sys.argv = ['flas-tui', '--version']; from flas_tui.__main__ import main\n" + (
    "try:\n    main()\nexcept SystemExit:\n    pass\nimport torch"
)


def spin_count(**environment: str) -> str:
    """What libgomp says that it took, in a process that loads torch as the program does."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", LOAD_TORCH],
        env=inherited | environment | {"OMP_DISPLAY_ENV": "verbose"},
        check=True,
        capture_output=True,
        text=True,
    )
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("torch's threads are not libgomp's here")
    return next(line.split("'")[1] for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line)


@pytest.mark.parametrize(
    ("environment", "count"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
    ids=["ours", "the user's own", "none by the user's policy"],
)
def test_threads_sleep_after_a_short_wait_unless_the_environment_says_otherwise(
    environment: dict[str, str], count: str
) -> None:
    assert spin_count(**environment) == count
