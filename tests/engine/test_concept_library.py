"""The library of concepts beside a flow."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from flas_engine.concept_library import LIBRARY_FILE, LibraryConcept
from flas_engine.errors import CheckpointError
from flas_engine.hub.library import read_library

if TYPE_CHECKING:
    from pathlib import Path

PIRATE = LibraryConcept(
    concept_id="style:pirate", concept="talk like a pirate", group="style", prompt="What is rain?", flow_time=1.0
)


def test_a_flow_brings_its_concepts_whether_folder_or_file_is_named(tmp_path: Path) -> None:
    (tmp_path / LIBRARY_FILE).write_text(json.dumps(asdict(PIRATE)) + "\n\n", encoding="utf-8")
    (tmp_path / "flow.safetensors").touch()
    assert read_library(str(tmp_path)) == (PIRATE,)
    assert read_library(str(tmp_path / "flow.safetensors")) == (PIRATE,)


def test_a_flow_without_a_library_and_a_base_without_a_flow_bring_none(tmp_path: Path) -> None:
    assert read_library(str(tmp_path)) == ()
    assert read_library("flas-ai/not-here") == ()


@pytest.mark.parametrize("line", ['{"concept": "cats"}', "cats", '["cats"]'])
def test_a_damaged_line_is_named_with_what_it_should_hold(line: str, tmp_path: Path) -> None:
    (tmp_path / LIBRARY_FILE).write_text(json.dumps(asdict(PIRATE)) + f"\n{line}\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"line 2 of .* is no concept .*; its fields are concept_id, concept"):
        read_library(str(tmp_path))
