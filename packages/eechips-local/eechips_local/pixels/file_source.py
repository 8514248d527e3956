"""Read pixels of GeoTIFF and JPEG 2000 files: nodata, overviews, a pool of open files. Files that refer to others are
refused.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import MaskFlags
from rasterio.env import ensure_env_with_credentials
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader

from eechips_local.evaluation.asset_model import PixelType, PixelWindow
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.half_floats import held_values
from eechips_local.protocol.request_errors import InvalidError

_KeyT = TypeVar("_KeyT")
_HandleT = TypeVar("_HandleT")
_SMALL_BYTES = 32 << 10
_NEAR = 1e-3  # pixels by which a declared grid may be off: items round their numbers

PoolKey = tuple[str, int, int]
"""Path, level, and when the file was written, in nanoseconds."""

DRIVERS = ("GTiff", "JP2OpenJPEG")
"""GDAL's names of the formats that are read: GeoTIFF, and JPEG 2000, which Sentinel-2 comes as. Others (VRT, WMS) would
follow references to further files."""


class RasterReadError(OSError):
    """A stored raster that cannot be opened, or not at that place."""


@ensure_env_with_credentials  # type: ignore[untyped-decorator]  # rasterio has no types
def open_file(path: str, drivers: Sequence[str] | None = DRIVERS, **options: Any) -> DatasetReader:
    """Return a GeoTIFF or JPEG 2000 file, whatever it is called.

    As ``rasterio.open`` does it, which takes a single driver.

    Args:
        path: path of the file, or GDAL's name of it.
        drivers: GDAL's names of other formats; None for all.
        options: options of GDAL's driver.

    Raises:
        RasterioIOError: if it cannot be opened, or refers to another file.
    """
    dataset = DatasetReader(path, driver=drivers and list(drivers), sharing=False, **options)
    check_references(dataset)
    return dataset


def check_references(dataset: DatasetReader) -> None:
    """Reject a raster whose metadata name another file or address; GDAL would read its overviews from there.

    A GeoTIFF may do so in a tag: ``OVERVIEW_FILE`` in the domain ``OVERVIEWS`` (GDAL's gcore/gdaldefaultoverviews.cpp).

    Raises:
        RasterioIOError: if it does; the dataset is closed.
    """
    if any(name.upper() == "OVERVIEW_FILE" for name in dataset.tags(ns="OVERVIEWS")):
        dataset.close()
        raise RasterioIOError("its metadata refer to another file for its overviews")


class HandlePool(Generic[_KeyT, _HandleT]):
    """Opened things that one thread at a time may use: files, database connections.

    A handle is leased to one thread, and idle otherwise. Idle handles are kept up to ``limit``, the least
    recently used are closed first. That bounds the whole process, however many threads there are, which one
    cache per thread would not. A forked child starts with an empty pool: what it inherited shares file offsets
    and locks with its parent, so it is neither used nor closed there.

    Args:
        open_handle: opens the handle of a key.
        close_handle: closes a handle.
        limit: greatest cost of all idle handles together.
        cost: cost of a handle; by default each costs 1.
    """

    def __init__(
        self,
        open_handle: Callable[[_KeyT], _HandleT],
        close_handle: Callable[[_HandleT], None],
        limit: float,
        cost: Callable[[_HandleT], float] = lambda handle: 1.0,
    ) -> None:
        self._open = open_handle
        self._close = close_handle
        self._limit = limit
        self._cost_of = cost
        self._inherited: list[_HandleT] = []
        self._idle: OrderedDict[_KeyT, list[_HandleT]] = OrderedDict()
        self._cost = 0.0
        self._lock = threading.Lock()
        self._process = os.getpid()
        weakref.finalize(self, _close_all, self._idle, close_handle, self._process)

    @contextmanager
    def lease(self, key: _KeyT) -> Iterator[_HandleT]:
        """Lease a handle to this thread alone. A handle that was in use when an error arose is closed."""
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
        """Close every idle handle."""
        with self._lock:
            _close_all(self._idle, self._close, os.getpid())
            self._cost = 0.0

    def __len__(self) -> int:
        return sum(len(handles) for handles in self._idle.values())

    def _take(self, key: _KeyT) -> _HandleT:
        with self._lock:
            handles = self._idle.get(key)
            if handles:
                handle = handles.pop()
                self._cost -= self._cost_of(handle)
                if not handles:
                    del self._idle[key]
                return handle
        return self._open(key)

    def _give(self, key: _KeyT, handle: _HandleT) -> None:
        surplus = []
        with self._lock:
            self._idle.setdefault(key, []).append(handle)
            self._idle.move_to_end(key)
            self._cost += self._cost_of(handle)
            while self._cost > self._limit:
                oldest, handles = next(iter(self._idle.items()))
                surplus.append(handles.pop(0))
                self._cost -= self._cost_of(surplus[-1])
                if not handles:
                    del self._idle[oldest]
        for old in surplus:
            self._close(old)

    def _forget(self, process: int) -> None:
        """Empty the pool without closing anything, and replace a lock that may never be released."""
        self._inherited.extend(handle for handles in self._idle.values() for handle in handles)
        self._idle = OrderedDict()
        self._cost = 0.0
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


def is_alpha_name(name: str | None) -> bool:
    """Return whether the band that a file calls alpha masks the others, by the name that it has in the image.

    Many files of NAIP call near infrared so.
    """
    return name is None or name.lower().rpartition("_")[2] == "alpha"


class OpenRaster(Protocol):
    """One level of a raster, ready to be read.

    Attributes:
        width: columns.
        height: rows.
        transform: pixel corners to coordinates.
        dtype: numpy name of the type of the first band.
        nodata: the file's nodata value of each band, or None.
        alpha: index of the band that masks the others; None if there is none.
    """

    width: int
    height: int
    transform: Affine
    dtype: str
    nodata: Sequence[float | None]
    alpha: int | None

    def read(self, bands: Sequence[int], window: PixelWindow) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return values and where they are valid; see ``RasterSource.read``."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class _DatasetFile:
    """A GDAL dataset, with the mask flags and nodata values that rasterio would look up at every read."""

    def __init__(self, dataset: DatasetReader) -> None:
        self.dataset = dataset
        self.width, self.height = int(dataset.width), int(dataset.height)
        self.transform, self.dtype = dataset.transform, dataset.dtypes[0]
        self._flags = [frozenset(flags) for flags in dataset.mask_flag_enums]
        self.nodata: Sequence[float | None] = dataset.nodatavals
        self.alpha = dataset.count - 1 if dataset.count > 1 and MaskFlags.alpha in self._flags[0] else None

    def read(self, bands: Sequence[int], window: PixelWindow) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        area = rasterio.windows.Window(window.column, window.row, window.width, window.height)
        indexes = [band + 1 for band in bands]
        values = held_values(self.dataset.read(indexes, window=area))
        flags = {flag for band in bands for flag in self._flags[band]}
        if flags == {MaskFlags.all_valid}:
            return values, np.ones(values.shape, dtype=bool)
        # What read_masks says, without its second read, where numpy can tell: GDAL compares floats loosely.
        nodata = {self.nodata[band] for band in bands}
        if flags == {MaskFlags.nodata} and values.dtype.kind in "iu" and len(nodata) == 1:
            value = nodata.pop()
            if value is not None and abs(value) < 2**53 and float(value).is_integer():
                return values, np.not_equal(values, int(value))
        return values, np.not_equal(self.dataset.read_masks(indexes, window=area), 0)

    def close(self) -> None:
        self.dataset.close()


class _Decoded:
    """A raster so small that its pixels take less room than an open file, and less time than to open one."""

    def __init__(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], file: OpenRaster) -> None:
        self._values = values
        self._valid = valid
        self.nodata, self.alpha = file.nodata, file.alpha
        self.transform, self.dtype = file.transform, file.dtype
        _, self.height, self.width = values.shape

    def read(self, bands: Sequence[int], window: PixelWindow) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        rows = slice(window.row, window.row + window.height)
        columns = slice(window.column, window.column + window.width)
        return self._values[list(bands), rows, columns], self._valid[list(bands), rows, columns]

    def close(self) -> None:
        """Do nothing: no file is open."""


class DatasetPool:
    """Opened rasters, leased to one thread at a time. Pickles as an empty pool.

    Args:
        limit: greatest number of files kept open. Small rasters are kept decoded instead, in place of a
            sixteenth of a file each.
        root: a folder that no opened file may lie outside of, symbolic links followed; None allows all.
    """

    def __init__(self, limit: int = 256, root: str | None = None) -> None:
        self.limit = limit
        self.root = root
        self._handles: HandlePool[PoolKey, OpenRaster] = HandlePool(
            self._open, lambda raster: raster.close(), limit, _cost
        )

    def __reduce__(self) -> tuple[type[DatasetPool], tuple[int, str | None]]:
        return DatasetPool, (self.limit, self.root)

    def lease(self, path: str, level: int) -> AbstractContextManager[OpenRaster]:
        """Return a context manager that gives the dataset of one pyramid level, 0 being full resolution.

        A file below ``root`` that was written since it was opened, as one that is linked may be, is opened again.
        """
        return self._handles.lease((path, level, 0 if self.root is None else _last_change(path)))

    def clear(self) -> None:
        """Close every idle dataset."""
        self._handles.clear()

    def __len__(self) -> int:
        return len(self._handles)

    def _open(self, key: PoolKey) -> OpenRaster:
        path, level, _ = key
        if self.root is not None:
            real, root = os.path.realpath(path), os.path.realpath(self.root)
            if os.path.commonpath([real, root]) != root:
                raise RasterReadError(f"{path} leads outside {self.root}, so it is not opened")
        options = {} if level == 0 else {"overview_level": level - 1}
        file = _DatasetFile(open_file(path, **options))
        bands = range(file.dataset.count)
        if file.width * file.height * sum(np.dtype(dtype).itemsize for dtype in file.dataset.dtypes) > _SMALL_BYTES:
            return file
        try:
            return _Decoded(*file.read(bands, PixelWindow(0, 0, file.width, file.height)), file)
        finally:
            file.close()


def _last_change(path: str) -> int:
    """Return when a file was written, in nanoseconds; 0 if there is none: opening it raises the error."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - for each read
    except OSError:
        return 0


def _cost(raster: OpenRaster) -> float:
    return 1.0 if isinstance(raster, _DatasetFile) else 1.0 / 16.0


@dataclass(frozen=True, slots=True)
class FileSource:
    """A ``RasterSource`` over a GeoTIFF or JPEG 2000 file.

    Values are valid where GDAL says so: nodata value (NaN included), internal mask, alpha band.

    Attributes:
        levels: decimation factors of the pyramid, ascending, the first is 1.
        pool: where opened datasets are kept; give sources of one store the same.
        nodata: indexes of bands, and the nodata values that others declare of them; these count where the file itself
            has none.
        data: indexes of bands that mask no others, although the file calls one alpha; see :func:`is_alpha_name`.
        declared: grid and type that the file must have; None to take what is there.
    """

    path: str
    levels: tuple[int, ...] = (1,)
    pool: DatasetPool = field(default_factory=DatasetPool, repr=False, compare=False)
    nodata: tuple[tuple[int, float], ...] = ()
    data: frozenset[int] = frozenset()
    declared: tuple[PixelGrid, PixelType] | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], pool: DatasetPool | None = None) -> FileSource:
        """Take the pyramid's levels from the file itself."""
        pool = DatasetPool() if pool is None else pool
        name = os.fspath(path)
        with open_file(name) as dataset:
            factors = dataset.overviews(1)
            width, height = dataset.width, dataset.height
        levels = [1]
        for position, factor in enumerate(factors, start=1):
            # Overviews of other writers may be rounded down: those have no place in Grid.level's pyramid.
            expected = math.ceil(width / factor), math.ceil(height / factor)
            with pool.lease(name, position) as overview:
                if (overview.width, overview.height) != expected:
                    break
            levels.append(factor)
        return cls(name, tuple(levels), pool)

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Read native pixels of one level; see ``RasterSource.read``.

        Raises:
            ValueError: if the window reaches outside the level.
            InvalidError: if the file is another one than is declared.
        """
        with self.pool.lease(self.path, level) as raster:
            if self.declared is not None and level == 0:
                self._check(raster, *self.declared)
            last_column, last_row = window.column + window.width, window.row + window.height
            if min(window.column, window.row) < 0 or last_column > raster.width or last_row > raster.height:
                raise ValueError(f"{window} reaches outside {raster.width}x{raster.height} pixels (level {level})")
            values, valid = raster.read(bands, window)
            if raster.alpha in self.data:
                valid = np.ones_like(valid)
            declared = dict(self.nodata)
            for position, band in enumerate(bands):
                nodata = declared.get(band)
                if nodata is not None and raster.nodata[band] is None:
                    valid[position] &= ~np.isnan(values[position]) if np.isnan(nodata) else values[position] != nodata
            return values, valid

    def _check(self, raster: OpenRaster, grid: PixelGrid, pixel_type: PixelType) -> None:
        """Raise InvalidError if a file is not what is declared: one that is linked may have been written anew."""
        own = PixelGrid(grid.crs, raster.transform, raster.width, raster.height)
        is_there = own.transform in (grid.transform, Affine.identity()) or grid.lies_on(own, _NEAR)
        if not is_there or own.shape != grid.shape or PixelType.of(raster.dtype) != pixel_type:
            raise InvalidError(
                f"{self.path.rpartition('/')[2]} was replaced after it was ingested, or differs from its item: it has "
                f"{own.width}x{own.height} pixels of {raster.dtype} from {own.transform.c}, {own.transform.f}. "
                "Ingest it again."
            )
