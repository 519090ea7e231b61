"""Settings of the engine's tests."""

from __future__ import annotations

import torch
from hypothesis import settings

settings.register_profile("engine", deadline=None)  # torch's first call of an operation is slow, and machines are busy
settings.load_profile("engine")

torch.set_num_threads(1)  # the models are tiny: a second thread costs more than it computes
