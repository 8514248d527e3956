"""Keep parts of an archive's files on disk, bounded and with checksums, in the user's cache folder (XDG_CACHE_HOME),
for all processes that read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from pathlib import Path

from isal import isal_zlib

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.assets.store_files import make_private

_SWEEP_SHARE = 0.05  # of the most bytes: after each such share that a process has written, it looks at the folder again
_LOW_SHARE = 0.8  # of the most bytes, to which a full folder is reduced
_CHECK = 4  # bytes of the checksum at the end of each file


def cache_folder() -> Path:
    """Make the folder of what is kept of archives: ``eechips-local/archives`` in the user's folder of caches.

    Raises:
        ArchiveRefusedError: if the user has no home, as in some containers.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        folder = (base if base.is_absolute() else Path.home() / ".cache") / "eechips-local" / "archives"
    except RuntimeError:
        raise ArchiveRefusedError("There is no home folder to keep files of archives in: set XDG_CACHE_HOME.") from None
    with contextlib.suppress(OSError):  # what cannot be kept is fetched again
        make_private(folder)
    return folder


class RangeCache:
    """A folder of parts of files, by their names. Threads and processes may share it; it pickles.

    Parts are written whole or not at all, and have a checksum of their name and bytes: one that is damaged, or that of
    another name, counts as missing. Those that were not used for longest are removed.

    Args:
        folder: folder of the parts; it is created.
        most: bytes of all parts together.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self._lock = threading.Lock()
        self._written = 0
        self._is_swept = False

    def __reduce__(self) -> tuple[type[RangeCache], tuple[Path, int]]:
        return RangeCache, (self.folder, self.most)

    def get(self, name: str) -> bytes | None:
        """Return a part, or None if it is not there."""
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        data = memoryview(content)[:-_CHECK]
        if len(content) < _CHECK or _checksum(name, data) != content[-_CHECK:]:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return bytes(data)

    def length(self, name: str) -> int:
        """Return the bytes of a part, 0 if it is not there; it may be damaged, or removed until it is read."""
        try:
            return max(0, self._path(name).stat().st_size - _CHECK)
        except OSError:
            return 0

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Keep a part. One that cannot be written is not kept: the archive still has it."""
        path = self._path(name)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=path.parent, prefix="draft-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.write(_checksum(name, data))
                Path(draft).replace(path)
            except OSError:
                Path(draft).unlink()
                raise
        with self._lock:
            self._written += len(data)
            # At the first part, too: short runs do not write such a share.
            is_due = not self._is_swept or self._written > self.most * _SWEEP_SHARE
            if is_due:
                self._written, self._is_swept = 0, True
        if is_due:
            self._sweep()

    def remove(self, name: str) -> None:
        """Forget a part."""
        with contextlib.suppress(OSError):
            self._path(name).unlink()

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        return self.folder / digest[:2] / digest[2:]

    def _sweep(self) -> None:
        """Remove the parts that were not used for longest, if there are too many."""
        cached_parts: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):  # removed by another process
                status = path.stat()
                cached_parts.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in cached_parts)
        if total <= self.most:
            return
        for _, size, path in sorted(cached_parts):
            if total <= self.most * _LOW_SHARE:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def _checksum(name: str, data: bytes | memoryview) -> bytes:
    return isal_zlib.crc32(data, isal_zlib.crc32(name.encode(errors="surrogatepass"))).to_bytes(_CHECK, "big")
