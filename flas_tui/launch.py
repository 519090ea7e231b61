"""Start the app, or refuse a terminal that cannot hold it. Knows nothing of how it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_tui.console import EXIT_USAGE, say

if TYPE_CHECKING:
    from flas_tui.options import AppOptions


def launch(options: AppOptions) -> int:
    """Run the app and return its exit code; 2 where there is no usable terminal, before Textual is imported."""
    from flas_tui.terminal import TerminalError, refuse_unusable_terminal

    try:
        refuse_unusable_terminal()
    except TerminalError as error:
        say(f"flas-tui: {error}")
        return EXIT_USAGE
    from flas_tui.app import run_app

    return run_app(options)
