"""`flas-tui train`: from concept data to a flow checkpoint. The signature, and what it is wired to."""

from pathlib import Path
from typing import Annotated

import typer

from flas_tui.commands import options as opt
from flas_tui.commands import train_options as train_opt

train_app = typer.Typer(
    name="train",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@train_app.callback(
    invoke_without_command=True,
    epilog="On several GPUs: accelerate launch -m flas_tui train ... (or torchrun --nproc-per-node N -m flas_tui "
    "train ...); the processes share out the micro-batches of an update.",
)
def train(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="The run's folder; a run there goes on.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A recipe (TOML), as every run writes it to config.toml; options override."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in --out with the options it began with; they need not be given.")
    ] = False,
    is_dry: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, and what it takes, from a short probe.")
    ] = False,
    base: train_opt.Base = None,
    data: train_opt.Data = None,
    name: train_opt.Name = None,
    layer: train_opt.Layer = None,
    blocks: train_opt.Blocks = None,
    self_attention: train_opt.SelfAttention = None,
    cross_attention: train_opt.CrossAttention = None,
    mlp: train_opt.Mlp = None,
    num_steps: train_opt.NumSteps = None,
    flow_time_min: train_opt.FlowTimeMin = None,
    flow_time_max: train_opt.FlowTimeMax = None,
    standardised: train_opt.Standardised = None,
    init_from_base: train_opt.InitFromBase = None,
    init_flow: train_opt.InitFlow = None,
    prompt_format: train_opt.PromptFormat = None,
    max_len: train_opt.MaxLen = None,
    concept_max_len: train_opt.ConceptMaxLen = None,
    held_out_concepts: train_opt.HeldOutConcepts = None,
    held_out_file: train_opt.HeldOutFile = None,
    held_out_rows: train_opt.HeldOutRows = None,
    seed: train_opt.Seed = None,
    updates: train_opt.Updates = None,
    epochs: train_opt.Epochs = None,
    batch_size: train_opt.BatchSize = None,
    accumulation: train_opt.Accumulation = None,
    learning_rate: train_opt.LearningRate = None,
    gate_rate: train_opt.GateRate = None,
    weight_decay: train_opt.WeightDecay = None,
    warmup: train_opt.Warmup = None,
    clip: train_opt.Clip = None,
    diversity: train_opt.Diversity = None,
    contrast: train_opt.Contrast = None,
    contrast_beta: train_opt.ContrastBeta = None,
    vocabulary: train_opt.Vocabulary = None,
    sampled_words: train_opt.SampledWords = None,
    validate_every: train_opt.ValidateEvery = None,
    validation_rows: train_opt.ValidationRows = None,
    patience: train_opt.Patience = None,
    keep: train_opt.Keep = None,
    samples: train_opt.Samples = None,
    save_minutes: train_opt.SaveMinutes = None,
    device: opt.Device = None,
    dtype: train_opt.Dtype = None,
    recompute: train_opt.Recompute = None,
    activations: train_opt.Activations = None,
    activation_gigabytes: train_opt.ActivationGigabytes = None,
    save_dtype: train_opt.SaveDtype = None,
    quiet: opt.Quiet = False,
) -> None:
    """Train a flow, or go on with a run: the same command again continues where it was stopped or killed.

    Defaults are the paper's recipe. Ctrl+C stops after the current update with everything saved. The result is
    FOLDER/flow, which every command opens: flas-tui --flow FOLDER/flow.
    """
    given = {key: value for key, value in locals().items() if value is not None and key not in _NOT_OF_THE_RECIPE}
    if context.invoked_subcommand is not None:
        return
    from flas_tui.commands.train_run import recipe_of, run_training, show_estimate

    if out is None:
        raise typer.BadParameter("--out is missing: the folder of the run", context)
    recipe = recipe_of(out, given, config=config, resumes=resume)
    if is_dry:
        show_estimate(recipe, out, quiet=quiet)
    else:
        run_training(recipe, out, quiet=quiet)


_NOT_OF_THE_RECIPE = ("context", "out", "config", "resume", "is_dry", "quiet")
