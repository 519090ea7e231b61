"""Makes the engine tests' tiny models importable here, and lets all runs compute on as many threads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

for folder in ("engine", "training"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Judgements are compared bit for bit, across processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
