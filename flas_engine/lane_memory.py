"""How much memory a lane takes while it is decoded, from the shapes alone, so that lists of lanes keep within a limit.

Counts what grows with the number of lanes that are live at once. Knows nothing of the weights, nor of what a run takes
however many lanes it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.cache import round_up
from flas_engine.field import CONCEPT_BUCKET
from flas_engine.kernels.layout import INT8, PLAIN
from flas_engine.kernels.product import SLAB_BYTES
from flas_engine.machine import FLOAT32_BYTES
from flas_engine.request import Sampling
from flas_engine.sampling import scratch_bytes

if TYPE_CHECKING:
    from flas_engine.checkpoint import Flow
    from flas_engine.engine import Engine
    from flas_engine.families import Architecture
    from flas_engine.layers import BaseModel


def lane_bytes(engine: Engine, num_tokens: int, *, num_concepts: int = 1, sampling: Sampling | None = None) -> int:
    """Return the most that one live lane takes whose prompt and answer are `num_tokens` long, solved by Euler.

    Caches of the base and of the flow's trajectories, activations, concepts, logits and what tokens are chosen in, and
    what is held twice while the caches grow. A request takes this `max_live` times; newcomers whose prompts are being
    read take it once more, for as many as are read together.
    """
    a, item, sampling = engine.base.architecture, engine.base.dtype.itemsize, sampling or Sampling()
    slots = round_up(num_tokens + 1)
    layer, activations = 2 * slots * a.num_kv_heads * a.head_dim * item, slots * a.hidden_size * FLOAT32_BYTES
    held = a.num_layers * layer + activations + _bias_bytes(a, slots, item)
    if engine.flow is not None and num_concepts:
        held += num_concepts * _flow_bytes(engine.flow, slots)
    held += a.vocab_size * FLOAT32_BYTES + scratch_bytes(sampling, a.vocab_size)  # what chose the first token is kept
    return held + max(layer, activations, _pass_bytes(a, layer, item), _logits_bytes(engine.base))


def _flow_bytes(flow: Flow, slots: int) -> int:
    """Of one row of the field: trajectories, embedded times, and the concept with the copy that the rows share."""
    field, config = flow.field, flow.config
    a, item = field.architecture, field.dtype.itemsize
    width = 2 * a.num_kv_heads * a.head_dim * item
    trajectories = config.n_steps * config.num_blocks * slots * width if field.needs_cache else 0
    concept = -(-config.concept_max_len // CONCEPT_BUCKET) * CONCEPT_BUCKET * config.num_blocks * width
    return trajectories + 2 * concept + config.n_steps * a.hidden_size * FLOAT32_BYTES


def _bias_bytes(a: Architecture, slots: int, item: int) -> int:
    """Of what hides slots: a table of each kind of layer, and the part that a pass looks at."""
    return 2 * slots * item * (2 if a.sliding_layers and a.sliding_window else 1)


def _pass_bytes(a: Architecture, layer: int, item: int) -> int:
    """Of what a decoder layer works with: the residual stream, products' inputs and outputs, attention."""
    heads = (2 * a.num_heads + 2 * a.num_kv_heads) * a.head_dim
    scores = a.num_heads * (layer // (2 * a.num_kv_heads * a.head_dim * item))
    return 4 * a.hidden_size * FLOAT32_BYTES + (2 * heads + 4 * a.intermediate_size) * item + 3 * scores * FLOAT32_BYTES


def _logits_bytes(base: BaseModel) -> int:
    """Of logits on their way: the head's product, what joins its slabs, float32, and soft-capping in two steps."""
    a, item = base.architecture, base.dtype.itemsize
    # A product in bytes has two rows of float32 sums a lane, one a digit.
    num_bytes = 2 * FLOAT32_BYTES if base.layout == INT8 else item
    is_in_slabs = base.layout != PLAIN and a.vocab_size * a.hidden_size * item > SLAB_BYTES
    product = num_bytes * (2 if is_in_slabs else 1)
    as_float = FLOAT32_BYTES + (0 if item == FLOAT32_BYTES else item)
    capped = 0 if a.final_softcap is None else 3 * FLOAT32_BYTES
    return a.vocab_size * max(product, as_float, capped)
