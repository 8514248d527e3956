"""Give bands of a cube to xarray as arrays whose pixels are read when they are computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

from eechips.cubes.boxes import Box
from eechips.cubes.cube_reader import Array, CubeReader


class LazyBand(BackendArray):
    """A band of a cube: (image, row, column), float32, NaN where it is masked. Picklable."""

    def __init__(self, reader: CubeReader, number: int) -> None:
        self._reader, self._number = reader, number
        self.shape = reader.shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read pixels: of a range of images, rows and columns."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> Array:
        """Return the pixels of a key of integers and slices; the range of a slice is read, then its steps are taken."""
        ranges = [_range_of(index, length) for index, length in zip(key, self.shape, strict=True)]
        (t, t1, images), (y, y1, rows), (x, x1, columns) = ranges
        pixels: Array = self._reader.read(Box((self._number, t, y, x), (self._number + 1, t1, y1, x1)))[0]
        return np.asarray(pixels[..., columns][:, rows][images])


def _range_of(key: int | slice, length: int) -> tuple[int, int, int | slice]:
    """Return the first index of a key, the one after its last, and what it takes from the range between them."""
    if not isinstance(key, slice):
        index = range(length)[key]
        return index, index + 1, 0
    chosen = range(length)[key]
    if not chosen:
        return 0, 0, slice(None)
    first, last = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
    return first, last + 1, slice(None, None, chosen.step)


def lazy_variable(
    reader: CubeReader, number: int, dims: tuple[str, ...], attributes: Mapping[str, Any]
) -> xarray.Variable:
    """Return the variable of a band, whose pixels are read when they are computed."""
    data = indexing.LazilyIndexedArray(LazyBand(reader, number))
    encoding = {"source": attributes["id"], "dtype": data.dtype, "preferred_chunks": reader.preferred_chunks(dims)}
    return xarray.Variable(dims, data, dict(attributes), encoding)
