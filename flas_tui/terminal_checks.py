"""What the terminal can show and copy, as far as its environment tells. Sends it nothing."""

from __future__ import annotations

import locale
import os
import shutil
import sys
from typing import TYPE_CHECKING

from flas_tui.checks import Check, ok, warn
from flas_tui.console import is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALLEST = (50, 12)
COMFORTABLE = (80, 24)


def terminal_checks() -> Iterator[Check]:
    """Check terminal, colours, encoding, size, line and clipboard."""
    yield _terminal()
    yield _colours()
    yield _encoding()
    yield from _size()
    yield _line()
    yield _clipboard()


def _terminal() -> Check:
    term = os.environ.get("TERM", "")
    inside = [name for name, variable in (("tmux", "TMUX"), ("screen", "STY")) if os.environ.get(variable)]
    detail = f"TERM={term or '(unset)'}" + "".join(f", inside {name}" for name in inside)
    if term in {"", "dumb"}:
        return warn("terminal", detail, "the app cannot be shown; use flas-tui chat or flas-tui generate")
    if not is_terminal(sys.stdout):
        return ok("terminal", f"{detail}; output goes to a file or a pipe, the app needs a terminal")
    return ok("terminal", detail)


def _colours() -> Check:
    if os.environ.get("NO_COLOR"):
        return ok("colours", "none, as NO_COLOR asks")
    if os.environ.get("COLORTERM") in {"truecolor", "24bit"}:
        return ok("colours", "16 million")
    if "256" in os.environ.get("TERM", ""):
        return ok("colours", "256; if the terminal has more, set COLORTERM=truecolor (ssh does not pass it on)")
    return warn("colours", "16 at most", "set TERM=xterm-256color if the terminal can show 256")


def _encoding() -> Check:
    encoding = locale.getpreferredencoding(do_setlocale=False)
    if encoding.lower().replace("-", "") == "utf8":
        return ok("unicode", encoding)
    return warn("unicode", f"the locale's encoding is {encoding}", "set LANG=C.UTF-8 or another UTF-8 locale")


def _size() -> Iterator[Check]:
    if not is_terminal(sys.stdout):
        return
    columns, rows = shutil.get_terminal_size()
    if columns < SMALLEST[0] or rows < SMALLEST[1]:
        yield warn("size", f"{columns}x{rows}", f"the app needs at least {SMALLEST[0]}x{SMALLEST[1]}")
    elif columns < COMFORTABLE[0] or rows < COMFORTABLE[1]:
        yield warn("size", f"{columns}x{rows}", f"both panes show from {COMFORTABLE[0]}x{COMFORTABLE[1]}")
    else:
        yield ok("size", f"{columns}x{rows}")


def _line() -> Check:
    if os.environ.get("SSH_CONNECTION"):
        return ok("line", "ssh; if drawing is slow: flas-tui --lite")
    return ok("line", "local")


def _clipboard() -> Check:
    if os.environ.get("TMUX"):
        return ok("clipboard", "through tmux; its set-clipboard option must be on or external")
    if os.environ.get("STY"):
        return warn("clipboard", "screen swallows OSC 52", "copied text goes to a file; tmux passes it on")
    return ok("clipboard", "OSC 52, where the terminal allows it")
