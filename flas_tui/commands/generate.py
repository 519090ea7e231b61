"""`flas-tui generate`: prompts in, the lanes' answers out. The signature, and what it is wired to."""

from typing import Annotated

import typer

from flas_tui.commands import options as opt
from flas_tui.console import EXIT_INTERRUPTED, data_stream, say


def generate(
    prompt_argument: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="The prompt; '-' is all of standard input.")
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", metavar="TEXT", help="A prompt. Repeatable.")
    ] = None,
    prompt_file: Annotated[
        str | None,
        typer.Option(
            "--prompt-file",
            "-f",
            metavar="FILE",
            help="A prompt a line, or JSON lines with a \"prompt\" each; '-' is standard input.",
        ),
    ] = None,
    concept: opt.Concepts = None,
    weight: opt.Weights = None,
    flow_time: Annotated[
        list[str] | None,
        typer.Option(
            "--flow-time",
            "-T",
            metavar="T",
            help="Flow time, -8 to 8; 0 is the baseline, 1 to 2.5 works best. Repeat it for a lane each. "
            "Default: 0 and 1.5, or 0 alone without a concept.",
        ),
    ] = None,
    seed: opt.Seed = 0,
    temperature: opt.Temperature = 0.7,
    top_k: opt.TopK = 0,
    top_p: opt.TopP = 1.0,
    min_p: opt.MinP = 0.0,
    repetition_penalty: opt.RepetitionPenalty = 1.0,
    greedy: opt.Greedy = False,
    max_tokens: opt.MaxTokens = 256,
    stop: opt.Stop = None,
    system: opt.System = None,
    solver: opt.SolverName = "euler",
    steps: opt.Steps = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="At most so many lanes at once.")] = 8,
    model: opt.Model = None,
    base: opt.Base = None,
    flow: opt.Flow = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    compiled: opt.Compile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line and lane, when the lane ends.")
    ] = False,
    events: Annotated[bool, typer.Option("--events", help="With --json: one object a token too, as it comes.")] = False,
    quiet: opt.Quiet = False,
) -> None:
    """Answer prompts, steered and not.

    Every prompt and flow time is a lane; lanes run together and differ by steering alone.
    """
    from flas_engine.errors import RequestError
    from flas_engine.info import LoadSpec
    from flas_engine.request import Limits, Sampling
    from flas_tui.commands.engine_loading import open_engine
    from flas_tui.commands.generation import (
        choose_flow_times,
        mix_concepts,
        number_lanes,
        run_batches,
        split_into_batches,
    )
    from flas_tui.commands.lanes_output import JsonLinesWriter, LaneWriter
    from flas_tui.commands.prompts import gather_prompts
    from flas_tui.commands.writers import choose_text_writer

    if events and not as_json:
        raise RequestError("--events writes JSON; give --json with it")
    concepts = mix_concepts(concept or [], weight or [])
    flow_times = choose_flow_times(flow_time or [], concepts)
    lanes = number_lanes(gather_prompts(prompt_argument, prompt or [], prompt_file), flow_times, concepts, system)
    batches = split_into_batches(
        lanes,
        num_flow_times=len(flow_times),
        batch_size=batch_size,
        sampling=Sampling(
            repetition_penalty=repetition_penalty,
            temperature=0.0 if greedy else temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
        ),
        seed=seed,
        limits=Limits(max_new_tokens=max_tokens, stop=tuple(stop or ())),
        solver=solver,
        num_steps=steps,
    )
    spec = LoadSpec(model=model, base=base, flow=flow, device=device, dtype=dtype, compiles=bool(compiled))
    engine = open_engine(spec, quiet=quiet)
    writer: LaneWriter
    if as_json:
        writer = JsonLinesWriter(out=data_stream(is_json=True), seed=seed, with_events=events)
    else:
        names_prompts = any(lane.prompt != lanes[0].prompt for lane in lanes)
        writer = choose_text_writer(num_lanes=len(lanes), names_prompts=names_prompts)
    tally = run_batches(engine, batches, writer)
    if not quiet:
        say(str(tally))
    if tally.is_cancelled:
        raise typer.Exit(EXIT_INTERRUPTED)
