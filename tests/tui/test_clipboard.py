"""Copied text arrives where a paste finds it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from in_terminal import in_tmux, needs_tmux

from flas_tui.clipboard import MAX_OSC52_BYTES, copy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_capable_terminal_gets_the_text_itself() -> None:
    sent: list[str] = []
    done = copy("the sea", sent.append, {"TERM": "xterm-256color"})
    assert (sent, done.way, done.path) == (["the sea"], "terminal", None)


def test_controls_never_reach_the_clipboard() -> None:
    sent: list[str] = []
    copy("rm\x1b[201~ -rf\r\x07\nnext\tline 👨\u200d👩", sent.append, {"TERM": "xterm"})
    assert sent == ["rm␛[201~ -rf␍␇\nnext\tline 👨\u200d👩"]


@pytest.mark.parametrize("environ", [{"TERM": "linux"}, {"STY": "1.pts"}, {"TERM_PROGRAM": "Apple_Terminal"}])
def test_a_terminal_that_swallows_it_gets_a_file(environ: dict[str, str]) -> None:
    sent: list[str] = []
    done = copy("the\nsea 👋", sent.append, environ)
    assert done.way == "file"
    assert done.path is not None
    assert done.path.read_text(encoding="utf-8") == "the\nsea 👋"
    assert done.path.stat().st_mode & 0o777 == 0o600
    assert str(done.path) in done.message
    assert sent == []


def test_a_text_too_long_for_a_terminal_gets_a_file() -> None:
    sent: list[str] = []
    done = copy("x" * (MAX_OSC52_BYTES + 1), sent.append, {"TERM": "xterm"})
    assert (done.way, sent) == ("file", [])


def test_a_tmux_that_is_not_there_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMUX", "/nowhere/socket,1,0")
    sent: list[str] = []
    assert copy("the sea", sent.append, os.environ | {"TERM": "xterm"}).way == "terminal"
    assert sent == ["the sea"]


@needs_tmux
def test_inside_tmux_the_text_is_in_its_paste_buffer(tmp_path: Path) -> None:
    program = "from flas_tui.clipboard import copy; print('way', copy('the sea; $HOME', print).way)"
    with in_tmux(tmp_path) as tmux:
        tmux.type(f'$PYTHON -c "{program}"'.replace("$HOME", "\\$HOME"), "Enter")
        tmux.wait_for("way tmux")
        assert tmux.run("show-buffer") == "the sea; $HOME"
