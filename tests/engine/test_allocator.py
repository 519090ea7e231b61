"""What is laid out stays, what it was laid out from goes: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from flas_engine.kernels.layout import holds_in_half

PROGRAM = """
import sys, threading
from contextlib import nullcontext
import psutil, torch
from flas_engine.kernels.layout import PACKED, lay_out, laying_out_many

stored = [torch.randn(size, 512).bfloat16() for size in (1000, 3000, 2000) * 10]
lay_out(stored[0].float(), None, PACKED)
before = psutil.Process().memory_info().rss
are_many = sys.argv[1] == "many"
with laying_out_many(torch.device("cpu"), torch.float32, PACKED) if are_many else nullcontext():
    products = [lay_out(weight.float(), None, PACKED) for weight in stored]
    for product in products:
        product(torch.ones(1, 512))
for thread in threading.enumerate():
    if are_many and thread.name.startswith("flas-pack"):
        thread.join()  # it ends, as nothing more can come to it
print((psutil.Process().memory_info().rss - before) / sum(product.num_bytes for product in products))
"""


def taken(how: str) -> float:
    """Memory that thirty weights take once they are laid out, as a share of what they should."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    share: float = json.loads(done.stdout)
    return share


def test_weights_that_are_packed_in_threads_leave_no_holes_in_memory() -> None:
    if not holds_in_half(torch.device("cpu"), torch.float32):
        pytest.skip("no products of float16 on this processor")
    assert taken("many") < 1.2 < taken("one by one")
