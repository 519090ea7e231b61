"""Keeps access tokens out of logs and messages. Knows the shapes of tokens and where users put them."""

from __future__ import annotations

import os
import re

_TOKEN_SHAPES = re.compile(r"\b(?:hf_|sk-|gh[pousr]_)[A-Za-z0-9_-]{8,}|(?i:(?<=bearer ))[A-Za-z0-9._~+/-]{8,}")
_SECRET_NAMES = re.compile(r"(?:TOKEN|API_KEY|SECRET|PASSWORD)$")
_SHORTEST_SECRET = 8
"""Shorter values of such variables are words like 'none' that stand everywhere in a log."""


def redact(text: str) -> str:
    """Return `text` with every access token in it replaced by `[secret]`."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAMES.search(name):
            text = text.replace(value, "[secret]")
    return _TOKEN_SHAPES.sub("[secret]", text)
