"""What the processor can do, for tests of what only some can."""

from __future__ import annotations

import pytest
import torch

from flas_engine.machine import choose_dtype

needs_bfloat16 = pytest.mark.skipif(
    choose_dtype(None, torch.device("cpu")) != torch.bfloat16,
    reason="this processor has no products of bfloat16; others take a hundred times as long",
)
