"""Concepts: from plain words to the keys and values that the velocity field attends to, kept by text.

The encoder is the base model's own embedding, its first two decoder layers (causal) and its final norm; it shares the
base model's weights.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch

from flas_engine.base import assemble, open_state
from flas_engine.errors import CheckpointError, ModelError, RequestError
from flas_engine.layers import embed, make_window, rms_norm, run_layers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from flas_engine.checkpoint import Flow
    from flas_engine.field import ConceptKeysValues, VelocityField
    from flas_engine.layers import BaseModel

NUM_ENCODER_LAYERS = 2
KEPT_CONCEPTS = 256
"""How many encoded concepts an engine keeps; one takes some 100 kB at Gemma-2-2B's size."""


def encode_tokens(base: BaseModel, token_ids_RC: torch.Tensor) -> torch.Tensor:
    """Return the concept encoder's output [R, C, D] in float32, for unpadded concepts of one length."""
    positions = torch.arange(token_ids_RC.shape[1], device=base.device)[None]
    window = make_window(base.architecture, positions, slice(0, token_ids_RC.shape[1]), base.dtype)
    h_RCD = run_layers(base, embed(base, token_ids_RC), range(NUM_ENCODER_LAYERS), window, None)
    return rms_norm(h_RCD, base.final_norm)


class ConceptEncoder:
    """Encodes concept texts for one field, and keeps the most recent ones so that switching back is free."""

    def __init__(self, base: BaseModel, field: VelocityField, tokenizer: PreTrainedTokenizerBase) -> None:
        self._base = base
        self._field = field
        self._tokenizer = tokenizer
        self._kept: OrderedDict[str, ConceptKeysValues] = OrderedDict()
        self.num_encoded = 0
        """Concepts encoded so far; a text that is kept is not encoded again."""

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a concept: plain text with the BOS that the tokenizer adds, cut to the trained length."""
        ids: list[int] = self._tokenizer(text)["input_ids"][: self._field.config.concept_max_len]
        if not ids:
            raise RequestError(f"the concept {text!r} has no tokens; describe it in plain words")
        return ids

    def encode(self, text: str) -> ConceptKeysValues:
        """Return the keys and values of a concept, from memory when it was used before."""
        if text in self._kept:
            self._kept.move_to_end(text)
            return self._kept[text]
        ids = torch.tensor([self.tokenize(text)], device=self._base.device)
        encoded = self._field.encode_keys_values(encode_tokens(self._base, ids)[0])
        self.num_encoded += 1
        self._kept[text] = encoded
        if len(self._kept) > KEPT_CONCEPTS:
            self._kept.popitem(last=False)
        return encoded


def make_encoder(base: BaseModel, flow: Flow, tokenizer: PreTrainedTokenizerBase) -> ConceptEncoder:
    """Use the base's own layers as the encoder, unless the checkpoint brings ones that were trained along."""
    if flow.encoder_state is None:
        return ConceptEncoder(base, flow.field, tokenizer)
    try:
        tensors = open_state(flow.encoder_state, "the checkpoint's concept encoder")
        own = assemble(tensors, base.architecture, base.device, base.dtype, num_layers=NUM_ENCODER_LAYERS)
    except ModelError as error:
        raise CheckpointError(f"the checkpoint's own concept encoder does not fit the base model: {error}") from None
    return ConceptEncoder(own, flow.field, tokenizer)
