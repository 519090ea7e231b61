"""`flas-tui train monitor`: the curves and samples of a training run, in the terminal."""

from pathlib import Path
from typing import Annotated

import typer


def monitor(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder: what `flas-tui train --out` named.")],
    lite: Annotated[bool, typer.Option("--lite", help="Draw little: for slow lines.")] = False,
) -> None:
    """Watch a training run: its curves, how long it still takes, and what it writes.

    It reads the run's folder, live or finished; leaving it leaves the training alone.
    """
    from flas_tui.console import EXIT_USAGE, say
    from flas_tui.run_watcher import check_run
    from flas_tui.terminal import TerminalError, refuse_unusable_terminal

    check_run(run)
    try:
        refuse_unusable_terminal()
    except TerminalError as error:
        say(f"flas-tui: {error}")
        raise typer.Exit(EXIT_USAGE) from None
    from flas_tui.monitor_app import run_monitor

    raise typer.Exit(run_monitor(run, is_lite=lite))
