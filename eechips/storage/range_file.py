"""Read a remote file by ranges, as a seekable file object."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

ReadRange = Callable[[int, int], bytes]
"""Return the bytes of a file from a position up to another."""


class RangeFile(io.RawIOBase):
    """A file that is read by ranges.

    Args:
        size: size of the file in bytes.
        read_range: reads a part of it.
    """

    def __init__(self, size: int, read_range: ReadRange) -> None:
        super().__init__()
        self._size, self._read_range, self._place = size, read_range, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, up to its size; ``read`` calls it."""
        view = memoryview(buffer).cast("B")
        end = min(self._size, self._place + len(view))
        content = self._read_range(self._place, end) if self._place < end else b""
        view[: len(content)] = content
        self._place += len(content)
        return len(content)
