"""What training minimises, for one micro-batch: the frozen model's loss on the outputs under the flow, and two terms.

- diversity: mean cosine similarity between the position-averaged velocities of the last solver step, over all pairs of
  rows with different concepts. It keeps the field from moving everything the same way.
- contrast: mean of softplus(-beta (nll_wrong - nll_right)), both in nats a token of a row, where the wrong run is the
  same text under another row's concept. It keeps the field from ignoring the concept; off in the paper's recipe.

Shapes: B rows, R rows of a pass (B, or 2 B with contrast), L positions, N output tokens of all rows, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from flas_engine.training.flow_map import carry
from flas_engine.training.trunk import run_upper, token_losses, window_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.field import VelocityField
    from flas_engine.layers import BaseModel


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Prompts with their outputs, padded on the right, and which tokens the loss reads."""

    h_BLD: torch.Tensor
    """What layer l hands on."""
    lengths_B: torch.Tensor
    rows_N: torch.Tensor
    """Of each output token the row; ascending."""
    positions_N: torch.Tensor
    """Of each output token the position before it, whose activations predict it."""
    targets_N: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """Under what a batch is carried."""

    flow_time: float
    concepts: Sequence[torch.Tensor]
    """A row's encoded concept [C, D]."""
    wrong_concepts: Sequence[torch.Tensor]
    """Another row's; empty without contrast."""
    concept_ids_B: torch.Tensor
    """Numbers that are equal where concepts are, whatever their wording."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The three terms of one micro-batch, unweighted."""

    lm_sum: torch.Tensor
    """-log p summed over the output tokens, in nats."""
    diversity: torch.Tensor
    contrast: torch.Tensor


class Objective(nn.Module):
    """The trained field beside the frozen base; its parameters are the field's alone."""

    def __init__(
        self,
        base: BaseModel,
        field: VelocityField,
        *,
        num_steps: int,
        compute_dtype: torch.dtype,
        contrast_beta: float,
        recomputes: bool = False,
        trained_base: BaseModel | None = None,
    ) -> None:
        """Take what is loaded; `trained_base` is the base with fewer words, for losses in training mode."""
        super().__init__()
        self.field = field
        self._base = base
        self._num_steps = num_steps
        self._compute_dtype = compute_dtype
        self._contrast_beta = contrast_beta
        self._recomputes = recomputes
        self._trained_base = trained_base or base

    def forward(self, texts: Texts, given: Conditioning) -> Terms:
        """Return the terms of a micro-batch, differentiable in the field's parameters."""
        num_rows, has_contrast = len(texts.h_BLD), bool(given.wrong_concepts)
        h_RLD = torch.cat([texts.h_BLD, texts.h_BLD]) if has_contrast else texts.h_BLD
        carried = carry(
            self.field,
            h_RLD,
            [*given.concepts, *given.wrong_concepts],
            given.flow_time,
            self._num_steps,
            window_of(self._base, h_RLD.shape[1], self._compute_dtype),
            compute_dtype=self._compute_dtype,
            recomputes=self._recomputes,
        )
        rows_M, positions_M = texts.rows_N, texts.positions_N
        if has_contrast:
            rows_M, positions_M = torch.cat([rows_M, rows_M + num_rows]), positions_M.repeat(2)
        layer = self.field.config.layer
        h_MD = run_upper(self._base, layer, carried.h_BLD, rows_M, positions_M, recomputes=self._recomputes)
        right_ND, *wrong_ND = h_MD.split(len(texts.rows_N))
        right_N = self._losses(right_ND, texts)
        contrast = right_N.new_zeros(())
        if has_contrast:
            wrong_N = self._losses(wrong_ND[0], texts)
            gaps_B = mean_by_row(wrong_N - right_N, texts.rows_N, num_rows)
            contrast = F.softplus(-self._contrast_beta * gaps_B).mean()
        pooled_BD = mean_over_positions(carried.last_velocity_BLD[:num_rows], texts.lengths_B)
        return Terms(
            lm_sum=right_N.sum(), diversity=similarity_between(pooled_BD, given.concept_ids_B), contrast=contrast
        )

    def _losses(self, h_ND: torch.Tensor, texts: Texts) -> torch.Tensor:
        return token_losses(self._trained_base if self.training else self._base, h_ND, texts.targets_N)


def mean_by_row(values_N: torch.Tensor, rows_N: torch.Tensor, num_rows: int) -> torch.Tensor:
    """Return the mean of each row's values, [B]."""
    sums = values_N.new_zeros(num_rows).index_add(0, rows_N, values_N)
    return sums / torch.bincount(rows_N, minlength=num_rows)


def mean_over_positions(v_BLD: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """Return the mean over each row's own positions, padding left out, [B, D]."""
    is_text = torch.arange(v_BLD.shape[1], device=v_BLD.device) < lengths_B[:, None]
    return (v_BLD * is_text[..., None]).sum(dim=1) / lengths_B[:, None]


def similarity_between(pooled_BD: torch.Tensor, concept_ids_B: torch.Tensor) -> torch.Tensor:
    """Return the mean cosine similarity over pairs of rows with different concepts; 0 when there is no such pair."""
    unit_BD = F.normalize(pooled_BD, dim=-1)
    differ = (concept_ids_B[:, None] != concept_ids_B).to(unit_BD)
    return (unit_BD @ unit_BD.T * differ).sum() / differ.sum().clamp(min=1.0)
