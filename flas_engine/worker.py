"""The thread that owns the model: commands in, events out.

One daemon thread, so that the interpreter never waits for it: commands go in through a queue and take effect between
two tokens; what happens comes out through a deque that a front end drains at its own pace (20 times a second is
plenty). Nothing here knows of terminals, and torch is first imported in this thread.
"""

from __future__ import annotations

import gc
import itertools
import logging
import queue
import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.control import RunControl
from flas_engine.errors import Cancelled, FlasError

if TYPE_CHECKING:
    from flas_engine.events import Event
    from flas_engine.info import EngineInfo, EngineProtocol, LoadFunction, LoadSpec
    from flas_engine.progress import Progress
    from flas_engine.request import Request

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """A load is under way."""

    progress: Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """The engine is ready."""

    info: EngineInfo
    spec: LoadSpec
    """What was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadFailed:
    """The load ended without an engine; the one before it, if any, is gone."""

    error: FlasError


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEvent:
    """Something happened in the run `run_id`."""

    run_id: int
    event: Event


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnded:
    """The run gives no more events; `error` says why when it failed."""

    run_id: int
    error: FlasError | None = None


WorkerEvent = Loading | Loaded | LoadFailed | RunEvent | RunEnded


@dataclass(frozen=True, kw_only=True)
class _Load:
    spec: LoadSpec
    cancelled: threading.Event


@dataclass(frozen=True, kw_only=True)
class _Run:
    run_id: int
    request: Request
    control: RunControl


class Worker:
    """Owns one engine in one daemon thread. Every method returns at once and may be called from any thread."""

    def __init__(self, load: LoadFunction) -> None:
        self._load_engine = load
        self._commands: queue.SimpleQueue[_Load | _Run | None] = queue.SimpleQueue()
        self._events: deque[WorkerEvent] = deque()
        self._run_ids = itertools.count(1)
        self._lock = threading.Lock()
        self._loading: threading.Event | None = None
        self._runs: dict[int, RunControl] = {}
        self._engine: EngineProtocol | None = None
        self._thread = threading.Thread(target=self._serve, name="flas-engine", daemon=True)

    def start(self) -> None:
        """Begin to take commands."""
        self._thread.start()

    def load(self, spec: LoadSpec) -> None:
        """Load an engine in place of the present one; calls off the load and the runs that are under way."""
        cancelled = threading.Event()
        with self._lock:
            if self._loading is not None:
                self._loading.set()
            self._loading = cancelled
        self.stop()
        self._commands.put(_Load(spec=spec, cancelled=cancelled))

    def cancel_load(self) -> None:
        """Call off the load that is under way, if any."""
        with self._lock:
            if self._loading is not None:
                self._loading.set()

    def run(self, request: Request) -> int:
        """Queue `request` behind the load under way and in place of any earlier run; returns its run id."""
        self.stop()
        run_id, control = next(self._run_ids), RunControl()
        with self._lock:
            self._runs[run_id] = control
        self._commands.put(_Run(run_id=run_id, request=request, control=control))
        return run_id

    def set_flow_time(self, run_id: int, lane: int, flow_time: float) -> None:
        """Let a lane of a run go on under another flow time; nothing happens when the run is over."""
        with self._lock:
            control = self._runs.get(run_id)
        if control is not None:
            control.set_flow_time(lane, flow_time)

    def stop(self) -> None:
        """End every run, queued or under way, before its next token; what is written stays."""
        with self._lock:
            controls = list(self._runs.values())
        for control in controls:
            control.cancel()

    def quit(self) -> None:
        """Call everything off and end the thread as soon as it notices; never waits for it."""
        self.cancel_load()
        self.stop()
        self._commands.put(None)

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the thread to end; False when it had not by then."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def drain(self) -> list[WorkerEvent]:
        """Everything that happened since the last call, in order."""
        drained = []
        while self._events:
            drained.append(self._events.popleft())
        return drained

    def _serve(self) -> None:
        while (command := self._commands.get()) is not None:
            if isinstance(command, _Load):
                self._serve_load(command)
            else:
                self._serve_run(command)

    def _serve_load(self, command: _Load) -> None:
        def check_wanted() -> None:
            if command.cancelled.is_set():
                raise Cancelled("the load was called off")

        def report(progress: Progress) -> None:
            check_wanted()
            self._events.append(Loading(progress=progress))

        self._engine = None
        _free_memory()  # of the old weights, before the new ones are read
        try:
            check_wanted()
            self._engine = self._load_engine(command.spec, progress=report)
        except FlasError as error:
            self._events.append(LoadFailed(error=_without_frames(error)))
        except Exception as error:  # a defect of ours: the thread lives on, the log has the traceback
            log.exception("loading failed")
            self._events.append(LoadFailed(error=_defect(error)))
        else:
            self._events.append(Loaded(info=self._engine.info, spec=command.spec))

    def _serve_run(self, command: _Run) -> None:
        failure: FlasError | None = None
        try:
            if self._engine is None:
                raise FlasError("no model is loaded; choose one first")
            if not command.control.is_cancelled:
                for event in self._engine.stream(command.request, command.control):
                    self._events.append(RunEvent(run_id=command.run_id, event=event))
        except FlasError as error:
            failure = _without_frames(error)
        except Exception as error:
            log.exception("run %d failed", command.run_id)
            failure = _defect(error)
        with self._lock:
            del self._runs[command.run_id]
        self._events.append(RunEnded(run_id=command.run_id, error=failure))


def _free_memory() -> None:
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _without_frames(error: FlasError) -> FlasError:
    """Return `error` without where it came from: whoever keeps it would keep the engine."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _defect(error: Exception) -> FlasError:
    return FlasError(f"the engine failed unexpectedly ({type(error).__name__}: {error}); the log has the details")
