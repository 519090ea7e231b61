from __future__ import annotations

import logging
import threading
import time
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from scripted_engine import SCRIPTED_INFO, ScriptedEngine, ScriptedLoader

from flas_engine.errors import Cancelled, FlasError, ModelError, RequestError
from flas_engine.events import Event, Finished, FinishReason, Token
from flas_engine.info import LoadSpec
from flas_engine.progress import Progress
from flas_engine.request import Lane, Limits, Message, Request, WeightedConcept
from flas_engine.worker import Loaded, LoadFailed, Loading, RunEnded, RunEvent, Worker, WorkerEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.info import LoadFunction
    from flas_engine.progress import ReportProgress

PATIENCE_SECONDS = 20.0
"""How long a condition may take on a busy machine before a test gives up."""
SPEC = LoadSpec(model="scripted")


def make_request(max_new_tokens: int = 6, prompt: str = "Tell me about the sea.") -> Request:
    conversation = (Message(role="user", content=prompt),)
    concepts = (WeightedConcept(text="talk like a pirate"),)
    lanes = (
        Lane(conversation=conversation),
        Lane(conversation=conversation, concepts=concepts, flow_time=1.0),
    )
    return Request(lanes=lanes, limits=Limits(max_new_tokens=max_new_tokens), seed=3)


class Listener:
    """A worker under test and all that it has reported."""

    def __init__(self, load: LoadFunction) -> None:
        self.worker = Worker(load)
        self.events: list[WorkerEvent] = []

    def wait_for(self, kind: type[WorkerEvent], count: int = 1) -> None:
        """Wait until `count` events of `kind` have been reported."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        pause = threading.Event()
        while len(self.of(kind)) < count:
            assert time.monotonic() < give_up, f"only {self.of(kind)} in {self.events}"
            pause.wait(0.001)
            self.events += self.worker.drain()

    def of(self, kind: type[WorkerEvent]) -> list[WorkerEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def run_events(self, run_id: int) -> list[Event]:
        return [event.event for event in self.events if isinstance(event, RunEvent) and event.run_id == run_id]

    def tokens(self, run_id: int) -> list[Token]:
        return [event for event in self.run_events(run_id) if isinstance(event, Token)]

    def reasons(self, run_id: int) -> list[FinishReason]:
        return [event.reason for event in self.run_events(run_id) if isinstance(event, Finished)]

    def error_of(self, run_id: int) -> FlasError | None:
        (ended,) = [event for event in self.events if isinstance(event, RunEnded) and event.run_id == run_id]
        return ended.error


@contextmanager
def listening(load: LoadFunction, *, loaded: bool = True) -> Iterator[Listener]:
    """Start a worker, with a model unless told otherwise, and see it end."""
    listener = Listener(load)
    listener.worker.start()
    try:
        if loaded:
            listener.worker.load(SPEC)
            listener.wait_for(Loaded)
        yield listener
    finally:
        listener.worker.quit()
        assert listener.worker.join(PATIENCE_SECONDS)


@dataclass
class Gate:
    """Where the engine's thread waits for the test: in a token pass, or in a load."""

    at: int = 2
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self, index: int) -> None:
        if index == self.at:
            self.reached.set()
            assert self.opened.wait(PATIENCE_SECONDS)

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE_SECONDS)


class SlowLoader:
    """Loads for as long as nobody opens the gate, reporting how far it is all the while."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.specs: list[LoadSpec] = []
        self.reports = 0

    def __call__(self, spec: LoadSpec, *, progress: ReportProgress) -> ScriptedEngine:
        self.specs.append(spec)
        while not self.gate.opened.wait(0.001):
            progress(Progress(activity="reading the weights"))
            self.gate.reached.set()
        return ScriptedEngine()


# --- order ---


def test_a_load_reports_its_progress_and_then_what_is_loaded() -> None:
    loader = ScriptedLoader()
    with listening(loader) as listener:
        assert listener.events == [
            Loading(progress=Progress(activity="reading the weights", done=1, total=2)),
            Loading(progress=Progress(activity="reading the weights", done=2, total=2)),
            Loaded(info=SCRIPTED_INFO, spec=SPEC),
        ]
        assert loader.specs == [SPEC]


def test_a_run_reports_the_engines_events_in_order_and_then_its_end() -> None:
    engine = ScriptedEngine()
    with listening(ScriptedLoader(engine=engine)) as listener:
        request = make_request()
        run_id = listener.worker.run(request)
        listener.wait_for(RunEnded)
        expected = [event for event in ScriptedEngine().stream(request) if isinstance(event, Token)]
        assert listener.tokens(run_id) == expected
        assert listener.reasons(run_id) == [FinishReason.LENGTH] * 2
        assert listener.events[-1] == RunEnded(run_id=run_id)
        assert engine.requests == [request]


def test_events_are_handed_out_once() -> None:
    with listening(ScriptedLoader()) as listener:
        assert listener.worker.drain() == []


def test_run_ids_are_never_used_twice() -> None:
    with listening(ScriptedLoader()) as listener:
        ids = [listener.worker.run(make_request()) for _ in range(5)]
        listener.wait_for(RunEnded, 5)
        assert len(set(ids)) == 5
        assert [event.run_id for event in listener.events if isinstance(event, RunEnded)] == ids


def test_a_run_waits_for_the_load_under_way() -> None:
    loader = SlowLoader()
    with listening(loader, loaded=False) as listener:
        listener.worker.load(SPEC)
        loader.gate.wait()
        run_id = listener.worker.run(make_request())
        loader.gate.opened.set()
        listener.wait_for(RunEnded)
        assert listener.error_of(run_id) is None
        assert listener.reasons(run_id) == [FinishReason.LENGTH] * 2


# --- the latest run wins ---


def test_a_new_run_takes_the_place_of_the_one_under_way() -> None:
    gate = Gate(at=2)
    with listening(ScriptedLoader(engine=ScriptedEngine(before_pass=gate))) as listener:
        first = listener.worker.run(make_request())
        gate.wait()
        second = listener.worker.run(make_request(max_new_tokens=2, prompt="And the sky?"))
        gate.opened.set()
        listener.wait_for(RunEnded, 2)
        assert listener.reasons(first) == [FinishReason.CANCELLED] * 2
        assert {token.index for token in listener.tokens(first)} == {0, 1}
        assert listener.reasons(second) == [FinishReason.LENGTH] * 2
        assert listener.error_of(first) is listener.error_of(second) is None


def test_of_queued_runs_only_the_last_is_run() -> None:
    gate, engine = Gate(at=0), ScriptedEngine()
    engine.before_pass = gate
    with listening(ScriptedLoader(engine=engine)) as listener:
        listener.worker.run(make_request())
        gate.wait()
        queued = [listener.worker.run(make_request(prompt=f"Question {i}?")) for i in range(4)]
        gate.opened.set()
        listener.wait_for(RunEnded, 5)
        assert [listener.run_events(run_id) for run_id in queued[:-1]] == [[], [], []]
        assert listener.reasons(queued[-1]) == [FinishReason.LENGTH] * 2
        assert len(engine.requests) == 2


# --- flow time and stop ---


def test_a_flow_time_set_while_text_runs_holds_from_the_next_token() -> None:
    gate = Gate(at=3)
    with listening(ScriptedLoader(engine=ScriptedEngine(before_pass=gate))) as listener:
        run_id = listener.worker.run(make_request())
        gate.wait()
        listener.worker.set_flow_time(run_id, lane=1, flow_time=1.75)
        gate.opened.set()
        listener.wait_for(RunEnded)
        times = {lane: [t.flow_time for t in listener.tokens(run_id) if t.lane == lane] for lane in (0, 1)}
        assert times == {0: [0.0] * 6, 1: [1.0] * 3 + [1.75] * 3}


def test_a_flow_time_for_a_run_that_is_over_changes_nothing() -> None:
    with listening(ScriptedLoader()) as listener:
        first = listener.worker.run(make_request())
        listener.wait_for(RunEnded)
        listener.worker.set_flow_time(first, lane=1, flow_time=2.0)
        listener.worker.set_flow_time(999, lane=1, flow_time=2.0)
        second = listener.worker.run(make_request())
        listener.wait_for(RunEnded, 2)
        assert {token.flow_time for token in listener.tokens(second) if token.lane == 1} == {1.0}


def test_a_flow_time_out_of_range_is_refused_where_it_is_set() -> None:
    gate = Gate()
    with listening(ScriptedLoader(engine=ScriptedEngine(before_pass=gate))) as listener:
        run_id = listener.worker.run(make_request())
        gate.wait()
        with pytest.raises(RequestError, match="flow time is 9"):
            listener.worker.set_flow_time(run_id, lane=1, flow_time=9.0)
        gate.opened.set()
        listener.wait_for(RunEnded)
        assert listener.error_of(run_id) is None


def test_stop_takes_effect_before_the_next_token_and_keeps_the_text() -> None:
    gate = Gate(at=4)
    with listening(ScriptedLoader(engine=ScriptedEngine(before_pass=gate))) as listener:
        run_id = listener.worker.run(make_request(max_new_tokens=1000))
        gate.wait()
        listener.worker.stop()
        gate.opened.set()
        listener.wait_for(RunEnded)
        finished = [event for event in listener.run_events(run_id) if isinstance(event, Finished)]
        assert [len(lane.token_ids) for lane in finished] == [4, 4]
        assert all(lane.text for lane in finished)
        assert listener.reasons(run_id) == [FinishReason.CANCELLED] * 2
        assert listener.error_of(run_id) is None


def test_a_queued_run_that_is_stopped_never_begins() -> None:
    loader = SlowLoader()
    with listening(loader, loaded=False) as listener:
        listener.worker.load(SPEC)
        loader.gate.wait()
        run_id = listener.worker.run(make_request())
        listener.worker.stop()
        loader.gate.opened.set()
        listener.wait_for(RunEnded)
        assert listener.run_events(run_id) == []
        assert listener.error_of(run_id) is None
        assert listener.of(Loaded)


def test_stop_without_a_run_does_nothing_to_the_next() -> None:
    with listening(ScriptedLoader()) as listener:
        listener.worker.stop()
        run_id = listener.worker.run(make_request())
        listener.wait_for(RunEnded)
        assert listener.reasons(run_id) == [FinishReason.LENGTH] * 2


# --- what goes wrong ---


def test_a_load_that_fails_is_told_and_a_run_then_has_no_model() -> None:
    failure = ModelError("there is no model 'gemma-9'; see flas-tui models")
    with listening(ScriptedLoader(failure=failure), loaded=False) as listener:
        listener.worker.load(SPEC)
        run_id = listener.worker.run(make_request())
        listener.wait_for(RunEnded)
        assert listener.of(LoadFailed) == [LoadFailed(error=failure)]
        assert str(listener.error_of(run_id)) == "no model is loaded; choose one first"


def test_a_load_after_a_failed_one_works() -> None:
    loader = ScriptedLoader(failure=ModelError("no"))
    with listening(loader, loaded=False) as listener:
        listener.worker.load(SPEC)
        listener.wait_for(LoadFailed)
        loader.failure = None
        listener.worker.load(SPEC)
        listener.wait_for(Loaded)


def test_a_failed_load_leaves_no_engine_behind() -> None:
    loader = ScriptedLoader()
    with listening(loader) as listener:
        loader.failure = ModelError("no")
        listener.worker.load(SPEC)
        run_id = listener.worker.run(make_request())
        listener.wait_for(RunEnded)
        assert str(listener.error_of(run_id)) == "no model is loaded; choose one first"


def test_a_request_that_cannot_be_run_ends_with_its_reason() -> None:
    with listening(ScriptedLoader()) as listener:
        run_id = listener.worker.run(make_request(prompt="word " * 3000))
        listener.wait_for(RunEnded)
        assert isinstance(listener.error_of(run_id), RequestError)
        assert "3000 tokens" in str(listener.error_of(run_id))


def test_a_defect_in_a_run_is_told_and_logged_and_the_thread_lives_on(caplog: pytest.LogCaptureFixture) -> None:
    engine = ScriptedEngine(failure=ZeroDivisionError("division by zero"))
    with listening(ScriptedLoader(engine=engine)) as listener, caplog.at_level(logging.ERROR):
        first = listener.worker.run(make_request())
        listener.wait_for(RunEnded)
        assert str(listener.error_of(first)) == (
            "the engine failed unexpectedly (ZeroDivisionError: division by zero); the log has the details"
        )
        assert "Traceback" in caplog.text
        engine.failure = None
        second = listener.worker.run(make_request())
        listener.wait_for(RunEnded, 2)
        assert listener.error_of(second) is None


def test_a_defect_in_a_load_is_told_and_logged_and_the_thread_lives_on(caplog: pytest.LogCaptureFixture) -> None:
    loader = ScriptedLoader(failure=KeyError("weights"))
    with listening(loader, loaded=False) as listener, caplog.at_level(logging.ERROR):
        listener.worker.load(SPEC)
        listener.wait_for(LoadFailed)
        (failed,) = listener.of(LoadFailed)
        assert isinstance(failed, LoadFailed)
        assert "KeyError: 'weights'" in str(failed.error)
        assert "Traceback" in caplog.text
        loader.failure = None
        listener.worker.load(SPEC)
        listener.wait_for(Loaded)


# --- calling off ---


def test_a_load_is_called_off_through_its_progress() -> None:
    loader = SlowLoader()
    with listening(loader, loaded=False) as listener:
        listener.worker.load(SPEC)
        loader.gate.wait()
        listener.worker.cancel_load()
        listener.wait_for(LoadFailed)
        (failed,) = listener.of(LoadFailed)
        assert isinstance(failed, LoadFailed)
        assert isinstance(failed.error, Cancelled)
        assert not listener.of(Loaded)


def test_a_new_load_calls_off_the_one_before_and_one_in_between_never_begins() -> None:
    loader = SlowLoader()
    with listening(loader, loaded=False) as listener:
        listener.worker.load(LoadSpec(model="first"))
        loader.gate.wait()
        listener.worker.load(LoadSpec(model="second"))
        listener.worker.load(LoadSpec(model="third"))
        listener.wait_for(LoadFailed, 2)
        loader.gate.opened.set()
        listener.wait_for(Loaded)
        assert [spec.model for spec in loader.specs] == ["first", "third"]


def test_a_load_calls_off_the_run_under_way() -> None:
    gate = Gate()
    with listening(ScriptedLoader(engine=ScriptedEngine(before_pass=gate))) as listener:
        run_id = listener.worker.run(make_request())
        gate.wait()
        listener.worker.load(SPEC)
        gate.opened.set()
        listener.wait_for(Loaded, 2)
        assert listener.reasons(run_id) == [FinishReason.CANCELLED] * 2


def test_calling_off_a_load_that_is_done_changes_nothing() -> None:
    with listening(ScriptedLoader()) as listener:
        listener.worker.cancel_load()
        run_id = listener.worker.run(make_request())
        listener.wait_for(RunEnded)
        assert listener.error_of(run_id) is None


@pytest.mark.parametrize("fails", [None, "run", "load"])
def test_the_old_engine_is_freed_before_the_next_is_read(fails: str | None) -> None:
    engines: list[weakref.ref[ScriptedEngine]] = []
    alive: list[bool] = []

    def load(spec: LoadSpec, /, *, progress: ReportProgress) -> ScriptedEngine:
        del progress
        alive.append(any(engine() is not None for engine in engines))
        engine = ScriptedEngine(failure=RequestError("no") if fails == "run" else None)
        engines.append(weakref.ref(engine))
        if spec.model == "fails":
            raise ModelError("no")
        return engine

    with listening(load) as listener:
        listener.worker.run(make_request())
        listener.wait_for(RunEnded)
        if fails == "load":
            listener.worker.load(LoadSpec(model="fails"))
            listener.wait_for(LoadFailed)
        listener.worker.load(SPEC)
        listener.wait_for(Loaded, 2)
    assert not any(alive)


# --- quitting ---


def test_quitting_during_a_load_ends_the_thread() -> None:
    loader = SlowLoader()
    with listening(loader, loaded=False) as listener:
        listener.worker.load(SPEC)
        loader.gate.wait()
        listener.worker.quit()
        assert listener.worker.join(PATIENCE_SECONDS)
        assert not loader.gate.opened.is_set()


def test_quitting_during_a_run_ends_the_thread() -> None:
    gate = Gate()
    with listening(ScriptedLoader(engine=ScriptedEngine(before_pass=gate))) as listener:
        listener.worker.run(make_request(max_new_tokens=1_000_000))
        gate.wait()
        listener.worker.quit()
        gate.opened.set()
        assert listener.worker.join(PATIENCE_SECONDS)


def test_nothing_waits_for_an_engine_that_does_not_listen() -> None:
    gate = Gate(at=0)
    with listening(ScriptedLoader(engine=ScriptedEngine(before_pass=gate))) as listener:
        run_id = listener.worker.run(make_request())
        gate.wait()
        started = time.monotonic()
        listener.worker.set_flow_time(run_id, 1, 0.5)
        listener.worker.stop()
        listener.worker.run(make_request())
        listener.worker.load(SPEC)
        listener.worker.cancel_load()
        listener.worker.quit()
        assert not listener.worker.join(0.01)
        assert time.monotonic() - started < 1.0  # what quitting may take at most
        gate.opened.set()


def test_an_engine_that_hangs_does_not_keep_the_interpreter() -> None:
    with listening(ScriptedLoader()):
        threads = [thread for thread in threading.enumerate() if thread.name == "flas-engine"]
        assert threads
        assert all(thread.daemon for thread in threads)
