"""Runs the command line in this process, on the scripted engine."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest
from command_line import Outcome
from scripted_engine import ScriptedLoader

from flas_tui.cli import main
from flas_tui.commands import engine_loading

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the user's history and log out of the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> ScriptedLoader:
    """The loader that every command gets in place of the real one."""
    scripted = ScriptedLoader()
    monkeypatch.setattr(engine_loading, "load_function", lambda: scripted)
    return scripted


@pytest.fixture
def run(loader: ScriptedLoader, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `flas-tui arguments`, with `stdin` piped in."""
    del loader

    def run_command(*arguments: str, stdin: str | bytes = "") -> Outcome:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capfd.readouterr()
        code = ended.value.code
        return Outcome(exit_code=code if isinstance(code, int) else 0, out=captured.out, err=captured.err)

    return run_command
