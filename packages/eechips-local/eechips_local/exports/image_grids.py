"""Find the pixels of exported images, check them against ``maxPixels``, and read and write them block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.io import DatasetWriter
from rasterio.windows import Window

from eechips_local.evaluation.context import Context
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render
from eechips_local.pixels.output.encode import crs_wkt
from eechips_local.pixels.output.pixel_requests import pixel_grid
from eechips_local.protocol.field_checks import unwrapped_integer
from eechips_local.protocol.request_errors import InvalidError, LimitError

MOST_PIXELS = 100_000_000
"""The default of ``maxPixels``."""
TILE = 256
"""Edge of the tiles of GeoTIFFs, in pixels."""
BLOCK = 512
"""Edge of the blocks, in pixels."""


def image_grid(body: Mapping[str, Any], image: Image) -> PixelGrid:
    """Return the grid of an exported image.

    Raises:
        InvalidError: if it is unbounded.
    """
    if not body.get("grid") and image.bands[0].grid is None:
        raise InvalidError("Unable to export unbounded image.")
    grid = pixel_grid(body.get("grid"), image)
    if grid.width < 1 or grid.height < 1:
        raise InvalidError(f"Pixel grid dimensions ({grid.width}x{grid.height}) must be greater than zero.")
    return grid


def check_pixels(count: int, max_pixels: Any) -> None:
    """Check the number of pixels of an image against ``maxPixels``.

    Raises:
        LimitError: with Earth Engine's message.
    """
    most = unwrapped_integer(max_pixels, MOST_PIXELS)
    if count > most:
        raise LimitError(
            f"Export too large: specified {count} pixels (max: {most}). Specify higher maxPixels value if you intend to"
            " export a large area."
        )


def blocks(grid: PixelGrid, edge: int = BLOCK) -> Iterator[tuple[Window, PixelGrid]]:
    """Yield the windows of a grid that are computed one by one, row by row, each with its grid."""
    for row, column in product(range(0, grid.height, edge), range(0, grid.width, edge)):
        width, height = min(edge, grid.width - column), min(edge, grid.height - row)
        yield Window(column, row, width, height), grid.window(column, row, width, height)


def read_block(bands: Sequence[ImageBand], grid: PixelGrid, context: Context) -> list[Pixels]:
    """Read a block of bands; what it computed is freed after it."""
    return Render(context.limits.memory, context.check_time).read(bands, grid)


def create_geotiff(
    path: Path, grid: PixelGrid, count: int, dtype: np.dtype[Any], nodata: float | int | None = None
) -> DatasetWriter:
    """Create a tiled GeoTIFF on a grid, whose blocks are written one by one.

    It is a BigTIFF, as all exports are since 2023: https://developers.google.com/earth-engine/docs/release-notes.

    Args:
        path: path of the file.
        count: number of its bands.
        dtype: data type of all bands.
        nodata: value of masked pixels; None for none.
    """
    return rasterio.open(
        path, "w", driver="GTiff", width=grid.width, height=grid.height, count=count, dtype=dtype.name,
        crs=crs_wkt(grid.crs), transform=grid.transform, nodata=nodata, compress="lzw", tiled=True,
        blockxsize=TILE, blockysize=TILE, bigtiff="yes", alpha="NO",
    )  # fmt: skip


def count_blocks(grid: PixelGrid) -> int:
    """Return the number of blocks of a grid."""
    return math.ceil(grid.width / BLOCK) * math.ceil(grid.height / BLOCK)


class Progress:
    """Reports the share of steps that are done."""

    def __init__(self, count: int, report: Callable[[float], None]) -> None:
        self._count = count
        self._report = report
        self._done = 0

    def step(self) -> None:
        """Count one step."""
        self._done += 1
        self._report(min(1.0, self._done / self._count))
