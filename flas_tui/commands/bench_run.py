"""What `flas-tui bench` measures: models one after the other, and the app, into one plain result."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flas_engine.errors import FlasError, ModelError, RequestError
from flas_tui.commands.engine_loading import LoadNarrator
from flas_tui.console import say
from flas_tui.latency import measure_first_paint, measure_help, measure_key_to_paint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.info import LoadSpec


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """How the models are measured."""

    tokens: int
    rounds: int
    prompt_file: str | None
    prompts: list[str] | None
    """What `prompt_file` holds."""
    llama_cpp: str | None


def embedded_names() -> list[str]:
    """Return the embedded models that are here; raises `ModelError` when there are none."""
    from flas_engine.hub.catalog import DEMO, DEMO_GEMMA
    from flas_engine.hub.resolve import is_cached

    names = [entry.name for entry in (DEMO, DEMO_GEMMA) if is_cached(entry)]
    if not names:
        raise ModelError("no embedded model is here to measure; name one with --model (see: flas-tui models)")
    return names


def read_prompts(path: str | None) -> list[str] | None:
    """Read one prompt a line, or of JSON rows the field "instruction"; None without a file."""
    if path is None:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
        lines = [line for line in text.splitlines() if line.strip()]
        if text.startswith(("[", "{")):
            rows = json.loads(text) if text.startswith("[") else map(json.loads, lines)
            lines = [str(row["instruction"]) for row in rows]
    except OSError as error:
        raise RequestError(f"the prompts in {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise RequestError(f'{path} is neither one prompt a line nor JSON with an "instruction" each') from None
    if not lines:
        raise RequestError(f"there are no prompts in {path}; write one a line")
    return lines


def measure_all(specs: Sequence[LoadSpec], options: BenchOptions, *, with_app: bool) -> dict[str, Any]:
    """Measure the models one after the other, then the app; raises `FlasError` when something cannot be measured."""
    # Several models get a process each: what one leaves behind must not slow the next.
    models = [_measure(specs[0], options)] if len(specs) == 1 else [_measure_apart(spec, options) for spec in specs]
    result: dict[str, Any] = {
        "command": shlex.join(["flas-tui", *(word.rpartition("/")[2] for word in sys.argv[1:])]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "models": models,
    }
    if with_app:
        for spec, report in zip(specs, models, strict=True):
            say(f"measuring the app: key press to paint while {spec.model} streams a pair as fast as it can")
            report["app"] = _key_to_paint(spec)
        say("measuring the app: first paint, and key press to paint with two panes of 100 tokens/s")
        result["app"] = asdict(measure_first_paint()) | asdict(measure_help()) | _key_to_paint(None)
    return result


def _measure(spec: LoadSpec, options: BenchOptions) -> dict[str, Any]:
    from flas_engine.benchmark.run import run_benchmark
    from flas_engine.benchmark.starting import measure_start
    from flas_engine.benchmark.training import measure_training

    narrator = LoadNarrator()
    try:
        report = run_benchmark(
            spec,
            new_tokens=options.tokens,
            num_rounds=options.rounds,
            prompts=options.prompts,
            llama_cpp=options.llama_cpp,
            progress=narrator,
        )
    finally:
        narrator.end()
    say("measuring training")
    training = measure_training(spec, num_rounds=options.rounds)
    say("measuring the start")
    start = measure_start(_first_token(spec, has_flow=report.has_trained_flow), spec, starts=options.rounds)
    return asdict(report) | {"start": asdict(start), "training": asdict(training)}


def _first_token(spec: LoadSpec, *, has_flow: bool) -> list[str]:
    """Return the command that writes one token, a steered one where there is a flow."""
    lane = ["--concept=talk like a pirate", "--flow-time=1.5"] if has_flow else []
    command = [sys.executable, "-m", "flas_tui", "generate", "Tell me about your day."]
    return [*command, *_given(asdict(spec)), *lane, "--greedy", "--max-tokens=1", "--quiet"]


def _measure_apart(spec: LoadSpec, options: BenchOptions) -> dict[str, Any]:
    say(f"measuring {spec.model}")
    numbers = {"tokens": options.tokens, "rounds": options.rounds}
    given = _given(asdict(spec) | numbers | {"prompts": options.prompt_file, "llama-cpp": options.llama_cpp})
    command = [sys.executable, "-m", "flas_tui", "bench", "--json", "--no-app", *given]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:  # it has said why on stderr
        raise FlasError(f"{spec.model} could not be measured")
    report: dict[str, Any] = json.loads(done.stdout)["models"][0]
    return report


def _key_to_paint(load: LoadSpec | None) -> dict[str, float]:
    measured = measure_key_to_paint(load)
    return {
        "median_seconds": measured.median_seconds,
        "p95_seconds": measured.p95_seconds,
        "tokens_per_second": measured.tokens_per_second,
        "cpu_share": measured.cpu_share,
        "bytes_per_token": measured.bytes_per_token,
    }


def _given(options: dict[str, Any]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items() if value is not None]
