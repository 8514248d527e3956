"""Write HDF5: a file for each shard, with an array for each layer.

Arrays: ``<layer>`` (samples, bands, rows, columns), ``<layer>_valid`` (samples, rows, columns), a chunk for each
sample, compressed without loss; ``id`` and ``metadata`` (JSON). Files with several frames have the frames before
the bands.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eechips.extras import import_extra
from eechips.recipe.results import MASK_SUFFIX
from eechips.training.formats.arrays import (
    ID,
    METADATA,
    READ_AT_ONCE,
    attributes,
    check_layout,
    decoded,
    entries_of,
    valid_shape,
    weight,
)
from eechips.training.packs.shard_index import PackEntry, PackLayout, Shard

SUFFIX = ".h5"
IS_DECODED = True
CLOSING = frozenset[str]()

# Without times, so that the same samples make the same bytes.
_OPTIONS: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "track_times": False}


def write(folder: Path, shard: Shard, layout: PackLayout, entries: Iterable[PackEntry]) -> None:
    """Write a shard.

    Raises:
        UsageError: if samples differ in shape or type, or h5py is missing.
        OSError: if it cannot be written.
    """
    h5py = _h5py()
    check_layout(layout)
    with _WrittenFile.open(folder / f"{shard.stem}{SUFFIX}") as disk, h5py.File(disk, "w") as file:
        for name, layer in layout.items():
            assert layer.shape is not None
            valid = valid_shape(layer.shape)
            array = file.create_dataset(
                name, (shard.count, *layer.shape), layer.dtype, chunks=(1, *layer.shape), **_OPTIONS
            )
            array.attrs.update(attributes(layer))
            file.create_dataset(name + MASK_SUFFIX, (shard.count, *valid), "bool", chunks=(1, *valid), **_OPTIONS)
        texts = h5py.string_dtype()
        identifiers = file.create_dataset(ID, (shard.count,), texts, track_times=False)
        metadata = file.create_dataset(METADATA, (shard.count,), texts, track_times=False)
        for number, entry in enumerate(entries):
            identifiers[number], metadata[number] = entry.id, entry.metadata
            for name, layer in layout.items():
                disk.check()
                pixels = decoded(entry, name, layer)
                file[name][number], file[name + MASK_SUFFIX][number] = pixels.values, pixels.valid


class _WrittenFile(io.RawIOBase):
    """A file of libhdf5 whose failed writes are raised by `check`, and at its end.

    libhdf5 1.14 ends the process (SIGSEGV) when it closes a file that it could not write, as on a full disk. So it is
    told that each write has succeeded. The caller discards a file after a failed write.
    """

    def __init__(self, disk: io.FileIO) -> None:
        self._disk = disk
        self._error: OSError | None = None

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[_WrittenFile]:
        """Create a file for the duration of the block.

        Raises:
            OSError: if it cannot be created, or was not written.
        """
        with io.FileIO(path, "w+") as disk:
            file = cls(disk)
            try:
                yield file
            finally:
                file.check()  # also instead of what libhdf5 raises about a file that lacks what was written

    def check(self) -> None:
        """Raise the error of the first write that failed."""
        if self._error is not None:
            raise self._error

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as a buffer has; libhdf5 reads the rest of a file that is too short as zeros."""
        return self._disk.readinto(buffer)

    def write(self, data: Any) -> int:
        """Write all bytes, unless a write has failed."""
        view = memoryview(data).cast("B")
        written = 0
        try:
            while self._error is None and written < len(view):
                written += self._disk.write(view[written:])
        except OSError as error:
            self._error = error
        return len(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte."""
        return self._disk.seek(offset, whence)

    def tell(self) -> int:
        """Return the number of the next byte."""
        return self._disk.tell()

    def truncate(self, size: int | None = None) -> int:
        """Make the file so long."""
        try:
            return self._disk.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return self._disk.tell() if size is None else size


def ids(folder: Path, shard: Shard) -> list[str]:
    """Return the ids of the samples in a shard."""
    with _h5py().File(folder / f"{shard.stem}{SUFFIX}") as file:
        sample_ids: list[str] = file[ID].asstr()[:].tolist()
        return sample_ids


def read(folder: Path, shard: Shard) -> Iterator[PackEntry]:
    """Yield the samples of a shard."""
    with _h5py().File(folder / f"{shard.stem}{SUFFIX}") as file:
        arrays = {name: array.asstr() if name in (ID, METADATA) else array for name, array in _arrays(file).items()}
        layers = [name for name in arrays if name + MASK_SUFFIX in arrays]
        for first in range(0, shard.count, READ_AT_ONCE):
            part = {name: array[first : first + READ_AT_ONCE] for name, array in arrays.items()}
            yield from entries_of(part, layers)


def _arrays(file: Any) -> dict[str, Any]:
    """Return the arrays of a file, possibly one of others.

    Raises:
        ValueError: if one is a link, or has its values in other files: these could be any files of this machine
            (https://docs.h5py.org/en/stable/high/dataset.html).
    """
    h5py = _h5py()
    arrays: dict[str, Any] = {}
    for name in file:
        is_link = not isinstance(file.get(name, getlink=True), h5py.HardLink)
        arrays[name] = None if is_link else file[name]
        if not isinstance(arrays[name], h5py.Dataset) or arrays[name].external or arrays[name].is_virtual:
            raise ValueError(f"{name} is no array of this file")
    return arrays


def _h5py() -> Any:
    return import_extra("h5py", "HDF5 needs h5py", "pack")


__all__ = ["CLOSING", "IS_DECODED", "SUFFIX", "ids", "read", "weight", "write"]
