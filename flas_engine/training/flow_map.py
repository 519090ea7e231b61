"""The map h -> h' of a field under training: the engine's own field and solver, with gradients and no caches.

One row has one concept and one flow time. The residual stream, the time embedding and the integration are float32; the
field's products run in `compute_dtype` over float32 weights.

Shapes: B rows, L positions, C concept tokens, E evaluations, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from flas_engine.field import batch_conditions
from flas_engine.solvers import EULER, evaluation_times, integrate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.field import VelocityField
    from flas_engine.layers import Window


@dataclass(frozen=True, kw_only=True)
class Carried:
    """Where the flow took a batch."""

    h_BLD: torch.Tensor
    last_velocity_BLD: torch.Tensor
    """Of the last solver step, in the field's own coordinates."""


def carry(
    field: VelocityField,
    h_BLD: torch.Tensor,
    concepts_CD: Sequence[torch.Tensor],
    flow_time: float,
    num_steps: int,
    window: Window,
    *,
    compute_dtype: torch.dtype,
    recomputes: bool = False,
) -> Carried:
    """Carry a batch to `flow_time`, row by row under its encoded concept [C, D], by Euler's method.

    `recomputes` keeps the start of every solver step alone and evaluates the field again on the way back.
    """
    times = torch.tensor(evaluation_times(EULER, num_steps), device=h_BLD.device, dtype=h_BLD.dtype) * flow_time
    embeddings_ED = field.time_embed(times)
    velocities: list[torch.Tensor] = []
    with torch.autocast(h_BLD.device.type, dtype=compute_dtype, enabled=compute_dtype != field.dtype):
        conditions = batch_conditions([field.encode_keys_values(concept_CD) for concept_CD in concepts_CD])

        def velocity(z_BLD: torch.Tensor, evaluation: int) -> torch.Tensor:
            inputs = (z_BLD, embeddings_ED[evaluation], conditions, window, None)
            v_BLD: torch.Tensor = checkpoint(field, *inputs, use_reentrant=False) if recomputes else field(*inputs)
            velocities.append(v_BLD)
            return v_BLD

        duration = torch.tensor(flow_time, device=h_BLD.device, dtype=h_BLD.dtype)
        z_BLD = integrate(velocity, field.enter(h_BLD), duration, EULER, num_steps)
        return Carried(h_BLD=field.leave(z_BLD), last_velocity_BLD=velocities[-1])
