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
    """Shows the start of the text, then its end."""

    BINDINGS: ClassVar = [("q", "quit", "quit")]

    def compose(self) -> ComposeResult:
        yield TokenView()

    def on_mount(self) -> None:
        self.view = self.query_one(TokenView)
        self.call_after_refresh(self.fill)

    def fill(self) -> None:
        for piece in HOSTILE:
            self.view.append(piece)
        self.call_after_refresh(self.show_start)

    def show_start(self) -> None:
        self.view.scroll_home()
        self.call_after_refresh(self.show_end)

    def show_end(self) -> None:
        self.view.append("\nTHE-END")
        self.view.scroll_end()


if __name__ == "__main__":
    app = HostileApp()
    with guarded_terminal(app) as guard:
        app.run()
    sys.exit(guard.exit_code)
