"""Choose tokens from logits: filters, and Gumbel-max noise that depends on (seed, position) alone.

argmax(log p + g) with Gumbel noise g draws exactly from p. The noise of a token id at a position is a hash of (seed,
position, id): the same for all lanes of a seed and on all devices, drawn without the past and only for the candidates
that are left. So equal lanes write equal text, and the first token on which two lanes part is the first that steering
changed.

Nothing here sorts the vocabulary. On a CPU, where a look at a tensor's values costs nothing, the work depends on them;
elsewhere choosing a token is a fixed row of kernels without a synchronisation.

Shapes: B lanes, V vocabulary, K candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flas_engine.request import Sampling

FEW_CHUNKS = 128
"""Top-p and min-p look at so many chunks of a large vocabulary first, and at all of it if more may be kept."""
RARE = 1e-12
"""How likely it may be that a token outside the nucleus is chosen, for want of further races."""

_CHUNK = 64
"""A maximum is looked for by chunks of this size: on a CPU torch finds its value ten times as fast as its place."""
_LONG_CHUNK = 512
"""A vocabulary is added up by chunks of this size."""
_MANY = 1 << 17
"""With fewer numbers than this, more calls cost more than they save."""
_FAR = 1e30
"""So far behind nothing can win; finite, so that 0 times it is nothing."""
_TIE = 2.0**-120
"""Times an id it is exact, and smaller than any difference between two scores."""

_MASK_32 = 0xFFFFFFFF
_SALTS = (0x9E3779B9, 0x85EBCA6B)
_FACTORS = (0x7FEB352D, 0x846CA68B)
_BELOW_1 = 1.0 - 2.0**-24
"""The largest float32 below 1; at 1 itself the noise would be infinite."""


class Scratch:
    """The memory in which a run chooses its tokens, used again for every token.

    On a CPU a large tensor made anew costs more than what is computed in it: its pages are mapped one by one.
    """

    def __init__(self) -> None:
        self._memory: dict[str, torch.Tensor] = {}
        self._taken: dict[str, torch.Tensor] = {}

    def take(self, name: str, like: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return a tensor in the shape of `like` that holds anything; the next one of that name overwrites it."""
        taken = self._taken.get(name)
        if taken is None or taken.shape != like.shape:
            memory = self._memory.get(name)
            if memory is None or memory.numel() < like.numel():
                memory = self._memory[name] = torch.empty(like.numel(), dtype=dtype, device=like.device)
            taken = self._taken[name] = memory[: like.numel()].view(like.shape)
        return taken

    def ids(self, scores_BV: torch.Tensor) -> torch.Tensor:
        """Return the ids of the whole vocabulary [V]."""
        V = scores_BV.shape[-1]
        ids = self._memory.get("ids")
        if ids is None or len(ids) != V:
            ids = self._memory["ids"] = torch.arange(V, dtype=torch.int32, device=scores_BV.device)
        return ids


def scratch_bytes(sampling: Sampling, vocab_size: int) -> int:
    """Return the most that choosing a lane's tokens keeps in its scratch, and in what it has seen."""
    tensors, seen = 1, 0
    if sampling.repetition_penalty != 1.0:
        tensors, seen = tensors + 1, vocab_size
    if sampling.temperature > 0.0 and not sampling.top_k:
        tensors += 2 + (3 if sampling.top_p < 1.0 else 0)  # the noise; and the nucleus
    return 4 * vocab_size * tensors + seen


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """What choosing the tokens needs besides the scores."""

    sampling: Sampling
    keys: list[tuple[int, int]]
    """One for all lanes, or one a lane."""
    scratch: Scratch

    def of(self, rows: torch.Tensor) -> _Draw:
        """Return what applies to some of the lanes."""
        return self if len(self.keys) == 1 else replace(self, keys=[self.keys[row] for row in rows.tolist()])

    def noise(self, ids: torch.Tensor) -> torch.Tensor:
        return _noise(self.keys, ids, self.scratch)


def choose(
    logits_BV: torch.Tensor,
    sampling: Sampling,
    seed: int | Sequence[int],
    position: int | Sequence[int],
    seen_BV: torch.Tensor | None = None,
    scratch: Scratch | None = None,
    expected: Sequence[int | None] = (),
    rounding: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose a token [B] for each lane, and give its log-probability [B] under the unfiltered model at temperature 1.

    `logits` are finite float32; `position` is the token's index in the answer; it and the seed are one for all lanes,
    or one a lane; `seen` marks the tokens that the repetition penalty falls on; who chooses token after token gives the
    same `scratch` each time. Where logits are known to within `rounding`, relative to the largest, the token that is
    `expected` of a lane wins over those that may only seem to be better.
    """
    scratch = scratch or Scratch()
    scores = logits_BV
    if rounding and any(token_id is not None for token_id in expected):
        scores = _favour(logits_BV, expected, rounding)
    if seen_BV is not None:
        scores = penalise(scores, seen_BV, sampling.repetition_penalty, scratch)
    if sampling.temperature == 0.0:
        tokens_B1 = _argmax(scores)
    else:
        scores = torch.div(scores, sampling.temperature, out=scratch.take("scores", scores))
        keys = _keys(seed, position)
        tokens_B1 = _sample(scores, _Draw(sampling=sampling, keys=keys, scratch=scratch))
    return tokens_B1[:, 0], logprobs_of(tokens_B1, logits_BV, scratch)


def penalise(
    logits_BV: torch.Tensor, seen_BV: torch.Tensor, penalty: float, scratch: Scratch | None = None
) -> torch.Tensor:
    """Divide positive and multiply negative logits of seen tokens by `penalty` (Keskar et al., 2019, CTRL)."""
    scratch = scratch or Scratch()
    divided = torch.div(logits_BV, penalty, out=scratch.take("scores", logits_BV))
    multiplied = torch.mul(logits_BV, penalty, out=scratch.take("multiplied", logits_BV))
    # The smaller of the two is the divided one exactly where the logit is positive; the larger if the penalty is < 1.
    lowered = (torch.minimum if penalty >= 1.0 else torch.maximum)(divided, multiplied, out=multiplied)
    return torch.where(seen_BV, lowered, logits_BV, out=divided)


def _favour(logits_BV: torch.Tensor, expected: Sequence[int | None], rounding: float) -> torch.Tensor:
    """Raise the logits of expected tokens by what rounding may have taken from them."""
    favoured_BV = logits_BV.clone()
    for row, token_id in enumerate(expected):
        if token_id is not None:
            favoured_BV[row, token_id] += rounding * logits_BV[row].abs().amax()
    return favoured_BV


def _sample(scores_BV: torch.Tensor, draw: _Draw) -> torch.Tensor:
    """Draw a token [B, 1] for each lane from what the filters keep; `scores` are overwritten."""
    sampling = draw.sampling
    scores, ids = scores_BV, draw.scratch.ids(scores_BV)
    if sampling.top_k:
        scores, ids = _best(scores_BV, sampling.top_k)
    p = scores  # without top-p nobody looks at it
    if sampling.top_p < 1.0:
        p = torch.softmax(scores, dim=-1, out=draw.scratch.take("p", scores))
        p.div_(p.sum(dim=-1, keepdim=True))  # where softmax adds up, small terms are lost beside the large
    is_filtered = sampling.top_p < 1.0 or sampling.min_p > 0.0
    if is_filtered and not sampling.top_k and _may_look_at(scores) and scores.shape[-1] >= _MANY:
        return _race_among_few(scores, p, ids, draw)
    return _race(scores, p, ids, draw)


def _race_among_few(scores_BV: torch.Tensor, p_BV: torch.Tensor, ids: torch.Tensor, draw: _Draw) -> torch.Tensor:
    """Do what `_race` does, with the whole vocabulary only for lanes where the filters may keep more than the few."""
    chunks = _chunks(scores_BV, _CHUNK)
    best, places = chunks.amax(dim=-1).topk(FEW_CHUNKS + 1, dim=-1)
    places, lowest = places[:, :-1], best[:, -1:]
    few, p_few = _chunks_at(chunks, places), _chunks_at(_chunks(p_BV, _CHUNK), places)
    may_be_more = lowest >= _floor(few, draw.sampling.min_p)
    if draw.sampling.top_p < 1.0:
        may_be_more &= (p_few * (few > lowest)).sum(dim=-1, keepdim=True) < draw.sampling.top_p
    rows = may_be_more[:, 0].nonzero()[:, 0]
    if len(rows) == len(few):
        return _race(scores_BV, p_BV, ids, draw)
    tokens_B1 = _race(few, p_few, ids.view(-1, chunks.shape[-1])[places].flatten(1), draw)
    if len(rows):
        tokens_B1[rows] = _race(scores_BV[rows], p_BV[rows], ids, draw.of(rows))
    return tokens_B1


def _race(scores_BK: torch.Tensor, p_BK: torch.Tensor, ids: torch.Tensor, draw: _Draw) -> torch.Tensor:
    """Return the id [B, 1] with the best noisy score among those that min-p and top-p keep.

    `ids` are [B, K], or [V] if all take part; `scores` and `p` are overwritten.
    """
    if draw.sampling.min_p > 0.0:
        scores_BK.masked_fill_(scores_BK < _floor(scores_BK, draw.sampling.min_p), float("-inf"))
    if draw.sampling.top_p < 1.0:
        return _race_in_nucleus(scores_BK, p_BK, ids, draw)
    return _ids_at(ids, _argmax(scores_BK.add_(draw.noise(ids))))


def _floor(scores_BK: torch.Tensor, min_p: float) -> torch.Tensor:
    return scores_BK.amax(dim=-1, keepdim=True) + torch.tensor(min_p).log()


def _race_in_nucleus(scores_BK: torch.Tensor, p_BK: torch.Tensor, ids: torch.Tensor, draw: _Draw) -> torch.Tensor:
    """Return the id [B, 1] with the best noisy score in the nucleus, without looking for the nucleus itself.

    The nucleus is every token with less than top-p of the probability in front of it, where tokens of a higher score
    are in front, and those of an equal score and a lower id. If the best of all is outside, so is everything behind
    it, and the race is run again among those in front.
    """
    top_p, scratch = draw.sampling.top_p, draw.scratch
    noisy_BK = torch.add(scores_BK, draw.noise(ids), out=scratch.take("noisy", scores_BK))
    best = _argmax(noisy_BK)
    for _ in range(_most_races(top_p)):
        in_front = torch.sub(scores_BK, scores_BK.gather(-1, best), out=scratch.take("in front", scores_BK))
        in_front.add_(ids, alpha=-_TIE).gt_(_ids_at(ids, best).float() * -_TIE)
        is_outside = p_BK.mul_(in_front).sum(dim=-1, keepdim=True) >= top_p
        if _may_look_at(is_outside) and not is_outside.any():
            break
        noisy_BK.add_(in_front.sub_(1.0), alpha=_FAR)
        best = torch.where(is_outside, _argmax(noisy_BK), best)
    return _ids_at(ids, best)


def _most_races(top_p: float) -> int:
    """Return how many races are enough, but for a chance of `RARE`.

    A winner outside the nucleus lies anywhere in the probability that took part: the mass in front of it is a uniform
    share of that before. How often such shares leave more than `top_p` is Poisson distributed with mean -log(top_p).
    """
    races, chance = 0, 1.0
    while chance > RARE:
        races += 1
        chance *= -math.log(top_p) / races
    return races


def _ids_at(ids: torch.Tensor, places_BK: torch.Tensor) -> torch.Tensor:
    return places_BK if ids.dim() == 1 else ids.gather(-1, places_BK).long()


def _may_look_at(tensor: torch.Tensor) -> bool:
    """Whether the next step may depend on the tensor's values; elsewhere that would hold up the device."""
    return tensor.device.type == "cpu"


def logprobs_of(tokens_B1: torch.Tensor, logits_BV: torch.Tensor, scratch: Scratch) -> torch.Tensor:
    """Return log p(token) [B] as log p(chunk) + log p(token | chunk).

    Log-softmax has the fastest exponential, but over a whole vocabulary at once it loses small terms beside the large.
    """
    chunks = _chunks(logits_BV, _LONG_CHUNK)
    in_chunk = torch.log_softmax(chunks, dim=-1, out=_chunks(scratch.take("scores", logits_BV), _LONG_CHUNK))
    of_chunk = (chunks.select(-1, 0) - in_chunk.select(-1, 0)).log_softmax(dim=-1)
    return (of_chunk.gather(-1, tokens_B1 // chunks.shape[-1]) + in_chunk.flatten(1).gather(-1, tokens_B1))[:, 0]


def _argmax(scores_BK: torch.Tensor) -> torch.Tensor:
    """Return the place [B, 1] of the largest score, the first of equal ones."""
    if not _may_look_at(scores_BK) or scores_BK.numel() < _MANY:
        return scores_BK.argmax(dim=-1, keepdim=True)
    chunks = _chunks(scores_BK, _CHUNK)
    best = chunks.amax(dim=-1).argmax(dim=-1, keepdim=True)
    return best * chunks.shape[-1] + _chunks_at(chunks, best).argmax(dim=-1, keepdim=True)


def _best(scores_BV: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `k` largest scores and their ids [B, K]; of those equal to the last any."""
    V = scores_BV.shape[-1]
    if 32 * _CHUNK * k > V:
        scores, ids = scores_BV.topk(min(k, V), dim=-1)
        return scores, ids
    chunks = _chunks(scores_BV, _CHUNK)
    best = chunks.amax(dim=-1).topk(k, dim=-1).indices  # no other chunk has one of the k largest
    scores, within = _chunks_at(chunks, best).topk(k, dim=-1)
    size = chunks.shape[-1]
    return scores, best.gather(-1, within // size) * size + within % size


def _chunks(scores_BV: torch.Tensor, size: int) -> torch.Tensor:
    """Cut each lane's vocabulary into chunks of `size`, or of what divides both."""
    B, V = scores_BV.shape
    return scores_BV.view(B, -1, math.gcd(V, size))


def _chunks_at(chunks: torch.Tensor, places_BK: torch.Tensor) -> torch.Tensor:
    """Return the scores of K chunks of each lane, one after the other."""
    return chunks.gather(1, places_BK[:, :, None].expand(-1, -1, chunks.shape[-1])).flatten(1)


def gumbel_noise(
    seed: int | Sequence[int], position: int | Sequence[int], ids: torch.Tensor, scratch: Scratch | None = None
) -> torch.Tensor:
    """Return standard Gumbel noise, float32, in the shape of `ids`; a function of (seed, position, id) alone.

    With a seed or a position a lane, of which one differs, it is [B, K], of ids [B, K] or [K].
    """
    return _noise(_keys(seed, position), ids, scratch or Scratch())


def _noise(keys: list[tuple[int, int]], ids: torch.Tensor, scratch: Scratch) -> torch.Tensor:
    """Hash every id with the keys of its lane.

    Two rounds of a 32-bit mixer with keys of their own: after one, neighbouring ids share a pattern. The xor-shift that
    ends the first round and the one that begins the second undo each other, but for the key between them.
    """
    ids = ids.to(torch.int32)
    if len(keys) == 1:  # numbers: a tensor of them would have to reach the device
        first: int | torch.Tensor = keys[0][0]
        second: int | torch.Tensor = keys[0][1]
    else:
        ids = ids.expand(len(keys), -1)
        first, second = torch.tensor(keys, dtype=torch.int32, device=ids.device).t()[:, :, None]
    shifted = scratch.take("shifted", ids, torch.int32)
    bits = torch.bitwise_xor(ids, first, out=scratch.take("bits", ids, torch.int32))
    _multiply(_xor_shift(bits, 16, shifted), shifted).bitwise_xor_(second)
    _xor_shift(_multiply(bits, shifted), 16, shifted).bitwise_and_(0x7FFFFFFF)
    # -log(-log(1 - u)): fine steps where u is small, which is where the large noise comes from that wins.
    minus_u = shifted.view(torch.float32).copy_(bits).mul_(-(2.0**-31)).sub_(2.0**-32).clamp_(min=-_BELOW_1)
    return minus_u.log1p_().neg_().log_().neg_()


def _keys(seed: int | Sequence[int], position: int | Sequence[int]) -> list[tuple[int, int]]:
    """Return both rounds' keys as signed numbers: one pair where all lanes have the same, else one a lane."""
    seeds = [seed] if isinstance(seed, int) else seed
    positions = [position] if isinstance(position, int) else position
    num_lanes = max(len(seeds), len(positions))
    pairs = list(zip(_repeated(seeds, num_lanes), _repeated(positions, num_lanes), strict=True))
    return [_key_pair(*pair) for pair in (pairs if len(set(pairs)) > 1 else pairs[:1])]


def _repeated(values: Sequence[int], count: int) -> Sequence[int]:
    return [values[0]] * count if len(values) == 1 else values


def _key_pair(seed: int, position: int) -> tuple[int, int]:
    first, second = (_key(salt, seed, position) for salt in _SALTS)
    return _signed(first), _signed(second ^ (second >> 16))


def _key(salt: int, seed: int, position: int) -> int:
    key = salt
    for word in (seed & _MASK_32, seed >> 32, position):
        key = _mix(key ^ word)
    return key


def _multiply(bits: torch.Tensor, shifted: torch.Tensor) -> torch.Tensor:
    """Do the middle of `_mix` in place on int32; products wrap."""
    bits.mul_(_signed(_FACTORS[0]))
    return _xor_shift(bits, 15, shifted).mul_(_signed(_FACTORS[1]))


def _xor_shift(bits: torch.Tensor, by: int, shifted: torch.Tensor) -> torch.Tensor:
    """Do x ^= x >> by in place on int32; shifts are masked to be logical."""
    torch.bitwise_right_shift(bits, by, out=shifted).bitwise_and_(_MASK_32 >> by)
    return bits.bitwise_xor_(shifted)


def _mix(x: int) -> int:
    """Mix the bits of a 32-bit number (constants: lowbias32, C. Wellons)."""
    x &= _MASK_32
    x = ((x ^ (x >> 16)) * _FACTORS[0]) & _MASK_32
    x = ((x ^ (x >> 15)) * _FACTORS[1]) & _MASK_32
    return x ^ (x >> 16)


def _signed(x: int) -> int:
    """Read 32 bits as a signed number, as int32 tensors do."""
    x &= _MASK_32
    return x - (1 << 32) if x >= 1 << 31 else x
