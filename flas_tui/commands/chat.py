"""`flas-tui chat`: a plain conversation, also for dumb terminals and pipes; stdout has the answers and nothing else."""

from typing import TYPE_CHECKING, Annotated

import typer

from flas_tui.commands import options as opt
from flas_tui.console import EXIT_USER_ERROR, say

if TYPE_CHECKING:
    from flas_engine.info import EngineProtocol
    from flas_tui.commands.chat_session import ChatSession

PROMPT = "> "


def chat(
    concept: opt.Concepts = None,
    weight: opt.Weights = None,
    flow_time: Annotated[
        str, typer.Option("--flow-time", "-T", metavar="T", help="Flow time, -8 to 8; 1 to 2.5 works best.")
    ] = "1.5",
    compare: Annotated[bool, typer.Option("--compare", help="Show the baseline beside each answer.")] = False,
    seed: opt.Seed = 0,
    temperature: opt.Temperature = 0.7,
    top_k: opt.TopK = 0,
    top_p: opt.TopP = 1.0,
    min_p: opt.MinP = 0.0,
    repetition_penalty: opt.RepetitionPenalty = 1.0,
    max_tokens: opt.MaxTokens = 256,
    system: opt.System = None,
    solver: opt.SolverName = "euler",
    steps: opt.Steps = None,
    model: opt.Model = None,
    base: opt.Base = None,
    flow: opt.Flow = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    compiled: opt.Compile = None,
    quiet: opt.Quiet = False,
) -> None:
    """Talk to a model in plain lines.

    Within, /help lists the commands that change concept, flow time and the rest. Works in pipes.
    """
    from flas_engine.errors import RequestError
    from flas_engine.info import LoadSpec
    from flas_engine.request import Limits, Sampling, parse_flow_time
    from flas_engine.solvers import find_solver
    from flas_tui.commands.chat_session import ChatSession, ChatSettings, build_request
    from flas_tui.commands.engine_loading import open_engine
    from flas_tui.commands.generation import mix_concepts
    from flas_tui.commands.line_input import is_interactive

    settings = ChatSettings(
        concepts=mix_concepts(concept or [], weight or []),
        flow_time=parse_flow_time(flow_time),
        sampling=Sampling(
            repetition_penalty=repetition_penalty, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
        ),
        seed=seed,
        limits=Limits(max_new_tokens=max_tokens),
        solver=find_solver(solver).name,
        num_steps=steps,
        system=system,
        compares=compare,
    )
    if compare and not settings.concepts:
        raise RequestError("--compare has no concept to steer towards; give one with --concept")
    session = ChatSession(settings=settings)
    build_request(session, "?")  # refuses what no turn could run under, before the model is loaded
    spec = LoadSpec(model=model, base=base, flow=flow, device=device, dtype=dtype, compiles=compiled)
    engine = open_engine(spec, quiet=quiet)
    if is_interactive() and not quiet:
        say("Type a message. /help lists the commands, Ctrl+C stops an answer, Ctrl+D leaves.")
    if not run_chat(engine, session) and not is_interactive():
        raise typer.Exit(EXIT_USER_ERROR)


def run_chat(engine: "EngineProtocol", session: "ChatSession") -> bool:
    """Hold the conversation until the input ends or the user leaves; False when any line could not be carried out."""
    from flas_engine.errors import FlasError
    from flas_tui.commands.chat_session import run_command
    from flas_tui.commands.line_input import read_lines

    all_went_well = True
    for line in read_lines(PROMPT):
        text = line.strip()
        try:
            if text.startswith("/") and not text.startswith("//"):
                reply = run_command(session, text)
                if reply:
                    say(reply)
            elif text:
                _answer(engine, session, text.removeprefix("/") if text.startswith("//") else text)
        except FlasError as error:
            all_went_well = False
            say(f"flas-tui: {error}")
        if session.is_over:
            break
    return all_went_well


def _answer(engine: "EngineProtocol", session: "ChatSession", text: str) -> None:
    from flas_engine.control import RunControl
    from flas_tui.commands.chat_session import build_request, record_answers
    from flas_tui.commands.generation import Batch, stream_batch
    from flas_tui.commands.interrupts import stopped_by_interrupt
    from flas_tui.commands.lanes_output import NumberedLane
    from flas_tui.commands.prompts import check_text
    from flas_tui.commands.writers import choose_text_writer

    check_text(text, "the message")
    request, control = build_request(session, text), RunControl()
    lanes = tuple(NumberedLane(number=number, prompt=text, lane=lane) for number, lane in enumerate(request.lanes))
    with stopped_by_interrupt(control):
        ends = stream_batch(
            engine, Batch(lanes=lanes, request=request), control, choose_text_writer(num_lanes=len(lanes))
        )
    record_answers(session, text, [end.text for end in sorted(ends, key=lambda end: end.lane)])
    if control.is_cancelled:
        say("stopped; what is written stays in the conversation")
