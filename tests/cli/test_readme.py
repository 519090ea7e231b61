"""The README says what the program does: its options, fields, commands and example are held against the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flas_engine.hub.catalog import BUILT_IN
from flas_tui.commands.chat_session import COMMANDS

if TYPE_CHECKING:
    from command_line import Run

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SURFACE = (Path(__file__).parent / "surface.txt").read_text(encoding="utf-8")
OPTIONS_OF_OTHERS = {"--dist", "--no-deps", "--index-url", "--extra-index-url"}  # pip's and pytest's


def section(heading: str) -> str:
    """Return the text from a heading to the next one."""
    return re.split(r"^#+ ", README.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_option_that_is_named_exists() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README)) - OPTIONS_OF_OTHERS
    assert len(named) > 20
    assert not named - set(SURFACE.split()) - {"--help"}


def test_the_json_fields_are_those_that_are_written(run: Run) -> None:
    named = [
        name
        for row in re.findall(r"^\| (`.*?) \|", section("JSON"), re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    (line,) = run("generate", "Hi", "-n", "2", "--json").out.splitlines()
    assert sorted(named) == sorted(json.loads(line))


def test_every_command_of_the_chat_is_named() -> None:
    assert {f"/{name}" for name in COMMANDS} <= set(re.findall(r"`(/\w+)", section("chat")))


def test_every_model_of_the_catalog_is_named() -> None:
    assert [entry.name for entry in BUILT_IN] == re.findall(r"^\| `([^`]+)` \|", section("Models"), re.MULTILINE)


@pytest.mark.usefixtures("demo_model_dir")
def test_the_librarys_example_runs() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", section("The library"), re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=True, timeout=300)
    assert [line.split()[0] for line in done.stdout.splitlines() if re.match(r"[012]\.0 ", line)] == [
        "0.0",
        "1.0",
        "2.0",
    ] * 2
