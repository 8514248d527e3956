"""Fetch each thing once for all threads that need it, such as the blocks of `cog_parts`, and hold it in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class BoundedStore(Generic[KeyT, ValueT]):
    """Values in memory, of which those that were not used for longest are forgotten. Threads share it.

    Args:
        most: maximum of the sizes of all values.
    """

    def __init__(self, most: int, size: Callable[[ValueT], int]) -> None:
        self._most, self._size = most, size
        self._held = 0
        self._values: OrderedDict[KeyT, ValueT] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: KeyT) -> ValueT | None:
        """Return a value, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: KeyT, value: ValueT) -> None:
        """Hold a value."""
        with self._lock:
            self._drop(key)
            self._values[key] = value
            self._held += self._size(value)
            while self._held > self._most and self._values:
                self._drop(next(iter(self._values)))

    def hold(self, key: KeyT, value: ValueT) -> ValueT:
        """Return the value that is held; hold this one if there is none."""
        with self._lock:
            held = self.get(key)
            if held is None:
                self.put(key, value)
            return value if held is None else held

    def remove(self, key: KeyT) -> None:
        """Forget a value."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: KeyT) -> None:
        if key in self._values:
            self._held -= self._size(self._values.pop(key))


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
