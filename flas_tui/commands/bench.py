"""`flas-tui bench`: this machine, measured. The signature, and what it is wired to."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flas_tui.commands import options as opt
from flas_tui.console import data_stream


def bench(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Model to measure; repeatable. Default: the embedded models that are here.",
            autocompletion=opt.complete_models,
        ),
    ] = None,
    base: opt.Base = None,
    flow: opt.Flow = None,
    device: opt.Device = None,
    tokens: Annotated[int, typer.Option(min=8, metavar="N", help="New tokens a lane and round.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Rounds; medians are shown.")] = 5,
    app: Annotated[
        bool, typer.Option("--app/--no-app", help="Also measure the app: first paint, and key press to paint.")
    ] = True,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help='What the cost of 8-bit weights is measured on: one prompt a line, or JSON with an "instruction" '
            "each, as AlpacaEval's; the first 50 count. Default: some questions of our own.",
        ),
    ] = None,
    llama_cpp: Annotated[
        str | None,
        typer.Option(metavar="PYTHON", help="A Python that can import llama_cpp, to measure llama.cpp beside."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write <model>.json and a README.md there too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with every number.")] = False,
) -> None:
    """Measure speed, start and memory on this machine, against plain transformers.

    Let nothing else run meanwhile: the ratios of one run are what counts.
    """
    from flas_engine.info import LoadSpec
    from flas_tui.commands.bench_report import render_text, save_results
    from flas_tui.commands.bench_run import BenchOptions, embedded_names, measure_all, read_prompts

    out = data_stream(is_json=as_json)
    specs = [LoadSpec(model=name, base=base, flow=flow, device=device) for name in model or embedded_names()]
    options = BenchOptions(
        tokens=tokens, rounds=rounds, prompt_file=prompts, prompts=read_prompts(prompts), llama_cpp=llama_cpp
    )
    result = measure_all(specs, options, with_app=app)
    if save is not None:
        save_results(result, save)
    out.write(json.dumps(result) + "\n" if as_json else render_text(result))
