"""Choose tokens from logits: filters, and Gumbel-max noise that depends on (seed, position) alone.

argmax(log p + g) with Gumbel noise g draws exactly from p. The noise of a token id at a position is a hash of (seed,
position, id): the same for all lanes and devices, drawn without the past and only for the candidates that are left.
So equal lanes write equal text, and the first token on which two lanes part is the first that steering changed.

Shapes: B lanes, V vocabulary, K candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from flas_engine.request import Sampling

NUCLEUS_CANDIDATES = 1024
"""Top-p is looked for among this many best tokens first; the whole vocabulary is sorted only when they do not do."""

_MASK_32 = 0xFFFFFFFF
_SALTS = (0x9E3779B9, 0x85EBCA6B)
_BELOW_1 = 1.0 - 2.0**-24
"""The largest float32 below 1; at 1 itself the noise would be infinite."""


def choose(
    logits_BV: torch.Tensor, sampling: Sampling, seed: int, position: int, seen_BV: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose a token [B] for each lane, and give its log-probability [B] under the unfiltered model at temperature 1.

    `logits` are float32; `position` is the token's index in the answer; `seen` marks the tokens that the repetition
    penalty falls on.
    """
    scores = logits_BV
    if seen_BV is not None:
        scores = penalise(scores, seen_BV, sampling.repetition_penalty)
    if sampling.temperature == 0.0:
        tokens_B = scores.argmax(dim=-1)
    else:
        scores, ids = _filter(scores / sampling.temperature, sampling)
        noisy = scores + gumbel_noise(seed, position, ids)
        best = noisy.argmax(dim=-1, keepdim=True)
        tokens_B = (best if ids.dim() == 1 else ids.gather(-1, best))[:, 0]
    return tokens_B, logits_BV.gather(-1, tokens_B[:, None])[:, 0] - logits_BV.logsumexp(dim=-1)


def penalise(logits_BV: torch.Tensor, seen_BV: torch.Tensor, penalty: float) -> torch.Tensor:
    """Divide positive and multiply negative logits of seen tokens by `penalty` (Keskar et al., 2019, CTRL)."""
    return torch.where(seen_BV, torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty), logits_BV)


def _filter(scores_BV: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scores that pass top-k, top-p and min-p, -inf elsewhere, and the ids they belong to: [V] or [B, K]."""
    V = scores_BV.shape[-1]
    if sampling.top_k:
        scores, ids = scores_BV.topk(min(sampling.top_k, V), dim=-1)
        log_total = scores.logsumexp(dim=-1, keepdim=True)
    elif sampling.top_p < 1.0:
        log_total = scores_BV.logsumexp(dim=-1, keepdim=True)
        scores, ids = scores_BV.topk(min(NUCLEUS_CANDIDATES, V), dim=-1)
        if ((scores - log_total).exp().sum(dim=-1) < sampling.top_p).any():
            scores, ids = scores_BV.sort(dim=-1, descending=True)
    else:
        scores, ids = scores_BV, torch.arange(V, device=scores_BV.device)
        log_total = None
    if sampling.top_p < 1.0:
        assert log_total is not None  # the branches above that lead here set it
        p = (scores - log_total).exp()
        scores = scores.masked_fill(p.cumsum(dim=-1) - p >= sampling.top_p, float("-inf"))
    if sampling.min_p > 0.0:
        floor = scores.amax(dim=-1, keepdim=True) + torch.tensor(sampling.min_p).log()
        scores = scores.masked_fill(scores < floor, float("-inf"))
    return scores, ids


def gumbel_noise(seed: int, position: int, ids: torch.Tensor) -> torch.Tensor:
    """Return standard Gumbel noise, float32, in the shape of `ids`; a function of (seed, position, id) alone."""
    bits = ids.to(torch.int32)
    for salt in _SALTS:  # two rounds with keys of their own: after one, neighbouring ids share a pattern
        bits = _mix(bits ^ _signed(_key(salt, seed, position)))
    # -log(-log(1 - u)): fine steps where u is small, which is where the large noise comes from that wins.
    u = (bits & 0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31).clamp_(max=_BELOW_1)
    return u.neg_().log1p_().neg_().log_().neg_()


def _key(salt: int, seed: int, position: int) -> int:
    key = salt
    for word in (seed & _MASK_32, seed >> 32, position):
        key = _mix_int(key ^ word)
    return key


def _mix(x: torch.Tensor) -> torch.Tensor:
    """Mix the bits of int32 `x`; products wrap, shifts are masked to be logical (constants: lowbias32, C. Wellons)."""
    x = x ^ (x >> 16).bitwise_and_(0xFFFF)
    x.mul_(_signed(0x7FEB352D))
    x.bitwise_xor_((x >> 15).bitwise_and_(0x1FFFF))
    x.mul_(_signed(0x846CA68B))
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))


def _mix_int(x: int) -> int:
    """`_mix` on one number."""
    x &= _MASK_32
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK_32
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK_32
    return x ^ (x >> 16)


def _signed(x: int) -> int:
    """Read 32 bits as a signed number, as int32 tensors do."""
    x &= _MASK_32
    return x - (1 << 32) if x >= 1 << 31 else x
