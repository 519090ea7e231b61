"""Putting text on the clipboard of the person at the terminal, who may sit at another machine.

Three ways, in order: the terminal's own (OSC 52, which crosses SSH), tmux's when inside tmux (its `load-buffer -w`
passes the text on and keeps a paste buffer besides), a file when the terminal is known to swallow OSC 52. Whether a
terminal took it cannot be asked, so the answer says what was done, not that it worked. Knows of the app only that it
can write OSC 52.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flas_engine.errors import FlasError
from flas_engine.paths import cache_dir
from flas_tui.safe_text import pasteable_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

TMUX_SECONDS = 2.0
"""tmux answers in milliseconds; a server that hangs must not hang the app."""

MAX_OSC52_BYTES = 74_994
"""xterm's limit, which others took over; a longer text is dropped without a word."""


class ClipboardError(FlasError):
    """The text could not be put anywhere."""


@dataclass(frozen=True, kw_only=True)
class Copied:
    """How a text was copied."""

    way: Literal["terminal", "tmux", "file"]
    path: Path | None = None
    """Of the file."""

    @property
    def message(self) -> str:
        """What the user is told."""
        if self.way == "file":
            return f"the terminal takes no clipboard text; written to {self.path}"
        return "copied through tmux" if self.way == "tmux" else "copied"


def copy(text: str, send_osc52: Callable[[str], object], environ: Mapping[str, str] = os.environ) -> Copied:
    """Copy `text` without the controls that could act when pasted; `send_osc52` is the app's `copy_to_clipboard`."""
    text = pasteable_text(text)
    if environ.get("TMUX") and _load_into_tmux(text):
        return Copied(way="tmux")
    if _swallows_osc52(environ) or len(text.encode()) > MAX_OSC52_BYTES:
        return Copied(way="file", path=_write_file(text))
    send_osc52(text)
    return Copied(way="terminal")


def _swallows_osc52(environ: Mapping[str, str]) -> bool:
    """Screen and the Linux console drop it, and Apple's Terminal does not know it."""
    inside_screen = bool(environ.get("STY")) or environ.get("TERM", "").startswith("screen.")
    return inside_screen or environ.get("TERM") == "linux" or environ.get("TERM_PROGRAM") == "Apple_Terminal"


def _load_into_tmux(text: str) -> bool:
    try:
        subprocess.run(
            ["tmux", "load-buffer", "-w", "-"],
            input=text.encode(),
            check=True,
            capture_output=True,
            timeout=TMUX_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("tmux did not take the text: %s", error)
        return False
    return True


def _write_file(text: str) -> Path:
    """Write the text where only its owner can read it."""
    for folder in (cache_dir(), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix="copied-", suffix=".txt", dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
        except OSError as error:
            log.warning("the copied text could not be written to %s: %s", folder, error)
        else:
            return Path(name)
    raise ClipboardError("nothing could be copied: the terminal takes no clipboard text and no file could be written")
