"""What `flas-tui data inspect` reads, and how it counts tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.data.published import resolve_source
from flas_engine.data.rows import RowSet, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def read_sources(sources: Sequence[str]) -> RowSet:
    """Read the rows of all `sources` together."""
    sets = [read_rows(resolve_source(source)) for source in sources]
    return RowSet(
        rows=tuple(row for each in sets for row in each.rows),
        problems=tuple(problem for each in sets for problem in each.problems),
        sources=tuple(source for each in sets for source in each.sources),
    )


def token_counter(model: str) -> Callable[[Sequence[str]], list[int]]:
    """Return a function that counts the tokens of texts, without special ones, with the tokenizer of `model`."""
    from flas_engine.hub.resolve import resolve
    from flas_engine.info import LoadSpec
    from flas_engine.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(resolve(LoadSpec(model=model)).base)

    def count(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    return count
