"""The versions of what a result depends on."""

from __future__ import annotations

from importlib.metadata import version


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide what a model does, and how fast."""
    return {name: version(name) for name in ("flas-tui", "torch", "transformers")}
