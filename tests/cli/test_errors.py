"""Whatever goes wrong ends in a line on stderr and an exit code, never in a traceback or a secret."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flas_engine.errors import DownloadError
from flas_tui.logs import start_logging
from flas_tui.secrets import redact

if TYPE_CHECKING:
    from command_line import Run
    from scripted_engine import ScriptedLoader

TOKEN = "hf_" + "aB3" * 11


@pytest.fixture(autouse=True)
def _own_log(tmp_path: Path) -> object:
    """Open the log anew in the test's own folder, and take it away afterwards."""
    del tmp_path
    start_logging.cache_clear()
    before = list(logging.getLogger().handlers)
    yield
    for handler in set(logging.getLogger().handlers) - set(before):
        logging.getLogger().removeHandler(handler)
        handler.close()
    start_logging.cache_clear()


def test_a_users_mistake_shows_its_message_alone(run: Run, loader: ScriptedLoader) -> None:
    loader.failure = DownloadError("no network; run: flas-tui download demo")
    outcome = run("generate", "Hi", "--quiet")
    assert (outcome.exit_code, outcome.err) == (1, "flas-tui: no network; run: flas-tui download demo\n")


def test_an_unexpected_error_names_the_log_and_the_log_has_the_traceback(
    run: Run, loader: ScriptedLoader, tmp_path: Path
) -> None:
    loader.engine.failure = ZeroDivisionError(f"with {TOKEN} inside")
    outcome = run("generate", "Hi", "--quiet")
    (log,) = tmp_path.rglob("flas-tui.log")
    assert outcome.exit_code == 70
    assert outcome.err.count("\n") == 1
    assert str(log) in outcome.err
    assert "Traceback" not in outcome.err
    assert "ZeroDivisionError" in log.read_text()


def test_no_token_reaches_the_log_or_a_message(
    run: Run, loader: ScriptedLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVICE_API_KEY", "correct-horse-battery")
    loader.engine.failure = ZeroDivisionError(f"{TOKEN} correct-horse-battery Authorization: Bearer abcdefgh12345678")
    run("generate", "Hi")
    loader.engine.failure = DownloadError(f"{TOKEN} was refused")
    outcome = run("generate", "Hi")
    (log,) = tmp_path.rglob("flas-tui.log")
    told = log.read_text() + outcome.err
    assert "[secret] was refused" in outcome.err
    assert not [secret for secret in (TOKEN, "correct-horse", "abcdefgh12345678") if secret in told]


def test_ordinary_text_is_not_redacted() -> None:
    assert redact("risk-free sk-1 hf_home the bearer of news") == "risk-free sk-1 hf_home the bearer of news"


def test_control_characters_of_a_message_do_not_reach_the_terminal(run: Run, loader: ScriptedLoader) -> None:
    loader.failure = DownloadError("no \x1b]0;title\x07 such file")
    err = run("generate", "Hi", "--quiet").err
    assert "\x1b" not in err
    assert "\x07" not in err


def test_an_unwritable_log_folder_moves_the_log_to_the_temporary_files(
    run: Run, loader: ScriptedLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "occupied").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "occupied"))
    loader.engine.failure = ZeroDivisionError()
    err = run("generate", "Hi", "--quiet").err
    path = Path(err.strip().rsplit(" ", 1)[-1])
    assert "ZeroDivisionError" in path.read_text()


def test_a_log_among_the_temporary_files_leaves_nothing_behind_when_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    folders = {"XDG_STATE_HOME": str(tmp_path / "file" / "state"), "TMPDIR": str(temporary)}
    for code, num_left in (("", 0), ("import logging; logging.getLogger('flas_tui').error('lost')", 1)):
        started = f"from flas_tui.logs import start_logging; print(start_logging()); {code}"
        done = subprocess.run(
            [sys.executable, "-c", started], env=os.environ | folders, capture_output=True, text=True, check=True
        )
        assert str(temporary) in done.stdout
        assert len(list(temporary.iterdir())) == num_left


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), f"{'x' * 300}: File name too long"),
        (PermissionError(errno.EACCES, "Permission denied", "/their/run"), "/their/run: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    ],
)
def test_what_a_path_or_a_disk_answers_is_no_defect(
    run: Run, loader: ScriptedLoader, error: OSError, told: str
) -> None:
    loader.engine.failure = error
    outcome = run("generate", "Hi", "--quiet")
    assert (outcome.exit_code, outcome.err) == (1, f"flas-tui: {told}\n")


def test_a_home_that_nobody_has_is_a_path_that_is_not_there(run: Run) -> None:
    outcome = run("report", "~nobody-of-that-name/evaluation")
    assert outcome.exit_code == 1
    assert "~nobody-of-that-name" in outcome.err


@pytest.mark.parametrize(
    ("redirection", "told"), [(">&-", "standard output is closed"), ("> /dev/full", "No space left on device")]
)
def test_an_output_that_takes_nothing_is_told(redirection: str, told: str, tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m flas_tui models {redirection}",
        shell=True,
        env=os.environ | {"HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert told in done.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    program = (
        "from scripted_engine import ScriptedLoader\n"
        "from flas_tui.commands import engine_loading\n"
        "from flas_tui.cli import main\n"
        "loader = ScriptedLoader(); engine_loading.load_function = lambda: loader\n"
        "main(['generate', 'Hi', '-n', '100000', '--json', '--events', '--quiet'])\n"
    )
    tests = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": f"{tests}:{tests.parent}"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"event": "token"')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) in {1, 141}


def test_ctrl_c_while_loading_ends_with_130(run: Run, loader: ScriptedLoader) -> None:
    loader.failure = KeyboardInterrupt()  # type: ignore[assignment]
    outcome = run("generate", "Hi", "--quiet")
    assert (outcome.exit_code, outcome.err) == (130, "")
