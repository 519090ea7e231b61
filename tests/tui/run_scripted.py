"""Run the app on the scripted engine, to look at it: PYTHONPATH=tests python tests/tui/run_scripted.py --help."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripted_engine import ScriptedEngine

from flas_engine.progress import Progress
from flas_tui.app import FlasApp
from flas_tui.history import History
from flas_tui.options import AppOptions
from flas_tui.terminal import guarded_terminal

if TYPE_CHECKING:
    from flas_engine.info import LoadSpec
    from flas_engine.progress import ReportProgress


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds-per-token", type=float, default=0.03)
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--history", type=Path, default=None, help="a folder; a fresh one without it")
    parser.add_argument("--lite", action="store_true")
    parser.add_argument("--evaluation", type=Path, default=None, help="a folder, to begin with")
    arguments = parser.parse_args()

    def load(spec: LoadSpec, *, progress: ReportProgress) -> ScriptedEngine:
        del spec
        for step in range(100):
            progress(Progress(activity="reading the weights", done=step, total=100))
            time.sleep(arguments.load_seconds / 100)
        return ScriptedEngine(seconds_per_token=arguments.seconds_per_token)

    folder = arguments.history or Path(tempfile.mkdtemp())
    history = History(folder / "history.db")
    app = FlasApp(load, history, options=AppOptions(lite=arguments.lite, evaluation=arguments.evaluation))
    with guarded_terminal(app) as guard:
        try:
            app.run()
        finally:
            app.workbench.quit()
            history.close()
    return guard.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
