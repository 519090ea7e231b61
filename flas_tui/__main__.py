"""The entry point: `flas-tui` alone starts the app at once, anything more is the command line's business."""

from __future__ import annotations

import os
import sys

from flas_tui.garbage import paused_collection

COMPLETION_VARIABLE = "_FLAS_TUI_COMPLETE"
"""Set by the shell when it asks for completions."""
SPIN_COUNT = "GOMP_SPINCOUNT", "10000"
"""How often a thread of torch's looks for others to come before it sleeps: some 0.2 ms. libgomp's own 300,000 gain
little when the machine is ours, and cost all but a twentieth of the speed when another program computes too."""


def main() -> None:
    """Run `flas-tui`; ends in `SystemExit`, never in a traceback."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(*SPIN_COUNT)  # read when torch is loaded
    if len(sys.argv) > 1 or COMPLETION_VARIABLE in os.environ:
        with paused_collection():
            from flas_tui.cli import main as run_command_line

        return run_command_line()
    from flas_tui.console import reported_errors

    with reported_errors():  # without Typer, whose import would delay the first paint by a third
        from flas_tui.launch import launch
        from flas_tui.options import AppOptions

        raise SystemExit(launch(AppOptions()))


if __name__ == "__main__":
    main()
