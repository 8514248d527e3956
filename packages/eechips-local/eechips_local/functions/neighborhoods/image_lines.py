"""``ee.Algorithms.HoughTransform``: straight lines of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eechips_local.algorithms.hough import find_lines
from eechips_local.functions.registration import function
from eechips_local.pixels.grids.tiles import Tile, Tiled
from eechips_local.pixels.lazy_image import Image, Pixels, bands_from
from eechips_local.pixels.types import BOOLEAN
from eechips_local.protocol.request_errors import InvalidError, LimitError

_MOST_SIDE = 2048  # pixels: the transform of a larger cell takes longer than a request may


@function("HoughTransform")
def hough_transform(
    image: Image, gridSize: int, inputThreshold: float, lineThreshold: float, smooth: bool
) -> Image:  # fmt: skip
    """Return the bands "<band>_lines": 1 on lines through enough pixels at or above the threshold, else 0.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-houghtransform. Lines are those of one cell of the
    grid, and go through all of it. All that have enough votes count, not only local maxima. Google documents neither
    the steps of angles and distances, nor how votes are smoothed: here they are one degree and one pixel, and means of
    3 by 3. Masked pixels are not active, and stay masked.
    """
    if any(band.type.dimensions for band in image.bands):
        raise InvalidError("Array images have no lines; only scalar bands are supported.")
    if gridSize < 1:
        raise InvalidError(f"gridSize must be positive; found {gridSize}.")
    if gridSize > _MOST_SIDE:
        raise LimitError(f"gridSize must be at most {_MOST_SIDE}; found {gridSize}.")

    def compute(pixels: Sequence[Pixels], tile: Tile) -> list[Pixels]:
        lines = []
        for p in pixels:
            active = p.valid & (p.values >= inputThreshold)
            lines.append(Pixels(find_lines(active, lineThreshold, smooth, tile.check_time).astype(np.uint8), p.mask))
        return lines

    raster = Tiled(image.bands, gridSize, 0, compute)
    return image.with_bands(bands_from(raster, image.bands, [f"{name}_lines" for name in image.band_names], BOOLEAN))
