"""A folder outside a run or catalogue that no command may access, watched by the kernel."""

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
class WatchedFolder:
    """A folder with files, watched by inotify.

    Attributes:
        folder: the watched folder.
        descriptor: descriptor of inotify.
    """

    folder: Path
    descriptor: int

    def touched(self) -> list[str]:
        """Return the names of files that were opened, changed, made or removed since the last call."""
        found = []
        while True:
            try:
                data = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return found
            while data:
                _, mask, _, length = _EVENT.unpack_from(data)
                name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
                if name:  # accesses of the folder itself are permitted
                    found.append(f"{name} ({mask:#x})")
                data = data[_EVENT.size + length :]


@contextmanager
def watch_folder(folder: Path) -> Iterator[WatchedFolder]:
    """Watch a folder of existing files; Linux reports every access, also by C libraries."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    wanted = _ACCESS | _MODIFY | _OPEN | _MOVED | _DELETE | _CREATE
    assert library.inotify_add_watch(descriptor, os.fsencode(folder), wanted) >= 0, os.strerror(ctypes.get_errno())
    try:
        yield WatchedFolder(folder, descriptor)
    finally:
        os.close(descriptor)
