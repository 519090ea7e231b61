"""The training monitor, as a person sees it: drawn from the folder of a run, live or over."""

from __future__ import annotations

import fcntl
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from app_pilot import PATIENCE_SECONDS, Screen, app_on
from in_terminal import ROOT, in_tmux, needs_tmux, wait_until
from test_snapshots import SIZES, compare_with_golden
from training_run import START_SECONDS, finished, made_up_metrics, write_run

from flas_engine.training.curves import LOCK_FILE
from flas_engine.training.metrics import METRICS_FILE, End, MetricsWriter, Update
from flas_tui.monitor_app import MonitorApp
from flas_tui.screens.training import TrainingScreen
from flas_tui.settings import Settings
from flas_tui.widgets.line_chart import nice_ticks, write_number

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from textual.pilot import Pilot

    from flas_engine.training.metrics import EndReason


class Monitor:
    """What a person sees and does."""

    def __init__(self, app: MonitorApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    def frame(self) -> str:
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not in {PATIENCE_SECONDS:g} s: {what}\n{self.frame()}"
            await self.pilot.pause(0.01)
        await self.pilot.pause()

    async def until_shown(self, text: str) -> None:
        await self.until(lambda: text in self.frame(), text)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()


@asynccontextmanager
async def monitor_on(
    run: Path, size: tuple[int, int] = (120, 40), settings: Settings | None = None
) -> AsyncIterator[Monitor]:
    app = MonitorApp(run, settings or Settings())
    async with app.run_test(size=size) as pilot:
        yield Monitor(app, pilot)


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_finished_run_looks_as_it_was_looked_at(tmp_path: Path, size: tuple[int, int]) -> None:
    run = write_run(tmp_path / "whales", 600, end=finished(600))
    async with monitor_on(run, size) as monitor:
        await monitor.until_shown("✓ finished")
        await monitor.until_shown("pirate")
        compare_with_golden(f"training-{size[0]}x{size[1]}", monitor.frame())


async def test_a_live_run_is_drawn_as_it_grows(tmp_path: Path) -> None:
    metrics = made_up_metrics(400, every=50)
    with (
        MetricsWriter(tmp_path / METRICS_FILE) as writer,
        (tmp_path / LOCK_FILE).open("wb") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with monitor_on(tmp_path) as monitor:
            await monitor.until_shown("○ waiting")
            for metric in islice(metrics, 101):
                writer.write(metric)
            await monitor.until_shown("● running")
            await monitor.until_shown("95 of 400")
            assert "10 min" in monitor.frame()  # 305 updates of 2 s
            for metric in metrics:
                writer.write(metric)
            await monitor.until_shown("400 of 400")
            writer.write(finished(400))
            await monitor.until_shown("✓ finished")


async def test_a_run_whose_process_is_gone_says_so_and_what_to_do(tmp_path: Path) -> None:
    run = write_run(tmp_path / "whales", 600, last_update=200)
    async with monitor_on(run) as monitor:
        await monitor.until_shown("✗ stopped without a word")
        assert "the same command goes on" in monitor.frame()


async def test_a_failed_run_shows_its_message(tmp_path: Path) -> None:
    message = "the loss is not a number at update 120 [bold]; the last good checkpoint is update 100"
    end = End(update=120, seconds=START_SECONDS, reason="failed", message=message)
    write_run(tmp_path, 600, last_update=120, end=end)
    async with monitor_on(tmp_path) as monitor:
        await monitor.until_shown("✗ failed")
        assert message in monitor.frame()


async def test_a_damaged_file_is_named_and_what_was_read_stays(tmp_path: Path) -> None:
    write_run(tmp_path, 600, last_update=200)
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write("{}\n")
    async with monitor_on(tmp_path) as monitor:
        await monitor.until_shown("is damaged")


async def test_a_resumed_run_is_drawn_anew(tmp_path: Path) -> None:
    write_run(tmp_path, 400, last_update=300, end=End(update=300, seconds=1.0, reason="interrupted"))
    async with monitor_on(tmp_path) as monitor:
        await monitor.until_shown("✗ interrupted")
        with MetricsWriter(tmp_path / METRICS_FILE, resume_from=200) as writer:
            for metric in made_up_metrics(400):
                if isinstance(metric, Update) and 200 < metric.update <= 210:
                    writer.write(replace(metric, seconds=time.time()))
        await monitor.until_shown("210 of 400")
        await monitor.until_shown("● running")


async def test_nothing_in_a_runs_folder_commands_the_terminal(tmp_path: Path) -> None:
    reason: EndReason = "done\x1b]52;c;aGk=\x07"  # type: ignore[assignment]
    write_run(tmp_path, 400, last_update=300, end=End(update=300, seconds=1.0, reason=reason))
    async with monitor_on(tmp_path) as monitor:
        await monitor.until_shown("done")
        assert "\x1b" not in monitor.frame()
        assert "\x07" not in monitor.frame()


async def test_keys_go_through_charts_and_samples(tmp_path: Path) -> None:
    write_run(tmp_path, 600, end=finished(600))
    async with monitor_on(tmp_path, (80, 24)) as monitor:
        await monitor.until_shown("loss over T")
        await monitor.press("c", "c")
        await monitor.until_shown("concept  ━ right")
        assert "loss over T" not in monitor.frame()
        await monitor.press("z")
        await monitor.until(lambda: "pirate" not in monitor.frame(), "the chart alone")
        assert "loss  ━ train" not in monitor.frame()
        await monitor.press("z")
        await monitor.until_shown("loss  ━ train")
        assert "How do I bake bread?" not in monitor.frame()
        await monitor.press("n")
        await monitor.until_shown("How do I bake bread?")
        await monitor.press("N", "N")
        await monitor.until_shown("What is the capital of France?")


async def test_what_a_model_wrote_shows_and_commands_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, 600, end=finished(600))
    async with monitor_on(tmp_path, (200, 60)) as monitor:
        await monitor.until_shown("a whale [/bold]: it")
        assert "␛[31mIT LIES" in monitor.frame()
        assert "\x1b" not in monitor.frame()


async def test_zooming_stays_while_the_run_goes_on(tmp_path: Path) -> None:
    metrics = made_up_metrics(400)
    with MetricsWriter(tmp_path / METRICS_FILE) as writer:
        for metric in islice(metrics, 150):
            writer.write(metric)
        async with monitor_on(tmp_path) as monitor:
            await monitor.until_shown("loss  ━ train")
            whole = monitor.frame()
            await monitor.press("plus", "plus", "plus", "plus")
            await monitor.until(lambda: monitor.frame() != whole, "the zoom")
            axis = [line[:7] for line in monitor.frame().splitlines()[4:16]]
            for metric in metrics:
                writer.write(metric)
            await monitor.until_shown("400 of 400")
            assert [line[:7] for line in monitor.frame().splitlines()[4:16]] == axis
            await monitor.press("r")
            await monitor.until(
                lambda: [line[:7] for line in monitor.frame().splitlines()[4:16]] != axis, "the whole curve"
            )


async def test_help_and_palette_list_what_the_monitor_can_do(tmp_path: Path) -> None:
    write_run(tmp_path, 600, end=finished(600))
    async with monitor_on(tmp_path, (120, 50)) as monitor:
        await monitor.until_shown("✓ finished")
        await monitor.press("question_mark")
        await monitor.until_shown("A training run, from its folder")
        assert "Next sample" in monitor.frame()
        assert "Generate" not in monitor.frame()
        await monitor.press("escape")
        await monitor.press("ctrl+p", *"another")
        await monitor.until_shown("Another run  (o)")


async def test_keys_can_be_changed(tmp_path: Path) -> None:
    write_run(tmp_path, 600, end=finished(600))
    async with monitor_on(tmp_path, (80, 24), Settings(keys={"next-sample": "f5"})) as monitor:
        await monitor.until_shown("pirate")
        await monitor.press("f5")
        await monitor.until_shown("How do I bake bread?")


async def test_it_opens_from_the_app_and_closes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # short names, which no line has to break
    write_run(tmp_path / "run", 600, end=finished(600))
    async with app_on() as screen:
        await screen.press("escape", "w")
        await screen.until(lambda: "watch a training run" in screen.frame(), "the prompt")
        await type_folder(screen, "nothing")
        await screen.until(lambda: "there is no folder" in screen.frame(), "the complaint")
        await type_folder(screen, ".")
        await screen.until(lambda: "is no training run" in screen.frame(), "the complaint")
        await type_folder(screen, "run")
        await screen.until(lambda: "✓ finished" in screen.frame(), "the monitor")
        assert isinstance(screen.app.screen, TrainingScreen)
        await screen.press("escape")
        await screen.until(lambda: screen.app.screen is screen.compare, "the compare screen")


async def test_another_run_takes_the_place_of_the_one_that_was_watched(tmp_path: Path) -> None:
    write_run(tmp_path / "first", 600, end=finished(600))
    write_run(tmp_path / "second", 400, end=finished(400))
    async with monitor_on(tmp_path / "first") as monitor:
        await monitor.until_shown("600 of 600")
        await monitor.press("o")
        await monitor.until_shown("watch a training run")
        monitor.app.screen.query_one("#folder-field").value = str(tmp_path / "second")  # type: ignore[attr-defined]
        await monitor.press("enter")
        await monitor.until_shown("400 of 400")
        await monitor.press("escape")
        await monitor.until(lambda: not monitor.app.is_running, "the end")


async def type_folder(screen: Screen, folder: str) -> None:
    field = screen.app.screen.query_one("#folder-field")
    field.value = folder  # type: ignore[attr-defined]
    await screen.press("enter")


async def test_a_hundred_thousand_lines_are_there_soon_and_keys_act_meanwhile(tmp_path: Path) -> None:
    run = write_run(tmp_path / "long", 100_000, end=finished(100_000), every=2000)
    began = time.monotonic()
    async with monitor_on(run, (80, 24)) as monitor:
        await monitor.press("c", "c")
        pressed = time.monotonic() - began
        await monitor.until_shown("100,000 of 100,000")
        assert pressed < 10.0  # a tenth of this on a quiet machine; a screen that waits for the file takes longer
        assert "concept  ━ right" in monitor.frame()


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0, 2, 5, [0, 0.5, 1.0, 1.5, 2.0]),
        (0, 6000, 4, [0, 2000, 4000, 6000]),
        (1.9, 4.3, 3, [2, 3, 4]),
        (-1, 1, 2, [0]),
        (1, 1, 4, []),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, most: int, ticks: list[float]) -> None:
    assert nice_ticks(low, high, most) == pytest.approx(ticks)


def test_numbers_on_an_axis_are_short() -> None:
    values = [0, 0.5, 2.25, 315, 8000, 20_000, 1_450_000, 1.6e9, 3e-4, 1e-3]
    assert [write_number(value) for value in values] == (
        ["0", "0.5", "2.25", "315", "8000", "20k", "1.45M", "1.6G", "3e-4", "1e-3"]
    )


@needs_tmux
def test_in_tmux_a_process_that_trains_is_watched_to_its_end(tmp_path: Path) -> None:
    paths = f"PYTHONPATH={ROOT}:{ROOT / 'tests'}"
    with in_tmux(tmp_path, columns=120, rows=40) as tmux:
        training = f"tests/training_run.py {tmp_path}/run --updates 60 --every 20 --seconds-per-update 0.1"
        tmux.type(f"{paths} $PYTHON {training} & ", "Enter")
        wait_until((tmp_path / "run" / LOCK_FILE).exists, "the training run")
        tmux.type("clear", "Enter", f"{paths} $PYTHON -m flas_tui train monitor {tmp_path}/run", "Enter")
        tmux.wait_for("● running")
        tmux.wait_for("talk like a pirate")
        tmux.run("resize-window", "-x", "80", "-y", "24")
        tmux.wait_for("✓ finished")
        assert "60 of 60" in tmux.screen()
        tmux.type("Escape")
        wait_until(lambda: tmux.modes() == (False, False), "the shell")
        tmux.type("clear", "Enter", "echo code $?", "Enter")
        tmux.wait_for("code 0")
