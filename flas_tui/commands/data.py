"""`flas-tui data`: training rows fetched, looked at and made. The signatures, and what they are wired to."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flas_tui.commands import options as opt
from flas_tui.console import data_stream

data_app = typer.Typer(
    name="data",
    help="Fetch, look at and make rows to train on.",
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _complete_published(incomplete: str) -> list[str]:
    from flas_engine.data.published import PUBLICATIONS

    return [name for name in PUBLICATIONS if name.startswith(incomplete.lower())]


@data_app.command("download")
def download(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="axbench, axbench-templates (the judge's alone), axbench-16k or alpaca-eval.",
            autocompletion=_complete_published,
        ),
    ],
    part: Annotated[
        str | None, typer.Option(metavar="PART", help="Of a set in several parts: the one to fetch.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is there.")] = False,
) -> None:
    """Fetch a published data set into the cache, checked; prints where its files are.

    AxBench's small sets and judge templates come from its GitHub repository, the others from the Hugging Face Hub.
    """
    from flas_engine.data.published import download_published
    from flas_tui.download_bar import DownloadBar

    with DownloadBar() as bar:
        paths = download_published(name, part=part, force=force, progress=bar)
    data_stream(is_json=False).writelines(f"{path}\n" for path in paths)


@data_app.command("inspect")
def inspect(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Files of rows, folders of AxBench's form, or names of downloaded data sets."
        ),
    ],
    samples: Annotated[int, typer.Option(min=0, metavar="N", help="Rows to show, drawn by seed.")] = 3,
    seed: Annotated[int, typer.Option(metavar="N", help="Draws the rows that are shown.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Count lengths in this model's tokens. Default: in characters.",
            autocompletion=opt.complete_models,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what is in rows: counts, lengths, samples, and the rows that do not fit, by reason."""
    from dataclasses import asdict

    from flas_engine.data.inspection import inspect_rows
    from flas_tui.commands.data_inspect import read_sources, token_counter
    from flas_tui.commands.data_report import inspect_lines

    row_set = read_sources(sources)
    counter = None if model is None else token_counter(model)
    found = inspect_rows(row_set, num_samples=samples, seed=seed, count_tokens=counter)
    stream = data_stream(is_json=as_json)
    if as_json:
        stream.write(json.dumps({"sources": [asdict(source) for source in row_set.sources], **asdict(found)}) + "\n")
    else:
        stream.write(inspect_lines(found, row_set.sources))


@data_app.command("make")
def make(
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="The file of rows to write.")],
    concept: Annotated[
        list[str] | None,
        typer.Option(
            "--concept",
            "-c",
            metavar="TEXT",
            help="Ask for answers under this concept. Repeatable; several wordings of one are parted by '|'.",
        ),
    ] = None,
    concepts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The same for a file with a concept a line; 'all' is a bundled list of 325."),
    ] = None,
    topics: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Ask for answers that name a topic, and keep those that do: a file with one a line, a number of "
            "bundled ones, or 'all' (1,300).",
        ),
    ] = None,
    weave: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Topics too, woven into plain answers by sentences from a list."),
    ] = None,
    rewrite: Annotated[
        str | None,
        typer.Option(
            metavar="STYLES", help="Rewrite plain answers in these styles, or families of styles (a,b,c), or in 'all'."
        ),
    ] = None,
    prompts: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="What is asked: 'bundled', 'alpaca-eval', or a file with a prompt a line, or JSON.",
        ),
    ] = "bundled",
    num_prompts: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many prompts.")] = 5000,
    rows: Annotated[int, typer.Option(metavar="N", help="Rows for each concept to train on.")] = 8,
    val_rows: Annotated[int, typer.Option(metavar="N", help="Rows for each concept in every other split.")] = 2,
    val_prompts: Annotated[
        float, typer.Option(metavar="N", help="Hold out prompts (split val): a number, or a share such as 0.05.")
    ] = 0.0,
    unseen_concepts: Annotated[
        float,
        typer.Option(metavar="N", help="Hold out whole concepts (split unseen): a number a kind, or a share."),
    ] = 0.0,
    unseen_wordings: Annotated[
        int, typer.Option(metavar="N", help="Hold out so many wordings of each concept (split wording).")
    ] = 0,
    max_tries: Annotated[
        int, typer.Option(metavar="N", help="Prompts tried for a wanted row, before a concept is left with fewer.")
    ] = 3,
    plain: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where plain answers are kept, for --weave and --rewrite of other runs too. "
            "Default: OUT.plain.answers.jsonl",
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask this OpenAI-compatible server (http://host/v1) and no local model."),
    ] = None,
    endpoint_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model to ask there; the key is in OPENAI_API_KEY.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Questions to a server at a time.")] = 4,
    lanes: Annotated[int, typer.Option(min=1, metavar="N", help="Answers of a local model at a time.")] = 48,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", min=1, metavar="N", help="At most so many tokens an answer.")
    ] = 80,
    temperature: opt.Temperature = 0.5,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Draws topics, wordings, noise, and what is held out: alike in every file.")
    ] = 0,
    model: opt.Model = None,
    base: opt.Base = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
    quiet: opt.Quiet = False,
) -> None:
    """Make rows for concepts of your own, from the answers of a local model or a server.

    Every answer is kept beside OUT as it comes: a run that was stopped goes on where it was.
    """
    from flas_engine.data.making import Recipe
    from flas_engine.info import LoadSpec
    from flas_tui.commands.data_make import MakeOptions, Wanted, make_file
    from flas_tui.commands.data_report import make_lines

    recipe = Recipe(
        rows=rows,
        val_rows=val_rows,
        val_prompts=val_prompts,
        unseen_concepts=unseen_concepts,
        unseen_wordings=unseen_wordings,
        max_tries=max_tries,
        seed=seed,
    )
    options = MakeOptions(
        out=out,
        plain=plain,
        wanted=Wanted(concept=tuple(concept or ()), concepts=concepts, topics=topics, weave=weave, rewrite=rewrite),
        prompts=prompts,
        num_prompts=num_prompts,
        recipe=recipe,
        endpoint=endpoint,
        endpoint_model=endpoint_model,
        concurrency=concurrency,
        lanes=lanes,
        max_tokens=max_tokens,
        temperature=temperature,
        spec=LoadSpec(model=model, base=base, device=device, dtype=dtype, compiles=False),
        quiet=quiet,
    )
    summary = make_file(options)
    stream = data_stream(is_json=as_json)
    stream.write(json.dumps(summary) + "\n" if as_json else make_lines(summary))
