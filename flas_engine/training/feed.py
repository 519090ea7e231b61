"""From numbers of examples to the tensors of a batch: activations at layer l, output positions, encoded concepts.

Shapes: B rows, L positions, C concept tokens, D hidden.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

from flas_engine.concept import encode_tokens
from flas_engine.errors import TrainingError
from flas_engine.training.objective import Conditioning, Texts
from flas_engine.training.trunk import run_lower

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from flas_engine.layers import BaseModel
    from flas_engine.training.examples import Example
    from flas_engine.training.store import ActivationStore

LENGTH_STEP = 8
"""Rows are padded to a multiple of this, so that blocks of memory fit again from batch to batch."""
KEPT_CONCEPTS = 8192


class ConceptStates:
    """Encoded concepts by their text; the encoder is frozen, so that each is encoded once."""

    def __init__(self, base: BaseModel, tokenizer: PreTrainedTokenizerBase, max_len: int) -> None:
        self._base = base
        self._tokenizer = tokenizer
        self._max_len = max_len
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.num_encoded = 0
        """Concepts encoded so far; one that is kept is not encoded again."""

    @torch.no_grad()
    def get(self, text: str) -> torch.Tensor:
        """Return the encoded concept [C, D] in float32; raises `TrainingError` when it has no tokens."""
        if text in self._kept:
            self._kept.move_to_end(text)
            return self._kept[text]
        ids = self._tokenizer(text)["input_ids"][: self._max_len]
        if not ids:
            raise TrainingError(f"the concept {text!r} has no tokens; leave its rows out")
        encoded = encode_tokens(self._base, torch.tensor([ids], device=self._base.device))[0]
        self.num_encoded += 1
        self._kept[text] = encoded
        if len(self._kept) > KEPT_CONCEPTS:
            self._kept.popitem(last=False)
        return encoded


class Feed:
    """Makes the tensors of batches of one list of examples."""

    def __init__(
        self,
        base: BaseModel,
        layer: int,
        examples: Sequence[Example],
        concepts: ConceptStates,
        store: ActivationStore | None = None,
    ) -> None:
        """Take the examples; their activations come from `store`, row by row, or are computed batch by batch."""
        self._base = base
        self._layer = layer
        self._examples = examples
        self._concepts = concepts
        self._store = store
        numbers = {concept_id: n for n, concept_id in enumerate(dict.fromkeys(each.concept_id for each in examples))}
        self._concept_numbers = [numbers[example.concept_id] for example in examples]

    def texts(self, rows: Sequence[int], words: torch.Tensor | None = None) -> Texts:
        """Return the rows' texts; `words` maps token ids to the logits of a smaller vocabulary."""
        examples = [self._examples[row] for row in rows]
        device = self._base.device
        lengths = [example.num_tokens for example in examples]
        width = -(-max(lengths) // LENGTH_STEP) * LENGTH_STEP
        targets = torch.tensor(list(chain.from_iterable(example.output_ids for example in examples)), device=device)
        places = [
            (index, len(example.prompt_ids) - 1 + offset)
            for index, example in enumerate(examples)
            for offset in range(len(example.output_ids))
        ]
        rows_N, positions_N = torch.tensor(places, device=device).unbind(dim=1)
        return Texts(
            h_BLD=self._activations(rows, examples, width),
            lengths_B=torch.tensor(lengths, device=device),
            rows_N=rows_N,
            positions_N=positions_N,
            targets_N=targets if words is None else words[targets],
        )

    def conditioning(
        self, rows: Sequence[int], flow_time: float, wordings: Sequence[str], wrong_wordings: Sequence[str] = ()
    ) -> Conditioning:
        """Return under what the rows are carried."""
        return Conditioning(
            flow_time=flow_time,
            concepts=[self._concepts.get(text) for text in wordings],
            wrong_concepts=[self._concepts.get(text) for text in wrong_wordings],
            concept_ids_B=torch.tensor([self._concept_numbers[row] for row in rows], device=self._base.device),
        )

    def num_output_tokens(self, rows: Sequence[int]) -> int:
        """Return how many tokens the loss reads."""
        return sum(len(self._examples[row].output_ids) for row in rows)

    def _activations(self, rows: Sequence[int], examples: list[Example], width: int) -> torch.Tensor:
        """Return what layer l hands on, [B, L, D]; padding means nothing."""
        if self._store is None:
            return run_lower(self._base, self._layer, self._padded_ids(examples, width))
        h_BLD = torch.zeros(len(rows), width, self._base.architecture.hidden_size, device=self._base.device)
        for h_LD, row, example in zip(h_BLD, rows, examples, strict=True):
            h_LD[: example.num_tokens] = self._store.get(row, partial(self._compute, example))
        return h_BLD

    def _compute(self, example: Example) -> torch.Tensor:
        ids = torch.tensor([[*example.prompt_ids, *example.output_ids]], device=self._base.device)
        return run_lower(self._base, self._layer, ids)[0]

    def _padded_ids(self, examples: list[Example], width: int) -> torch.Tensor:
        ids = [torch.tensor([*example.prompt_ids, *example.output_ids]) for example in examples]
        ids_BL = pad_sequence([*ids, torch.zeros(width, dtype=torch.long)], batch_first=True)[:-1]
        return ids_BL.to(self._base.device)
