"""Bound the memory of decoded pixels while threads measure files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from eechips.training.sample import SampleFile

_AT_ONCE = 500_000_000  # bytes of decoded pixels that are in memory, but for one file that has more
_WORKING = 4  # times the size of a file's pixels that measuring takes


class PixelMemory:
    """A number of bytes that threads share, each for the file that it measures."""

    def __init__(self) -> None:
        self._used, self._freed = 0, threading.Condition()

    @contextmanager
    def room(self, file: SampleFile) -> Iterator[None]:
        """Wait until there is memory for a file, or no other file is in memory."""
        size = (
            _WORKING
            * (file.width or 0)
            * (file.height or 0)
            * len(file.bands or "RGB")
            * (len(file.frames) or 1)
            * _bytes_of(file.dtype)
        )
        with self._freed:
            self._freed.wait_for(lambda: not self._used or self._used + size <= _AT_ONCE)
            self._used += size
        try:
            yield
        finally:
            with self._freed:
                self._used -= size
                self._freed.notify_all()


def _bytes_of(dtype: str | None) -> int:
    try:
        return int(np.dtype(dtype or "uint8").itemsize)
    except TypeError:  # of several types
        return 8
