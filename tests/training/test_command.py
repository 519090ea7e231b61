"""`flas-tui train` from the outside: its options, its words, its exit codes, and that its result opens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tiny_run import LAYER, write_base, write_rows

from flas_engine.engine import load_engine
from flas_engine.training.metrics import read_metrics
from flas_engine.training.recipe import make_recipe, read_recipe
from flas_engine.training.schedule import learning_rate_factor
from flas_tui.cli import main
from flas_tui.commands.train_run import duration, parse_source, recipe_of

if TYPE_CHECKING:
    from pathlib import Path

TINY = ("--no-self-attention", "--batch-size=4", "--accumulation=1", "--held-out-rows=6", "--validation-rows=6")
SMALL = (f"--layer={LAYER}", "--samples=1", "--device=cpu", "--dtype=float32", "--lr=0.01", *TINY)


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def given(base: Path, tmp_path: Path) -> tuple[str, ...]:
    rows = write_rows(tmp_path / "rows.jsonl")
    return (f"--base={base}", f"--data={rows}", f"--data={write_rows(tmp_path / 'more.jsonl', 8, 1)}:0.5", *SMALL)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments])
    return ended.value.code if isinstance(ended.value.code, int) else 0


def test_a_run_ends_with_a_flow_that_opens_and_a_config_that_repeats_it(
    given: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str], base: Path
) -> None:
    out, again = tmp_path / "run", tmp_path / "again"
    assert run(f"--out={out}", "--updates=3", "--contrast=1", *given) == 0
    shown = capfd.readouterr()
    assert shown.out == f"{out / 'flow'}\n"
    assert "3 updates on" in shown.err
    assert "validation after update 3: T 0: " in shown.err
    assert "update 3 of 3: loss" in shown.err
    assert run(f"--config={out / 'config.toml'}", f"--out={again}", "--quiet") == 0
    assert capfd.readouterr().err == ""
    assert (out / "flow" / "README.md").exists()
    names = ["config.json", "flas-" + base.name + ".safetensors"]
    assert all((out / "flow" / name).read_bytes() == (again / "flow" / name).read_bytes() for name in names)
    engine = load_engine(flow=str(out / "flow"), base=str(base), device="cpu", dtype="float32")
    assert engine.info.layer == LAYER


def test_a_dry_run_prints_what_would_run(
    given: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("--dry-run", f"--out={tmp_path / 'run'}", "--updates=3", *given) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["rows", "concepts", "updates", "tokens", "memory", "disk", "time"]
    assert lines[0].split(maxsplit=1)[1] == "42 train, 6 held out, 0 left out"
    assert not (tmp_path / "run").exists()


def test_ctrl_c_stops_after_the_update_with_everything_saved_and_resume_goes_on(
    given: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "flas_tui", "train", f"--out={out}", "--updates=100000", "--samples=0", *given]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        while "update 1 of" not in (line := process.stderr.readline()):
            assert line, "the run ended before its first update"
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert process.returncode == 130
    assert "with everything saved" in told
    (state,) = (out / "state").iterdir()
    stopped_at = read_metrics(out / "metrics.jsonl")[-1].update
    assert state.name == f"update-{stopped_at:07d}"
    assert run("--resume", f"--out={out}", "--updates=7") == 1
    assert "updates is 7, was 100000" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--base=demo",), 2, "--out is missing"),
        (("--out=RUN",), 1, "no base model is named"),
        (("--out=RUN", "--base=demo"), 1, "give --data"),
        (("--out=RUN", "--base=demo", "--data=ROWS", "--batch-size=0"), 1, "batch_size is 0"),
        (("--out=RUN", "--base=demo", "--data=nowhere.jsonl"), 1, "nowhere.jsonl does not exist"),
        (("--out=RUN", "--resume"), 1, "no run began"),
        (("--out=RUN", "--config=nowhere.toml"), 1, "nowhere.toml cannot be read"),
        (("--out=RUN", "--base=demo", "--data=ROWS:-1"), 1, "the weight of"),
    ],
)
def test_mistakes_are_told_on_stderr_with_their_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    places = {"RUN": str(tmp_path / "run"), "ROWS": str(write_rows(tmp_path / "rows.jsonl"))}
    for name, place in places.items():
        arguments = tuple(argument.replace(name, place) for argument in arguments)
    assert run(*arguments) == code
    shown = capfd.readouterr()
    assert words in shown.err
    assert shown.out == ""
    assert not (tmp_path / "run").exists()


def test_a_colon_in_a_path_that_exists_is_no_weight(tmp_path: Path) -> None:
    path = tmp_path / "rows:2"
    path.touch()
    assert parse_source(str(path)).weight == 1.0
    assert parse_source("rows.jsonl:0.5").weight == 0.5
    assert parse_source("hub:rows.jsonl").path == "hub:rows.jsonl"


def test_options_override_a_config(tmp_path: Path) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text('base = "demo"\nlearning_rate = 0.1\nclip = 2\n[[data]]\npath = "a"\n', encoding="utf-8")
    recipe = recipe_of(tmp_path / "run", {"learning_rate": 0.2}, config=config, resumes=False)
    assert (recipe.learning_rate, recipe.clip) == (0.2, 2.0)
    assert make_recipe(read_recipe(config)).learning_rate == 0.1


def test_durations_read_well() -> None:
    assert [duration(seconds) for seconds in (45, 600, 12_000)] == ["45 s", "10 min", "3 h 20 min"]


def test_the_learning_rate_warms_up_for_a_tenth_at_most_falls_to_0_and_stays_there() -> None:
    factors = [learning_rate_factor(update, 100, 2000) for update in range(120)]
    assert factors[:11] == pytest.approx([0.1 * step for step in range(1, 11)] + [1.0])
    assert factors[10:100] == sorted(factors[10:100], reverse=True)
    assert factors[100:] == [0.0] * 20
