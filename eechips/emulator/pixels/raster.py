"""Stored pixels: a GeoTIFF as a ``RasterSource``, and the pool of opened files behind it."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from eechips.emulator.model import Window

_KeyT = TypeVar("_KeyT")
_HandleT = TypeVar("_HandleT")


class RasterReadError(OSError):
    """A stored raster that cannot be opened, or not at that place."""


class HandlePool(Generic[_KeyT, _HandleT]):
    """Opened things that one thread at a time may use: files, database connections.

    A handle is leased to one thread, and idle otherwise. Idle handles are kept up to ``limit``, the least
    recently used are closed first. That bounds the whole process, however many threads there are, which one
    cache per thread would not. A forked child starts with an empty pool: what it inherited shares file offsets
    and locks with its parent, so it is neither used nor closed there.

    Args:
        open_handle: opens the handle of a key.
        close_handle: closes a handle.
        limit: greatest number of idle handles.
    """

    def __init__(
        self, open_handle: Callable[[_KeyT], _HandleT], close_handle: Callable[[_HandleT], None], limit: int
    ) -> None:
        self._open = open_handle
        self._close = close_handle
        self._limit = limit
        self._inherited: list[_HandleT] = []
        self._idle: OrderedDict[_KeyT, list[_HandleT]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()
        self._process = os.getpid()
        weakref.finalize(self, _close_all, self._idle, close_handle, self._process)

    @contextmanager
    def lease(self, key: _KeyT) -> Iterator[_HandleT]:
        """A handle that nobody else uses meanwhile. One that was in use when an error arose is closed."""
        process = os.getpid()
        if process != self._process:
            self._forget(process)
        handle = self._take(key)
        try:
            yield handle
        except BaseException:
            if os.getpid() == process:
                self._close(handle)
            raise
        if os.getpid() == process:
            self._give(key, handle)
        else:
            self._inherited.append(handle)

    def clear(self) -> None:
        """Closes every idle handle."""
        with self._lock:
            _close_all(self._idle, self._close, os.getpid())
            self._count = 0

    def __len__(self) -> int:
        return self._count

    def _take(self, key: _KeyT) -> _HandleT:
        with self._lock:
            handles = self._idle.get(key)
            if handles:
                handle = handles.pop()
                self._count -= 1
                if not handles:
                    del self._idle[key]
                return handle
        return self._open(key)

    def _give(self, key: _KeyT, handle: _HandleT) -> None:
        surplus = []
        with self._lock:
            self._idle.setdefault(key, []).append(handle)
            self._idle.move_to_end(key)
            self._count += 1
            while self._count > self._limit:
                oldest, handles = next(iter(self._idle.items()))
                surplus.append(handles.pop(0))
                self._count -= 1
                if not handles:
                    del self._idle[oldest]
        for old in surplus:
            self._close(old)

    def _forget(self, process: int) -> None:
        """Empties the pool without closing anything, and replaces a lock that may be held for ever."""
        self._inherited.extend(handle for handles in self._idle.values() for handle in handles)
        self._idle = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()
        self._process = process
        weakref.finalize(self, _close_all, self._idle, self._close, process)


def _close_all(
    idle: OrderedDict[_KeyT, list[_HandleT]], close_handle: Callable[[_HandleT], None], process: int
) -> None:
    if os.getpid() != process:
        return
    while idle:
        _, handles = idle.popitem()
        for handle in handles:
            close_handle(handle)


@dataclass(frozen=True, slots=True)
class OpenRaster:
    """An open dataset and what rasterio would look up anew at every read.

    Attributes:
        dataset: opened at one level of the pyramid.
        flags: how the mask of each band comes about.
        nodata: value of each band.
    """

    dataset: DatasetReader
    flags: tuple[frozenset[MaskFlags], ...]
    nodata: tuple[float | None, ...]

    def close(self) -> None:
        """Closes the dataset."""
        self.dataset.close()


class DatasetPool:
    """GDAL datasets, leased to one thread at a time. Pickles as an empty pool.

    Args:
        limit: greatest number of idle datasets; each holds a file open.
        root: a folder that no opened file may lie outside of, symbolic links followed; None allows all.
    """

    def __init__(self, limit: int = 256, root: str | None = None) -> None:
        self.limit = limit
        self.root = root
        self._handles: HandlePool[tuple[str, int], OpenRaster] = HandlePool(self._open, OpenRaster.close, limit)

    def __reduce__(self) -> tuple[type[DatasetPool], tuple[int, str | None]]:
        return DatasetPool, (self.limit, self.root)

    def lease(self, path: str, level: int) -> AbstractContextManager[OpenRaster]:
        """A context manager that gives the dataset of one pyramid level, 0 being full resolution."""
        return self._handles.lease((path, level))

    def clear(self) -> None:
        """Closes every idle dataset."""
        self._handles.clear()

    def __len__(self) -> int:
        return len(self._handles)

    def _open(self, key: tuple[str, int]) -> OpenRaster:
        path, level = key
        if self.root is not None:
            real, root = os.path.realpath(path), os.path.realpath(self.root)
            if os.path.commonpath([real, root]) != root:
                raise RasterReadError(f"{path} leads outside {self.root}, so it is not opened")
        options = {} if level == 0 else {"overview_level": level - 1}
        # Only the GeoTIFF driver: others (VRT, WMS) would follow references out of the folder.
        dataset = rasterio.open(path, driver="GTiff", sharing=False, **options)
        flags = tuple(frozenset(flags) for flags in dataset.mask_flag_enums)
        return OpenRaster(dataset, flags, tuple(dataset.nodatavals))


@dataclass(frozen=True, slots=True)
class GeoTiff:
    """A ``RasterSource`` over a GeoTIFF.

    Values are valid where GDAL says so: nodata value (NaN included), internal mask, alpha band.

    Attributes:
        path: of the file.
        levels: decimation factors of the pyramid, ascending, the first is 1.
        pool: where opened datasets are kept; give sources of one store the same.
    """

    path: str
    levels: tuple[int, ...] = (1,)
    pool: DatasetPool = field(default_factory=DatasetPool, repr=False, compare=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], pool: DatasetPool | None = None) -> GeoTiff:
        """Takes the pyramid's levels from the file itself."""
        pool = DatasetPool() if pool is None else pool
        name = os.fspath(path)
        with pool.lease(name, 0) as full:
            factors = full.dataset.overviews(1)
            width, height = full.dataset.width, full.dataset.height
        levels = [1]
        for position, factor in enumerate(factors, start=1):
            # Overviews of other writers may be rounded down: those have no place in Grid.level's pyramid.
            expected = math.ceil(width / factor), math.ceil(height / factor)
            with pool.lease(name, position) as overview:
                if (overview.dataset.width, overview.dataset.height) != expected:
                    break
            levels.append(factor)
        return cls(name, tuple(levels), pool)

    def read(self, bands: Sequence[int], window: Window, level: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Reads native pixels of one level; see ``RasterSource.read``.

        Raises:
            ValueError: if the window reaches outside the level.
        """
        with self.pool.lease(self.path, level) as raster:
            dataset = raster.dataset
            last_column, last_row = window.column + window.width, window.row + window.height
            if min(window.column, window.row) < 0 or last_column > dataset.width or last_row > dataset.height:
                raise ValueError(f"{window} reaches outside {dataset.width}x{dataset.height} pixels (level {level})")
            area = rasterio.windows.Window(window.column, window.row, window.width, window.height)
            values = dataset.read([band + 1 for band in bands], window=area)
            return values, _valid(raster, bands, area, values)


def _valid(
    raster: OpenRaster, bands: Sequence[int], area: rasterio.windows.Window, values: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Where pixels are valid: what ``read_masks`` says, without its second read where numpy can tell."""
    flags = {flag for band in bands for flag in raster.flags[band]}
    if flags == {MaskFlags.all_valid}:
        return np.ones(values.shape, dtype=bool)
    if flags == {MaskFlags.nodata} and values.dtype.kind in "iu":
        nodata = {raster.nodata[band] for band in bands}
        value = nodata.pop()
        if not nodata and value is not None and abs(value) < 2**53 and float(value).is_integer():
            valid: npt.NDArray[np.bool_] = np.not_equal(values, int(value))
            return valid
    masks: npt.NDArray[np.uint8] = raster.dataset.read_masks([band + 1 for band in bands], window=area)
    return np.not_equal(masks, 0)
