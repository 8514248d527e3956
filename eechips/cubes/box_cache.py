"""Keep the pixels of boxes on disk: bounded, checked when they are read, shared by threads and processes.

Each cube has a folder, and each box a file, whose name is that of the box. A file begins with a line of JSON, which has
the digest of the cube, the name of the box and the SHA-256 of each layer (the pixels of one band of one image), and
continues with the layers: float32, little-endian, in the order of :mod:`eechips.cubes.boxes`. A file that is damaged,
or that of another cube or box, is removed, and its box fetched again.

The lock of a box (flock) is held while it is fetched, so that no two threads or processes fetch the same box. Which box
is fetched is decided under the lock of the cube, which sees all that are being fetched.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from eechips.cubes.boxes import Box
from eechips.errors import StorageError
from eechips.files.removal import ReservedName, remove
from eechips.storage import write_file

Array = npt.NDArray[np.float32]

CUBES_FOLDER = "eechips-cubes"
_RIGHT = ReservedName(CUBES_FOLDER)
_SUFFIX, _LOCK, _PLAN = ".box", ".lock", "plan"
_TYPE = np.dtype("<f4")
_HEADER = 1 << 20
"""Bytes of the longest first line: 1,000 layers have 67,000."""
_FULL, _LARGEST = 0.9, 0.25
"""Shares of the bound: to which old boxes are removed, and of the largest box that is kept."""


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Where boxes are kept.

    Attributes:
        folder: folder of all cubes.
        most_bytes: maximum size of all files together.
    """

    folder: Path
    most_bytes: int


class BoxCache:
    """The boxes of one cube on disk. Threads and processes may share it.

    Args:
        cube: digest of what the pixels depend on.
    """

    def __init__(self, settings: CacheSettings, cube: str) -> None:
        self._settings = settings
        self._root = settings.folder / CUBES_FOLDER
        self._cube, self._folder = cube, self._root / cube

    @property
    def most_values(self) -> int:
        """Values of the largest box that is kept."""
        return int(self._settings.most_bytes * _LARGEST) // _TYPE.itemsize

    def boxes(self) -> list[Box]:
        """Return the boxes that are there, in no order."""
        return self._listed(_SUFFIX)

    def locked(self) -> list[Box]:
        """Return the boxes that are being fetched, or that were when their process was killed."""
        return self._listed(_LOCK)

    def _listed(self, suffix: str) -> list[Box]:
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - names are enough, for each read
        except FileNotFoundError:
            return []
        boxes = (Box.parse(name.removesuffix(suffix)) for name in names if name.endswith(suffix))
        return [box for box in boxes if box is not None]

    def read(self, box: Box) -> Array | None:
        """Return the pixels of a box that lies in one that is there; None if there is none, or it is damaged."""
        for outer in self.boxes():
            if outer.contains(box):
                pixels = self._read(outer, box.from_start(outer))
                if pixels is not None:
                    return pixels
        return None

    def write(self, box: Box, pixels: Array) -> None:
        """Keep the pixels of a box, unless it is a large part of the bound; remove those that were not read for long.

        Raises:
            StorageError: if the folder cannot be written.
        """
        if box.size > self.most_values:
            return
        layers = np.ascontiguousarray(pixels, _TYPE).reshape(-1, *box.shape[2:])
        digests = [hashlib.sha256(layer.data).hexdigest() for layer in layers]
        header = json.dumps({"cube": self._cube, "box": box.name, "sha256": digests}).encode() + b"\n"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"could not make {self._folder}: {error.strerror or error}") from error
        write_file(self._path(box), b"".join((header, layers.data)), is_one_of_many=True)
        self._evict()

    def planning(self) -> AbstractContextManager[None]:
        """Keep other threads and processes from choosing boxes of this cube inside the block.

        Raises:
            StorageError: if the folder cannot be written, or its file system has no locks.
        """
        return self._locked(self._folder / _PLAN)

    def lock(self, box: Box) -> AbstractContextManager[None]:
        """Keep other threads and processes from fetching the same box inside the block.

        Raises:
            StorageError: if the folder cannot be written, or its file system has no locks.
        """
        return self._locked(self._path(box).with_suffix(_LOCK))

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        is_held = False
        while not is_held:  # the holder removes the file: who has waited for that one has no lock
            with self._open(path) as file:
                self._flock(file)
                is_held = _is_file(path, file.fileno())
                if is_held:
                    try:
                        yield
                    finally:
                        remove(path, _RIGHT)

    def _open(self, path: Path) -> BinaryIO:
        """Open a file in the folder, which is made."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return path.open("ab")
        except OSError as error:
            raise StorageError.of_write(path, error) from error

    def _flock(self, file: BinaryIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise StorageError(
                f"{self._folder} cannot be locked ({error.strerror or error}): its file system has no working flock."
                " Name a folder on a local disk (cache=DIR), or keep no pixels (cache=False)"
            ) from error

    def _path(self, box: Box) -> Path:
        return self._folder / f"{box.name}{_SUFFIX}"

    def _read(self, outer: Box, inner: Box) -> Array | None:
        """Return a part of a box, whose file is removed if a layer that is needed is damaged."""
        path = self._path(outer)
        bands, images, rows, columns = outer.shape
        layer_size = rows * columns * _TYPE.itemsize
        pixels = np.empty(inner.shape, np.float32)
        try:
            with path.open("rb") as file:
                digests = _read_header(file.readline(_HEADER), self._cube, outer)
                first = file.tell()
                if digests is None or os.fstat(file.fileno()).st_size != first + bands * images * layer_size:
                    raise _DamagedError
                for band in range(inner.start[0], inner.stop[0]):
                    for image in range(inner.start[1], inner.stop[1]):
                        number = band * images + image
                        file.seek(first + number * layer_size)
                        data = file.read(layer_size)
                        if hashlib.sha256(data).hexdigest() != digests[number]:
                            raise _DamagedError
                        layer = np.frombuffer(data, _TYPE).reshape(rows, columns)
                        pixels[band - inner.start[0], image - inner.start[1]] = layer[inner.slices[2:]]
            os.utime(path)
        except FileNotFoundError:  # another process has removed it
            return None
        except OSError as error:
            raise StorageError(f"could not read {path}: {error.strerror or error}") from error
        except _DamagedError:
            remove(path, _RIGHT)
            return None
        return pixels

    def _evict(self) -> None:
        """Remove the boxes of all cubes that were not read for longest, if there are too many."""
        files = []
        for folder, _, names in os.walk(self._root):  # passes over folders that others remove meanwhile
            for path in (Path(folder, name) for name in names if name.endswith(_SUFFIX)):
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        if total <= self._settings.most_bytes:
            return
        for _, size, path in sorted(files):
            if total <= self._settings.most_bytes * _FULL:
                break
            remove(path, _RIGHT)
            total -= size


class _DamagedError(Exception):
    """A file is not as it was written."""


def _is_file(path: Path, descriptor: int) -> bool:
    """Return whether a path is still that of an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read_header(line: bytes, cube: str, box: Box) -> list[str] | None:
    """Return the digests of the layers of a box; None if the line is damaged, or that of another cube or box."""
    try:
        content = json.loads(line)
        names, digests = (content["cube"], content["box"]), content["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_whole = names == (cube, box.name) and isinstance(digests, list) and len(digests) == math.prod(box.shape[:2])
    return digests if is_whole else None
