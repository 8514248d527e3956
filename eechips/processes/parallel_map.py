"""Call a function for many items in threads, for calls that mostly wait for a store or a service."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def parallel_map(function: Callable[[T], R], items: Iterable[T], threads: int) -> Generator[R, None, None]:
    """Yield the results of a function for items, in the order of the items.

    Args:
        function: called by several threads.
        items: any number; the caller's thread consumes them a little ahead of the results.
        threads: concurrent calls.

    Raises:
        Exception: the first that a call raises; later calls are cancelled.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
