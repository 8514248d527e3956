"""Write one cloud-optimised GeoTIFF from many windows by streaming, in bounded memory; refuse ``nodata`` that valid
pixels have, and compare the file with them.

The windows are GeoTIFFs of :mod:`eechips.formats.geotiff`. GDAL reads them through virtual rasters, one for each row of
windows below one for the whole, so that only a few are open at once. Its COG driver writes tiles, overviews and mask in
the order that https://docs.ogc.org/is/21-026/21-026.html requires. Only the pixels of overviews are written to the disk
twice, since the driver collects them in a separate file.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError  # errors of GDAL that rasterio does not wrap
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from eechips.errors import StorageError, UsageError, ValidationError
from eechips.files.scratch_folders import scratch_folder
from eechips.formats.cog_options import DTYPES
from eechips.formats.raster import check_crs, check_transform
from eechips.geo.grid import Grid, Window
from eechips.geo.untrusted_rasters import open_raster

GROWTH = 4 / 3
"""Bytes of a raster with overviews for each byte without: each level has a quarter of the pixels of the previous."""

_BLOCK = 512  # pixels a side of the mosaic's tiles
_CACHE = 32 << 20  # bytes of decoded tiles that GDAL keeps
_MOST_THREADS = 4  # threads that compress; each holds tiles in memory
_OPEN_FILES = 200  # open windows and virtual rasters
_LEAST_FREE = 16 << 20  # free bytes of disk, below which a failed write is attributed to the full disk
_TICK = 0.2  # seconds between two reports of the progress
_GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "int64": "Int64",
    "uint64": "UInt64",
    "float32": "Float32",
    "float64": "Float64",
    "complex64": "CFloat32",
    "complex128": "CFloat64",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """A window of a mosaic.

    Attributes:
        window: position in the mosaic.
        path: path of its GeoTIFF, with an internal mask.
    """

    window: Window
    path: Path


@dataclass(frozen=True, kw_only=True)
class Mosaic:
    """A raster to make from windows. Pixels outside all windows have no data.

    Attributes:
        dtype: numpy name of the type of all bands.
        tiles: the windows, in row-major order; windows of a row have the same rows of pixels.
        nodata: value of pixels without data; None for an internal mask.
        compress: one of ``eechips.formats.cog_options.COMPRESSIONS``.
        resampling: resampling of the overviews, one of ``RESAMPLINGS`` of that module.
        tags: metadata of the file.
    """

    grid: Grid
    bands: tuple[str, ...]
    dtype: str
    tiles: Sequence[Tile]
    nodata: float | None = None
    compress: str = "deflate"
    resampling: str = "average"
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Bytes of its pixels, uncompressed, without overviews and mask."""
        return self.grid.width * self.grid.height * len(self.bands) * np.dtype(self.dtype).itemsize

    def write(self, path: Path, watch: Callable[[int], None] = lambda _: None) -> None:
        """Write the file.

        Args:
            path: path of the new file. Temporary files are written into a folder beside it.
            watch: called from time to time with the bytes written so far; overviews count twice.

        Raises:
            UsageError: if a valid pixel has the value ``nodata``.
            StorageError: if it cannot be written.
        """
        self._refuse_valid_nodata()
        with scratch_folder(path.parent) as scratch:
            source = self._describe(scratch)
            _copy(source, path, scratch, self._options, watch)

    def _refuse_valid_nodata(self) -> None:
        """Check all windows before writing, which may take hours, and would fail at the end."""
        if self.nodata is None:
            return
        for tile in self.tiles:
            with _opened(tile.path) as source:
                pixels, mask = source.read(), source.dataset_mask() != 0
            if (pixels == np.array(self.nodata, dtype=self.dtype))[:, mask].any():
                raise UsageError(
                    f"`nodata` {self.nodata:g} is also the value of valid pixels, in {tile.path.name}: choose a value"
                    " that no pixel has, or leave it out for a mask"
                )

    @property
    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "BLOCKSIZE": _BLOCK,
            "COMPRESS": self.compress.upper(),
            "OVERVIEWS": "IGNORE_EXISTING",
            "OVERVIEW_RESAMPLING": self.resampling.upper(),
            "BIGTIFF": "IF_SAFER",
            "NUM_THREADS": min(os.cpu_count() or 1, _MOST_THREADS),
        }
        has_predictor = self.compress != "none" and np.dtype(self.dtype).kind != "c"
        return {**options, "PREDICTOR": "YES"} if has_predictor else options

    def check(self, path: Path) -> Iterator[tuple[Tile, str]]:
        """Read a written file and every window, and compare them.

        Yields:
            Each window, and the SHA-256 of its pixels in the file: bands, rows, columns, little-endian, without the
            mask.

        Raises:
            ValidationError: if pixels differ, or the layout of the file is not that of a cloud-optimised GeoTIFF.
        """
        with _opened(path) as mosaic:
            self._check_profile(mosaic)
            for tile in self.tiles:
                with _opened(tile.path) as source:
                    pixels, mask = source.read(), source.dataset_mask() != 0
                yield tile, self._check_tile(mosaic, tile.window, pixels, mask)

    def _check_profile(self, mosaic: Any) -> None:
        profile = (mosaic.width, mosaic.height, mosaic.descriptions, mosaic.dtypes)
        asked = (self.grid.width, self.grid.height, self.bands, (self.dtype,) * len(self.bands))
        if profile != asked:
            raise ValidationError(f"the mosaic is {profile}, and should be {asked}")
        check_crs(self.grid.crs, mosaic.crs)
        check_transform(self.grid.transform, tuple(mosaic.transform)[:6], self.grid.width, self.grid.height)
        if mosaic.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG":
            raise ValidationError("the mosaic is not a valid cloud-optimised GeoTIFF")

    def _check_tile(self, mosaic: Any, window: Window, pixels: Any, mask: Any) -> str:
        place = RasterWindow(window.column, window.row, window.width, window.height)
        tile_pixels = mosaic.read(window=place)
        if self.nodata is None:
            is_same = np.array_equal(mosaic.read_masks(1, window=place) != 0, mask)
        else:
            pixels, is_same = np.where(mask, pixels, np.array(self.nodata, dtype=self.dtype)), True
        if not is_same or not np.array_equal(tile_pixels, pixels, equal_nan=pixels.dtype.kind in "fc"):
            raise ValidationError(
                f"the window at column {window.column}, row {window.row} is not in the mosaic as it came"
            )
        return hashlib.sha256(tile_pixels.astype(tile_pixels.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()

    def _describe(self, folder: Path) -> Path:
        """Write the virtual rasters, and return the path of the top one."""
        with _opened(self.tiles[0].path) as first:
            wkt = first.crs.to_wkt()
        rows = []
        for number, (row, tiles) in enumerate(itertools.groupby(self.tiles, key=lambda tile: tile.window.row)):
            across = list(tiles)
            height = across[0].window.height
            moved = [Tile(replace(tile.window, row=0), tile.path) for tile in across]
            path = folder / f"row{number}.vrt"
            self._write_virtual(path, self.grid.window(0, row, self.grid.width, height), moved, wkt, is_row=True)
            rows.append(Tile(Window(0, row, self.grid.width, height), path))
        whole = folder / "mosaic.vrt"
        self._write_virtual(whole, self.grid, rows, wkt, is_row=False)
        return whole

    def _write_virtual(self, path: Path, grid: Grid, tiles: Sequence[Tile], wkt: str, *, is_row: bool) -> None:
        """Write a virtual raster (https://gdal.org/en/stable/drivers/raster/vrt.html)."""
        root = ET.Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
        _add(root, "SRS", wkt)
        _add(root, "GeoTransform", ", ".join(map(repr, grid.affine.to_gdal())))
        if not is_row and self.tags:
            tags = ET.SubElement(root, "Metadata")
            for key, value in self.tags.items():
                _add(tags, "MDI", value, key=key)
        # With nodata, virtual rasters of rows read only the valid pixels of windows.
        kind = "ComplexSource" if is_row and self.nodata is not None else "SimpleSource"
        for number, name in enumerate(self.bands, start=1):
            band = ET.SubElement(root, "VRTRasterBand", dataType=_GDAL_TYPES[self.dtype], band=str(number))
            _add(band, "Description", name)
            if self.nodata is not None:
                _add(band, "NoDataValue", repr(self.nodata))
            for tile in tiles:
                self._add_source(ET.SubElement(band, kind), tile, str(number), self.dtype)
        if self.nodata is None:
            mask = ET.SubElement(ET.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
            for tile in tiles:
                self._add_source(ET.SubElement(mask, "SimpleSource"), tile, "mask,1", "uint8")
        path.write_bytes(ET.tostring(root))

    def _add_source(self, source: ET.Element, tile: Tile, band: str, dtype: str) -> None:
        window = tile.window
        size = {"xSize": str(window.width), "ySize": str(window.height)}
        _add(source, "SourceFilename", str(tile.path.absolute()), relativeToVRT="0")
        _add(source, "SourceBand", band)
        # With these properties GDAL opens a file only to read its pixels.
        place = {"RasterXSize": str(window.width), "RasterYSize": str(window.height)}
        _add(source, "SourceProperties", **place, DataType=_GDAL_TYPES[dtype], BlockXSize="256", BlockYSize="256")
        _add(source, "SrcRect", xOff="0", yOff="0", **size)
        _add(source, "DstRect", xOff=str(window.column), yOff=str(window.row), **size)
        if source.tag == "ComplexSource":
            _add(source, "UseMaskBand", "true")


ALL_DTYPES = tuple(_GDAL_TYPES)
"""``DTYPES``, and further types of GDAL that Earth Engine does not send."""


def common_dtype(dtypes: Sequence[npt.DTypeLike]) -> str:
    """Return the smallest of ``DTYPES`` that holds all values, since a GeoTIFF has one type for all bands."""
    name = np.result_type(*dtypes).name
    return name if name in DTYPES else "float64"


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a GeoTIFF; convert errors inside the block to ValidationError."""
    try:
        with open_raster(path, ("GTiff",), GDAL_CACHEMAX=_CACHE) as source:
            yield source
    except RasterioError as error:
        raise ValidationError(f"{path}: {str(error.__cause__ or error)[:200]}") from None


def _copy(source: Path, path: Path, scratch: Path, options: Mapping[str, Any], watch: Callable[[int], None]) -> None:
    """Write a COG with GDAL in a thread, as GDAL reports no progress."""
    errors: list[BaseException] = []
    config = {
        "GDAL_CACHEMAX": _CACHE,
        "CPL_TMPDIR": str(scratch),
        "GDAL_TIFF_INTERNAL_MASK": True,
        "GDAL_MAX_DATASET_POOL_SIZE": _OPEN_FILES,
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # warnings for every one of thousands of windows
        "VRT_NUM_THREADS": 1,  # more threads would hold more windows in memory, and decoding is fast
    }

    def write() -> None:
        try:
            with rasterio.Env(**config):
                rasterio.shutil.copy(str(source), str(path), driver="COG", **options)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the waiting thread
            errors.append(error)

    # A daemon thread, so that an interrupt does not wait for it; then its files keep temporary names.
    thread = threading.Thread(target=write, daemon=True, name="eechips-cog")
    thread.start()
    while thread.is_alive():
        thread.join(_TICK)
        watch(sum(_size(file) for file in (path, *scratch.glob("*.tmp"))))
    for error in errors:
        if not isinstance(error, (RasterioError, CPLE_BaseError, OSError)):
            raise error
        is_full = shutil.disk_usage(path.parent).free < _LEAST_FREE
        reason = "the disk is full" if is_full else str(error.__cause__ or error)[:200]
        raise StorageError(f"could not write {path}: {reason}") from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # not created yet, or already removed
        return 0
