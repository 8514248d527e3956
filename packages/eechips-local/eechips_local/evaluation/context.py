"""Hold what one request's evaluation may use: the assets, the time, and the limits of the service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from eechips_local.evaluation.asset_model import AssetStore
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.protocol.request_errors import LimitError
from eechips_local.stores import StoreConfig, WritableFolder

T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """State of one request's evaluation.

    Attributes:
        limits: limits of the request.
        config: which assets and files are served; None for those of the store alone.
        clock: monotonic seconds.
        hint: returns a sentence to add to the message about a missing asset.
        mapped: indices of the elements, one within the other, for which functions are being called.
        iterations: calls of ``iterate`` that are under way. Within them no value waits for later: each would wait for
            the one before it.
    """

    store: AssetStore
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    config: StoreConfig | None = None
    clock: Callable[[], float] = time.monotonic
    hint: Callable[[str], str] | None = None
    mapped: list[Any] = field(init=False, default_factory=list)
    iterations: int = field(init=False, default=0)
    _end: float = field(init=False)
    _notes: dict[tuple[Any, ...], Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._end = self.clock() + self.limits.seconds

    @property
    def remote(self) -> bool:
        """Whether files that are not on this machine may be read."""
        return self.config is not None and self.config.remote

    @property
    def buckets(self) -> Path | None:
        """The folder of folders that stand for buckets of Cloud Storage, or None."""
        return None if self.config is None else self.config.buckets

    @property
    def writable(self) -> WritableFolder | None:
        """The folder whose assets clients may change, or None."""
        return None if self.config is None else self.config.writable

    def missing(self, id: str, message: str) -> str:
        """Return the service's message about a missing asset, with a hint at existing ones."""
        return message if self.hint is None else f"{message} {self.hint(id)}"

    def check_time(self) -> None:
        """Check the time of the evaluation.

        Raises:
            LimitError: with Earth Engine's message, if the time is over.
        """
        if self.clock() > self._end:
            raise LimitError("Computation timed out.")

    def counted(self, values: Iterable[T], what: str = "Collection query") -> Iterator[T]:
        """Yield values, and stop where a collection exceeds the limit of elements.

        Raises:
            LimitError: past the limit.
        """
        for count, value in enumerate(values, 1):
            if count > self.limits.elements:
                raise LimitError(f"{what} aborted after accumulating over {self.limits.elements} elements.")
            if count % 64 == 0:
                self.check_time()
            yield value

    @contextmanager
    def iterating(self) -> Iterator[None]:
        """Note a call of ``iterate`` inside the block."""
        self.iterations += 1
        try:
            yield
        finally:
            self.iterations -= 1

    def note(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """Cache what ``make`` gives under a key, for this evaluation."""
        if key not in self._notes:
            self._notes[key] = make()
        noted: T = self._notes[key]
        return noted
