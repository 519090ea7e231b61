"""Splits, examples, the order of batches, and activations that are kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from byte_tokenizer import CHATML, GEMMA, byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from flas_engine.data.rows import Row, Source
from flas_engine.training.batches import BatchPlan, own_share
from flas_engine.training.examples import Example, make_examples, turn_end_id
from flas_engine.training.recipe import DataSource, Recipe
from flas_engine.training.split import make_split
from flas_engine.training.store import ActivationStore

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = Recipe(base="b", data=(DataSource(path="d"),), batch_size=4, accumulation=4, contrast=1.0, held_out_rows=5)
ROWS = tuple(
    Row(
        prompt="p",
        output="o" * (number % 30 + 1),
        concepts=(f"c{number % 6}", f"words for c{number % 6}"),
        concept_id=str(number % 6),
    )
    for number in range(60)
)
SOURCES = (Source(path="a", sha256="", num_rows=20), Source(path="b", sha256="", num_rows=40))
EXAMPLES = tuple(
    Example(row=n, prompt_ids=(1,) * (n % 7 + 1), output_ids=(2,), concepts=row.concepts, concept_id=row.concept_id)
    for n, row in enumerate(ROWS)
)


def plan(recipe: Recipe = RECIPE, weights: tuple[float, ...] = (1.0,) * 60) -> BatchPlan:
    return BatchPlan(EXAMPLES, weights, recipe)


def epoch_rows(of: BatchPlan, epoch: int) -> Counter[int]:
    first = epoch * of.batches_per_epoch
    return Counter(row for n in range(first, first + of.batches_per_epoch) for row in of.micro_batch(n).rows)


def test_an_epoch_sees_every_row_once_in_another_order_than_the_last() -> None:
    assert epoch_rows(plan(), 0) == epoch_rows(plan(), 1) == Counter(range(60))
    assert [plan().micro_batch(n).rows for n in range(15)] != [plan().micro_batch(n + 15).rows for n in range(15)]


def test_weights_say_how_often_an_epoch_sees_a_row() -> None:
    seen = epoch_rows(plan(weights=(2.0,) * 20 + (0.5,) * 40), 0)
    assert all(seen[row] >= 2 for row in range(20))
    assert sum(seen[row] > 0 for row in range(20, 60)) == 20


def test_rows_of_like_length_meet() -> None:
    spreads = [
        max(lengths) - min(lengths)
        for lengths in ([EXAMPLES[row].num_tokens for row in plan().micro_batch(n).rows] for n in range(15))
    ]
    assert max(spreads) <= 1


@settings(deadline=None)  # machines are busy
@given(number=st.integers(0, 200), seed=st.integers(0, 5))
def test_a_micro_batch_is_a_function_of_its_number_and_the_seed(number: int, seed: int) -> None:
    recipe = replace(RECIPE, seed=seed)
    ahead = plan(recipe)
    ahead.micro_batch(number + 50)
    batch = plan(recipe).micro_batch(number)
    assert batch == ahead.micro_batch(number)
    assert RECIPE.flow_time_min <= batch.flow_time <= RECIPE.flow_time_max
    for row, right, wrong in zip(batch.rows, batch.wordings, batch.wrong_wordings, strict=True):
        assert right in EXAMPLES[row].concepts
        assert wrong not in EXAMPLES[row].concepts


@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_processes_share_an_update_out_whole(num_processes: int) -> None:
    whole = plan().update(3)
    shares = [own_share(whole, process, num_processes) for process in range(num_processes)]
    assert {len(share) for share in shares} == {4 // num_processes}
    assert sorted(batch.rows for share in shares for batch in share) == sorted(batch.rows for batch in whole)


def test_a_split_holds_out_rows_marked_rows_and_whole_concepts() -> None:
    rows = tuple(replace(row, split="val") if number < 6 else row for number, row in enumerate(ROWS))
    split = make_split(rows, replace(RECIPE, held_out_concepts=2))
    assert split == make_split(rows, replace(RECIPE, held_out_concepts=2))
    assert split != make_split(rows, replace(RECIPE, held_out_concepts=2, seed=1))
    assert sorted([*split.train, *split.validation]) == list(range(60))
    assert set(range(6)) <= set(split.validation)
    assert len(split.held_out_concepts) == 2
    assert not {rows[number].concept_id for number in split.train} & set(split.held_out_concepts)
    assert len(split.validation) == 6 + 2 * 9 + RECIPE.held_out_rows


def test_outputs_end_with_the_turns_own_end_and_long_rows_are_named() -> None:
    tokenizer = byte_tokenizer(CHATML, bos=None, eos="<|im_end|>")
    made = make_examples(ROWS, range(60), SOURCES, tokenizer, "alpaca", 50)
    assert all(example.output_ids[-1] == tokenizer.eos_token_id for example in made.examples)
    assert all(example.num_tokens <= 50 for example in made.examples)
    assert len(made.examples) + len(made.problems) == 60
    assert {(problem.source, problem.number) for problem in made.problems} >= {("b", 10), ("a", 20)}
    assert {problem.reason for problem in made.problems} == {"longer than 50 tokens"}


def test_a_chat_models_turn_ends_as_its_template_says() -> None:
    gemma = byte_tokenizer(GEMMA, bos="<bos>", eos="<eos>")
    assert turn_end_id(gemma, "chat") == gemma.convert_tokens_to_ids("<end_of_turn>")
    assert turn_end_id(gemma, "alpaca") == gemma.eos_token_id


@pytest.mark.parametrize("is_on_disk", [False, True])
def test_activations_are_computed_once_and_given_back_bit_for_bit(is_on_disk: bool, tmp_path: Path) -> None:
    made = [torch.randn(length, 8) for length in (3, 5, 4)]
    store = ActivationStore([3, 5, 4], 8, limit_bytes=8 * 8 * 4, folder=tmp_path if is_on_disk else None)
    calls: list[int] = []

    def compute(row: int) -> torch.Tensor:
        calls.append(row)
        return made[row]

    for _ in range(2):
        for row in range(3):
            assert torch.equal(store.get(row, lambda row=row: compute(row)), made[row])
    assert store.num_rows == 2
    assert calls == [0, 1, 2, 2], "the third has no place"
    assert not list(tmp_path.iterdir()), "the file is nameless"
