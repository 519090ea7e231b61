"""`flas-tui download`: bring a model here, so that everything runs offline from then on."""

from pathlib import Path
from typing import Annotated

import typer

from flas_tui.commands.options import complete_models


def download(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Short name (see flas-tui models) or Hub repository (owner/name, or owner/name@revision).",
            autocompletion=complete_models,
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is there, for a damaged file.")] = False,
    base: Annotated[
        str | None, typer.Option(metavar="REPOSITORY", help="Another Hub repository to take the base model from.")
    ] = None,
    flow_only: Annotated[
        bool, typer.Option("--flow-only", help="Leave the base model out, when you have it elsewhere.")
    ] = False,
) -> None:
    """Download a model's base and flow into the Hugging Face cache.

    Only what is missing is fetched, and an interrupted download goes on where it stopped. Prints the paths.
    """
    from flas_engine.hub.registry import look_up
    from flas_engine.hub.resolve import download as fetch
    from flas_engine.hub.resolve import memory_note
    from flas_tui.console import data_stream, say
    from flas_tui.download_bar import DownloadBar
    from flas_tui.logs import start_logging

    start_logging()
    entry = look_up(name)
    if entry is not None and (note := memory_note(entry)):
        say(f"note: {note}; it is downloaded all the same")
    with DownloadBar() as bar:
        paths = fetch(name, progress=bar, base=base, is_flow_only=flow_only, force=force)
    if not paths:
        say(f"{name} has no flow; there is nothing to download with --flow-only")
    out = data_stream(is_json=False)
    for path in paths:
        out.write(f"{Path(path)}\n")
