"""`flas-tui eval browse`: the scores and texts of an evaluation, in the terminal."""

from pathlib import Path
from typing import Annotated

import typer

from flas_tui.commands import options as opt


def browse(
    folder: Annotated[Path, typer.Argument(metavar="EVAL", help="Its folder: what `flas-tui eval --out` named.")],
    device: opt.Device = None,
    lite: Annotated[bool, typer.Option("--lite", help="Draw little: for slow lines.")] = False,
) -> None:
    """Look at an evaluation: concepts by flow times, scores as colours, and the texts behind them.

    It reads the folder, also while texts are still written or judged. No model is loaded until a text is run again.
    """
    from flas_tui.evaluation_watcher import check_evaluation
    from flas_tui.launch import launch
    from flas_tui.options import AppOptions

    raise typer.Exit(launch(AppOptions(evaluation=check_evaluation(folder), device=device, lite=lite)))
