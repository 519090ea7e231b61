"""The app as it is measured: on an engine that costs nothing and writes at a given pace, or on a real one.

Run as a program, by `latency`: `python -m flas_tui.measured_app Load|LoadSpec JSON COUNT`. What its engine has written
is counted in the first bytes of the file COUNT.
"""

from __future__ import annotations

import json
import mmap
import random
import struct
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flas_engine.control import RunControl
from flas_engine.events import Event, Finished, FinishReason, Prefilled, Token
from flas_engine.info import EngineInfo, LoadSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.info import EngineProtocol
    from flas_engine.progress import ReportProgress
    from flas_engine.request import Request

FIRST_FLOW_TIME = 0.5
READY = "measured"
"""What the model is called once it is loaded."""
STEADY = "STEADY"
"""What the paced engine writes when it comes to its pace."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the app is kept busy with when its engine is paced."""

    tokens_per_second: float = 100.0
    """In each of the two panes."""
    tokens_shown: int = 4000


class TokenCount:
    """How many tokens of all lanes an engine has written, in memory that two processes share through a file."""

    _FORMAT = "Q"

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        with path.open("r+b") as file:
            file.truncate(struct.calcsize(self._FORMAT))
            self._memory = mmap.mmap(file.fileno(), 0)

    @property
    def value(self) -> int:
        """Tokens so far."""
        value: int = struct.unpack_from(self._FORMAT, self._memory)[0]
        return value

    @value.setter
    def value(self, value: int) -> None:
        struct.pack_into(self._FORMAT, self._memory, 0, value)


INFO = EngineInfo(
    name="paced",
    base_id="paced",
    flow_id="paced",
    family="llama",
    layer=0,
    num_layers=1,
    num_steps=1,
    prompt_format="chat",
    context_length=1_000_000,
    device="cpu",
    dtype="float32",
    weight_bytes=0,
)


@dataclass(frozen=True, kw_only=True)
class _PacedEngine:
    """Writes words: `tokens_shown` at once, then at a pace, until it is stopped."""

    load: Load

    @property
    def info(self) -> EngineInfo:
        return INFO

    def stream(self, request: Request, control: RunControl | None = None) -> Iterator[Event]:
        control = control or RunControl()
        flow_times = [lane.flow_time for lane in request.lanes]
        words = random.Random(request.seed)
        yield Prefilled(prompt_token_ids=((1,),) * len(flow_times), seconds=0.0)
        began, index = time.perf_counter(), 0
        while not control.is_cancelled:
            for lane, flow_time in control.take_flow_times().items():
                flow_times[lane] = flow_time
            word = STEADY if index == self.load.tokens_shown else "".join(words.choices("etaoinshrdlu", k=4))
            for lane, flow_time in enumerate(flow_times):
                yield Token(lane=lane, index=index, token_id=index, text=f" {word}", logprob=-1.0, flow_time=flow_time)
            index += 1
            if index > self.load.tokens_shown:
                due = began + (index - self.load.tokens_shown) / self.load.tokens_per_second
                time.sleep(max(0.0, due - time.perf_counter()))
        for lane, flow_time in enumerate(flow_times):
            yield Finished(
                lane=lane,
                reason=FinishReason.CANCELLED,
                text="",
                tail="",
                token_ids=(),
                logprobs=(),
                flow_time=flow_time,
                seconds=time.perf_counter() - began,
            )


@dataclass(frozen=True, kw_only=True)
class _CountedEngine:
    """Another engine, its tokens counted."""

    engine: EngineProtocol
    count: TokenCount

    @property
    def info(self) -> EngineInfo:
        return replace(self.engine.info, name=READY)

    def stream(self, request: Request, control: RunControl | None = None) -> Iterator[Event]:
        for event in self.engine.stream(request, control):
            if isinstance(event, Token):
                self.count.value += 1
            yield event


def _make_engine(load: Load | LoadSpec, progress: ReportProgress) -> EngineProtocol:
    """Make the engine; a real one is the benchmark's: it has a flow whatever the model, and never ends an answer."""
    if isinstance(load, Load):
        return _PacedEngine(load=load)
    from flas_engine.benchmark.subject import load_subject

    return load_subject(load, progress)


def _show(load: Load | LoadSpec, count: TokenCount) -> None:
    """Be the app that is measured."""
    from flas_tui.app import FlasApp
    from flas_tui.options import AppOptions
    from flas_tui.settings import Settings
    from flas_tui.terminal import guarded_terminal

    def load_engine(spec: LoadSpec, *, progress: ReportProgress) -> EngineProtocol:
        del spec
        return _CountedEngine(engine=_make_engine(load, progress), count=count)

    options = AppOptions(flow_time=FIRST_FLOW_TIME, concept="a concept", prompt="a prompt")
    app = FlasApp(load_engine, options=options, settings=Settings(max_new_tokens=1_000_000))
    with guarded_terminal(app):
        app.run()


if __name__ == "__main__":
    kind, fields, path = sys.argv[1:]
    kinds = {each.__name__: each for each in (Load, LoadSpec)}
    _show(kinds[kind](**json.loads(fields)), TokenCount(Path(path)))
