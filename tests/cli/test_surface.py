"""The names of all commands and options, frozen: changing one breaks somebody's script.

`FLAS_UPDATE_GOLDEN=1 pytest tests/cli/test_surface.py` writes the golden file anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from flas_engine.machine import DTYPE_NAMES
from flas_tui.cli import app
from flas_tui.commands.options import complete_devices, complete_dtypes, complete_models, complete_solvers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from command_line import Run

GOLDEN = Path(__file__).parent / "surface.txt"


def surface(command: Any, name: str) -> Iterator[str]:
    """Yield a line for a command and for each of its parameters, then those of its subcommands."""
    yield name
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield f"    {parameter.name.upper()}"
        else:
            yield "    " + " ".join(sorted([*parameter.opts, *parameter.secondary_opts], key=len, reverse=True))
    for subcommand in sorted(getattr(command, "commands", {})):
        yield from surface(command.commands[subcommand], f"{name} {subcommand}")


def test_commands_and_options_are_those_that_were_published() -> None:
    now = "\n".join(surface(typer.main.get_command(app), "flas-tui")) + "\n"
    if os.environ.get("FLAS_UPDATE_GOLDEN"):
        GOLDEN.write_text(now, encoding="utf-8")
    assert now == GOLDEN.read_text(encoding="utf-8")


def test_every_option_has_help() -> None:
    def check(command: Any, name: str) -> None:
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"
        for subcommand in getattr(command, "commands", {}).values():
            check(subcommand, subcommand.name)

    check(typer.main.get_command(app), "flas-tui")


def test_names_complete() -> None:
    assert "demo" in complete_models("de")
    assert "gemma-2-2b-it" in complete_models("gemma-2")
    assert complete_solvers("r") == ["rk4"]
    assert complete_devices("c") == ["cpu", "cuda"]
    assert complete_dtypes("b") == ["bfloat16"]
    assert complete_dtypes("i") == ["int8"]
    assert complete_dtypes("") == list(DTYPE_NAMES)


@pytest.mark.parametrize(
    ("line", "expected"),
    [("flas-tui gen", "generate"), ("flas-tui generate --solver m", "midpoint"), ("flas-tui chat --model dem", "demo")],
)
def test_the_shell_gets_its_completions(run: Run, monkeypatch: pytest.MonkeyPatch, line: str, expected: str) -> None:
    monkeypatch.setenv("_FLAS_TUI_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    assert expected in run().out.split()


def test_the_completion_script_can_be_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert "_FLAS_TUI_COMPLETE=complete_bash" in run("--show-completion", "bash").out.replace(" ", "")
