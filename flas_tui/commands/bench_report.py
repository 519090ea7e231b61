"""How the benchmark's results are shown: as text of 80 columns, and as files for a repository.

Works on the plain JSON of a run, so that what is saved and what is shown are the same numbers.
"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COLUMNS = 80
HEADINGS = ("passes/s", "tokens/s", "x plain", "first", "of limit")
WIDTHS = (9, 9, 8, 9, 9)
LEGEND = (
    "A pass makes a token in every lane. x plain: passes/s over plain transformers' tokens/s, median of the rounds. "
    "first: time to the first token. of limit: share of the rate at which reading the weights once a pass, the "
    "flow's once an evaluation, would take all of the memory's bandwidth. llama.cpp runs the GGUF before the rounds."
)
PARTS_LEGEND = (
    "Operations by torch's profiler in passes of two baseline lanes, less what noting them costs; the flow is what a "
    "pass of the pair takes longer than those by the clock; the last part is what is left."
)


def render_text(result: dict[str, Any]) -> str:
    """Return the report for a terminal."""
    lines: list[str] = []
    for report in result["models"]:
        lines += [*_model_lines(report), ""]
    if "app" in result:
        lines += [line for fact in _app_facts(result["app"]) for line in _wrapped(fact)]
    return "\n".join(lines).rstrip() + "\n"


def save_results(result: dict[str, Any], folder: Path) -> None:
    """Write the numbers of each model as `<model>.json`, and all of it as `README.md`; raises `FlasError`."""
    from flas_engine.errors import FlasError

    about = {key: result[key] for key in ("command", "date")}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for report in result["models"]:
            text = json.dumps(about | report, indent=2) + "\n"
            (folder / f"{report['model']}.json").write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(render_markdown(result), encoding="utf-8")
    except OSError as error:
        raise FlasError(f"{folder} cannot be written ({error.strerror}); give another folder to --save") from None


def render_markdown(result: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    first = result["models"][0]
    lines = [
        "# What flas-tui bench measured",
        "",
        f"- command: `{result['command']}`",
        f"- date: {result['date']}",
        f"- machine: {first['machine']}",
        f"- versions: {_versions(first)}",
        *([f"- {fact}" for fact in _app_facts(result["app"])] if "app" in result else []),
        "",
        LEGEND,
    ]
    for report in result["models"]:
        lines += ["", f"## {report['model']}", "", f"{_title(report)}.", "", *_markdown_rows(report), ""]
        lines += [*_markdown_table(("ratio", "median"), [(name, value) for name, value in _ratios(report)]), ""]
        lines += [f"- {fact}" for fact in _facts(report)]
        lines += ["", *_markdown_table(_parts_heading(report), _parts(report)), "", PARTS_LEGEND]
    return "\n".join(lines) + "\n"


def _model_lines(report: dict[str, Any]) -> Iterator[str]:
    yield from textwrap.wrap(f"{report['model']}: {_title(report)}", COLUMNS, subsequent_indent="  ")
    yield from _wrapped(f"{report['machine']}; {_versions(report)}")
    yield ""
    yield _columns("", HEADINGS)
    yield from (_columns(row["name"], _cells(row)) for row in report["rows"])
    yield from _wrapped(LEGEND)
    yield ""
    yield from (f"  {name:<69}{value:>7}" for name, value in _ratios(report))
    yield ""
    for fact in _facts(report):
        yield from _wrapped(fact)
    yield ""
    name, seconds, share = _parts_heading(report)
    yield f"  {name:<45}{seconds:>9}{share:>9}"
    yield from (f"  {name:<45}{seconds:>9}{share:>9}" for name, seconds, share in _parts(report))
    yield from _wrapped(PARTS_LEGEND)


def _title(report: dict[str, Any]) -> str:
    flow = "" if report["has_trained_flow"] else "; untrained flow, for its time alone"
    compiled = ", compiled" if report["is_compiled"] else ""
    return (
        f"{report['dtype']} on {report['device']}{compiled}{flow}; threads: {report['num_threads']}, "
        f"new tokens: {report['new_tokens']}, rounds: {report['num_rounds']}"
    )


def _versions(report: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in report["versions"].items())


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    first = row["first_token_seconds"]
    return (
        f"{row['passes_per_second']:.1f}",
        f"{row['lanes'] * row['passes_per_second']:.1f}",
        f"{row['against_plain']:.2f}",
        "" if first is None else f"{first * 1e3:.0f} ms",
        f"{row['bandwidth_share']:.0%}",
    )


def _ratios(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(ratio["name"], f"{ratio['value']:.2f}") for ratio in report["ratios"]]


def _facts(report: dict[str, Any]) -> Iterator[str]:
    quality, start, memory, steady = (report[name] for name in ("quality", "start", "memory", "allocations"))
    yield (
        f"8-bit weights: {report['int8_weight_bytes'] / 1e9:.2f} GB for {report['weight_bytes'] / 1e9:.2f} GB; "
        f"KL({report['dtype']} || int8) {quality['mean_kl']:.4f} nats, mean over {quality['num_positions']} positions "
        f"of the greedy answers to {quality['num_prompts']} prompts"
    )
    yield (
        f"start: {start['first_token_seconds']:.1f} s from the start of the process to the first token, "
        f"{start['ratio']:.2f} x importing torch and transformers and reading the weights "
        f"({start['imports_and_reading_seconds']:.1f} s)"
    )
    yield (
        f"memory: peak {memory['peak_bytes'] / 1e9:.2f} GB, above an idle interpreter's "
        f"{memory['interpreter_bytes'] / 1e9:.2f} GB {report['memory_ratio']:.2f} x weights and caches"
    )
    yield (
        f"a pass of the pair: {steady['num_allocations']:.0f} allocations, {steady['net_bytes']:.0f} bytes of them "
        f"not given back, {steady['page_faults']:.1f} minor page faults"
    )
    yield (
        f"reading a prompt: {report['prompt_tokens_per_second']:.0f} tokens/s; load {report['load_seconds']:.1f} s; "
        f"read bandwidth {report['read_bytes_per_second'] / 1e9:.0f} GB/s"
    )
    yield _evaluation(report["evaluation"])
    yield _resteering(report["resteering"])
    yield _training(report["training"])
    if "app" in report:
        yield f"app while the pair streams as fast as it can: {_key_to_paint(report['app'])}"


def _resteering(resteering: dict[str, Any]) -> str:
    return (
        f"re-steering: a pair of {resteering['num_tokens']} tokens each is there again "
        f"{resteering['seconds'] * 1e3:.0f} ms after T has moved by {resteering['move']:g}, "
        f"{resteering['ratio']:.1f} x as soon as written anew; the baseline stays, and "
        f"{resteering['kept_share']:.0%} of the steered text"
    )


def _evaluation(speed: dict[str, Any]) -> str:
    lengths = f"{speed['shortest']} to {speed['longest']} tokens (median {speed['median_length']:.0f})"
    return (
        f"evaluation: {speed['tokens_per_second']:.0f} tokens/s for {speed['num_lanes']} lanes of {lengths}, "
        f"{speed['max_live']} at a time, {speed['ratio']:.2f} x lanes of it one at a time "
        f"({speed['alone_tokens_per_second']:.0f}), prompts included; a lane takes at most "
        f"{speed['lane_bytes'] / 1e6:.0f} MB"
    )


def _training(training: dict[str, Any]) -> str:
    plain, ours, fewer_words = training["plain"], training["ours"], training["ours_on_its_words"]
    rate, first = ours["tokens_per_second"], ours["first_epoch_tokens_per_second"]
    return (
        f"training: {rate:.0f} trained tokens/s once activations are kept ({first:.0f} while they are made), "
        f"{rate / plain['tokens_per_second']:.2f} x the plain recipe, which has no cut, all logits and batches in "
        f"random order ({plain['tokens_per_second']:.0f}), with --vocabulary data "
        f"{fewer_words['tokens_per_second'] / plain['tokens_per_second']:.2f} x; peak above an idle interpreter "
        f"{ours['peak_bytes'] / 1e9:.2f} GB, {ours['peak_bytes'] / plain['peak_bytes']:.2f} x its"
    )


def _app_facts(app: dict[str, float]) -> Iterator[str]:
    yield (
        f"app: first paint {app['seconds']:.2f} s after the start, Textual's smallest app "
        f"{app['smallest_seconds']:.2f} s"
    )
    yield (
        f"command line: --help {app['help_seconds']:.2f} s, importing typer and rich alone "
        f"{app['libraries_seconds']:.2f} s"
    )
    yield f"app on an engine that costs nothing: {_key_to_paint(app)}"


def _key_to_paint(app: dict[str, float]) -> str:
    return (
        f"key press to paint {app['median_seconds'] * 1e3:.0f} ms median, {app['p95_seconds'] * 1e3:.0f} ms p95, at "
        f"{app['tokens_per_second']:.0f} tokens/s a pane; {app['cpu_share']:.0%} of a core"
    )


def _parts_heading(report: dict[str, Any]) -> tuple[str, str, str]:
    seconds = sum(part["seconds"] for part in report["parts"])
    return ("what a pass of the pair costs", f"{seconds * 1e3:.1f} ms", "share")


def _parts(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    total = sum(part["seconds"] for part in report["parts"])
    return [
        (part["name"], f"{part['seconds'] * 1e3:.1f} ms", f"{part['seconds'] / total:.0%}") for part in report["parts"]
    ]


def _columns(name: str, cells: tuple[str, ...]) -> str:
    return f"  {name:<34}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, COLUMNS, initial_indent="  ", subsequent_indent="    ")


def _markdown_rows(report: dict[str, Any]) -> list[str]:
    return _markdown_table(("", *HEADINGS), [(row["name"], *_cells(row)) for row in report["rows"]])


def _markdown_table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    ruler = ("---", *(["---:"] * (len(heading) - 1)))
    return [f"| {' | '.join(cells)} |" for cells in (heading, ruler, *rows)]
