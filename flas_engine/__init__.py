"""The engine of flas-tui: steered generation with flow-based activation steering (FLAS), as a library.

    from flas_engine import Lane, Message, Request, WeightedConcept, load_engine, steered

Everything that makes tokens lives here and knows nothing of terminals. Importing the package is cheap: torch and
transformers come with the first name that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from flas_engine.control import RunControl
from flas_engine.errors import FlasError
from flas_engine.events import Finished, FinishReason, Prefilled, Token
from flas_engine.info import EngineInfo, LoadSpec
from flas_engine.request import GREEDY, Lane, Limits, Message, Request, Sampling, WeightedConcept
from flas_engine.worker import Worker

if TYPE_CHECKING:
    from flas_engine.engine import Engine, Score, load_engine
    from flas_engine.hook import steered

__all__ = [
    "GREEDY",
    "Engine",
    "EngineInfo",
    "FinishReason",
    "Finished",
    "FlasError",
    "Lane",
    "Limits",
    "LoadSpec",
    "Message",
    "Prefilled",
    "Request",
    "RunControl",
    "Sampling",
    "Score",
    "Token",
    "WeightedConcept",
    "Worker",
    "load_engine",
    "steered",
]

_HEAVY = {"Engine": "engine", "Score": "engine", "load_engine": "engine", "steered": "hook"}
"""Names whose modules import torch, by module."""


def __getattr__(name: str) -> object:
    if name in _HEAVY:
        return getattr(importlib.import_module(f"flas_engine.{_HEAVY[name]}"), name)
    raise AttributeError(f"module 'flas_engine' has no attribute {name!r}")
