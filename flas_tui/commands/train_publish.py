"""`flas-tui train publish`: push the result of a training run to the Hub, with its model card."""

from pathlib import Path
from typing import Annotated

import typer


def publish(
    run: Annotated[
        Path, typer.Argument(metavar="RUN_OR_FLOW", help="A run's folder, for its result; or the folder of a flow.")
    ],
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="The repository on the Hub; made if need be.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository for you alone, if it is new.")
    ] = False,
) -> None:
    """Publish a trained flow on the Hugging Face Hub, with its model card.

    Takes the token of `hf auth login` or HF_TOKEN. Prints the address.
    """
    from flas_engine.training.publish import publish as push
    from flas_tui.console import data_stream

    data_stream(is_json=False).write(push(run, repo, is_private=private) + "\n")


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
) -> None:
    """Write the model card of a run's result anew, as after an evaluation. Prints its path."""
    from flas_engine.training.card import write_card
    from flas_tui.console import data_stream

    data_stream(is_json=False).write(f"{write_card(run)}\n")
