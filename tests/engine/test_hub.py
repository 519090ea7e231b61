"""Downloads against a Hub on loopback: whole, offline, interrupted, refused, and with no room."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hub_machine import BASE, FLOW, SHARD, WANTED, WRONG_TOKEN, Machine, one_message, refusal, resolved, tiny_base
from hub_server import GOOD_TOKEN, OUTSIDER_TOKEN, etag_of

from flas_engine.concept_library import LIBRARY_FILE
from flas_engine.hub.transfer import NUM_RETRIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from command_line import Outcome
    from hub_server import Hub

CANCEL_SECONDS = 1.0
CANCEL_WHILE_STALLED = """
import sys, time
from flas_engine.errors import Cancelled
from flas_engine.hub.resolve import download

def report(progress):
    if progress.done >= int(sys.argv[2]):
        started.append(time.monotonic())
        raise Cancelled("enough")

started = []
try:
    download(sys.argv[1], progress=report)
except Cancelled:
    print(time.monotonic() - started[0])
"""


def failed(outcome: Outcome) -> str:
    assert outcome.exit_code == 1, outcome.err
    return one_message(outcome)


def register(machine: Machine) -> None:
    assert machine.run("models", "add", "tiny", "--base", BASE, "--flow", FLOW).exit_code == 0


def test_a_download_brings_the_files_that_are_needed_and_no_others(machine: Machine, hub: Hub) -> None:
    register(machine)
    outcome = machine.run("download", "tiny")
    assert outcome.exit_code == 0, outcome.err
    everything = tiny_base()
    assert machine.cached(BASE) == {name: everything[name] for name in WANTED}
    assert set(machine.cached(FLOW)) == {"config.json", "flow.safetensors"}
    assert sorted(hub.bodies()) == sorted([*WANTED, "config.json", "flow.safetensors"])
    assert machine.leftovers() == []


def test_a_downloaded_model_is_one_copy_in_hugging_faces_own_layout(machine: Machine) -> None:
    assert machine.run("download", BASE).exit_code == 0
    storage = machine.cache / "models--tiny--base"
    snapshot = next((storage / "snapshots").iterdir())
    shard = snapshot / SHARD
    assert shard.is_symlink()
    assert shard.resolve() == storage / "blobs" / etag_of(SHARD, shard.read_bytes())
    assert (storage / "refs" / "main").read_text() == snapshot.name
    script = "from huggingface_hub import snapshot_download; print(snapshot_download('tiny/base'))"
    assert machine.run_python(script, HF_HUB_OFFLINE="1").out.strip() == str(snapshot)


def test_a_downloaded_model_resolves_offline_and_asks_nothing_of_the_hub(machine: Machine, hub: Hub) -> None:
    register(machine)
    assert machine.run("download", "tiny").exit_code == 0
    num_requests = len(hub.seen)
    answer = resolved(machine, model="tiny")
    assert (answer["base_id"], answer["flow_id"], Path(answer["flow"]).name) == (BASE, FLOW, "flow.safetensors")
    assert Path(answer["base"]).is_relative_to(machine.cache)
    assert len(hub.seen) == num_requests


def test_a_flow_repository_brings_the_base_that_it_names(machine: Machine) -> None:
    outcome = machine.run("download", FLOW)
    assert outcome.exit_code == 0, outcome.err
    assert set(machine.cached(BASE)) == WANTED
    assert resolved(machine, model=FLOW)["base_id"] == BASE


def test_a_second_download_fetches_no_body(machine: Machine, hub: Hub) -> None:
    assert machine.run("download", BASE).exit_code == 0
    hub.seen.clear()
    assert machine.run("download", BASE).exit_code == 0
    assert hub.bodies() == []


def test_a_forced_download_fetches_everything_again(machine: Machine, hub: Hub) -> None:
    assert machine.run("download", BASE).exit_code == 0
    hub.seen.clear()
    outcome = machine.run("download", BASE, "--force")
    assert outcome.exit_code == 0, outcome.err
    assert sorted(hub.bodies()) == sorted(WANTED)
    assert machine.cached(BASE)[SHARD] == tiny_base()[SHARD]


def test_a_flows_library_of_concepts_comes_along_and_is_listed(machine: Machine, hub: Hub) -> None:
    concept = {"concept_id": "noun:cats", "concept": "cats", "group": "noun", "prompt": "Why?", "flow_time": 1.5}
    hub.repos[FLOW].files[LIBRARY_FILE] = (json.dumps(concept) + "\n").encode()
    assert machine.run("models", "concepts", FLOW, "--json").exit_code == 1
    assert machine.run("download", FLOW, "--flow-only").exit_code == 0
    listed = machine.run("models", "concepts", FLOW, "--json", HF_HUB_OFFLINE="1")
    assert json.loads(listed.out) == concept


def test_flow_only_leaves_the_base_out(machine: Machine, hub: Hub) -> None:
    register(machine)
    assert machine.run("download", "tiny", "--flow-only").exit_code == 0
    assert not any("/tiny/base/" in seen.path for seen in hub.seen)


def test_a_broken_connection_is_taken_up_where_it_broke(machine: Machine, hub: Hub) -> None:
    hub.faults.cut_after = 200_000
    outcome = machine.run("download", BASE)
    assert outcome.exit_code == 0, outcome.err
    assert [seen.range for seen in hub.seen if seen.range] == ["bytes=200000-"]
    assert machine.cached(BASE)[SHARD] == tiny_base()[SHARD]


def test_a_hub_that_has_bad_moments_is_asked_again_for_as_long_as_bytes_come(machine: Machine, hub: Hub) -> None:
    hub.faults.bad_moments, hub.faults.cut_after = NUM_RETRIES, 200_000
    outcome = machine.run("download", BASE)
    assert outcome.exit_code == 0, outcome.err
    assert machine.cached(BASE)[SHARD] == tiny_base()[SHARD]


def test_a_hub_that_keeps_failing_is_given_up_with_its_status(machine: Machine, hub: Hub) -> None:
    hub.faults.bad_moments = NUM_RETRIES + 1
    assert "the Hub answers 503" in failed(machine.run("download", BASE))
    assert hub.faults.bad_moments == 0


def test_a_killed_download_goes_on_from_the_bytes_that_are_there(machine: Machine, hub: Hub) -> None:
    hub.faults.stall_after = 300_000
    process = machine.start_command("download", BASE)
    wait_until(lambda: machine.leftover_bytes() == [300_000])
    process.kill()
    process.communicate()
    hub.faults.stall_after = None
    outcome = machine.run("download", BASE)
    assert outcome.exit_code == 0, outcome.err
    assert [seen.range for seen in hub.seen if seen.range] == ["bytes=300000-"]
    assert machine.cached(BASE)[SHARD] == tiny_base()[SHARD]
    assert machine.leftovers() == []


def test_a_server_without_ranges_is_read_from_the_beginning(machine: Machine, hub: Hub) -> None:
    hub.faults.cut_after, hub.faults.ignores_ranges = 200_000, True
    outcome = machine.run("download", BASE)
    assert outcome.exit_code == 0, outcome.err
    assert machine.cached(BASE)[SHARD] == tiny_base()[SHARD]


def test_cancelling_while_the_socket_stalls_takes_under_a_second(machine: Machine, hub: Hub) -> None:
    hub.faults.stall_after = 300_000
    outcome = machine.run_python(CANCEL_WHILE_STALLED, BASE, "300000")
    assert outcome.exit_code == 0, outcome.err
    assert float(outcome.out) < CANCEL_SECONDS
    assert machine.leftover_bytes() == [300_000]
    assert not (machine.cache / "models--tiny--base" / "refs" / "main").exists()


def test_ctrl_c_leaves_a_stalled_download_at_once_with_exit_code_130(machine: Machine, hub: Hub) -> None:
    hub.faults.stall_after = 300_000
    process = machine.start_command("download", BASE)
    assert hub.stalled.wait(timeout=30)
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - pressed < CANCEL_SECONDS
    assert process.returncode == 130
    assert "Traceback" not in err


def test_two_downloads_at_once_bring_each_weight_file_once(machine: Machine, hub: Hub) -> None:
    started = [machine.start_command("download", BASE) for _ in range(2)]
    outcomes = [(process.communicate(timeout=60), process.returncode) for process in started]
    assert [code for _, code in outcomes] == [0, 0], outcomes
    assert hub.bodies().count(SHARD) == 1
    assert machine.cached(BASE)[SHARD] == tiny_base()[SHARD]


def test_a_body_that_is_not_what_the_hub_lists_is_removed(machine: Machine, hub: Hub) -> None:
    hub.faults.garbles = True
    assert "arrived damaged" in failed(machine.run("download", BASE))
    assert machine.leftovers() == []
    assert SHARD not in machine.cached(BASE)


def test_a_truncated_file_in_the_cache_is_named_and_repaired(machine: Machine, hub: Hub) -> None:
    assert machine.run("download", BASE).exit_code == 0
    shard = next((machine.cache / "models--tiny--base" / "snapshots").iterdir()) / SHARD
    os.truncate(shard.resolve(), 1000)
    message = refusal(machine, model=BASE)
    assert SHARD in message
    assert f"flas-tui download {BASE} --force" in message
    hub.seen.clear()
    assert machine.run("download", BASE).exit_code == 0
    assert hub.bodies() == [SHARD]
    assert machine.cached(BASE)[SHARD] == tiny_base()[SHARD]


def test_a_model_that_is_half_there_counts_as_missing(machine: Machine) -> None:
    assert machine.run("download", BASE).exit_code == 0
    (next((machine.cache / "models--tiny--base" / "snapshots").iterdir()) / SHARD).unlink()
    message = refusal(machine, model=BASE)
    assert "HF_HUB_OFFLINE" in message
    assert f"flas-tui download {BASE}" in message


def test_offline_and_not_here_names_the_download(machine: Machine, hub: Hub) -> None:
    register(machine)
    message = failed(machine.run("download", "tiny", HF_HUB_OFFLINE="1"))
    assert "HF_HUB_OFFLINE" in message
    assert "flas-tui download tiny" in message
    assert hub.seen == []


def test_offline_and_here_a_download_is_content(machine: Machine, hub: Hub) -> None:
    register(machine)
    assert machine.run("download", "tiny").exit_code == 0
    hub.seen.clear()
    outcome = machine.run("download", "tiny", HF_HUB_OFFLINE="1")
    assert outcome.exit_code == 0, outcome.err
    assert hub.seen == []


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, ["is gated", "https://huggingface.co/tiny/base", "hf auth login"]),
        (OUTSIDER_TOKEN, ["your account has no access", "https://huggingface.co/tiny/base", "hf auth login"]),
        (WRONG_TOKEN, ["refuses your token (401)", "hf auth login"]),
    ],
)
def test_a_gated_base_says_how_to_get_in(machine: Machine, hub: Hub, token: str | None, words: list[str]) -> None:
    hub.repos[BASE].is_gated = True
    message = failed(machine.run("download", BASE, **({"HF_TOKEN": token} if token else {})))
    assert all(word in message for word in words), message
    assert hub.bodies() == []


def test_the_right_token_opens_a_gated_base(machine: Machine, hub: Hub) -> None:
    hub.repos[BASE].is_gated = True
    outcome = machine.run("download", BASE, HF_TOKEN=GOOD_TOKEN)
    assert outcome.exit_code == 0, outcome.err
    assert GOOD_TOKEN not in outcome.err + outcome.out


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("tiny/nowhere", ["no repository 'tiny/nowhere'", "hf auth login"]),
        (f"{BASE}@nosuch", ["no revision 'nosuch'", BASE]),
    ],
)
def test_what_the_hub_does_not_have_is_named(machine: Machine, source: str, words: list[str]) -> None:
    message = failed(machine.run("download", source))
    assert all(word in message for word in words), message


def test_a_repository_without_config_is_no_model(machine: Machine, hub: Hub) -> None:
    del hub.repos[BASE].files["config.json"]
    assert "has no config.json" in failed(machine.run("download", BASE))


def test_a_shard_that_the_hub_lacks_is_named(machine: Machine, hub: Hub) -> None:
    del hub.repos[BASE].files[SHARD]
    message = failed(machine.run("download", BASE))
    assert SHARD in message
    assert "--base" in message


def test_no_network_says_so(tmp_path: Path) -> None:
    message = failed(Machine(tmp_path, "http://127.0.0.1:9").run("download", BASE))
    assert "no connection to http://127.0.0.1:9" in message
    assert f"flas-tui download {BASE}" in message


def test_a_hub_that_is_down_says_its_status(machine: Machine, hub: Hub) -> None:
    hub.faults.status = 503
    assert "503" in failed(machine.run("download", BASE))


def test_an_unknown_short_name_gets_the_closest(machine: Machine) -> None:
    message = failed(machine.run("download", "gemma-2b-it"))
    assert "gemma-2-2b-it" in message
    assert "flas-tui models" in message


def test_too_small_a_disk_is_refused_with_the_numbers_before_anything_is_written(small_disk: Path, hub: Hub) -> None:
    hub.repos[BASE].files = tiny_base(num_kilobytes=25_000)
    machine = Machine(small_disk, hub.url)
    message = failed(machine.run("download", BASE))
    assert "needs 51 MB" in message
    assert "free" in message
    assert "HF_HOME" in message
    assert SHARD not in hub.bodies()


def test_a_disk_that_fills_up_is_said_and_the_download_can_go_on(small_disk: Path, hub: Hub) -> None:
    hub.repos[BASE].files = tiny_base(num_kilobytes=8_000)
    machine = Machine(small_disk, hub.url)
    filler = small_disk / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                return

    hub.faults.at_half = fill
    message = failed(machine.run("download", BASE))
    assert "the disk is full" in message
    assert f"flas-tui download {BASE}" in message
    filler.unlink()
    outcome = machine.run("download", BASE)
    assert outcome.exit_code == 0, outcome.err
    assert any(seen.range for seen in hub.seen)
    assert machine.cached(BASE)[SHARD] == hub.repos[BASE].files[SHARD]


def test_a_cache_that_cannot_be_written_is_said(small_disk: Path, hub: Hub) -> None:
    machine = Machine(small_disk, hub.url)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    message = failed(machine.run("download", BASE))
    assert "cannot be written (Read-only file system)" in message
    assert "HF_HOME" in message


def test_a_read_only_cache_serves_what_it_holds(small_disk: Path, hub: Hub) -> None:
    machine = Machine(small_disk, hub.url)
    assert machine.run("download", BASE).exit_code == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert resolved(machine, model=BASE)["base_id"] == BASE


def wait_until(is_true: Callable[[], bool], timeout_seconds: float = 30) -> None:
    end = time.monotonic() + timeout_seconds
    pause = threading.Event()
    while not is_true():
        assert time.monotonic() < end, "the condition did not come about"
        pause.wait(0.02)
