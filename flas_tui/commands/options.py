"""Options that several commands share, with their completions. Knows their wording, not what becomes of them.

Flow times and other numbers with a meaning arrive as text, so that one place, the engine's own checks, says what is
wrong with them.
"""

from typing import Annotated

import typer


def complete_models(incomplete: str) -> list[str]:
    """List the catalog's names that begin with `incomplete`."""
    from flas_engine.hub.registry import all_entries

    return [entry.name for entry in all_entries() if entry.name.startswith(incomplete.lower())]


def complete_solvers(incomplete: str) -> list[str]:
    """List the solvers whose names begin with `incomplete`."""
    from flas_engine.solvers import SOLVERS

    return [name for name in SOLVERS if name.startswith(incomplete.lower())]


def complete_devices(incomplete: str) -> list[str]:
    """List the kinds of device that begin with `incomplete`."""
    return [name for name in ("cpu", "cuda", "mps") if name.startswith(incomplete.lower())]


def complete_dtypes(incomplete: str) -> list[str]:
    """List the dtypes that begin with `incomplete`."""
    return [name for name in ("bfloat16", "float16", "float32", "int8") if name.startswith(incomplete.lower())]


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Short name (demo, gemma-2-2b-it ...; see flas-tui models), Hub repository or folder. "
        "Default: on a GPU the largest released one that is here and fits it, else demo.",
        autocompletion=complete_models,
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        metavar="PATH", help="Another copy of the base model: a folder, a Hub repository, a GGUF file, or a short name."
    ),
]
Flow = Annotated[
    str | None, typer.Option(metavar="PATH", help="Another flow checkpoint: a folder, a file or a Hub repository.")
]
Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="cuda, cuda:1, mps or cpu. Default: the best.", autocompletion=complete_devices),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="bfloat16, float16, float32, or int8: a byte a weight. Default: the engine's choice.",
        autocompletion=complete_dtypes,
    ),
]
Compile = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile decoding in the background. Default: on CUDA, where it pays, except in generate.",
    ),
]
Concepts = Annotated[
    list[str] | None,
    typer.Option(
        "--concept",
        "-c",
        metavar="TEXT",
        help="What to steer towards, in plain words. Repeat it to mix several; each is taken as it stands.",
    ),
]
Weights = Annotated[
    list[float] | None,
    typer.Option(
        "--weight",
        "-w",
        metavar="X",
        help="Weight of a concept in the mix, negative to steer away. Repeat it in the order of the concepts: "
        "either none, or one for each.",
    ),
]
System = Annotated[str | None, typer.Option(metavar="TEXT", help="System turn in front of the conversation.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Equal seeds give equal noise in every lane.")]
Temperature = Annotated[float, typer.Option(metavar="X", help="0 is greedy.")]
TopK = Annotated[int, typer.Option("--top-k", metavar="N", help="Keep the N likeliest tokens; 0 keeps all.")]
TopP = Annotated[
    float, typer.Option("--top-p", metavar="X", help="Keep the likeliest tokens up to this mass; 1 keeps all.")
]
MinP = Annotated[
    float, typer.Option("--min-p", metavar="X", help="Drop tokens below this share of the likeliest; 0 keeps all.")
]
RepetitionPenalty = Annotated[float, typer.Option(metavar="X", help="Above 1 makes repetition less likely.")]
Greedy = Annotated[bool, typer.Option("--greedy", help="Take the likeliest token each time (temperature 0).")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", "-n", metavar="N", help="At most so many new tokens a lane.")]
Stop = Annotated[
    list[str] | None, typer.Option("--stop", metavar="TEXT", help="End a lane before this text. Repeatable.")
]
SolverName = Annotated[
    str,
    typer.Option("--solver", metavar="NAME", help="euler, midpoint, heun or rk4.", autocompletion=complete_solvers),
]
Steps = Annotated[
    int | None, typer.Option("--steps", metavar="N", help="Solver steps. Default: the checkpoint's own number.")
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Leave out progress and remarks on stderr; errors, and answers to what you do, still come.",
    ),
]
