"""Settings of the engine's tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("engine", deadline=None)  # torch's first call of an operation is slow, and machines are busy
settings.load_profile("engine")
