"""The options of `flas-tui train` that are keys of its recipe, each named like its key. Knows their wording alone.

Without an option the recipe's own default holds; what a value may be is checked where recipes are made.
"""

from typing import Annotated

import typer

from flas_tui.commands.options import complete_models


def complete_training_dtypes(incomplete: str) -> list[str]:
    """List the dtypes that can be trained in and begin with `incomplete`."""
    return [name for name in ("bfloat16", "float16", "float32") if name.startswith(incomplete.lower())]


Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        "-b",
        metavar="NAME",
        help="Base model: short name, Hub repository or folder.",
        autocompletion=complete_models,
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        "-d",
        metavar="PATH[:WEIGHT]",
        help="Rows: an AxBench folder, or a parquet or JSONL file of input, output and concept. Repeatable; an epoch "
        "sees rows of weight 2 twice, of weight 0.5 half of them.",
    ),
]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="Of the flow. Default: flas- and the base's name.")]
Layer = Annotated[int | None, typer.Option(metavar="N", help="Layer whose output the flow moves. Default: 20.")]
Blocks = Annotated[int | None, typer.Option(metavar="N", help="Blocks of the field. Default: 1.")]
SelfAttention = Annotated[
    bool | None,
    typer.Option("--self-attention/--no-self-attention", help="Whether blocks have self-attention. Default: yes."),
]
CrossAttention = Annotated[
    bool | None,
    typer.Option("--cross-attention/--no-cross-attention", help="Whether blocks see the concept. Default: yes."),
]
Mlp = Annotated[bool | None, typer.Option("--mlp/--no-mlp", help="Whether blocks have an MLP. Default: yes.")]
NumSteps = Annotated[int | None, typer.Option("--steps", metavar="N", help="Euler steps over [0, T]. Default: 3.")]
FlowTimeMin = Annotated[float | None, typer.Option(metavar="T", help="Least flow time trained at. Default: 0.5.")]
FlowTimeMax = Annotated[float | None, typer.Option(metavar="T", help="Largest flow time trained at. Default: 2.")]
Standardised = Annotated[
    bool | None,
    typer.Option(
        "--standardised/--released-coordinates",
        help="Let the field live in coordinates of mean 0 and scale 1, which small models need. Default: as released.",
    ),
]
InitFromBase = Annotated[
    bool | None,
    typer.Option("--init-from-base/--init-fresh", help="Begin with copies of the base's layer. Default: yes."),
]
InitFlow = Annotated[
    str | None,
    typer.Option(
        metavar="FLOW",
        help="Begin with a trained flow, and take its shape: short name, folder or Hub repository.",
        autocompletion=complete_models,
    ),
]
PromptFormat = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="chat or alpaca. Default: that of a listed base, else chat where there is a template."
    ),
]
MaxLen = Annotated[
    int | None,
    typer.Option(metavar="N", help="Leave out rows with more tokens, prompt and output together. Default: 256."),
]
ConceptMaxLen = Annotated[int | None, typer.Option(metavar="N", help="Cut concepts to N tokens. Default: 64.")]
HeldOutConcepts = Annotated[
    int | None, typer.Option(metavar="N", help="Keep N whole concepts, drawn by seed, for validation. Default: 0.")
]
HeldOutFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="Keep the concepts whose concept_id is a line of FILE.")
]
HeldOutRows = Annotated[
    int | None, typer.Option(metavar="N", help="Keep N rows of the trained concepts, drawn by seed. Default: 100.")
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Equal seeds give equal runs. Default: 0.")]
Updates = Annotated[int | None, typer.Option(metavar="N", help="Updates of the run. Default: what --epochs makes.")]
Epochs = Annotated[float | None, typer.Option(metavar="X", help="How often the rows are seen. Default: 1.")]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="Rows of a micro-batch. Default: 4.")]
Accumulation = Annotated[
    int | None,
    typer.Option(metavar="N", help="Micro-batches of an update, shared out among processes. Default: 8."),
]
LearningRate = Annotated[float | None, typer.Option("--learning-rate", "--lr", metavar="X", help="Default: 5e-5.")]
GateRate = Annotated[
    float | None, typer.Option(metavar="X", help="Factor on the learning rate of gates and norms. Default: 1.")
]
WeightDecay = Annotated[float | None, typer.Option(metavar="X", help="Default: 0.01.")]
Warmup = Annotated[
    int | None, typer.Option(metavar="N", help="Updates of warm-up, a tenth of the run at most. Default: 2000.")
]
Clip = Annotated[float | None, typer.Option(metavar="X", help="Largest norm of a gradient. Default: 1.")]
Diversity = Annotated[
    float | None,
    typer.Option(metavar="X", help="Weight of the similarity between velocities of different concepts. Default: 0.1."),
]
Contrast = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Weight of the contrast with a wrong concept for the same text, which doubles the work. Default: 0.",
    ),
]
ContrastBeta = Annotated[float | None, typer.Option(metavar="X", help="Sharpness of the contrast. Default: 5.")]
Vocabulary = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="full, or data: train on logits for the words of the outputs, and some others, alone. Default: full.",
    ),
]
SampledWords = Annotated[
    int | None, typer.Option(metavar="N", help="Other words beside those of the data. Default: 4096.")
]
ValidateEvery = Annotated[
    int | None, typer.Option(metavar="N", help="Updates between validations and checkpoints. Default: 500.")
]
ValidationRows = Annotated[int | None, typer.Option(metavar="N", help="Held-out rows validated on. Default: 100.")]
Patience = Annotated[
    int | None,
    typer.Option(metavar="N", help="Stop after N validations without a better one; 0 never. Default: 30."),
]
Keep = Annotated[int | None, typer.Option(metavar="N", help="Best checkpoints kept, beside the last. Default: 3.")]
Samples = Annotated[int | None, typer.Option(metavar="N", help="Texts written at a validation. Default: 2.")]
SaveMinutes = Annotated[
    float | None, typer.Option(metavar="X", help="Work that a kill may cost at most. Default: 10 minutes.")
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Of products: bfloat16, float16 (CUDA) or float32; weights stay float32. Default: the machine's best.",
        autocompletion=complete_training_dtypes,
    ),
]
Recompute = Annotated[
    bool | None,
    typer.Option("--recompute/--no-recompute", help="Less memory for more time (gradient checkpointing). Default: no."),
]
Activations = Annotated[
    str | None,
    typer.Option(
        metavar="WHERE",
        help="Keep activations at the layer over epochs: none, memory or disk. Default: none.",
    ),
]
ActivationGigabytes = Annotated[
    float | None, typer.Option(metavar="X", help="Of activations kept at most. Default: 4.")
]
SaveDtype = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of the flow's files: bfloat16 or float32. Default: bfloat16.")
]
