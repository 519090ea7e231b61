"""Makes the engine tests' tiny models importable here, and lets all runs compute on as many threads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import Outcome

from flas_tui.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from command_line import Run

for folder in ("engine", "training"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Texts are compared across processes, and after tests that chose other numbers of threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `flas-tui arguments` in this process, on the real engine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run_command(*arguments: str, stdin: str | bytes = "") -> Outcome:
        assert not stdin
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capfd.readouterr()
        code = ended.value.code
        return Outcome(exit_code=code if isinstance(code, int) else 0, out=captured.out, err=captured.err)

    return run_command


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base model in `base` and a flow for it in `flow`."""
    from tiny_evaluation import write_model

    return write_model(tmp_path_factory.mktemp("tiny-model"))
