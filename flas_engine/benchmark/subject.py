"""What is measured: the engine with no end to its answers, plain transformers beside it, and what both are asked.

A model without a flow is measured with an untrained one of the usual shape: times do not depend on the values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flas_engine.checkpoint import Flow, read_flow
from flas_engine.config import FlowConfig
from flas_engine.engine import Engine, load_engine
from flas_engine.field import VelocityField
from flas_engine.hub.resolve import resolve
from flas_engine.kernels.layout import PACKED
from flas_engine.machine import should_compile
from flas_engine.progress import Progress, ignore_progress
from flas_engine.request import GREEDY, Lane, Limits, Message, Request, WeightedConcept

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flas_engine.info import LoadSpec
    from flas_engine.layers import BaseModel
    from flas_engine.progress import ReportProgress

PROMPT = "Tell me a long story about the sea, the people who live by it, and the ships that never come back."
CONCEPT = "talk like a pirate"
FLOW_TIME = 1.5
UNTRAINED = "untrained"


def load_subject(spec: LoadSpec, progress: ReportProgress = ignore_progress) -> Engine:
    """Load the engine, with a flow whatever the model, and without an end of turn: all rows make as many tokens.

    Where it compiles its passes, they are compiled when this returns.
    """
    loaded = load_engine(replace(spec, compiles=False), progress=progress)
    compiles = should_compile(loaded.base.device) if spec.compiles is None else spec.compiles
    engine = endless(loaded, compiles=compiles)
    if engine.warm_up is not None:
        progress(Progress(activity="compiling"))
        engine.warm_up.wait()
    return engine


def endless(engine: Engine, *, compiles: bool) -> Engine:
    """Return `engine` as it is measured."""
    info, flow = engine.info, engine.flow
    if flow is None:
        flow = untrained_flow(engine.base, info.base_id)
        flow.field.freeze(PACKED)
    return Engine(
        name=info.name,
        base_id=info.base_id,
        base=engine.base,
        tokenizer=engine.tokenizer,
        end_ids=frozenset(),
        flow=flow,
        flow_id=info.flow_id or UNTRAINED,
        prompt_format=info.prompt_format,
        compiles=compiles,
    )


def untrained_flow(base: BaseModel, base_id: str) -> Flow:
    """Return a flow of the usual shape with random weights, trainable as it is made."""
    config = FlowConfig(model_id=base_id, layer=base.architecture.num_layers * 2 // 3, disable_self_attn=True)
    with base.device:
        field = VelocityField(base.architecture, config).to(base.dtype)
    return Flow(config=config, field=field.requires_grad_(requires_grad=False).eval())


def plain_flow(engine: Engine, spec: LoadSpec) -> Flow:
    """Return the engine's flow as `steered()` reads it: torch's own linear layers."""
    base = engine.base
    resolved = resolve(spec)
    if resolved.flow is None:
        return untrained_flow(base, engine.info.base_id)
    return read_flow(resolved.flow, base.architecture, base.device, base.dtype)


def load_plain(engine: Engine, spec: LoadSpec) -> Any:
    """Load the same base with transformers, in the engine's dtype and on its device."""
    from transformers import AutoModelForCausalLM, GgufConfig

    path, options = base_path(spec), {}
    if path.is_file():
        path, options = path.parent, {"gguf_file": path.name, "quantization_config": GgufConfig(dequantize=True)}
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=engine.base.dtype, **options)
    return model.to(engine.base.device).eval()


def base_path(spec: LoadSpec) -> Path:
    """Return the folder, or the GGUF file, that the base of `spec` is read from."""
    return resolve(replace(spec, flow=None)).base


def request_at(flow_times: Iterable[float], new_tokens: int) -> Request:
    """Ask for one greedy lane a flow time; as everywhere in the app, a baseline has no concept."""
    conversation, concepts = (Message(role="user", content=PROMPT),), (WeightedConcept(text=CONCEPT),)
    lanes = (
        Lane(conversation=conversation, concepts=concepts if flow_time else (), flow_time=flow_time)
        for flow_time in flow_times
    )
    return Request(lanes=tuple(lanes), sampling=GREEDY, limits=Limits(max_new_tokens=new_tokens))
