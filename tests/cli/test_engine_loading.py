"""What a person at the terminal is told while a model loads."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from scripted_engine import SCRIPTED_INFO, ScriptedEngine, ScriptedLoader

from flas_engine.errors import ModelError
from flas_engine.info import LoadSpec
from flas_engine.progress import Progress
from flas_tui.commands import engine_loading
from flas_tui.commands.engine_loading import LoadNarrator, describe, open_engine, progress_line

if TYPE_CHECKING:
    from pathlib import Path


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(engine_loading, "REDRAW_SECONDS", 0.0)
    return Terminal()


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(activity="downloading a", done=30, total=120, unit="bytes"), "downloading a 25 %"),
        (Progress(activity="downloading a", done=130, total=120, unit="bytes"), "downloading a 100 %"),
        (Progress(activity="downloading a", done=12_000_000, unit="bytes"), "downloading a 12 MB"),
        (Progress(activity="reading the config"), "reading the config"),
    ],
)
def test_progress_is_told_as_far_as_it_is_known(progress: Progress, line: str) -> None:
    assert progress_line(progress) == line


def test_in_a_log_each_activity_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    narrator = LoadNarrator()
    for done in range(50):
        narrator(Progress(activity="reading the weights", done=done, total=50))
    narrator(Progress(activity="reading the tokenizer"))
    assert capfd.readouterr().err == "reading the weights\nreading the tokenizer\n"


def test_on_a_terminal_one_line_is_redrawn_and_taken_away(terminal: Terminal) -> None:
    with redirect_stderr(terminal):
        narrator = LoadNarrator()
        narrator.begin("loading the model")
        for done in (1, 2):
            narrator(Progress(activity="reading the weights", done=done, total=2))
        narrator.end()
    drawn = terminal.getvalue().split("\r\x1b[K")
    assert drawn == ["", "loading the model", "reading the weights 50 %", "reading the weights 100 %", ""]


def test_an_activity_cannot_command_the_terminal(terminal: Terminal) -> None:
    with redirect_stderr(terminal):
        LoadNarrator()(Progress(activity="downloading \x1b]0;x\x07.safetensors"))
    assert terminal.getvalue() == "\r\x1b[Kdownloading ␛]0;x␇.safetensors"


def test_the_line_is_taken_away_when_loading_fails(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_loading, "load_function", lambda: ScriptedLoader(failure=ModelError("no")))
    with redirect_stderr(terminal), pytest.raises(ModelError):
        open_engine(LoadSpec())
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_model_without_a_flow_names_no_layer() -> None:
    assert describe(SCRIPTED_INFO) == "scripted on cpu in float32, steered at layer 20 of 30"
    assert describe(replace(SCRIPTED_INFO, flow_id=None, layer=None)) == "scripted on cpu in float32"


def test_gemmas_terms_are_shown_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("FLAS_DATA_DIR", str(tmp_path))
    engine = ScriptedEngine(info=replace(SCRIPTED_INFO, name="demo-gemma"))
    monkeypatch.setattr(engine_loading, "load_function", lambda: ScriptedLoader(engine=engine))
    shown = []
    for quiet in (True, False, False):
        open_engine(LoadSpec(), quiet=quiet)
        shown.append("https://ai.google.dev/gemma/terms" in capfd.readouterr().err)
    assert shown == [False, True, False]
