"""Fetch each thing once for all threads that need it at the same time, such as the blocks of `cog_parts`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class SharedFetches(Generic[KeyT, ValueT]):
    """Values that are on their way, by their keys. Threads share it.

    The first thread that joins a key has to fetch its value, within :meth:`failing`, and to :meth:`end` it; threads
    that join before that get the same value, or the same error.
    """

    def __init__(self) -> None:
        self._waiting: dict[KeyT, Future[ValueT]] = {}
        self._lock = threading.Lock()

    def join(self, key: KeyT, known: Callable[[KeyT], ValueT | None]) -> tuple[Future[ValueT], bool]:
        """Return what gives a value, and whether the caller has to fetch it.

        Args:
            known: returns a value that was fetched before, or None. It is asked under the lock: a value that is kept
                before its fetch ends is never fetched again by a thread that came late.
        """
        with self._lock:
            future = self._waiting.get(key)
            if future is not None:
                return future, False
            future = Future()
            value = known(key)
            if value is not None:
                future.set_result(value)
                return future, False
            self._waiting[key] = future
            return future, True

    def end(self, key: KeyT, value: ValueT) -> None:
        """Give a value, which is kept already, to all that wait for it, unless its fetch has failed."""
        future = self._take(key)
        if future is not None:
            future.set_result(value)

    @contextmanager
    def failing(self, keys: Iterable[KeyT]) -> Iterator[None]:
        """Give an error of the block to all that wait for values that have not ended."""
        try:
            yield
        except BaseException as error:
            for future in map(self._take, keys):
                if future is not None:
                    future.set_exception(error)
            raise

    def _take(self, key: KeyT) -> Future[ValueT] | None:
        with self._lock:
            return self._waiting.pop(key, None)
