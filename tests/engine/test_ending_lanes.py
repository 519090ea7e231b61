"""Lanes that end while others go on: what is cleared away, when, and what it leaves to take over."""

from __future__ import annotations

import pytest
import torch
from tiny_engine import (
    ROUNDING,
    every_family,
    lane_batch,
)

from flas_engine.batch import SMALL_BATCH
from flas_engine.cache import GROWTH_SLOTS


class Living:
    """A batch that is fed random tokens, and the text of every lane, up to where it ended."""

    def __init__(self, family: str, attends_back: bool, lengths: list[int], flow_times: list[float]) -> None:
        self._case = (family, attends_back)
        self._generator = torch.Generator().manual_seed(5)
        self.flow_times = flow_times
        self.texts = [self._tokens(length).tolist() for length in lengths]
        self.batch = lane_batch(*self._case, self.texts, flow_times)
        self.logits = self.batch.read_prompts()
        self.alive = list(range(len(lengths)))

    def _tokens(self, count: int) -> torch.Tensor:
        return torch.randint(20, 250, (count,), generator=self._generator)

    def advance(self, count: int = 1) -> None:
        for _ in range(count):
            tokens = self._tokens(len(self.alive))
            for index, token in zip(self.alive, tokens.tolist(), strict=True):
                self.texts[index] = [*self.texts[index], token]
            self.logits = self.batch.advance(tokens)

    def let_end(self, *lanes: int) -> None:
        rows = [row for row, index in enumerate(self.alive) if index not in lanes]
        self.alive = [self.alive[row] for row in rows]
        self.batch.keep(rows)

    def check_what_follows(self, lane: int, flow_time: float, num_reused: int) -> None:
        """Hold a batch that goes on from what a lane has read to one that reads it all."""
        prompt = [*self.texts[lane], 7, 8, 9]
        following = lane_batch(*self._case, [prompt], [flow_time], self.batch)
        fresh = lane_batch(*self._case, [prompt], [flow_time])
        assert following.num_reused == [num_reused]
        torch.testing.assert_close(following.read_prompts(), fresh.read_prompts(), atol=ROUNDING, rtol=ROUNDING)

    def check_against_the_lanes_alone(self) -> None:
        assert len(self.logits) == len(self.alive)
        for row, index in enumerate(self.alive):
            alone = lane_batch(*self._case, [self.texts[index]], [self.flow_times[index]]).read_prompts()
            torch.testing.assert_close(self.logits[row], alone[0], atol=ROUNDING, rtol=ROUNDING)


@every_family
@torch.inference_mode()
def test_lanes_of_a_small_batch_end_where_they_are(family: str, attends_back: bool) -> None:
    living = Living(family, attends_back, [5, 9, 3, 12], [0.0, 1.5, -1.0, 2.0])
    num_bytes = living.batch.num_bytes
    for ends in ((), (1,), (0,), (3,)):
        living.let_end(*ends)
        living.advance(2)
        living.check_against_the_lanes_alone()
        assert living.batch.num_bytes == num_bytes


@every_family
@torch.inference_mode()
def test_a_larger_batch_is_cleared_when_half_of_it_is_dead(family: str, attends_back: bool) -> None:
    living = Living(family, attends_back, [5, 9, 3, 12, 7, 4], [0.0, 1.5, -1.0, 2.0, 0.0, 0.5])
    whole = living.batch.num_bytes
    living.let_end(3, 1)
    living.advance(2)
    living.check_against_the_lanes_alone()
    assert living.batch.num_bytes == whole
    living.let_end(0)
    assert living.batch.num_bytes == whole / 2
    living.advance(2)
    living.check_against_the_lanes_alone()
    living.let_end(5)
    living.advance(2)
    living.check_against_the_lanes_alone()
    assert SMALL_BATCH < 6


@torch.inference_mode()
def test_lanes_that_end_with_their_first_token_never_enter_a_decoding_pass() -> None:
    for lengths, ends in (([5, 9, 3, 12], [0, 2]), ([5, 9, 3, 12, 7, 4], [0, 2, 3, 5]), ([5, 9, 3, 12, 7, 4], [1])):
        living = Living("gemma3", True, lengths, [0.0, 1.5, -1.0, 2.0, 0.0, 0.5][: len(lengths)])
        living.let_end(*ends)
        living.advance(3)
        living.check_against_the_lanes_alone()


@every_family
@pytest.mark.parametrize("lengths", [[250, 10, 251], [250, 10, 251, 40, 41, 12]])
@torch.inference_mode()
def test_a_lane_may_end_where_the_caches_are_full_and_the_others_grow_past_it(
    family: str, attends_back: bool, lengths: list[int]
) -> None:
    """Lane 0 ends with every slot of the first capacity written; lane 2, a token longer, ends behind the growth."""
    living = Living(family, attends_back, lengths, [1.5, 0.0, 2.0, 1.0, 0.0, 0.5][: len(lengths)])
    capacity = living.batch.num_bytes
    living.advance(GROWTH_SLOTS - 250 - 1)
    assert len(living.texts[2]) == GROWTH_SLOTS
    living.check_against_the_lanes_alone()
    living.advance()
    assert len(living.texts[0]) == GROWTH_SLOTS
    living.let_end(0)
    living.advance(3)
    assert living.batch.num_bytes > capacity
    living.check_against_the_lanes_alone()
    living.let_end(2)
    living.advance(2)
    living.check_against_the_lanes_alone()


@torch.inference_mode()
def test_a_dead_lane_at_the_last_slot_leaves_room_for_what_means_nothing() -> None:
    """The longest lane dies with the caches full to the last slot, while the only one alive is far from it."""
    living = Living("gemma2", True, [GROWTH_SLOTS - 2, 10], [1.5, 2.0])
    living.advance(2)
    assert len(living.texts[0]) == GROWTH_SLOTS
    living.let_end(0)
    living.advance(5)
    living.check_against_the_lanes_alone()


@torch.inference_mode()
def test_a_lane_behind_a_dead_one_keeps_what_the_dead_one_writes_out_of_its_slots() -> None:
    """A dead lane goes on writing where its next token would stand: never into the lane that follows in memory."""
    living = Living("llama", True, [GROWTH_SLOTS - 1, 3, 3], [1.5, 2.0, 0.0])
    living.advance()
    living.let_end(0)
    for _ in range(4):
        living.advance()
        living.check_against_the_lanes_alone()


@every_family
@torch.inference_mode()
def test_what_a_dead_lane_has_read_can_be_taken_over(family: str, attends_back: bool) -> None:
    """Dead before the first decoding pass, after it, and across a growth: what it writes goes behind what it read."""
    for advances_before, advances_behind in ((0, 3), (2, 3), (2, 10)):
        living = Living(family, attends_back, [20, GROWTH_SLOTS - 10], [1.5, -1.0])
        living.advance(advances_before)
        living.let_end(0)
        living.advance(advances_behind)
        living.check_what_follows(0, 1.5, len(living.texts[0]))


@every_family
@torch.inference_mode()
def test_a_lane_whose_flow_time_moved_is_not_taken_over_when_the_dead_beside_it_are_gone(
    family: str, attends_back: bool
) -> None:
    living = Living(family, attends_back, [5, 9, 3, 12, 7, 4], [0.0, 1.5, -1.0, 2.0, 0.0, 0.5])
    living.advance(2)
    living.batch.set_flow_time(5, 2.0)
    living.flow_times[5] = 2.0
    living.advance()
    living.let_end(0, 1, 3)
    living.advance()
    living.check_what_follows(2, -1.0, len(living.texts[2]))
    living.check_what_follows(4, 0.0, len(living.texts[4]))
    for flow_time in (0.5, 2.0):
        living.check_what_follows(5, flow_time, 0)
