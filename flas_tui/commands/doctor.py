"""`flas-tui doctor`: what is wrong with this machine for our purpose, line by line."""

import json
from typing import Annotated

import typer

from flas_tui.console import EXIT_USER_ERROR, data_stream

MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: every check, and whether all is well.")
    ] = False,
) -> None:
    """Say what is wrong with this machine.

    Each line is ok, a warning or a failure, with what to do. The exit code is 1 when something fails.
    """
    from dataclasses import asdict

    from flas_tui.diagnosis import run_checks
    from flas_tui.safe_text import visible_text
    from flas_tui.secrets import redact

    out = data_stream(is_json=as_json)
    checks = run_checks()
    has_failed = any(check.status == "fail" for check in checks)
    if as_json:
        out.write(redact(json.dumps({"ok": not has_failed, "checks": [asdict(check) for check in checks]})) + "\n")
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            out.write(redact(f"{MARKS[check.status]}  {check.name:<{width}}  {visible_text(check.detail)}\n"))
            if check.advice:
                out.write(f"      {'':<{width}}  -> {visible_text(check.advice)}\n")
    if has_failed:
        raise typer.Exit(EXIT_USER_ERROR)
