"""How a decoding pass is run: op by op, or compiled, and on CUDA recorded as a graph of launches.

Layers and field are compiled a function each (torch.compile), not the pass as a whole: every layer runs the same code,
so there is little to compile, and nothing of it depends on flow time, concept, prompt or position, which live in
tensors. Lanes and slots are symbols; one lane, fewer lanes than a product wants, and more are a graph each.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from flas_engine.field import VelocityField
from flas_engine.layers import run_layer
from flas_engine.paths import cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from flas_engine.cache import CacheLayer
    from flas_engine.families import Architecture
    from flas_engine.field import Conditions
    from flas_engine.layers import LayerWeights, Rotation, Window


log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Functions:
    """What a pass calls for every layer and for every evaluation of the field."""

    run_layer: Callable[..., torch.Tensor] = run_layer
    evaluate: Callable[..., torch.Tensor] = VelocityField.__call__
    is_compiled: bool = False


OP_BY_OP = Functions()


def compile_functions() -> Functions:
    """Return the compiled counterparts; they compile when they are first called, and keep the code on disk."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "compiled"))
    compiled_layer = torch.compile(run_layer, fullgraph=True)
    compiled_field = torch.compile(VelocityField.forward, fullgraph=True)

    def run(
        architecture: Architecture,
        weights: LayerWeights,
        h_BLD: torch.Tensor,
        rotary: Rotation,
        bias: torch.Tensor,
        cache: CacheLayer,
        rows: slice,
        slots: torch.Tensor,
        workspace: None,
    ) -> torch.Tensor:
        _mark_sizes(h_BLD, 0)
        _mark_attention(rotary, bias, slots, cache)
        return compiled_layer(architecture, weights, h_BLD, rotary, bias, cache, rows, slots, workspace)

    def evaluate(
        field: VelocityField,
        z_RLD: torch.Tensor,
        time_embedding_R1D: torch.Tensor,
        conditions: Conditions,
        window: Window,
        cache: list[CacheLayer] | None,
    ) -> torch.Tensor:
        for tensor in (z_RLD, time_embedding_R1D):
            _mark_sizes(tensor, 0)
        for tensor in (*conditions.keys, *conditions.values):
            _mark_sizes(tensor, 0, 2)
        _mark_sizes(conditions.bias, 0, 3)
        for layer in cache or (None,):
            _mark_attention(window.rotary, window.bias, window.slots, layer)
        v_RLD: torch.Tensor = compiled_field(field, z_RLD, time_embedding_R1D, conditions, window, cache)
        return v_RLD

    return Functions(run_layer=run, evaluate=evaluate, is_compiled=True)


def _mark_attention(
    rotary: Rotation, bias: torch.Tensor, slots: slice | torch.Tensor, cache: CacheLayer | None
) -> None:
    """Mark what changes from pass to pass: lanes, visible slots, and all slots there are."""
    _mark_sizes(rotary.cos, 0)
    _mark_sizes(rotary.sin, 0)
    _mark_sizes(bias, 0, 3)
    if isinstance(slots, torch.Tensor):
        _mark_sizes(slots, 0)
    if cache is not None:
        _mark_sizes(cache.keys, 0, 2)
        _mark_sizes(cache.values, 0, 2)


def _mark_sizes(tensor: torch.Tensor, *dims: int) -> None:
    """Tell the compiler which sizes change; a size of 1 is always taken as it is."""
    for dim in dims:
        if tensor.shape[dim] > 1:
            torch._dynamo.mark_dynamic(tensor, dim)


class LaunchGraphs:
    """Decoding passes recorded as CUDA graphs: a pass is one launch, whatever it consists of.

    A pass must read and write the same tensors every time; `forget` when they are replaced. Recording and replaying
    happen on the thread that calls.
    """

    def __init__(self, device: torch.device) -> None:
        """Take the GPU that the passes run on, which may be another than the thread's own."""
        self._device = device
        self._seen: set[Hashable] = set()
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}

    def forget(self) -> None:
        """Drop every recording."""
        self._seen.clear()
        self._graphs.clear()

    def run(self, kind: Hashable, pass_: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Run the pass of a kind: the first time as it is, so that libraries set themselves up, then as a graph."""
        if kind not in self._graphs:
            if kind not in self._seen:
                self._seen.add(kind)
                return pass_()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=torch.cuda.Stream(self._device)):
                output = pass_()
            self._graphs[kind] = (graph, output)
        graph, output = self._graphs[kind]
        graph.replay()
        return output


class WarmUp:
    """Compiles in a thread of its own while passes run op by op, and hands out what is ready."""

    def __init__(self, rehearse: Callable[[Functions], None]) -> None:
        """`rehearse` runs passes like those to come, so that all they need is compiled."""
        self._rehearse = rehearse
        self._functions = compile_functions()
        self._is_ready = threading.Event()
        self.failure: Exception | None = None
        """Why compiling failed; passes then stay as they were."""
        self._thread = threading.Thread(target=self._run, name="flas-compile", daemon=True)
        self._thread.start()

    @property
    def functions(self) -> Functions:
        """What a new run should call."""
        return self._functions if self._is_ready.is_set() else OP_BY_OP

    def wait(self) -> Functions:
        """Wait until compiling is over."""
        self._thread.join()
        return self.functions

    def _run(self) -> None:
        try:
            self._rehearse(self._functions)
        except Exception as error:  # no compiler, or one that fails, must not cost an answer
            log.warning("decoding passes could not be compiled", exc_info=True)
            self.failure = error.with_traceback(None)
        else:
            self._is_ready.set()
        finally:
            del self._rehearse  # which holds the engine that holds this
