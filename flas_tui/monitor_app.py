"""The training monitor by itself: one screen, no model loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_tui.frame import FramedApp
from flas_tui.screens.training import TrainingScreen
from flas_tui.settings import load_settings
from flas_tui.terminal import guarded_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from flas_tui.settings import Settings


class MonitorApp(FramedApp):
    """Watches the folder `run` until the user leaves."""

    def __init__(self, run: Path, settings: Settings, *, is_lite: bool = False) -> None:
        super().__init__(settings, is_lite=is_lite or bool(settings.lite))
        self._folder = run

    def get_default_screen(self) -> TrainingScreen:
        """Begin with the run."""
        return TrainingScreen(self._folder, is_lite=self.is_lite, notices=self.complaints)


def run_monitor(run: Path, *, is_lite: bool) -> int:
    """Show the monitor in this terminal, which must be fit for it; returns the exit code. Raises `FlasError`."""
    app = MonitorApp(run, load_settings(), is_lite=is_lite)
    with guarded_terminal(app) as guard:
        app.run()
    return guard.exit_code
