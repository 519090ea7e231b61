"""What may not be imported where, each measured in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer

from flas_tui.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAVY = ("torch", "transformers", "textual", "huggingface_hub")
FRONT_ENDS = ("textual", "typer", "rich", "flas_tui")
LIGHT_MODULES = (
    "errors",
    "request",
    "events",
    "control",
    "progress",
    "info",
    "worker",
    "hub.catalog",
    "hub.registry",
    "config",
    "solvers",
    "evaluation.results",
    "training.metrics",
    "training.curves",
    "evaluation.reporting",
)


def modules_after(program: str) -> set[str]:
    """Top-level names of all modules that are imported once `program` has run."""
    report = "import sys; print('\\n'.join({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"import atexit\natexit.register(lambda: exec({report!r}))\n{program}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(done.stderr.split())


def commands(command: Any, *path: str) -> Iterator[list[str]]:
    """Yield the words that call each command and subcommand."""
    yield [*path]
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from commands(subcommand, *path, name)


@pytest.mark.parametrize(
    "command", list(commands(typer.main.get_command(app))), ids=lambda words: " ".join(words) or "alone"
)
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    imported = modules_after(f"from flas_tui.cli import main; main({[*command, '--help']!r})")
    assert "typer" in imported
    assert not imported.intersection(HEAVY)


def test_help_needs_neither_rich_nor_the_engine() -> None:
    assert not modules_after("from flas_tui.cli import main; main(['--help'])").intersection({"rich", "flas_engine"})


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_the_engines_contracts_import_nothing_heavy(module: str) -> None:
    imported = modules_after(f"import flas_engine.{module}")
    assert "flas_engine" in imported
    assert not imported.intersection(HEAVY)


def test_finding_a_model_on_the_disk_imports_neither_torch_nor_the_network() -> None:
    imported = modules_after("import flas_engine.hub.resolve")
    assert "flas_engine" in imported
    assert not imported.intersection({"torch", "transformers", "httpx", "httpx2"})


def test_the_engine_knows_no_front_end() -> None:
    imported = modules_after(
        "import importlib, pkgutil, flas_engine\n"
        "for module in pkgutil.walk_packages(flas_engine.__path__, 'flas_engine.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    assert "torch" in imported
    # transformers brings rich and typer in by itself where they are installed, so imports alone prove only these two
    assert not imported.intersection({"textual", "flas_tui"})


def test_no_module_of_the_engine_names_a_front_end() -> None:
    import ast
    from pathlib import Path

    import flas_engine

    for path in Path(flas_engine.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] in FRONT_ENDS], path
