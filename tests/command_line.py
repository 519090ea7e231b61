"""What a run of the command line leaves behind, for the tests that start one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Exit code, standard output and standard error."""

    exit_code: int
    out: str
    err: str


class Run(Protocol):
    """Runs `flas-tui arguments` with `stdin` piped in."""

    def __call__(self, *arguments: str, stdin: str | bytes = "") -> Outcome: ...
