"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was looked at, how it stands, and what to do if it does not stand well."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    advice: str | None = None


def ok(name: str, detail: str) -> Check:
    """Return a check that is fine."""
    return Check(name=name, status="ok", detail=detail)


def warn(name: str, detail: str, advice: str) -> Check:
    """Return a check that hinders something, but not everything."""
    return Check(name=name, status="warn", detail=detail, advice=advice)


def fail(name: str, detail: str, advice: str | None = None) -> Check:
    """Return a check without which nothing works."""
    return Check(name=name, status="fail", detail=detail, advice=advice)
