"""`flas-tui models`: which models there are, which are here, and the user's own."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flas_tui.commands.options import complete_models

if TYPE_CHECKING:
    from flas_engine.hub.capacity import Memory
    from flas_engine.hub.catalog import CatalogEntry

models_app = typer.Typer(
    name="models",
    help="List the models; add, remove and find your own.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@models_app.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line and model.")] = False,
) -> None:
    """List the models: which are here, and which fit this machine."""
    if context.invoked_subcommand is not None:
        return
    from flas_engine.hub.capacity import accelerator_memory, main_memory
    from flas_engine.hub.registry import all_entries
    from flas_tui.console import data_stream

    memory = accelerator_memory() or main_memory()
    rows = [_describe(entry, memory) for entry in all_entries()]
    out = data_stream(is_json=as_json)
    if as_json:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    else:
        out.writelines(line + "\n" for line in _table(rows))


@models_app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you will call it.")],
    base: Annotated[str, typer.Option(metavar="PATH", help="A folder, a GGUF file or a Hub repository.")],
    flow: Annotated[
        str | None, typer.Option(metavar="PATH", help="The flow checkpoint: a folder, a file or a Hub repository.")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(min=0, help="Layer to show in the list; the checkpoint's own is what counts.")
    ] = None,
) -> None:
    """Register a base and a flow under a name of yours."""
    from flas_engine.hub.registry import add_model, registry_path
    from flas_tui.console import say

    entry = add_model(name, base=base, flow=flow, layer=layer)
    say(f"{entry.name} is registered in {registry_path()}; try: flas-tui --model {entry.name}")


@models_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.", autocompletion=complete_models)],
) -> None:
    """Forget a registered model; its files stay."""
    from flas_engine.hub.registry import remove_model
    from flas_tui.console import say

    remove_model(name)
    say(f"{name} is no longer registered; its files are where they were")


@models_app.command("path")
def path(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.", autocompletion=complete_models)],
) -> None:
    """Print where a model's base and flow lie on this disk; fails when they are not here."""
    from flas_engine.hub.registry import find_entry
    from flas_engine.hub.resolve import locate
    from flas_tui.console import data_stream

    data_stream(is_json=False).writelines(f"{path}\n" for path in locate(find_entry(name)))


@models_app.command("concepts")
def concepts(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of the model, or a flow's folder.", autocompletion=complete_models),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line and concept.")] = False,
) -> None:
    """List the concepts that a flow brings along, each with a flow time and a prompt to try it on."""
    from dataclasses import asdict

    from flas_engine.errors import ModelError
    from flas_engine.hub.library import read_library
    from flas_tui.console import data_stream
    from flas_tui.safe_text import visible_line

    library = read_library(name)
    if not library:
        raise ModelError(f"{name} brings no list of concepts; any concept in plain words can be tried")
    out = data_stream(is_json=as_json)
    if as_json:
        out.writelines(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in library)
        return
    width = max(len(entry.concept) for entry in library)
    out.writelines(
        visible_line(f"{entry.concept:<{width}}  T {entry.flow_time:<4g} {entry.prompt}") + "\n" for entry in library
    )


def _describe(entry: "CatalogEntry", memory: "Memory") -> dict[str, Any]:
    from flas_engine.hub.capacity import fits
    from flas_engine.hub.resolve import is_cached

    num_bytes = entry.base_bytes + entry.flow_bytes
    return {
        "name": entry.name,
        "base": entry.base,
        "flow": entry.flow,
        "layer": entry.layer,
        "prompt_format": entry.prompt_format,
        "bytes": num_bytes or None,
        "is_cached": is_cached(entry),
        "fits": fits(num_bytes, memory) if num_bytes else None,
        "is_gated": entry.is_gated,
        "licence": entry.licence and entry.licence.name,
        "licence_url": entry.licence and entry.licence.url,
        "summary": entry.summary,
    }


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Plain columns: they survive pipes, narrow terminals and copying."""
    from flas_engine.hub.capacity import gigabytes
    from flas_tui.safe_text import visible_text

    words = {True: "yes", False: "no", None: "?"}
    cells = [("NAME", "LAYER", "SIZE", "HERE", "FITS", "GATED", "BASE")]
    cells += [
        (
            row["name"],
            "-" if row["layer"] is None else str(row["layer"]),
            gigabytes(row["bytes"]) if row["bytes"] else "?",
            words[row["is_cached"]],
            words[row["fits"]],
            words[row["is_gated"]],
            row["base"],
        )
        for row in rows
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        visible_text("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        for row in cells
    ]
