"""Rows as token ids: prompt, output and the end-of-turn id that lets a steered model learn to stop.

What is too long is named, not cut. Knows nothing of batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.data.rows import BadRow
from flas_engine.errors import RequestError, TrainingError
from flas_engine.prompts import end_of_turn_ids, render_prompt
from flas_engine.request import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from flas_engine.data.rows import Row, Source

TOKENISED_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One row, ready to train on."""

    row: int
    """Its number over all sources."""
    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    """The end-of-turn id is the last."""
    concepts: tuple[str, ...]
    concept_id: str

    @property
    def num_tokens(self) -> int:
        """Of prompt and output."""
        return len(self.prompt_ids) + len(self.output_ids)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What rows became, and which of them do not fit."""

    examples: tuple[Example, ...]
    problems: tuple[BadRow, ...]


def make_examples(
    rows: Sequence[Row],
    numbers: Sequence[int],
    sources: Sequence[Source],
    tokenizer: PreTrainedTokenizerBase,
    prompt_format: str,
    max_len: int,
) -> Examples:
    """Tokenise the rows of the given `numbers`; those longer than `max_len` tokens become problems."""
    end_id = turn_end_id(tokenizer, prompt_format)
    prompts: dict[str, tuple[int, ...]] = {}
    examples, problems = [], []
    for start in range(0, len(numbers), TOKENISED_AT_ONCE):
        piece = numbers[start : start + TOKENISED_AT_ONCE]
        outputs = tokenizer([rows[number].output for number in piece], add_special_tokens=False)["input_ids"]
        for number, output in zip(piece, outputs, strict=True):
            row = rows[number]
            try:
                if row.prompt not in prompts:
                    message = Message(role="user", content=row.prompt)
                    prompts[row.prompt] = tuple(render_prompt((message,), prompt_format, tokenizer))
            except RequestError as error:
                problems.append(_problem(number, sources, str(error)))
                continue
            example = Example(
                row=number,
                prompt_ids=prompts[row.prompt],
                output_ids=(*output, end_id),
                concepts=row.concepts,
                concept_id=row.concept_id,
            )
            if example.num_tokens <= max_len:
                examples.append(example)
            else:
                problems.append(_problem(number, sources, f"longer than {max_len} tokens"))
    return Examples(examples=tuple(examples), problems=tuple(problems))


def turn_end_id(tokenizer: PreTrainedTokenizerBase, prompt_format: str) -> int:
    """Return the id that ends an answer: what the chat template writes there, else the tokenizer's own."""
    eos = tokenizer.eos_token_id
    if prompt_format == "chat":
        # Where the two differ, the template's is the one that a chat model writes: Gemma's <end_of_turn>.
        of_template = end_of_turn_ids(tokenizer, None) - {eos}
        if of_template:
            return min(of_template)
    if eos is None:
        raise TrainingError("the base model's tokenizer has no end-of-turn token; use another base model")
    return int(eos)


def row_place(number: int, sources: Sequence[Source]) -> tuple[str, int]:
    """Return the file of a row, and which of its rows that fit it is, from 1."""
    for source in sources:
        if number < source.num_rows:
            return source.path, number + 1
        number -= source.num_rows
    raise AssertionError(number)


def _problem(number: int, sources: Sequence[Source], reason: str) -> BadRow:
    path, place = row_place(number, sources)
    return BadRow(source=path, number=place, reason=reason)
