"""``ee.Algorithms.Sentinel2.CDI``: the displacement of clouds between the bands B7, B8 and B8A."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eechips_local.functions.images.image_projection import reduce_resolution
from eechips_local.functions.registration import function
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.reprojection import Reprojected
from eechips_local.pixels.lazy_image import Image, Pixels
from eechips_local.pixels.neighborhood import Margins, Neighborhood, cropped, weighted_sum
from eechips_local.pixels.pixelwise_rasters import both
from eechips_local.pixels.types import FLOAT
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import MEAN
from eechips_local.values.kernel_weights import Weights

Floats = npt.NDArray[np.float64]

_REACH = 3
_WINDOW = Weights(np.ones((2 * _REACH + 1, 2 * _REACH + 1)), _REACH, _REACH)
_PIXELS = 64
"""Pixels of 10 m that may make one of 20 m."""


def _variances(ratio: Floats, valid: npt.NDArray[np.bool_], shape: tuple[int, int]) -> Floats:
    """Return the variance of the valid pixels of the window around each."""
    # Differences from one value keep the precision of sums of squares.
    values = np.where(valid, ratio - (ratio[valid].mean() if valid.any() else 0.0), 0.0)
    count = np.maximum(weighted_sum(valid, _WINDOW, shape), 1)
    mean = weighted_sum(values, _WINDOW, shape) / count
    variances: Floats = np.maximum(weighted_sum(values**2, _WINDOW, shape) / count - mean**2, 0.0)
    return variances


@function("Sentinel2.CDI")
def cloud_displacement_index(source: Image) -> Image:
    """Return the band "cdi": the cloud displacement index of an image of Sentinel-2's level 1C.

    Frantz et al. (2018), "Improvement of the Fmask algorithm for Sentinel-2 images", RSE 215, 471-481:
    ``(V7 - V8) / (V7 + V8)``, where V7 and V8 are the variances of B7 / B8A and B8 / B8A in windows of 7 by 7 pixels of
    20 m, B8 being the mean of its pixels. 0 where both are 0.
    """
    named = {band.name: band for band in source.bands}
    missing = [name for name in ("B7", "B8", "B8A") if name not in named]
    if missing:
        raise InvalidError(f"The source image has no band '{missing[0]}'.")
    b7, b8a = named["B7"], named["B8A"]
    (b8,) = reduce_resolution(source.with_bands([named["B8"]]), MEAN, False, _PIXELS).bands
    if any(band.type.dimensions for band in (b7, b8, b8a)):
        raise InvalidError("Array images have no displacement; only scalar bands are supported.")

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        narrow = pixels[2].values.astype(np.float64)
        valid = pixels[0].valid & pixels[1].valid & pixels[2].valid & (narrow != 0)
        divisor = np.where(valid, narrow, 1.0)
        v7, v8 = (_variances(p.values.astype(np.float64) / divisor, valid, grid.shape) for p in pixels[:2])
        total = v7 + v8
        index = np.divide(v7 - v8, total, out=np.zeros(grid.shape), where=total > 0)
        mask = cropped(both(both(pixels[0].mask, pixels[1].mask), both(pixels[2].mask, valid)), margins, grid.shape)
        return [Pixels(index.astype(np.float32), mask)]

    own = replace(
        b8a, name="cdi", type=replace(FLOAT, minimum=-1, maximum=1), index=0,
        raster=Neighborhood((b7, b8, b8a), lambda _: Margins.around(_REACH), compute),
    )  # fmt: skip
    return source.computed([replace(own, raster=Reprojected((own,), b8a.projection))])
