"""`flas-tui eval`: texts for concepts, prompts and flow times. The signatures, and what they are wired to."""

from pathlib import Path
from typing import Annotated

import typer

from flas_tui.commands import options as opt
from flas_tui.console import data_stream, say

eval_app = typer.Typer(
    name="eval",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def complete_methods(incomplete: str) -> list[str]:
    """List the methods that begin with the last of `incomplete`'s names."""
    first, comma, last = incomplete.rpartition(",")
    return [first + comma + name for name in ("steering", "prompting", "baseline") if name.startswith(last)]


def complete_prompts(incomplete: str) -> list[str]:
    """List the named sources of prompts that begin with `incomplete`."""
    return [name for name in ("alpaca-eval", "bundled") if name.startswith(incomplete)]


@eval_app.callback(
    invoke_without_command=True,
    epilog="On several GPUs or nodes: accelerate launch -m flas_tui eval ... (or torchrun --nproc-per-node N -m "
    "flas_tui eval ...); or start the shards yourself, with --shard 0/4 to --shard 3/4.",
)
def evaluate(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="The evaluation's folder; one that began there goes on."),
    ] = None,
    concepts: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="A folder or metadata.jsonl of AxBench's, a file with a concept a line, JSON lines or parquet with "
            "concepts, or 'library': those that come with the model.",
        ),
    ] = None,
    concept: Annotated[
        list[str] | None, typer.Option("--concept", "-c", metavar="TEXT", help="A concept. Repeatable.")
    ] = None,
    num_concepts: Annotated[int | None, typer.Option(metavar="N", help="So many concepts. Default: all.")] = None,
    concept_seed: Annotated[
        int | None, typer.Option(metavar="N", help="Draw them by this seed. Default: the first ones.")
    ] = None,
    prompts: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="alpaca-eval (see flas-tui data download), bundled, or a file with a prompt a line, or JSON.",
            autocompletion=complete_prompts,
        ),
    ] = "alpaca-eval",
    prompts_per_concept: Annotated[
        int, typer.Option(metavar="N", help="Prompts of each concept, drawn by the concept's own chance.")
    ] = 10,
    methods: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Of steering, prompting (the concept is asked for in the prompt) and baseline.",
            autocompletion=complete_methods,
        ),
    ] = "steering,prompting,baseline",
    flow_times: Annotated[
        str, typer.Option(metavar="LIST", help="Of steering, -8 to 8; 0 is the baseline.")
    ] = "0.5,1,1.5,2,2.5,3,3.5,4",
    seeds: Annotated[str, typer.Option(metavar="LIST", help="A text of everything for each seed.")] = "0",
    temperature: opt.Temperature = 1.0,
    top_k: opt.TopK = 0,
    top_p: opt.TopP = 1.0,
    min_p: opt.MinP = 0.0,
    repetition_penalty: opt.RepetitionPenalty = 1.0,
    greedy: opt.Greedy = False,
    max_tokens: opt.MaxTokens = 256,
    stop: opt.Stop = None,
    solver: opt.SolverName = "euler",
    steps: opt.Steps = None,
    lanes: Annotated[
        int | None, typer.Option(metavar="N", help="Texts written at once. Default: what fits the memory.")
    ] = None,
    memory_gigabytes: Annotated[
        float | None,
        typer.Option(metavar="X", help="Memory for the texts written at once. Default: half of what is free."),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only part I, from 0, of N; each has a file of its own.")
    ] = None,
    is_dry: Annotated[
        bool, typer.Option("--dry-run", help="Say how many texts, how many are there, and what it takes.")
    ] = False,
    model: opt.Model = None,
    base: opt.Base = None,
    flow: opt.Flow = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    compiled: opt.Compile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with the counts.")] = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write texts for concepts and prompts at every flow time, by prompting, and without either.

    Defaults are AxBench's protocol. Every text is kept as it ends: Ctrl+C or a kill costs only those under way, and
    the same command goes on. Then: flas-tui judge FOLDER, and flas-tui report FOLDER.
    """
    if context.invoked_subcommand is not None:
        return
    from flas_engine.info import LoadSpec
    from flas_engine.request import Limits, Sampling
    from flas_tui.commands.eval_run import EvalOptions, evaluate_model, make_wishes

    if out is None:
        raise typer.BadParameter("--out is missing: the folder of the evaluation", context)
    options = EvalOptions(
        out=out,
        concepts=concepts,
        concept=tuple(concept or ()),
        num_concepts=num_concepts,
        concept_seed=concept_seed,
        prompts=prompts,
        prompts_per_concept=prompts_per_concept,
        methods=methods,
        flow_times=flow_times,
        seeds=seeds,
        sampling=Sampling(
            repetition_penalty=repetition_penalty,
            temperature=0.0 if greedy else temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
        ),
        limits=Limits(max_new_tokens=max_tokens, stop=tuple(stop or ())),
        solver=solver,
        num_steps=steps,
        lanes=lanes,
        memory_gigabytes=memory_gigabytes,
        shard=shard,
        spec=LoadSpec(model=model, base=base, flow=flow, device=device, dtype=dtype, compiles=compiled),
        is_dry=is_dry,
        as_json=as_json,
        quiet=quiet,
    )
    evaluate_model(options, make_wishes(options))


@eval_app.command("merge")
def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder for all of it.")],
    shards: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of shards.")],
) -> None:
    """Bring shards that were written into folders of their own together, judgements and all.

    Shards in one folder need no merging.
    """
    from flas_engine.evaluation.merging import merge as merge_folders

    num_texts = merge_folders(out, shards)
    say(f"{num_texts:,} texts in {out}")
    data_stream(is_json=False).write(f"{out}\n")


@eval_app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Parquet or JSON lines of concept_id, concept, input, input_id, factor, generation_steered.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The evaluation's folder.")],
) -> None:
    """Make an evaluation of the reference's result rows, to judge and report them."""
    from flas_engine.evaluation.reference_rows import import_rows

    num_texts = import_rows(file, out)
    say(f"{num_texts:,} texts in {out}")
    data_stream(is_json=False).write(f"{out}\n")


@eval_app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An evaluation's folder.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To write: .parquet or .jsonl.")],
) -> None:
    """Write an evaluation as the reference's result rows; texts by prompting have no place there."""
    from flas_engine.evaluation.reference_rows import export_rows

    num_rows, num_left_out = export_rows(folder, file)
    left_out = f"; {num_left_out:,} texts by prompting are left out" if num_left_out else ""
    say(f"{num_rows:,} rows in {file}{left_out}")
    data_stream(is_json=False).write(f"{file}\n")
