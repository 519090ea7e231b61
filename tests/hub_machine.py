"""A machine of its own for a download test: folders, environment, and `flas-tui` as a real process on it.

Processes, because huggingface_hub reads its settings when it is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from command_line import Outcome
from hub_server import GOOD_TOKEN, OUTSIDER_TOKEN, Hub, Repo
from safetensors.numpy import save

if TYPE_CHECKING:
    from pathlib import Path

BASE = "tiny/base"
FLOW = "tiny/flow"
WANTED = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
}
SHARD = "model-00001-of-00002.safetensors"
"""One of the base's weight files."""
WRONG_TOKEN = "hf_WrongTokenOfTheTests1234"
TIMEOUT_SECONDS = 60
COMMAND = [sys.executable, "-c", "from flas_tui.cli import main; main()"]
RESOLVE = """
import dataclasses, json, sys
from flas_engine.errors import FlasError
from flas_engine.hub.resolve import resolve
from flas_engine.info import LoadSpec
try:
    resolved = resolve(LoadSpec(**json.loads(sys.argv[1])))
    print(json.dumps(dataclasses.asdict(resolved), default=str))
except FlasError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def tiny_base(num_kilobytes: int = 600) -> dict[str, bytes]:
    """The files of a base model: two shards with an index, and what a download must leave out."""
    shards = {
        f"model-0000{number}-of-00002.safetensors": save({f"w{number}": _noise(number, num_kilobytes * 512)})
        for number in (1, 2)
    }
    index = {"weight_map": {f"w{number}": f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}}
    return {
        "config.json": b'{"model_type": "llama"}',
        "generation_config.json": b"{}",
        "tokenizer.json": b'{"model": {}}',
        "tokenizer_config.json": b"{ }",
        "model.safetensors.index.json": json.dumps(index).encode(),
        **shards,
        "pytorch_model.bin": b"unwanted" * 100,
        "original/consolidated.00.pth": b"unwanted",
        "model.gguf": b"unwanted",
        "README.md": b"unwanted",
    }


def tiny_flow() -> dict[str, bytes]:
    """The files of a flow repository for `BASE`."""
    return {
        "config.json": json.dumps({"model_id": BASE, "layer": 1}).encode(),
        "flow.safetensors": save({"time_embed.mlp.0.bias": _noise(3, 64)}),
        "README.md": b"unwanted",
    }


def tiny_hub() -> Hub:
    """A Hub with one base and one flow."""
    return Hub({BASE: Repo(tiny_base()), FLOW: Repo(tiny_flow())})


class Machine:
    """A home with an empty cache, on which `flas-tui` runs against `endpoint`."""

    def __init__(self, home: Path, endpoint: str) -> None:
        self.home = home
        self.cache = home / "hf" / "hub"
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        self.env = kept | {
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": endpoint,
            "HF_HUB_DOWNLOAD_TIMEOUT": "20",
            "HF_HUB_ETAG_TIMEOUT": "5",
            "FLAS_CONFIG_DIR": str(home / "config"),
            "FLAS_DATA_DIR": str(home / "data"),
            "FLAS_CACHE_DIR": str(home / "cache"),
            "XDG_STATE_HOME": str(home / "state"),
            "NO_PROXY": "127.0.0.1",
        }

    def run(self, *arguments: str, **env: str) -> Outcome:
        """Run `flas-tui arguments` to its end."""
        return _outcome(self.start(*COMMAND, *arguments, **env))

    def run_python(self, script: str, *arguments: str, **env: str) -> Outcome:
        """Run a script of Python to its end."""
        return _outcome(self.start(sys.executable, "-c", script, *arguments, **env))

    def start_command(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `flas-tui arguments`."""
        return self.start(*COMMAND, *arguments)

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start a process on this machine."""
        return subprocess.Popen(
            command,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def cached(self, repository: str) -> dict[str, bytes]:
        """The files of the repository's only snapshot, by name."""
        snapshots = list((self.cache / f"models--{repository.replace('/', '--')}" / "snapshots").glob("*"))
        return {path.name: path.read_bytes() for folder in snapshots for path in folder.iterdir()}

    def leftovers(self) -> list[Path]:
        """Every half-written file in the cache."""
        return sorted(path for path in self.cache.rglob("*") if path.suffix in {".incomplete", ".tmp"})

    def leftover_bytes(self) -> list[int]:
        """The sizes of the half-written files; one that is finished while we look is none."""
        sizes = []
        for path in self.leftovers():
            with suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return sizes


def resolved(machine: Machine, **spec: str) -> dict[str, str]:
    """What a spec of these fields means on `machine`, offline."""
    outcome = machine.run_python(RESOLVE, json.dumps(spec), HF_HUB_OFFLINE="1")
    assert outcome.exit_code == 0, outcome.err
    answer: dict[str, str] = json.loads(outcome.out)
    return answer


def refusal(machine: Machine, **spec: str) -> str:
    """Why a spec of these fields means nothing on `machine`, offline."""
    outcome = machine.run_python(RESOLVE, json.dumps(spec), HF_HUB_OFFLINE="1")
    assert outcome.exit_code == 1
    return one_message(outcome)


def one_message(outcome: Outcome) -> str:
    """The message alone: short, without traceback and token."""
    assert "Traceback" not in outcome.err
    for token in (GOOD_TOKEN, OUTSIDER_TOKEN, WRONG_TOKEN):
        assert token not in outcome.err + outcome.out
    message = outcome.err.strip().split("flas-tui: ")[-1]
    assert 1 <= len(message.splitlines()) <= 2, message
    return message


def _outcome(process: subprocess.Popen[str]) -> Outcome:
    out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    return Outcome(exit_code=process.returncode, out=out, err=err)


def _noise(seed: int, num_halves: int) -> np.ndarray[tuple[int], np.dtype[np.float16]]:
    bits = np.random.default_rng(seed).integers(0, 2**15, num_halves, dtype=np.uint16)
    return bits.view(np.float16)
