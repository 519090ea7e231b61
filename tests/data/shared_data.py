"""Where the tests find published data sets: FLAS_DATA_SETS_DIR names a folder that has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA_SETS_DIR = Path(os.environ.get("FLAS_DATA_SETS_DIR", Path(__file__).parent.parent / "data_sets"))


def data_set(*parts: str) -> Path:
    """The path of a data set, or a skipped test where it is not at hand."""
    path = DATA_SETS_DIR.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there; point FLAS_DATA_SETS_DIR at a folder that has it")
    return path
