"""Streams the hostile text of `test_token_view` into a real terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult

sys.path.insert(0, str(Path(__file__).parents[1]))

from test_token_view import HOSTILE

from flas_tui.terminal import guarded_terminal
from flas_tui.widgets.token_view import TokenView


class HostileApp(App[None]):
    """Shows the end of the text; `g` goes to its start."""

    BINDINGS: ClassVar = [("q", "quit", "quit")]

    def compose(self) -> ComposeResult:
        yield TokenView()

    def on_mount(self) -> None:
        view = self.query_one(TokenView)
        view.focus()
        for piece in [*HOSTILE, "\nTHE-END"]:
            view.append(piece)


if __name__ == "__main__":
    app = HostileApp()
    with guarded_terminal(app) as guard:
        app.run()
    sys.exit(guard.exit_code)
