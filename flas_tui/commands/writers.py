"""Chooses how lanes are written as text: growing together on a capable terminal, else block after block."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from flas_tui.commands.lanes_output import TextBlocksWriter
from flas_tui.console import data_stream, is_terminal

if TYPE_CHECKING:
    from flas_tui.commands.lanes_output import LaneWriter


def choose_text_writer(*, num_lanes: int, names_prompts: bool = False) -> LaneWriter:
    """Return the writer for stdout as it is; in a pipe the text stays as the model wrote it."""
    out, is_bare = data_stream(is_json=False), num_lanes == 1
    if not is_terminal(sys.stdout):
        return TextBlocksWriter(out=out, is_bare=is_bare, names_prompts=names_prompts)
    from rich.console import Console

    from flas_tui.commands.live_output import LiveBlocksWriter
    from flas_tui.safe_text import visible_text

    console = Console(file=out)
    if is_bare or console.is_dumb_terminal:
        return TextBlocksWriter(out=out, is_bare=is_bare, names_prompts=names_prompts, show=visible_text)
    return LiveBlocksWriter(console=console, names_prompts=names_prompts)
