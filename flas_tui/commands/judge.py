"""`flas-tui judge`: ratings for the texts of an evaluation. The signature, and what it is wired to."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flas_tui.commands import options as opt
from flas_tui.console import data_stream


def judge(
    folder: Annotated[Path, typer.Argument(metavar="EVAL", help="An evaluation's folder: --out of flas-tui eval.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="The model that judges. Default: FLAS_JUDGE_MODEL, or gpt-4o-mini at OpenAI; with --offline the "
            "evaluation's own base.",
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Any OpenAI-compatible server (http://localhost:8000/v1). Default: OPENAI_BASE_URL, or OpenAI's. "
            "A key comes from OPENAI_API_KEY alone.",
        ),
    ] = None,
    rubric: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What is asked: flas (ours), axbench (its own templates, downloaded) or a TOML file."
        ),
    ] = "flas",
    offline: Annotated[
        bool, typer.Option("--offline", help="Estimate ratings from the base model itself: no server, no key.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Keep the judgements under this name. Default: the model, and the rubric unless it is ours.",
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Questions at a time.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=8, metavar="N", help="At most so many tokens an answer.")] = 400,
    tries: Annotated[
        int, typer.Option(min=1, max=20, metavar="N", help="Ask so often until an answer holds a rating.")
    ] = 3,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Wait so long for an answer.")] = 120.0,
    price_input: Annotated[
        float | None,
        typer.Option(metavar="X", help="Dollars for a million tokens of questions. Default: known for gpt-4o-mini."),
    ] = None,
    price_output: Annotated[
        float | None, typer.Option(metavar="X", help="Dollars for a million tokens of answers.")
    ] = None,
    limit_cost: Annotated[
        float | None,
        typer.Option(metavar="DOLLARS", help="Stop before this judge's judgements cost more, earlier runs included."),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again what failed before.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how much there is to ask and what it may cost; ask nothing.")
    ] = False,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
    quiet: opt.Quiet = False,
) -> None:
    """Have the texts of an evaluation judged: concept, instruction and fluency, each 0, 1 or 2.

    Every judgement is kept as it comes: the same command goes on where it was stopped, and asks nothing twice.
    """
    from flas_engine.errors import EvaluationError
    from flas_tui.commands.judge_report import estimate_json, estimate_lines, render_summary, summary_json
    from flas_tui.commands.judge_run import JudgeOptions, estimate_judging, run_judge

    options = JudgeOptions(
        folder=folder,
        model=model,
        base_url=base_url,
        rubric=rubric,
        is_offline=offline,
        name=name,
        concurrency=concurrency,
        max_tokens=max_tokens,
        num_tries=tries,
        timeout_seconds=timeout,
        price_input=price_input,
        price_output=price_output,
        limit_dollars=limit_cost,
        retries_failed=retry_failed,
        device=device,
        dtype=dtype,
        quiet=quiet,
    )
    stream = data_stream(is_json=as_json)
    if dry_run:
        found = estimate_judging(options)
        stream.write(json.dumps(estimate_json(found)) + "\n" if as_json else estimate_lines(found))
        return
    summary, stopped = run_judge(options)
    stream.write(json.dumps(summary_json(summary)) + "\n" if as_json else render_summary(summary))
    if stopped:
        raise EvaluationError(stopped)
