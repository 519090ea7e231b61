"""Writes a comparison to files that last: Markdown to read, JSON to work with."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flas_engine.errors import FlasError
from flas_tui.session import LANES, STEERED, command_line

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from flas_tui.session import Comparison

LANE_NAMES = ("baseline", "steered")


def to_json(run: Comparison) -> dict[str, Any]:
    """Gather everything that made the run and everything that came of it, as plain data."""
    return {
        "model": _model_name(run),
        **asdict(run.setup),
        "command": command_line(run.setup, run.writer),
        "part_at": run.parted.offsets if run.parted else None,
        "lanes": [
            {
                "lane": LANE_NAMES[number],
                "text": run.lanes[number].text,
                "flow_time": run.lanes[number].flow_time,
                "flow_time_changes": [
                    {"offset": move.offset, "flow_time": move.flow_time} for move in run.lanes[number].moves
                ],
                "token_ids": run.lanes[number].token_ids,
                "logprobs": run.lanes[number].logprobs,
                "finish_reason": run.lanes[number].finish_reason,
            }
            for number in LANES
        ],
    }


def to_markdown(run: Comparison) -> str:
    """Write the two texts, with what made them, to be read."""
    setup, steered = run.setup, run.lanes[STEERED]
    moves = ", ".join(f"T {move.flow_time:g} from character {move.offset}" for move in steered.moves)
    facts = [f"model {_model_name(run)}", f"T {setup.flow_time:g}", f"seed {setup.seed}"]
    parts = [
        f"# {setup.concept or 'baseline'}",
        _quote(setup.prompt),
        " · ".join(facts) + (f" · moved while it ran: {moves}" if moves else ""),
        *(f"## {LANE_NAMES[number]}\n\n{run.lanes[number].text.strip()}" for number in LANES),
        f"```sh\n{command_line(setup, run.writer)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def save_comparison(run: Comparison, now: datetime, folder: Path) -> Path:
    """Write `flas-DATE-TIME.md` and `.json` into `folder`; returns the Markdown file's path."""
    path = folder / f"flas-{now:%Y%m%d-%H%M%S}.md"
    try:
        _write(path, to_markdown(run))
        _write(path.with_suffix(".json"), json.dumps(to_json(run), ensure_ascii=False, indent=2) + "\n")
    except OSError as error:
        raise FlasError(
            f"cannot save to {folder} ({error.strerror}); start flas-tui in a folder that you may write to"
        ) from error
    return path


def _model_name(run: Comparison) -> str:
    return run.writer.name if run.writer is not None else ""


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace")


def _quote(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())
