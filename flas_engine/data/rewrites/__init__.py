"""Deterministic rewrites of plain English in many styles: training rows that need no model and no network.

    from flas_engine.data.rewrites import rewrite, shows, styles

A style is an entry of a TOML file beside this code, one file a family: its wordings, what it does to a text, and the
marks by which a text shows it. The family of phrases has entries for many styles each (to end every sentence with
certain words, to talk like somebody), so that a flow learns to take what it does from a concept's words. Knows nothing
of rows, prompts, models or files other than its own tables.
"""

from __future__ import annotations

from flas_engine.data.rewrites.marks import shows
from flas_engine.data.rewrites.rewriting import rewrite
from flas_engine.data.rewrites.style import FAMILIES, Style, styles

__all__ = ["FAMILIES", "Style", "rewrite", "shows", "styles"]
