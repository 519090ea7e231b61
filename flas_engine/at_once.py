"""Work of much waiting, some of it at a time: the next item is taken when a place is free.

Knows nothing of what is waited for.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")


def map_at_once(work: Callable[[T], R], items: Iterable[T | None], num_threads: int) -> Iterator[R]:
    """Yield `work` of each of `items` as it is done, at most `num_threads` under way; raises what `work` raises.

    `items` are drawn in the caller's thread, each after the results that were there before it; None in their place asks
    for one more result first, of what is under way. Whoever leaves early does not wait: threads end with the process.
    """
    waiting: SimpleQueue[tuple[T] | None] = SimpleQueue()
    done: SimpleQueue[tuple[R] | BaseException] = SimpleQueue()
    threads = [
        threading.Thread(target=_serve, args=(work, waiting, done), name=f"flas-ask-{index}", daemon=True)
        for index in range(num_threads)
    ]
    for thread in threads:
        thread.start()
    num_under_way = 0
    try:
        for item in items:
            if item is None:
                most = num_under_way - 1
            else:
                waiting.put((item,))
                num_under_way += 1
                most = num_threads - 1
            while num_under_way > most or not done.empty():
                num_under_way -= 1
                yield _result(done)
        for _ in range(num_under_way):
            yield _result(done)
    finally:
        for _ in threads:
            waiting.put(None)


def _serve(
    work: Callable[[T], R], waiting: SimpleQueue[tuple[T] | None], done: SimpleQueue[tuple[R] | BaseException]
) -> None:
    while (item := waiting.get()) is not None:
        try:
            done.put((work(item[0]),))
        except BaseException as error:  # raised again in the caller's thread
            done.put(error)


def _result(done: SimpleQueue[tuple[R] | BaseException]) -> R:
    result = done.get()
    if isinstance(result, BaseException):
        raise result
    return result[0]
