"""Fixtures of all tests: the real small models, converted once on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flas_engine.catalog import DEMO, DEMO_GEMMA
from flas_engine.embedded import ensure_embedded
from flas_engine.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.catalog import CatalogEntry


@pytest.fixture(scope="session")
def demo_model_dir() -> Path:
    """The folder of SmolLM2 135M Instruct, converted to float32."""
    return _converted(DEMO)


@pytest.fixture(scope="session")
def demo_gemma_dir() -> Path:
    """The folder of Gemma 3 270M, converted to float32."""
    return _converted(DEMO_GEMMA)


def _converted(entry: CatalogEntry) -> Path:
    try:
        return ensure_embedded(entry)  # into the usual cache, so that it is done once
    except ModelError as error:
        pytest.skip(str(error))
