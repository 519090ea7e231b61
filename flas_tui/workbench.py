"""Between the screens and the worker: starts runs, moves T, folds what comes back, and keeps the history.

Knows nothing of Textual, so everything here can be tested with a scripted engine and no screen.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flas_engine.errors import FlasError
from flas_engine.info import LoadSpec
from flas_tui.recording import from_record, to_record
from flas_tui.session import STEERED, NotKept, RunOver, Session, to_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from flas_engine.request import Request
    from flas_engine.worker import Worker
    from flas_tui.history import History
    from flas_tui.run_record import RunRecord
    from flas_tui.session import Change, Comparison, Setup


class Workbench:
    """One worker, one session, one history (None when it cannot be had); used from one thread."""

    def __init__(
        self,
        worker: Worker,
        history: History | None,
        *,
        spec: LoadSpec | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load as `spec` says; its device and compiler hold for every other model too."""
        self.session = Session()
        self.history = history
        self._worker = worker
        self._clock = clock
        self._has_started = False
        self._spec = spec or LoadSpec()

    def start(self) -> None:
        """Start the worker and let it load the first model."""
        self.load_spec(self._spec)

    def load_spec(self, spec: LoadSpec) -> None:
        """Load another model in place of any before."""
        self._start_worker()
        self.session.begin_load()
        self._worker.load(replace(spec, device=self._spec.device, compiles=self._spec.compiles))

    def load(self, model: str) -> None:
        """Load another model in place of the present one, with the dtype that was given for the first."""
        self.load_spec(LoadSpec(model=model, dtype=self._spec.dtype))

    def cancel_load(self) -> None:
        """Call off the load that is under way."""
        self._worker.cancel_load()

    def generate(self, setup: Setup) -> None:
        """Run `setup` in place of any run before, as soon as the model is ready; raises `RequestError`."""
        self._begin(setup, to_request(setup))

    def resteer(self, setup: Setup) -> None:
        """Do the same, and have at once what the run before wrote and this one would write too."""
        before = self.session.comparison
        is_draft = before is not None and before.is_draft_for(setup, self.session.model.writer)
        self._begin(setup, to_request(setup, before if is_draft else None))

    def _begin(self, setup: Setup, request: Request) -> None:
        self._keep()  # what the run before has written so far; its later events are dropped
        self.session.begin(self._worker.run(request), setup)

    def set_flow_time(self, flow_time: float) -> None:
        """Let the steered lane of the run under way go on under another flow time."""
        run = self.session.comparison
        if run is not None and self.session.is_running:
            self._worker.set_flow_time(run.run_id, STEERED, flow_time)

    def stop(self) -> None:
        """End the run under way and keep what is written."""
        self._worker.stop()

    def restore(self, record: RunRecord) -> Comparison:
        """Put an earlier run in the place of the present one, which is stopped and kept."""
        self.stop()
        self._keep()
        self.session.comparison = from_record(record)
        return self.session.comparison

    def drain(self) -> list[Change]:
        """Hand over everything that changed since the last call; a run that is over goes into the history."""
        changes: list[Change] = []
        for event in self._worker.drain():
            for change in self.session.fold(event, self._clock()):
                changes.append(change)
                if isinstance(change, RunOver):
                    changes += self._keep()
        return changes

    def quit(self) -> None:
        """Call everything off and keep what is written; waits for nothing."""
        self._worker.quit()
        self.drain()
        self._keep()

    def has_ended(self, timeout_seconds: float) -> bool:
        """Wait for the worker's thread to end; False when it had not by then."""
        return not self._has_started or self._worker.join(timeout_seconds)

    def _start_worker(self) -> None:
        if not self._has_started:
            self._has_started = True
            self._worker.start()

    def _keep(self) -> list[Change]:
        """Put the present run into the history, once, if it has written anything."""
        run = self.session.comparison
        if self.history is None or run is None or run.is_kept or not run.num_tokens:
            return []
        run.is_kept = True
        try:
            self.history.add_run(to_record(run, created_at=datetime.now(UTC)))
        except FlasError as error:
            return [NotKept(error=error)]
        return []
