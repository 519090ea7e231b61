"""Fixtures of all tests: the real small models, converted once on this machine, a Hub on loopback, a small disk."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from hub_machine import Machine, tiny_hub

from flas_engine.errors import ModelError
from flas_engine.hub.catalog import DEMO, DEMO_GEMMA
from flas_engine.hub.embedded import ensure_embedded
from flas_tui.__main__ import SPIN_COUNT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub_server import Hub

    from flas_engine.hub.catalog import CatalogEntry

os.environ.setdefault(*SPIN_COUNT)  # as the program does: tests and the programs that they start share a processor
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under nohup; programs that the tests interrupt inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def demo_model_dir() -> Path:
    """The folder of SmolLM2 135M Instruct, converted to safetensors."""
    return _converted(DEMO)


@pytest.fixture(scope="session")
def demo_gemma_dir() -> Path:
    """The folder of Gemma 3 270M, converted to safetensors."""
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 130 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=130m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
