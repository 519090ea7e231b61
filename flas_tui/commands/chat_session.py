"""The state of a chat and the commands that change it. Knows neither engine nor terminal.

While baseline and steered answers are compared, each goes on in its own conversation; after any other turn there is
one conversation again, from which the next comparison parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flas_engine.errors import RequestError
from flas_engine.request import Lane, Limits, Message, Request, Sampling, WeightedConcept, parse_flow_time
from flas_tui.commands.lanes_output import lane_label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """What the next turn runs under."""

    concepts: tuple[WeightedConcept, ...]
    flow_time: float
    sampling: Sampling
    seed: int
    limits: Limits
    solver: str
    num_steps: int | None
    system: str | None
    is_on: bool = True
    compares: bool = False

    @property
    def is_steered(self) -> bool:
        """Whether the next answer enters the flow."""
        return self.is_on and bool(self.concepts) and self.flow_time != 0.0


@dataclass
class ChatSession:
    """Settings and conversations so far, without the system turn."""

    settings: ChatSettings
    turns: tuple[Message, ...] = ()
    baseline_turns: tuple[Message, ...] = ()
    is_over: bool = False


def build_request(session: ChatSession, text: str) -> Request:
    """Return the request of the turn in which the user says `text`: two lanes while comparing, else one."""
    settings = session.settings
    flow_time = settings.flow_time if settings.is_steered else 0.0
    lanes = [_lane(session, session.turns, text, flow_time)]
    if settings.compares and settings.is_steered:
        lanes.insert(0, _lane(session, session.baseline_turns, text, 0.0))
    return Request(
        lanes=tuple(lanes),
        sampling=settings.sampling,
        seed=settings.seed,
        limits=settings.limits,
        solver=settings.solver,
        num_steps=settings.num_steps,
    )


def _lane(session: ChatSession, turns: tuple[Message, ...], text: str, flow_time: float) -> Lane:
    system = session.settings.system
    opening = () if system is None else (Message(role="system", content=system),)
    conversation = (*opening, *turns, Message(role="user", content=text))
    return Lane(conversation=conversation, concepts=session.settings.concepts, flow_time=flow_time)


def record_answers(session: ChatSession, text: str, answers: Sequence[str]) -> None:
    """Keep a turn: `answers` in lane order. A lane stopped before its first word leaves no turn behind."""
    session.turns = _with_turn(session.turns, text, answers[-1])
    session.baseline_turns = (
        _with_turn(session.baseline_turns, text, answers[0]) if len(answers) == 2 else session.turns
    )


def _with_turn(turns: tuple[Message, ...], text: str, answer: str) -> tuple[Message, ...]:
    if not answer.strip():
        return turns
    return (*turns, Message(role="user", content=text), Message(role="assistant", content=answer))


def run_command(session: ChatSession, line: str) -> str:
    """Carry out `/name argument` and return what to tell the user; raises `RequestError` when it cannot be done."""
    name, _, argument = line[1:].partition(" ")
    command = COMMANDS.get(name.lower())
    if command is None:
        raise RequestError(f"/{name} is no command; /help lists them, and //{name} sends a line that begins with /")
    return command.run(session, argument.strip())


def _concept(session: ChatSession, argument: str) -> str:
    if argument:
        session.settings = replace(session.settings, concepts=(WeightedConcept(text=argument),), is_on=True)
    return _status(session)


def _flow_time(session: ChatSession, argument: str) -> str:
    session.settings = replace(session.settings, flow_time=parse_flow_time(argument))
    return _status(session)


def _steps(session: ChatSession, argument: str) -> str:
    num_steps = None if argument in {"", "auto"} else _whole_number(argument, "the number of solver steps")
    _check(session, replace(session.settings, num_steps=num_steps))
    return _status(session)


def _temperature(session: ChatSession, argument: str) -> str:
    try:
        temperature = float(argument)
    except ValueError:
        raise RequestError(f"temperature {argument!r} is not a number; 0 is greedy, 0.7 to 1 is usual") from None
    sampling = replace(session.settings.sampling, temperature=temperature)
    session.settings = replace(session.settings, sampling=sampling)
    return _status(session)


def _seed(session: ChatSession, argument: str) -> str:
    _check(session, replace(session.settings, seed=_whole_number(argument, "the seed")))
    return _status(session)


def _on(session: ChatSession, argument: str) -> str:
    del argument
    if not session.settings.concepts:
        raise RequestError("there is no concept to steer towards; give one: /concept talk like a pirate")
    session.settings = replace(session.settings, is_on=True)
    return _status(session)


def _off(session: ChatSession, argument: str) -> str:
    del argument
    session.settings = replace(session.settings, is_on=False)
    return _status(session)


def _compare(session: ChatSession, argument: str) -> str:
    del argument
    if not session.settings.compares:
        _on(session, "")
    session.settings = replace(session.settings, compares=not session.settings.compares)
    return _status(session)


def _status(session: ChatSession, argument: str = "") -> str:
    del argument
    settings = session.settings
    lane = build_request(session, "?").lanes[-1]
    steps = "the checkpoint's own steps" if settings.num_steps is None else f"{settings.num_steps} steps"
    state = lane_label(lane) if settings.is_steered else "not steered"
    compared = ", beside the baseline" if settings.compares and settings.is_steered else ""
    return (
        f"{state}{compared}; {settings.solver}, {steps}; temperature {settings.sampling.temperature:g}; "
        f"seed {settings.seed}; turns so far: {len(session.turns) // 2}"
    )


def _reset(session: ChatSession, argument: str) -> str:
    del argument
    session.turns = session.baseline_turns = ()
    return "the conversation starts anew"


def _help(session: ChatSession, argument: str) -> str:
    del session, argument
    return "\n".join(f"{command.usage:<18} {command.summary}" for command in COMMANDS.values())


def _quit(session: ChatSession, argument: str) -> str:
    del argument
    session.is_over = True
    return ""


def _whole_number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RequestError(f"{name} {text!r} is not a whole number; give one, for example 7") from None


def _check(session: ChatSession, settings: ChatSettings) -> None:
    """Take up `settings` if a request can be made of them."""
    build_request(ChatSession(settings=settings), "?")
    session.settings = settings


@dataclass(frozen=True, kw_only=True)
class ChatCommand:
    """One command of the chat."""

    usage: str
    summary: str
    run: Callable[[ChatSession, str], str]


COMMANDS = {
    "concept": ChatCommand(usage="/concept TEXT", summary="steer towards TEXT, in plain words", run=_concept),
    "flowtime": ChatCommand(usage="/flowtime X", summary="flow time, -8 to 8; 1 to 2.5 works best", run=_flow_time),
    "steps": ChatCommand(usage="/steps N", summary="solver steps; without N the checkpoint's own", run=_steps),
    "temp": ChatCommand(usage="/temp X", summary="temperature; 0 is greedy", run=_temperature),
    "seed": ChatCommand(usage="/seed N", summary="seed of the noise", run=_seed),
    "off": ChatCommand(usage="/off", summary="answer without steering", run=_off),
    "on": ChatCommand(usage="/on", summary="steer again", run=_on),
    "compare": ChatCommand(
        usage="/compare", summary="show the baseline beside each answer, or no longer", run=_compare
    ),
    "status": ChatCommand(usage="/status", summary="show all of these", run=_status),
    "reset": ChatCommand(usage="/reset", summary="forget the conversation", run=_reset),
    "help": ChatCommand(usage="/help", summary="show this list", run=_help),
    "quit": ChatCommand(usage="/quit", summary="leave; Ctrl+D does too", run=_quit),
}
