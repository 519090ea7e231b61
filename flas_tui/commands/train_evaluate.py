"""`flas-tui train evaluate`: what a flow does on rows it was not trained on, in tables and in `evaluation.json`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from flas_tui.commands import options as opt


def evaluate(
    flow: Annotated[
        Path, typer.Argument(metavar="RUN_OR_FLOW", help="A run's folder, for its result; or the folder of a flow.")
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Rows to evaluate on; repeatable. Default: the rows that the run held out.",
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only rows of this split; repeatable. Default: all but train."),
    ] = None,
    base: opt.Base = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    rows: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rows of each split and group whose losses are measured.")
    ] = 60,
    concepts: Annotated[
        int, typer.Option(min=0, metavar="N", help="Concepts of each split and group that texts are written for.")
    ] = 40,
    prompts: Annotated[int, typer.Option(min=1, metavar="N", help="Prompts of each of these concepts.")] = 2,
    max_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="New tokens of a text.")] = 64,
    temperature: Annotated[float, typer.Option(min=0.0, metavar="X", help="Of the texts; 0 is greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Draws rows, concepts, prompts and tokens.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where evaluation.json goes. Default: beside the flow.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with every number and text.")] = False,
) -> None:
    """Measure a flow on rows it was not trained on.

    Losses over the flow time and under wrong concepts, how many texts show their concept, and all of these texts,
    drawn by seed. Writes evaluation.json, which the model card then shows.
    """
    from flas_engine.training.evaluation_file import EvaluationSettings, to_json, write_evaluation
    from flas_tui.commands.evaluation_report import render
    from flas_tui.commands.evaluation_run import evaluate_flow
    from flas_tui.console import data_stream, is_terminal, say

    out_stream = data_stream(is_json=as_json)
    settings = EvaluationSettings(
        num_rows=rows,
        num_concepts=concepts,
        num_prompts=prompts,
        max_new_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
    )
    folder, evaluation = evaluate_flow(flow, data or [], split or [], settings, base=base, device=device, dtype=dtype)
    path = write_evaluation(out or folder, evaluation)
    if as_json:
        out_stream.write(json.dumps(to_json(evaluation)) + "\n")
    else:
        out_stream.write(render(evaluation, is_terminal=is_terminal(sys.stdout)))
    say(f"all texts are in {path}")
