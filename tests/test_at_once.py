"""Work of much waiting: how much of it is under way, in what order it is drawn, and how it ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from flas_engine.at_once import map_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_SECONDS = 60


def test_every_item_is_worked_on_once() -> None:
    assert sorted(map_at_once(lambda number: number * 2, range(50), 4)) == list(range(0, 100, 2))
    assert list(map_at_once(lambda number: number * 2, [], 4)) == []


def test_so_many_are_under_way_and_no_more() -> None:
    gathered = threading.Barrier(3)
    drawn, most = 0, 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for number in range(9):
            drawn += 1
            yield number

    done = 0
    for _ in map_at_once(lambda _: gathered.wait(TIMEOUT_SECONDS), items(), 3):  # opens for three at a time only
        most = max(most, drawn - done)
        done += 1
    assert (done, most) == (9, 3)


def test_none_waits_for_a_result_of_what_is_under_way() -> None:
    results: list[int] = []

    def items() -> Iterator[int | None]:
        yield 1
        yield None
        assert results == [1]
        yield 2

    for result in map_at_once(lambda number: number, items(), 8):
        results += [result]
    assert results == [1, 2]


def test_an_error_reaches_the_caller() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(map_at_once(work, range(10), 2))


def test_whoever_leaves_early_does_not_wait() -> None:
    held = threading.Event()
    results = map_at_once(lambda number: number if number == 0 else held.wait(TIMEOUT_SECONDS), range(2), 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]  # a generator's
    assert not held.is_set()
    held.set()
