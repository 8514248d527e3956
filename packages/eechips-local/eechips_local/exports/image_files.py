"""Export images as GeoTIFFs: division into files (``fileDimensions``, ``shardSize``), ``noData``, ``skipEmptyFiles``,
``cloudOptimized``, metadata.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.exports.asset_files import ingest_image
from eechips_local.exports.image_grids import (
    TILE,
    Progress,
    blocks,
    check_pixels,
    count_blocks,
    create_geotiff,
    image_grid,
    read_block,
)
from eechips_local.exports.patch_files import export_patches
from eechips_local.exports.process_messages import ExportedFile, ExportJob
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, Pixels
from eechips_local.pixels.output import encode as formats
from eechips_local.pixels.output.pixel_requests import image_of
from eechips_local.pixels.types import cast_values
from eechips_local.protocol.field_checks import unwrapped_integer
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError, LimitError

_MOST_FILE_BYTES = 17_179_869_184
"""Of a file before compression, as the error of too large ``fileDimensions`` says
(https://github.com/mapbiomas-brazil/user-toolkit/issues/16)."""
_LARGEST_SIDE = 131_072
_USUAL_FILE_BYTES = 1 << 31
"""The files that large exports are divided into. Coordinates in the names of published ones fit it: 23,296 for one
band of four bytes, 10,496 for twenty bytes."""


@dataclass(frozen=True, slots=True)
class FileWindow:
    """The pixels of one file.

    Attributes:
        part: its coordinates within the image, as in its name; None where there is one file.
    """

    part: str | None
    grid: PixelGrid


def export_image(
    body: Mapping[str, Any], context: Context, job: ExportJob, report: Callable[[float], None]
) -> list[ExportedFile]:
    """``image:export``."""
    image = image_of(Evaluator(body["expression"], context).evaluate(), {})
    grid = image_grid(body, image)
    check_pixels(grid.width * grid.height, body.get("maxPixels"))
    if job.asset is not None:
        return ingest_image(image, grid, body["assetExportOptions"], context, job, report)
    options = body["fileExportOptions"]
    form = options.get("fileFormat") or "GEO_TIFF"
    if form == "TF_RECORD_IMAGE":
        return export_patches(image, grid, options.get("tfRecordOptions") or {}, context, job, report)
    if form not in ("GEO_TIFF", "IMAGE_FILE_FORMAT_UNSPECIFIED"):
        raise InvalidError(f"Unsupported file format: {form}.")
    return _geotiffs(image, grid, options.get("geoTiffOptions") or {}, context, job, report)


def _geotiffs(
    image: Image,
    grid: PixelGrid,
    options: Mapping[str, Any],
    context: Context,
    job: ExportJob,
    report: Callable[[float], None],
) -> list[ExportedFile]:
    """Write the files of an image.

    Raises:
        InvalidError: if files without pixels are to be skipped and all are, as https://github.com/allenai/rslearn
            (``data_sources/google_earth_engine.py``) and
            https://github.com/eco-hydro/phenofit-scripts/issues/23 quote it.
    """
    dtype = formats.common_dtype(image.bands)
    windows = _file_windows(grid, options, dtype.itemsize * len(image.bands))
    count = sum(count_blocks(w.grid) for w in windows)
    writer = _GeoTiffWriter(image, dtype, options, context, Progress(count, report))
    exported_files = []
    for index, window in enumerate(windows):
        staged = f"{index}.tif"
        if writer.write(job.folder / staged, window.grid):
            exported_files.append(ExportedFile(staged, window.part, ".tif"))
    if not exported_files:
        raise InvalidError("No valid (un-masked) pixels in export region.")
    return exported_files


def _file_windows(grid: PixelGrid, options: Mapping[str, Any], pixel_bytes: int) -> list[FileWindow]:
    """Return the files of an image: https://developers.google.com/earth-engine/guides/exporting_images#large_file_exports."""
    tile = unwrapped_integer(options.get("tileSize"), TILE)
    if tile < 1:
        raise InvalidError(f"Invalid shardSize: {tile} is not positive.")
    tile_dimensions = options.get("tileDimensions")
    if tile_dimensions is None:
        edge = math.ceil(math.sqrt(_USUAL_FILE_BYTES / pixel_bytes) / tile) * tile
        width = height = edge
    else:
        width, height = int(tile_dimensions.get("width") or 0), int(tile_dimensions.get("height") or 0)
        if width < 1 or height < 1 or width % tile or height % tile or max(width, height) > _LARGEST_SIDE:
            raise InvalidError(
                f"Invalid fileDimensions: {width}x{height} must be positive multiples of shardSize ({tile}), and at"
                f" most {_LARGEST_SIDE}."
            )
        size = width * height * pixel_bytes
        if size >= _MOST_FILE_BYTES:
            raise LimitError(
                "File dimensions are too large for the number of bands and data type: the total file size requested is"
                f" {size} bytes before compression ({pixel_bytes} bytes per pixel), but must be less than"
                f" {_MOST_FILE_BYTES} bytes."
            )
    if grid.width <= width and grid.height <= height:
        return [FileWindow(None, grid)]
    return [
        FileWindow(
            f"{row:010d}-{column:010d}",
            grid.window(column, row, min(width, grid.width - column), min(height, grid.height - row)),
        )
        for row in range(0, grid.height, height)
        for column in range(0, grid.width, width)
    ]


class _GeoTiffWriter:
    """Writes files of one image."""

    def __init__(
        self, image: Image, dtype: np.dtype[Any], options: Mapping[str, Any], context: Context, progress: Progress
    ) -> None:
        self._image = image
        self._dtype = dtype
        self._context = context
        self._progress = progress
        self._nodata = _nodata(options.get("noData"), dtype)
        self._skips_empty = bool(options.get("skipEmptyFiles"))
        self._is_cloud_optimized = bool(options.get("cloudOptimized"))
        properties = image.properties
        self._tags = {key: str(properties[key]) for key in options.get("metadataKeys") or () if key in properties}

    def write(self, path: Path, grid: PixelGrid) -> bool:
        """Write a file; return False if it would be empty and is not wanted then.

        Raises:
            EarthEngineError: if the disk does not hold what was written to it.
        """
        draft = path.with_suffix(".draft") if self._is_cloud_optimized else path
        checksum, is_empty = 0, True
        bands = self._image.bands
        with create_geotiff(draft, grid, len(bands), self._dtype, self._nodata) as file:
            for index, band in enumerate(bands, 1):
                file.set_band_description(index, band.name)
            file.update_tags(**self._tags)
            for window, block in blocks(grid):
                pixels = read_block(bands, block, self._context)
                is_empty = is_empty and not any(p.valid.any() for p in pixels)
                values = np.stack([self._filled(p) for p in pixels])
                file.write(values, window=window)
                checksum = zlib.crc32(values.tobytes(), checksum)
                self._progress.step()
        if is_empty and self._skips_empty:
            return False
        if self._is_cloud_optimized:
            rasterio.shutil.copy(draft, path, driver="COG", compress="lzw", bigtiff="yes", blocksize=TILE)
        if _checksum(path, grid) != checksum:
            raise EarthEngineError(f"{path.name} does not hold what was written to it: is the disk full?")
        return True

    def _filled(self, pixels: Pixels) -> npt.NDArray[Any]:
        values = cast_values(pixels.values, self._dtype)
        return values if pixels.valid.all() else np.where(pixels.valid, values, self._dtype.type(self._nodata or 0))


def _nodata(nodata: Mapping[str, Any] | None, dtype: np.dtype[Any]) -> float | int | None:
    """Return the value of masked pixels, by default that of downloads."""
    nodata = nodata or {}
    value = nodata.get("floatValue", nodata.get("integerValue"))
    if value is None:
        return formats.default_nodata(dtype)
    number = float(value)
    is_whole = dtype.kind in "iu"
    limits = np.iinfo(dtype) if is_whole else np.finfo(dtype)
    if (is_whole and not number.is_integer()) or not limits.min <= number <= limits.max:
        raise InvalidError(
            f"The noData value {number:g} is not a value of the bands' type, {formats.GDAL_NAMES[dtype.name]}."
        )
    return int(number) if is_whole else number


def _checksum(path: Path, grid: PixelGrid) -> int:
    checksum = 0
    with rasterio.open(path) as file:
        for window, _ in blocks(grid):
            checksum = zlib.crc32(file.read(window=window).tobytes(), checksum)
    return checksum
