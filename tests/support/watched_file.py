"""A file outside a run or catalogue that no process may touch, watched by the kernel."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_EVENT = struct.Struct("iIII")  # inotify(7)
_ACCESS, _MODIFY, _ATTRIB, _OPEN, _MOVED, _DELETE = 0x1, 0x2, 0x4, 0x20, 0xC0, 0x200
_CREATE = 0x100


@dataclass(frozen=True)
class Outside:
    """A folder outside, with files.

    Attributes:
        folder: that is watched.
        descriptor: of inotify.
    """

    folder: Path
    descriptor: int

    def touched(self) -> list[str]:
        """Names of the files that anybody has opened, changed, made or removed since the last call."""
        found = []
        while True:
            try:
                data = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return found
            while data:
                _, mask, _, length = _EVENT.unpack_from(data)
                name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
                if name:  # and not the folder itself, which may be looked at
                    found.append(f"{name} ({mask:#x})")
                data = data[_EVENT.size + length :]


@contextmanager
def watched(folder: Path) -> Iterator[Outside]:
    """Watch a folder whose files are all there; Linux tells of every access, also of those of C libraries."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    wanted = _ACCESS | _MODIFY | _OPEN | _MOVED | _DELETE | _CREATE
    assert library.inotify_add_watch(descriptor, os.fsencode(folder), wanted) >= 0, os.strerror(ctypes.get_errno())
    try:
        yield Outside(folder, descriptor)
    finally:
        os.close(descriptor)
