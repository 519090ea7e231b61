"""`with steered(model, ...)`: the engine's own transform as a forward hook, for other people's transformers code.

For `model.generate`, pipelines and evaluation harnesses. The engine itself does not use it: its loop is cut at layer l
and free of hooks; a test holds both to the same logits.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import Cache

from flas_engine.base import from_transformers
from flas_engine.checkpoint import Flow, read_flow
from flas_engine.concept import NUM_ENCODER_LAYERS, make_encoder
from flas_engine.errors import RequestError
from flas_engine.families import read_architecture
from flas_engine.layers import make_window
from flas_engine.request import WeightedConcept, check_flow_time
from flas_engine.solvers import find_solver
from flas_engine.steering import Steering

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from flas_engine.families import Architecture
    from flas_engine.solvers import Solver
    from flas_engine.steering import Mix


@contextmanager
def steered(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    flow: str | Path | Flow,
    concept: str | Sequence[WeightedConcept],
    flow_time: float,
    *,
    solver: str = "euler",
    num_steps: int | None = None,
) -> Iterator[None]:
    """Steer all that `model` computes inside the block; after it the model is as before, whatever happens inside.

    `flow` is a checkpoint folder or file, or one that is loaded; `concept` is plain words or a mix. Batches may be
    left-padded and decoding cached. Beam search, which reorders the model's own cache, works with flows that have no
    self-attention. Raises `FlasError` when the flow does not fit the model.
    """
    check_flow_time(flow_time)
    architecture = read_architecture(model.config)
    decoder = _find_decoder(model)
    parameter = next(decoder.parameters())
    if not isinstance(flow, Flow):
        flow = read_flow(Path(flow), architecture, parameter.device, parameter.dtype)
    concepts = [WeightedConcept(text=concept)] if isinstance(concept, str) else list(concept)
    encoder = make_encoder(from_transformers(model, NUM_ENCODER_LAYERS), flow, tokenizer)
    with torch.no_grad():
        mix = tuple((encoder.encode(each.text), each.weight) for each in concepts)
    hook = _Hook(architecture, flow, mix, flow_time, find_solver(solver), num_steps or flow.config.n_steps)
    handles = [
        decoder.register_forward_pre_hook(hook.before_decoder, with_kwargs=True),
        decoder.layers[flow.config.layer].register_forward_hook(hook.after_layer, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Hook:
    """What the two hooks share: the padding and the past of the call under way, and the steering of its lanes."""

    def __init__(
        self, architecture: Architecture, flow: Flow, mix: Mix, flow_time: float, solver: Solver, num_steps: int
    ) -> None:
        self._architecture = architecture
        self._flow = flow
        self._mix = mix
        self._flow_time = flow_time
        self._solver = solver
        self._num_steps = num_steps
        self._steering: Steering | None = None
        self._num_lanes = 0
        self._past = 0
        self._visible: torch.Tensor | None = None

    def before_decoder(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note how much is cached and which positions are padding, before the decoder turns both into its own masks."""
        del module, args
        mask = kwargs.get("attention_mask")
        if mask is not None and (not isinstance(mask, torch.Tensor) or mask.dim() != 2):
            raise RequestError("steered() needs the usual attention mask [batch, length]; static caches make others")
        # The cache is found by its type, for its name is not the same in all versions of transformers.
        self._past = next((each.get_seq_length() for each in kwargs.values() if isinstance(each, Cache)), 0)
        self._visible = mask.bool() if mask is not None else None

    def after_layer(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Put the steered activations in the place of what layer l hands on."""
        del module, args
        is_tuple = isinstance(output, tuple)
        h_BLD = output[0] if is_tuple else output
        steering = self._steering_for(len(h_BLD))
        slots = slice(self._past, self._past + h_BLD.shape[1])
        positions = kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(slots.start, slots.stop, device=h_BLD.device)[None]
        visible = self._visible[:, : slots.stop] if self._visible is not None else None
        window = make_window(self._architecture, positions, slots, self._flow.field.dtype, visible)
        steering.reserve(slots.stop)
        h_BLD = steering.transform(h_BLD, window)
        return (h_BLD, *output[1:]) if is_tuple else h_BLD

    def _steering_for(self, num_lanes: int) -> Steering:
        """Return the steering of the text under way; a new text, which begins with nothing cached, gets a new one."""
        if self._steering is None or self._past == 0 or num_lanes != self._num_lanes:
            mixes, times = [self._mix] * num_lanes, [self._flow_time] * num_lanes
            self._steering = Steering(self._flow.field, mixes, times, self._solver, self._num_steps)
            self._num_lanes = num_lanes
        return self._steering


def _find_decoder(model: PreTrainedModel) -> Any:
    """Return the module whose `layers` are the decoder's, inside a multimodal model too."""
    decoder: Any = model.get_decoder() if hasattr(model, "get_decoder") else model
    decoder = getattr(decoder, "language_model", decoder)
    if not hasattr(decoder, "layers"):
        raise RequestError(f"{type(model).__name__} has no decoder layers to steer; give a causal language model")
    return decoder
