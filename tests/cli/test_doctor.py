"""`flas-tui doctor`: what it looks at, and how what it finds is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import huggingface_hub.constants
import pytest

from flas_tui import diagnosis
from flas_tui.checks import Check, ok
from flas_tui.terminal_checks import terminal_checks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from command_line import Run

TOKEN = "hf_" + "xY7" * 11
TERMINAL_VARIABLES = ("TERM", "COLORTERM", "NO_COLOR", "TMUX", "STY", "SSH_CONNECTION")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in TERMINAL_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable in ("FLAS_CACHE_DIR", "FLAS_CONFIG_DIR", "FLAS_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))


def found(name: str) -> Check:
    (check,) = [check for check in diagnosis.run_checks() if check.name == name]
    return check


def terminal(name: str) -> Check:
    (check,) = [check for check in terminal_checks() if check.name == name]
    return check


def test_a_sound_machine_passes_every_check(run: Run) -> None:
    outcome = run("doctor")
    assert outcome.exit_code == 0
    assert "FAIL" not in outcome.out
    for name in ("python", "torch", "computes on", "memory", "hugging face cache", "token", "demo", "clipboard"):
        assert any(line[6:].startswith(name) for line in outcome.out.splitlines()), name


def test_json_tells_the_same_checks(run: Run) -> None:
    report = json.loads(run("doctor", "--json").out)
    assert report["ok"] is True
    assert {"name", "status", "detail", "advice"} == set(report["checks"][0])
    assert [check["name"] for check in report["checks"]] == [check.name for check in diagnosis.run_checks()]


@pytest.mark.parametrize("variable", ["FLAS_CACHE_DIR", "FLAS_CONFIG_DIR", "FLAS_DATA_DIR"])
def test_a_folder_that_cannot_be_written_fails_with_what_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "folder"))
    outcome = run("doctor")
    assert outcome.exit_code == 1
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("FAIL")]
    assert f"{tmp_path / 'file' / 'folder'} cannot be written" in line
    assert f"point {variable} elsewhere" in outcome.out
    assert json.loads(run("doctor", "--json").out)["ok"] is False


def test_a_token_is_said_to_be_present_and_never_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert found("token").detail == "present"
    assert TOKEN not in run("doctor").out + run("doctor", "--json").out


def test_offline_mode_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert found("network").status == "warn"


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "LITTLE_MEMORY_BYTES", 10**18)
    assert found("memory").status == "warn"


def test_little_disk_is_a_warning_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "LITTLE_DISK_BYTES", 10**18)
    check = found("converted models")
    assert check.status == "warn"
    assert "FLAS_CACHE_DIR" in (check.advice or "")


def test_a_check_that_breaks_is_a_failure_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_check() -> Iterator[Check]:
        yield ok("half", "way")
        raise ZeroDivisionError

    monkeypatch.setattr(diagnosis, "GROUPS", (broken_check, terminal_checks))
    checks = diagnosis.run_checks()
    assert [(check.name, check.status) for check in checks[:2]] == [("half", "ok"), ("broken check", "fail")]
    assert checks[2:] == list(terminal_checks())


@pytest.mark.parametrize(
    ("name", "environment", "status", "said"),
    [
        ("terminal", {"TERM": "dumb"}, "warn", "TERM=dumb"),
        ("terminal", {}, "warn", "(unset)"),
        ("terminal", {"TERM": "screen", "TMUX": "/tmp/t,1,0"}, "ok", "inside tmux"),
        ("colours", {"TERM": "xterm"}, "warn", "16"),
        ("colours", {"TERM": "xterm-256color"}, "ok", "256"),
        ("colours", {"TERM": "xterm", "COLORTERM": "truecolor"}, "ok", "16 million"),
        ("colours", {"TERM": "xterm", "NO_COLOR": "1"}, "ok", "NO_COLOR"),
        ("line", {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, "ok", "ssh"),
        ("clipboard", {"TMUX": "/tmp/t,1,0"}, "ok", "tmux"),
        ("clipboard", {"STY": "1.pts"}, "warn", "screen"),
    ],
)
def test_the_terminal_is_read_from_its_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, environment: dict[str, str], status: str, said: str
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    check = terminal(name)
    assert (check.status, said in check.detail) == (status, True)


def test_every_warning_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "LITTLE_MEMORY_BYTES", 10**18)
    monkeypatch.setenv("TERM", "dumb")
    warnings = [check for check in diagnosis.run_checks() if check.status != "ok"]
    assert {"memory", "terminal"} <= {check.name for check in warnings}
    assert all(check.advice for check in warnings)


def test_other_programs_at_work_are_a_warning_only_where_the_engine_shares_their_processor() -> None:
    (busy,) = diagnosis.others_at_work(1.5, "cpu")
    assert busy.status == "warn"
    assert "1.5 cores" in busy.detail
    assert "OMP_WAIT_POLICY=PASSIVE" in busy.advice
    assert [check.status for check in diagnosis.others_at_work(0.1, "cpu")] == ["ok"]
    assert [check.status for check in diagnosis.others_at_work(1.5, "cuda")] == ["ok"]
