"""``CannyEdgeDetector``, ``Image.derivative`` and ``zeroCrossing``: edges as ridges of the gradient or as changes of
sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eechips_local.functions.registration import function
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, Pixels, bands_from
from eechips_local.pixels.neighborhood import Margins, Neighborhood, cropped, shift, weighted_sum
from eechips_local.pixels.pixelwise_rasters import both
from eechips_local.pixels.types import BOOLEAN, floating_type, without_range
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.values.kernel_weights import Weights

Floats = npt.NDArray[np.float64]

_REACH = 4.0  # of the Gaussian, in standard deviations: the rest is less than a ten-thousandth
_MOST_SIGMA = 256.0


def _check(image: Image) -> None:
    if any(band.type.dimensions for band in image.bands):
        raise InvalidError("Array images have no edges; only scalar bands are supported.")


def _blurred(values: Floats, sigma: float, reach: int) -> Floats:
    """Return values under a Gaussian of unit sum, without the margin of ``reach`` pixels on each side."""
    if not reach:
        return values
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    line /= line.sum()
    height, width = values.shape
    rows = weighted_sum(values, Weights(line[None], reach, 0), (height, width - 2 * reach))
    return weighted_sum(rows, Weights(line[:, None], 0, reach), (height - 2 * reach, width - 2 * reach))


def _ridges(values: Floats, threshold: float) -> Floats:
    """Return the magnitude of the gradient on its ridges above a threshold, else 0; two pixels less on each side.

    The gradient is the central difference, per pixel. Its direction is one of four: along rows, columns and both
    diagonals.
    """
    height, width = values.shape[0] - 2, values.shape[1] - 2
    inner = (height, width)
    across = (shift(values, 1, 2, inner) - shift(values, 1, 0, inner)) / 2
    down = (shift(values, 2, 1, inner) - shift(values, 0, 1, inner)) / 2
    size = np.hypot(across, down)
    octant = np.rint(np.degrees(np.arctan2(down, across)) / 45).astype(int) % 4
    shape = (height - 2, width - 2)
    centre, ways = shift(size, 1, 1, shape), shift(octant, 1, 1, shape)
    keeps = np.zeros(shape, dtype=bool)
    for way, (row, column) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead, behind = shift(size, 1 + row, 1 + column, shape), shift(size, 1 - row, 1 - column, shape)
        keeps |= (ways == way) & (centre > ahead) & (centre >= behind)
    ridges: Floats = np.where(keeps & (centre > threshold), centre, 0.0)
    return ridges


@function("CannyEdgeDetector")
def canny_edge_detector(image: Image, threshold: float, sigma: float) -> Image:
    """Return the magnitude of the gradient where it is an edge, and 0 elsewhere.

    A Gaussian, the gradient, and the suppression of what is not the greatest across the edge, as the guide describes
    (https://developers.google.com/earth-engine/guides/image_edges; Canny 1986, "A computational approach to edge
    detection", IEEE PAMI 8, 679-698). Google does not say how it weights the gradient: here it is the central
    difference, in units of the band per pixel. There is one threshold, without hysteresis. Pixels are masked where any
    pixel within reach is.
    """
    _check(image)
    if sigma < 0:
        raise InvalidError(f"Sigma must not be negative; found {sigma}.")
    if sigma > _MOST_SIGMA:
        raise MemoryLimitError()
    reach = math.ceil(_REACH * sigma)

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        outputs = []
        for p in pixels:
            values = np.where(p.valid, p.values, 0).astype(np.float64)
            missing = np.pad(np.cumsum(np.cumsum(~p.valid, axis=0), axis=1), ((1, 0), (1, 0)))
            side = 2 * (reach + 2) + 1
            gaps = missing[side:, side:] - missing[:-side, side:] - missing[side:, :-side] + missing[:-side, :-side]
            edges = _ridges(_blurred(values, sigma, reach), threshold)
            outputs.append(Pixels(edges, both(cropped(p.mask, margins, grid.shape), gaps == 0)))
        return outputs

    raster = Neighborhood(image.bands, lambda _: Margins.around(reach + 2), compute)
    kinds = [without_range(floating_type(band.type)) for band in image.bands]
    return image.with_bands(bands_from(raster, image.bands, kinds=kinds))


@function("Image.derivative")
def derivative(image: Image) -> Image:
    """Return for each band half of the difference between the pixels to the right and left, and below and above.

    https://developers.google.com/earth-engine/apidocs/ee-image-derivative: in pixel coordinates, which grow to the
    right and downwards, in bands with the suffixes "_x" and "_y". Google does not say which difference it takes: here
    it is the central one. Pixels are masked where one of the three is.
    """
    _check(image)

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        outputs = []
        for p in pixels:
            centre = cropped(p.mask, margins, grid.shape)
            values = np.where(p.valid, p.values, 0).astype(np.float64)
            for row, column in ((0, 1), (1, 0)):
                before, after = (1 - row, 1 - column), (1 + row, 1 + column)
                known = shift(p.valid, *before, grid.shape) & shift(p.valid, *after, grid.shape)
                rise = (shift(values, *after, grid.shape) - shift(values, *before, grid.shape)) / 2
                outputs.append(Pixels(np.where(known, rise, 0.0), both(centre, known)))
        return outputs

    raster = Neighborhood(image.bands, lambda _: Margins.around(1), compute)
    like = [replace(band, name=f"{band.name}_{suffix}") for band in image.bands for suffix in ("x", "y")]
    return image.with_bands(bands_from(raster, like, kinds=[without_range(floating_type(band.type)) for band in like]))


@function("Image.zeroCrossing")
def zero_crossing(image: Image) -> Image:
    """Return 1 where the pixel to the right, below, or below to the right has the opposite sign, else 0.

    As the guide defines it: https://developers.google.com/earth-engine/guides/image_edges. Masked neighbours have no
    sign.
    """
    _check(image)

    def compute(pixels: Sequence[Pixels], _: Margins, grid: PixelGrid) -> list[Pixels]:
        outputs = []
        for p in pixels:
            signs = np.where(p.valid, np.sign(p.values.astype(np.float64)), 0)
            centre = shift(signs, 0, 0, grid.shape)
            opposite = [shift(signs, row, column, grid.shape) * centre < 0 for row, column in ((0, 1), (1, 0), (1, 1))]
            crossing = np.logical_or.reduce(opposite).astype(np.uint8)
            outputs.append(Pixels(crossing, shift(p.mask, 0, 0, grid.shape)))
        return outputs

    raster = Neighborhood(image.bands, lambda _: Margins(0, 0, 1, 1), compute)
    return image.with_bands(bands_from(raster, image.bands, kinds=BOOLEAN))
