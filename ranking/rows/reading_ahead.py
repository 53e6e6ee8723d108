"""Work that threads do before its result is asked for, in order, never more than a few results ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from typing import TypeVar

T = TypeVar("T")
_NOTHING_LEFT = object()


def done_ahead(jobs: Iterable[Callable[[], T]], threads: int, depth: int) -> Generator[T, None, None]:
    """Results of `jobs` in their order, at most `depth` of them under way; `threads` = 0 does each when it is wanted.

    A job's exception comes out where its result would have. Closing the generator waits for the jobs that have begun.
    """
    if threads == 0:
        yield from (job() for job in jobs)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="segrec-data")
    try:
        waiting: deque[Future[T]] = deque()
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def made_ahead(items: Generator[T, None, None], depth: int) -> Iterator[T]:
    """`items`, of which one thread makes at most `depth` ahead; 0 makes each when it is wanted."""
    if depth == 0:
        yield from items
        return
    made = done_ahead(repeat(lambda: next(items, _NOTHING_LEFT)), threads=1, depth=depth + 1)
    try:
        for item in made:
            if item is _NOTHING_LEFT:
                return
            yield item  # type: ignore[misc]
    finally:
        made.close()
        items.close()
