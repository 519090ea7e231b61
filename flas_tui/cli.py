"""The command line `flas-tui`: the commands and their one place of registration.

What `--help` imports is Typer and the commands' signatures; torch, transformers and Textual come in when a command
runs. Help is plain text: it reads the same in a dumb terminal and costs half of the start-up of the coloured kind.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from flas_tui.commands import options as opt
from flas_tui.commands.bench import bench
from flas_tui.commands.chat import chat
from flas_tui.commands.data import data_app
from flas_tui.commands.doctor import doctor
from flas_tui.commands.download import download
from flas_tui.commands.eval import eval_app
from flas_tui.commands.eval_browse import browse
from flas_tui.commands.generate import generate
from flas_tui.commands.judge import judge
from flas_tui.commands.models import models_app
from flas_tui.commands.report import report
from flas_tui.commands.train import train_app
from flas_tui.commands.train_evaluate import evaluate
from flas_tui.commands.train_monitor import monitor
from flas_tui.commands.train_publish import card, publish
from flas_tui.console import reported_errors

app = typer.Typer(
    name="flas-tui",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="Without a command the app starts. Try it without any account: flas-tui --model demo",
)
app.command()(generate)
app.command()(chat)
app.command()(download)
app.add_typer(models_app)
app.add_typer(data_app)
app.add_typer(train_app)
app.add_typer(eval_app)
app.command()(judge)
app.command()(report)
app.command()(doctor)
app.command()(bench)
eval_app.command()(browse)
train_app.command()(monitor)
train_app.command()(evaluate)
train_app.command()(card)
train_app.command()(publish)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends in `SystemExit`, never in a traceback."""
    with reported_errors():
        app(arguments, prog_name="flas-tui")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"flas-tui {version('flas-tui')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    model: opt.Model = None,
    base: opt.Base = None,
    flow: opt.Flow = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    compiled: opt.Compile = None,
    concept: Annotated[str | None, typer.Option(metavar="TEXT", help="Fill in the concept to steer towards.")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="Fill in the prompt.")] = None,
    flow_time: Annotated[
        str | None, typer.Option("--flow-time", "-T", metavar="T", help="Flow time to start with, -8 to 8.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed to start with.")] = None,
    lite: Annotated[bool, typer.Option("--lite", help="Draw little: for slow lines.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Steer a language model with a concept in plain words, beside its baseline, live."""
    del version
    if context.invoked_subcommand is not None:
        _refuse_misplaced_options(context)
        return
    from flas_engine.request import parse_flow_time
    from flas_tui.options import AppOptions

    app_options = AppOptions(
        model=model,
        base=base,
        flow=flow,
        device=device,
        dtype=dtype,
        compiles=compiled,
        lite=lite,
        concept=concept,
        prompt=prompt,
        flow_time=None if flow_time is None else parse_flow_time(flow_time),
        seed=seed,
    )
    from flas_tui.launch import launch

    raise typer.Exit(launch(app_options))


def _refuse_misplaced_options(context: typer.Context) -> None:
    """Options before a command are the app's and would be dropped without a word."""
    given = [name for name in context.params if _is_given(context, name)]
    if given:
        option = "--" + given[0].replace("_", "-")
        raise typer.BadParameter(
            f"{option} stands before the command; write: flas-tui {context.invoked_subcommand} {option} ...", context
        )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
