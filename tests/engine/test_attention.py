"""Attention by whichever kernel it takes, against the formula in float64; and the cache that it reads."""

from __future__ import annotations

import pytest
import torch

from flas_engine.cache import GROWTH_SLOTS, KVCache
from flas_engine.layers import MANY_PRODUCTS, attend

H, S = 16, 21
MANY_LANES = MANY_PRODUCTS // 3 + 1
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 4e-2}


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("num_new", [1, 5])
@pytest.mark.parametrize("num_kv_heads", [1, 3])
@pytest.mark.parametrize("num_lanes", [1, 2, MANY_LANES, 4 * MANY_PRODUCTS])
def test_attention_is_the_softmax_of_scaled_capped_and_biased_logits_times_the_values(
    num_lanes: int, num_kv_heads: int, num_new: int, dtype: torch.dtype, softcap: float | None
) -> None:
    B, K, L, G, scale = num_lanes, num_kv_heads, num_new, 2, 0.3
    q, k, v = (random(B, heads, length, H, seed=heads).to(dtype) for heads, length in ((K * G, L), (K, S), (K, S)))
    last_seen = torch.arange(B)[:, None] % (S - L) + torch.arange(L)
    bias = torch.zeros(B, 1, L, S, dtype=dtype).masked_fill_(
        torch.arange(S) > last_seen[:, None, :, None], float("-inf")
    )
    logits = q.double() @ k.double().repeat_interleave(G, dim=1).transpose(2, 3) * scale
    logits = logits if softcap is None else torch.tanh(logits / softcap) * softcap
    expected = (logits + bias.double()).softmax(dim=-1) @ v.double().repeat_interleave(G, dim=1)
    ours = attend(q, k, v, bias, scale, softcap)
    torch.testing.assert_close(
        ours.double(), expected.transpose(1, 2).flatten(2), atol=ROUNDING[dtype], rtol=ROUNDING[dtype]
    )


def test_the_cache_gives_back_what_was_written_by_slots_or_by_places_and_keeps_it_when_it_grows() -> None:
    rows, heads = 3, 2
    cache = KVCache(
        num_layers=1, rows=rows, num_kv_heads=heads, head_dim=H, device=torch.device("cpu"), dtype=torch.float64
    )
    cache.reserve(5)
    k, v = random(rows, 4, heads, H, seed=1), random(rows, 4, heads, H, seed=2)
    cache.layers[0].write(slice(None), slice(0, 4), k, v)
    new_k, new_v = random(rows, 1, heads, H, seed=3), random(rows, 1, heads, H, seed=4)
    positions = torch.tensor([4, 2, 0])
    starts = torch.arange(rows * heads).view(rows, heads) * cache.capacity
    cache.layers[0].write(slice(None), starts + positions[:, None], new_k, new_v)
    cache.reserve(GROWTH_SLOTS + 1)
    for read, old, new in zip(cache.layers[0].read(slice(None), 5), (k, v), (new_k, new_v), strict=True):
        expected = torch.cat([old, torch.zeros_like(new)], dim=1)
        expected[torch.arange(rows), positions] = new[:, 0]
        assert torch.equal(read, expected.transpose(1, 2))
