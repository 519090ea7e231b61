"""Fixtures of all tests: the real small models, converted once on this machine, and a Hub on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hub_machine import Machine, tiny_hub

from flas_engine.catalog import DEMO, DEMO_GEMMA
from flas_engine.embedded import ensure_embedded
from flas_engine.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub_server import Hub

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


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A Hub on loopback with one base and one flow."""
    with tiny_hub() as running:
        yield running


@pytest.fixture
def machine(hub: Hub, tmp_path: Path) -> Machine:
    """A machine with an empty cache that knows this Hub."""
    return Machine(tmp_path, hub.url)
