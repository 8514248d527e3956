"""Write bands as cloud-optimised GeoTIFFs: which bands share a file, blocks, compression; compare what was written with
what was read.
"""

from __future__ import annotations

import itertools
import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader, DatasetWriter, MemoryFile
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from eechips_local.assets.asset_errors import AssetWriteError
from eechips_local.assets.footprint import outline
from eechips_local.assets.ingestion.pyramids import add_pyramid, pyramid_factors
from eechips_local.assets.ingestion.raster_files import IN_MEMORY_BYTES, BandSource, RasterFiles
from eechips_local.assets.ingestion.records import RasterBand, RasterFile
from eechips_local.assets.ingestion.remote_rasters import shown_name
from eechips_local.assets.store_files import Deposit, workspace
from eechips_local.pixels.grids.pixel_grid import PixelGrid, parse_crs

_LOG = logging.getLogger("eechips_local.ingestion")
_BLOCK = 256
_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class StoredRasters:
    """Bands of an image as they were written.

    Attributes:
        files: GeoTIFFs in the image's folder.
        bands: in order.
        footprint: outline in longitude and latitude.
    """

    files: tuple[RasterFile, ...]
    bands: tuple[RasterBand, ...]
    footprint: BaseGeometry


def store_bands(
    rasters: RasterFiles, sources: Sequence[BandSource], root: Path, folder: str, deposit: Deposit
) -> StoredRasters:
    """Write bands as GeoTIFFs: one for those that have file, type, nodata, mask and pyramid in common.

    Args:
        rasters: opens files.
        sources: the bands, in order.
        root: the store's folder.
        folder: the image's folder, relative to it.
        deposit: takes the files.

    Raises:
        UnreadableFileError: if a file is damaged.
        AssetWriteError: if one cannot be written, or does not hold what was written to it.
    """
    groups: dict[tuple[str, ...], list[BandSource]] = {}
    for source in sources:
        mask = str(source.number) if source.own_mask else str(source.masked)
        key = (source.path, source.dtype, repr(source.nodata), source.resampling, mask)
        groups.setdefault(key, []).append(source)
    files: list[RasterFile] = []
    bands: dict[str, RasterBand] = {}
    for group in groups.values():
        dataset = rasters.open(group[0].path)
        with workspace(root / folder) as place:
            geotiff, levels = _write(rasters, group, place)
            href = deposit.add(geotiff, folder)
        files.append(describe(dataset, group[0], href, levels))
        for index, source in enumerate(group):
            bands[source.name] = RasterBand(
                source.name, len(files) - 1, index, source.nodata, source.scale, source.offset
            )
    outlines = dict.fromkeys(_grid(file) for file in files)
    footprint = shapely.union_all([outline(grid) for grid in outlines])
    return StoredRasters(tuple(files), tuple(bands[source.name] for source in sources), footprint)


def _write(rasters: RasterFiles, group: Sequence[BandSource], place: Path) -> tuple[Path, tuple[int, ...]]:
    """Write a cloud-optimised GeoTIFF and read it back; return it and the levels of its pyramid."""
    dataset = rasters.open(group[0].path)
    geotiff = place / "image.tif"
    try:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with _draft(rasters, group, place) as draft:
                rasterio.shutil.copy(
                    draft,
                    str(geotiff),
                    driver="COG",
                    blocksize=_block(dataset.width, dataset.height),
                    compress="DEFLATE",
                    predictor="YES",
                    bigtiff="IF_SAFER",
                    overviews="FORCE_USE_EXISTING",
                )
            return geotiff, _check(rasters, group, geotiff)
    except (RasterioError, rasterio._err.CPLE_BaseError) as error:
        free = shutil.disk_usage(place).free
        raise AssetWriteError(
            f"Cannot store {shown_name(dataset.name)} in {place.parent}: {error} ({free >> 20} MB are free there)."
        ) from error


@contextmanager
def _draft(rasters: RasterFiles, group: Sequence[BandSource], place: Path) -> Iterator[str]:
    """Hold a GeoTIFF to copy from, and yield its name: GDAL's COG driver only copies."""
    dataset = rasters.open(group[0].path)
    dtype = np.dtype(group[0].dtype)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": dataset.width,
        "height": dataset.height,
        "count": len(group),
        "dtype": dtype,
        "crs": gdal_crs(group[0].crs),
        "transform": dataset.transform,
        "nodata": group[0].nodata,
        "photometric": "MINISBLACK",
        "alpha": "NO",
        "bigtiff": "IF_SAFER",
        "tiled": True,
    }
    is_small = dataset.width * dataset.height * len(group) * dtype.itemsize <= IN_MEMORY_BYTES
    with ExitStack() as files:
        numbers = itertools.count()

        def new_file() -> str:
            if is_small:
                return str(files.enter_context(MemoryFile()).name)
            return str(place / f"draft-{next(numbers)}.tif")

        path = new_file()
        with rasterio.open(path, "w", **profile) as draft:
            _fill(rasters, group, draft)
        yield files.enter_context(add_pyramid(path, group[0].resampling, new_file))


def _fill(rasters: RasterFiles, group: Sequence[BandSource], draft: DatasetWriter) -> None:
    dataset = rasters.open(group[0].path)
    has_nan = False
    for window in _windows(dataset, group):
        values = rasters.pixels(group, window)
        draft.write(values, window=window)
        has_nan = has_nan or bool(values.dtype.kind == "f" and np.isnan(values).any())
        if group[0].masked:
            draft.write_mask(rasters.valid(group[0], window), window=window)
    if has_nan and not group[0].masked and (group[0].nodata is None or not math.isnan(group[0].nodata)):
        _LOG.warning(
            "%s has NaN that neither a nodata value nor a mask states: it counts as data, also in means. What helps: "
            "--nodata nan.",
            shown_name(dataset.name),
        )
    draft.descriptions = [source.name for source in group]
    draft.scales = [source.scale for source in group]
    draft.offsets = [source.offset for source in group]


def _check(rasters: RasterFiles, group: Sequence[BandSource], geotiff: Path) -> tuple[int, ...]:
    """Compare what was written with what was read: GDAL may lose errors of its last writes."""
    dataset = rasters.open(group[0].path)
    with rasterio.open(geotiff) as stored:
        for window in _windows(dataset, group):
            if rasters.pixels(group, window).tobytes() != stored.read(window=window).tobytes():
                raise AssetWriteError(
                    f"What was stored of {shown_name(dataset.name)} differs from it: is the disk full?"
                )
    return 1, *pyramid_factors(dataset.width, dataset.height)


def describe(dataset: DatasetReader, source: BandSource, href: str, levels: tuple[int, ...]) -> RasterFile:
    """Return the store's record of a GeoTIFF with a dataset's grid."""
    t = dataset.transform
    return RasterFile(
        href=href,
        crs=source.crs,
        transform=(t.a, t.b, t.c, t.d, t.e, t.f),
        width=dataset.width,
        height=dataset.height,
        dtype=source.dtype,
        levels=levels,
    )


def _grid(file: RasterFile) -> PixelGrid:
    return PixelGrid(file.crs, Affine(*file.transform), file.width, file.height)


def _windows(dataset: DatasetReader, group: Sequence[BandSource]) -> Iterator[Window]:
    """Return a strip of whole blocks that fit in memory."""
    block = dataset.block_shapes[0][0]
    row_bytes = dataset.width * len(group) * np.dtype(group[0].dtype).itemsize
    rows = max(block, _CHUNK_BYTES // row_bytes // block * block)
    for start in range(0, dataset.height, rows):
        yield Window(0, start, dataset.width, min(rows, dataset.height - start))


def _block(width: int, height: int) -> int:
    """Return the edge of a tile in pixels: GDAL wants multiples of 16, and warns below 128."""
    return min(_BLOCK, max(128, math.ceil(max(width, height) / 16) * 16))


def gdal_crs(crs: str) -> CRS:
    """Return a CRS as GDAL takes it: codes that only Earth Engine has as WKT."""
    return CRS.from_user_input(crs if crs.startswith("EPSG:") else str(parse_crs(crs).to_wkt()))
