from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flas_engine.request import GREEDY, MAX_SEED, Sampling
from flas_engine.sampling import Scratch, choose, gumbel_noise, penalise

GEMMA_VOCABULARY = 262_144
NUM_SAMPLES = 1 << 18
MAX_CORRELATION = 5 / math.sqrt(NUM_SAMPLES)
"""Five standard deviations of the correlation of independent samples."""
PLAIN = Sampling(temperature=1.0)
OF_ALL_KINDS = (
    GREEDY,
    PLAIN,
    Sampling(temperature=0.7, repetition_penalty=1.3),
    Sampling(temperature=0.7, top_p=0.9),
    Sampling(temperature=1.0, top_p=0.3),
    Sampling(temperature=1.5, min_p=0.05, top_p=0.95),
    Sampling(temperature=1.0, min_p=0.3),
    Sampling(temperature=1.0, top_k=20, top_p=0.8),
)

seeds = st.integers(0, MAX_SEED)
positions = st.integers(0, 100_000)


def random_logits(seed: int, *shape: int, spread: float = 1.0) -> torch.Tensor:
    return spread * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def kept_ids(logits: torch.Tensor, sampling: Sampling) -> list[int]:
    """The ids that pass the filters, by sorting and adding up in plain Python."""
    scores = [value / sampling.temperature for value in logits.tolist()]
    kept = sorted(range(len(scores)), key=lambda i: -scores[i])
    if sampling.top_k:
        kept = kept[: sampling.top_k]
    total = sum(math.exp(scores[i]) for i in kept)
    nucleus, mass = [], 0.0
    for i in kept:
        if mass >= sampling.top_p:
            break
        nucleus.append(i)
        mass += math.exp(scores[i]) / total
    best = scores[nucleus[0]]
    return [i for i in nucleus if math.exp(scores[i] - best) >= sampling.min_p]


def expected_choice(
    logits: torch.Tensor, sampling: Sampling, seed: int, position: int, kept_ids_: list[int] | None = None
) -> int:
    kept = torch.tensor(kept_ids_ or kept_ids(logits, sampling))
    noisy = logits[kept] / sampling.temperature + gumbel_noise(seed, position, kept)
    return int(kept[noisy.argmax()])


# --- the noise ---


@given(seed=seeds, position=positions, ids=st.lists(st.integers(0, GEMMA_VOCABULARY - 1), min_size=1, max_size=20))
def test_noise_of_some_ids_is_a_slice_of_the_noise_of_all(seed: int, position: int, ids: list[int]) -> None:
    whole = gumbel_noise(seed, position, torch.arange(GEMMA_VOCABULARY))
    assert torch.equal(gumbel_noise(seed, position, torch.tensor(ids)), whole[ids])
    assert torch.equal(gumbel_noise(seed, position, torch.tensor([ids, ids])), whole[ids].expand(2, -1))


@given(seed=seeds, position=positions, bit=st.integers(0, 62))
def test_noise_changes_with_every_bit_of_the_seed_and_with_the_position(seed: int, position: int, bit: int) -> None:
    ids = torch.arange(1000)
    noise = gumbel_noise(seed, position, ids)
    for other in (gumbel_noise(seed ^ (1 << bit), position, ids), gumbel_noise(seed, position + 1, ids)):
        assert (noise != other).float().mean() > 0.99


@given(st.lists(st.tuples(seeds, positions), min_size=1, max_size=6))
def test_noise_of_lanes_with_keys_of_their_own_is_that_of_each_alone(keys: list[tuple[int, int]]) -> None:
    lane_seeds, lane_positions = [seed for seed, _ in keys], [position for _, position in keys]
    ids = torch.arange(1000)
    alone = torch.stack([gumbel_noise(seed, position, ids) for seed, position in keys])
    of_own_ids = torch.stack([ids + 7 * lane for lane in range(len(keys))])
    assert torch.equal(gumbel_noise(lane_seeds, lane_positions, ids).expand(len(keys), -1), alone)
    together = gumbel_noise(lane_seeds, lane_positions, of_own_ids)
    for lane, (seed, position) in enumerate(keys):
        assert torch.equal(together[lane], gumbel_noise(seed, position, of_own_ids[lane]))


def test_noise_is_finite_for_every_id_of_a_large_vocabulary() -> None:
    ids = torch.arange(GEMMA_VOCABULARY)
    assert all(gumbel_noise(7, position, ids).isfinite().all() for position in range(200))


def test_noise_follows_the_gumbel_distribution() -> None:
    sample = gumbel_noise(1, 2, torch.arange(NUM_SAMPLES)).double().sort().values
    deviation = math.pi / math.sqrt(6)
    assert sample.mean().item() == pytest.approx(0.577216, abs=5 * deviation / math.sqrt(NUM_SAMPLES))
    assert sample.std().item() == pytest.approx(deviation, rel=0.01)
    ranks = (torch.arange(NUM_SAMPLES) + 0.5) / NUM_SAMPLES
    distance = (torch.exp(-torch.exp(-sample)) - ranks).abs().max().item()
    assert distance < 1.95 / math.sqrt(NUM_SAMPLES)  # Kolmogorov and Smirnov, 0.1 % level


def test_the_noises_upper_tail_reaches_where_rare_tokens_are_chosen() -> None:
    largest = [gumbel_noise(3, position, torch.arange(NUM_SAMPLES)).max().item() for position in range(64)]
    # The largest of n Gumbel samples is a Gumbel sample moved up by log n.
    assert sum(largest) / 64 - math.log(NUM_SAMPLES) == pytest.approx(0.577, abs=5 * 1.283 / 8)
    assert len(set(largest)) == 64


@pytest.mark.parametrize("lag", [1, 2, 3, 256, 1024])
def test_neighbouring_ids_share_no_pattern(lag: int) -> None:
    noise = gumbel_noise(11, 5, torch.arange(NUM_SAMPLES + lag))
    assert abs(correlation(noise[lag:], noise[:-lag])) < MAX_CORRELATION


@pytest.mark.parametrize(
    ("seed", "position"), [(11, 6), (11, 7), (11, 4), (12, 5), (10, 5), (12, 4), (11 + (1 << 32), 5), (MAX_SEED, 5)]
)
def test_neighbouring_seeds_and_positions_share_no_pattern(seed: int, position: int) -> None:
    ids = torch.arange(NUM_SAMPLES)
    assert abs(correlation(gumbel_noise(11, 5, ids), gumbel_noise(seed, position, ids))) < MAX_CORRELATION


def test_the_noise_of_one_id_shares_no_pattern_along_positions_or_seeds() -> None:
    one = torch.tensor([42])
    count = 5_000
    along_positions = torch.cat([gumbel_noise(1, position, one) for position in range(count)])
    along_seeds = torch.cat([gumbel_noise(seed, 1, one) for seed in range(count)])
    for series in (along_positions, along_seeds):
        assert abs(correlation(series[1:], series[:-1])) < 5 / math.sqrt(count)
        assert series.mean().item() == pytest.approx(0.577216, abs=5 * 1.283 / math.sqrt(count))


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


# --- choosing ---


@pytest.mark.parametrize("along", ["positions", "seeds"])
@pytest.mark.parametrize("sampling", [PLAIN, Sampling(temperature=0.6), Sampling(temperature=1.0, top_k=8)])
def test_choices_follow_the_softmax(sampling: Sampling, along: str) -> None:
    logits, draws = random_logits(5, 1, 8), 4000
    counts = torch.zeros(8)
    for i in range(draws):
        seed, position = (3, i) if along == "positions" else (i, 3)
        token, _ = choose(logits, sampling, seed, position)
        counts[token] += 1
    expected = draws * (logits[0] / sampling.temperature).softmax(dim=-1)
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 24.3  # 0.1 % level at 7 degrees of freedom


@given(seed=seeds, position=positions)
def test_equal_lanes_choose_equal_tokens_whatever_stands_beside_them(seed: int, position: int) -> None:
    one, other = random_logits(1, 1, 300), random_logits(2, 1, 300)
    for sampling in (PLAIN, Sampling(temperature=0.8, top_k=20, top_p=0.9), Sampling(temperature=1.5, top_p=0.5)):
        tokens, logprobs = choose(torch.cat([one, other, one]), sampling, seed, position)
        alone, alone_logprobs = choose(one, sampling, seed, position)
        assert tokens[0] == tokens[2] == alone[0]
        assert logprobs[0] == logprobs[2] == alone_logprobs[0]


def test_temperature_zero_is_greedy() -> None:
    logits = random_logits(3, 50, 100)
    tokens, _ = choose(logits, GREEDY, seed=1, position=1)
    assert torch.equal(tokens, logits.argmax(dim=-1))


@given(seed=seeds, position=positions)
def test_top_1_equals_greedy(seed: int, position: int) -> None:
    logits = random_logits(seed % 1000, 4, 50)
    tokens, _ = choose(logits, Sampling(temperature=1.3, top_k=1), seed, position)
    assert torch.equal(tokens, logits.argmax(dim=-1))


@settings(max_examples=60)
@given(
    logits_seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.5, 1.0, 1.7]),
    top_k=st.sampled_from([0, 0, 1, 2, 5, 12, 40, 1000]),
    top_p=st.one_of(st.just(1.0), st.floats(0.01, 0.999)),
    min_p=st.one_of(st.just(0.0), st.floats(0.01, 1.0)),
)
def test_filters_keep_what_a_plain_sort_keeps(
    logits_seed: int, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    logits = random_logits(logits_seed, 2, 40, spread=0.7)  # rather flat: what is kept is also seen chosen
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    for position in range(40):
        tokens, _ = choose(logits, sampling, 9, position)
        assert tokens.tolist() == [expected_choice(lane, sampling, 9, position) for lane in logits]


@settings(max_examples=40)
@given(
    logits_seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.5, 1.0, 1.7]),
    top_p=st.one_of(st.just(1.0), st.floats(0.01, 0.999)),
    min_p=st.one_of(st.just(0.0), st.floats(0.01, 0.9)),
)
def test_of_equal_scores_the_lower_id_comes_first(
    logits_seed: int, temperature: float, top_p: float, min_p: float
) -> None:
    """Logits computed in bfloat16 are full of equal ones, also where the nucleus ends."""
    logits = random_logits(logits_seed, 2, 40).mul(2).round().div(2)
    sampling = Sampling(temperature=temperature, top_p=top_p, min_p=min_p)
    for position in range(40):
        tokens, _ = choose(logits, sampling, 9, position)
        assert tokens.tolist() == [expected_choice(lane, sampling, 9, position) for lane in logits]


def lanes_of_a_large_vocabulary() -> torch.Tensor:
    """A peaked lane, a flat one, one between, and one with many equal logits."""
    normal = random_logits(2, 4, GEMMA_VOCABULARY)
    return torch.stack([6 * normal[0], 0.1 * normal[1], 2.5 * normal[2], (3 * normal[3]).bfloat16().float()])


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=1.0, top_p=0.8), Sampling(temperature=1.3, min_p=0.02, top_p=0.97)]
)
def test_a_large_vocabulary_is_filtered_as_by_a_plain_sort(sampling: Sampling) -> None:
    lanes, scratch = lanes_of_a_large_vocabulary(), Scratch()
    kept = [kept_ids(lane, sampling) for lane in lanes]
    assert len(kept[0]) < 100 < 10_000 < len(kept[1])
    for position in range(20):
        together, _ = choose(lanes, sampling, 4, position, scratch=scratch)
        alone = [int(choose(lane[None], sampling, 4, position, scratch=scratch)[0]) for lane in lanes]
        expected = [expected_choice(lanes[i], sampling, 4, position, kept[i]) for i in range(len(lanes))]
        assert together.tolist() == alone == expected


@pytest.mark.parametrize("sampling", OF_ALL_KINDS)
@pytest.mark.parametrize("vocabulary", [GEMMA_VOCABULARY, 300])
def test_lanes_with_seeds_and_positions_of_their_own_choose_as_each_alone(sampling: Sampling, vocabulary: int) -> None:
    lanes = lanes_of_a_large_vocabulary()[:, :vocabulary]
    seen = random_logits(9, *lanes.shape) > 2 if sampling.repetition_penalty != 1.0 else None
    for seed, position in ((4, [0, 7, 7, 30]), ([4, 5, 4, 1 << 40], 3), ([4, 5, 4, 6], [0, 0, 3, 12])):
        tokens, logprobs = choose(lanes, sampling, seed, position, seen)
        for lane in range(len(lanes)):
            own_seed = seed if isinstance(seed, int) else seed[lane]
            own_position = position if isinstance(position, int) else position[lane]
            of_lane = slice(lane, lane + 1)
            own_seen = seen[of_lane] if seen is not None else None
            alone = choose(lanes[of_lane], sampling, own_seed, own_position, own_seen)
            assert torch.equal(tokens[of_lane], alone[0])
            assert torch.equal(logprobs[of_lane], alone[1])


def test_greedy_takes_the_first_of_the_largest() -> None:
    logits = random_logits(3, 3, GEMMA_VOCABULARY).round()
    tokens, _ = choose(logits, GREEDY, seed=1, position=1)
    assert tokens.tolist() == [int((lane == lane.max()).nonzero()[0]) for lane in logits]


@pytest.mark.parametrize("sampling", OF_ALL_KINDS)
def test_no_value_is_waited_for_on_another_device(sampling: Sampling) -> None:
    logits = torch.empty((2, GEMMA_VOCABULARY), device="meta")  # values cannot be looked at: there are none
    seen = torch.zeros_like(logits, dtype=torch.bool) if sampling.repetition_penalty != 1.0 else None
    tokens, logprobs = choose(logits, sampling, 1, 0, seen, Scratch())
    assert tokens.shape == logprobs.shape == (2,)


@pytest.mark.parametrize("sampling", OF_ALL_KINDS)
@pytest.mark.parametrize("vocabulary", [GEMMA_VOCABULARY, 131_075])  # whole chunks, and a number that has none
def test_what_is_chosen_without_a_look_at_values_is_the_same(
    sampling: Sampling, vocabulary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = lanes_of_a_large_vocabulary()[:, :vocabulary]
    seen = random_logits(9, *lanes.shape) > 2 if sampling.repetition_penalty != 1.0 else None

    def choose_all() -> list[list[int]]:
        return [choose(lanes, sampling, 7, position, seen)[0].tolist() for position in range(5)]

    with_a_look = choose_all()
    monkeypatch.setattr("flas_engine.sampling._may_look_at", lambda _tensor: False)
    assert choose_all() == with_a_look


def test_a_scratch_is_used_again_and_changes_nothing() -> None:
    scratch = Scratch()
    first = scratch.take("scores", torch.empty(3, 100))
    assert scratch.take("scores", torch.empty(2, 100)).data_ptr() == first.data_ptr()
    assert scratch.take("noisy", torch.empty(2, 100)).data_ptr() != first.data_ptr()
    for num_lanes, vocabulary in ((3, 200), (2, 200), (1, 200), (4, 300)):
        logits = random_logits(num_lanes, num_lanes, vocabulary)
        seen, before = random_logits(1, num_lanes, vocabulary) > 0, logits.clone()
        for sampling in OF_ALL_KINDS:
            again, fresh = (choose(logits, sampling, 5, 6, seen, each) for each in (scratch, None))
            assert torch.equal(again[0], fresh[0])
            assert torch.equal(again[1], fresh[1])
        assert torch.equal(logits, before)


def test_repetition_penalty_moves_seen_tokens_down_as_in_ctrl() -> None:
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert penalise(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]


@given(seed=seeds, penalty=st.floats(0.5, 2.0))
def test_the_penalty_falls_before_the_temperature_and_the_filters(seed: int, penalty: float) -> None:
    logits = random_logits(seed % 1000, 1, 30, spread=2.0)
    seen = random_logits(seed % 997, 1, 30) > 0
    sampling = Sampling(temperature=0.7, top_k=6, repetition_penalty=penalty)
    tokens, _ = choose(logits, sampling, seed, 0, seen)
    assert int(tokens) == expected_choice(penalise(logits, seen, penalty)[0], sampling, seed, 0)
    greedy, _ = choose(logits, Sampling(temperature=0.0, repetition_penalty=penalty), seed, 0, seen)
    assert torch.equal(greedy, penalise(logits, seen, penalty).argmax(dim=-1))


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(temperature=2.0),
        Sampling(temperature=0.5, top_k=3, top_p=0.5, min_p=0.1, repetition_penalty=1.5),
    ],
)
def test_logprobs_are_the_unfiltered_models_at_temperature_1(sampling: Sampling) -> None:
    logits = random_logits(8, 5, 60, spread=3.0)
    seen = random_logits(9, 5, 60) > 0
    tokens, logprobs = choose(logits, sampling, 1, 0, seen)
    expected = logits.double().log_softmax(dim=-1).gather(-1, tokens[:, None])[:, 0]
    assert logprobs.tolist() == pytest.approx(expected.tolist(), abs=1e-5)  # float32 against float64


def test_logprobs_count_the_long_tail_of_a_large_vocabulary() -> None:
    lanes = lanes_of_a_large_vocabulary()
    tokens, logprobs = choose(lanes, PLAIN, 1, 0)
    expected = lanes.double().log_softmax(dim=-1).gather(-1, tokens[:, None])[:, 0]
    assert logprobs.tolist() == pytest.approx(expected.tolist(), abs=1e-5)  # float32 against float64
