"""`flas-tui bench`: the engine against plain transformers, and the app's response, in one run on this machine."""

import json
import sys
from typing import Annotated, Any

import typer

from flas_tui.commands import options as opt
from flas_tui.console import data_stream, say


def bench(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Model to measure; repeatable. Default: the embedded models that are here.",
            autocompletion=opt.complete_models,
        ),
    ] = None,
    base: opt.Base = None,
    flow: opt.Flow = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    tokens: Annotated[int, typer.Option(min=8, metavar="N", help="New tokens a lane and round.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Rounds; medians are shown.")] = 5,
    app: Annotated[
        bool, typer.Option("--app/--no-app", help="Also measure first paint and key press to paint.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with every number.")] = False,
) -> None:
    """Measure speed and memory on this machine, against plain transformers.

    Let nothing else run meanwhile: the ratios of one run are what counts.
    """
    out = data_stream(is_json=as_json)
    names = model or _embedded_names()
    shared = _given(base=base, flow=flow, device=device, dtype=dtype, tokens=tokens, rounds=rounds)
    if len(names) == 1:
        reports = [_measure(names[0], base, flow, device, dtype, tokens, rounds)]
    else:  # a process each: the peak of memory is the process's
        reports = [_measure_apart(name, shared) for name in names]
    result: dict[str, Any] = {"models": reports}
    if app:
        result["app"] = _measure_app()
    out.write(json.dumps(result) + "\n" if as_json else _render(result))


def _embedded_names() -> list[str]:
    from flas_engine.errors import ModelError
    from flas_engine.hub.catalog import DEMO, DEMO_GEMMA
    from flas_engine.hub.resolve import is_cached

    names = [entry.name for entry in (DEMO, DEMO_GEMMA) if is_cached(entry)]
    if not names:
        raise ModelError("no embedded model is here to measure; name one with --model (see: flas-tui models)")
    return names


def _given(**options: object) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items() if value is not None]


def _measure(
    name: str, base: str | None, flow: str | None, device: str | None, dtype: str | None, tokens: int, rounds: int
) -> dict[str, Any]:
    from dataclasses import asdict

    from flas_engine.benchmark import run_benchmark
    from flas_engine.info import LoadSpec
    from flas_tui.commands.engine_loading import LoadNarrator

    narrator = LoadNarrator()
    try:
        spec = LoadSpec(model=name, base=base, flow=flow, device=device, dtype=dtype)
        return asdict(run_benchmark(spec, new_tokens=tokens, rounds=rounds, progress=narrator))
    finally:
        narrator.end()


def _measure_apart(name: str, shared: list[str]) -> dict[str, Any]:
    import subprocess

    from flas_engine.errors import FlasError

    say(f"measuring {name}")
    command = [sys.executable, "-m", "flas_tui", "bench", "--json", "--no-app", f"--model={name}", *shared]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:  # it has said why on stderr
        raise FlasError(f"{name} could not be measured")
    report: dict[str, Any] = json.loads(done.stdout)["models"][0]
    return report


def _measure_app() -> dict[str, float]:
    from flas_tui.latency import measure_first_paint, measure_key_to_paint

    say("measuring the app: first paint, and key press to paint with two panes of 100 tokens/s")
    paint, measured = measure_first_paint(), measure_key_to_paint()
    return {
        "first_paint_seconds": paint.seconds,
        "smallest_first_paint_seconds": paint.smallest_seconds,
        "median_seconds": measured.median_seconds,
        "p95_seconds": measured.p95_seconds,
        "cpu_share": measured.cpu_share,
        "bytes_per_token": measured.bytes_per_token,
    }


def _render(result: dict[str, Any]) -> str:
    lines: list[str] = []
    for report in result["models"]:
        lines += _render_report(report)
    if "app" in result:
        app = result["app"]
        lines.append(
            f"app: first paint {app['first_paint_seconds']:.2f} s after the start, "
            f"Textual's smallest app {app['smallest_first_paint_seconds']:.2f} s"
        )
        lines.append(
            f"app, two panes of 100 tokens/s: key press to paint {app['median_seconds'] * 1e3:.0f} ms median, "
            f"{app['p95_seconds'] * 1e3:.0f} ms p95; {app['cpu_share']:.0%} of a core"
        )
    return "\n".join(lines) + "\n"


def _render_report(report: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    flow = "" if report["has_trained_flow"] else "; untrained flow, for its time alone"
    lines = [
        f"{report['model']}  {report['dtype']} on {report['device']}, {report['num_threads']} threads{flow}",
        f"  {report['machine']}; {versions}",
        "",
        f"  {'':<32}{'passes/s':>10}{'tokens/s':>10}{'x plain':>9}{'first':>9}{'bandwidth':>11}",
    ]
    lines += map(_render_row, report["rows"])
    lines += [
        "",
        f"  reading a prompt {report['prompt_tokens_per_second']:.0f} tokens/s; load {report['load_seconds']:.1f} s; "
        f"peak memory {report['peak_bytes'] / 1e9:.2f} GB, weights {report['weight_bytes'] / 1e9:.2f} GB; "
        f"read bandwidth {report['read_bytes_per_second'] / 1e9:.0f} GB/s",
        "  x plain: time of a pass over that of plain transformers' token, same round; bandwidth: share of what",
        "  reading the weights once a pass would allow",
        "",
    ]
    return lines


def _render_row(row: dict[str, Any]) -> str:
    return (
        f"  {row['name']:<32}{row['passes_per_second']:>10.1f}"
        f"{row['lanes'] * row['passes_per_second']:>10.1f}{row['time_against_plain']:>9.2f}"
        f"{row['time_to_first_token_seconds'] * 1e3:>6.0f} ms{row['bandwidth_share']:>11.0%}"
    )
