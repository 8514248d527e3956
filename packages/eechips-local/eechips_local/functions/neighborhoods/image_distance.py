"""``Image.distance`` and ``fastDistanceTransform``: distances to the nearest pixel that is not zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eechips_local.functions.registration import function
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, Pixels, bands_from
from eechips_local.pixels.neighborhood import Margins, Neighborhood, cropped
from eechips_local.pixels.pixelwise_rasters import both
from eechips_local.pixels.types import DOUBLE, FLOAT
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError, check_choice
from eechips_local.values.kernel_weights import Kernel

Floats = npt.NDArray[np.float64]
Metric = Callable[[Floats, float], Floats]
"""From steps along a column, and along a row, to a distance."""

_MOST_STEPS = 4096
# Pixels, with their margins, whose distances are found together.
_MOST_PIXELS = 1 << 25

# The square of the Euclidean distance has the same nearest pixels.
_METRICS: Mapping[str, Metric] = {
    "squared_euclidean": lambda down, across: down**2 + across**2,
    "manhattan": lambda down, across: down + across,
    "chebyshev": lambda down, across: np.maximum(down, across),
}


def nearest(targets: npt.NDArray[np.bool_], reach: int, metric: Metric) -> Floats:
    """Return distances to the nearest pixel of a set within a square, infinite where there is none.

    First the steps to the nearest pixel of the set in each column, then the least over the columns within reach:
    exact for metrics that grow with both (Meijster, Roerdink and Hesselink 2000).

    Args:
        targets: the set, on a grid with a margin of ``reach`` pixels on all sides; shape (height, width).
        reach: half the width of the square, in pixels.
        metric: the distance of steps.

    Returns:
        Shape (height - 2 * reach, width - 2 * reach).

    Raises:
        LimitError: if there are too many pixels to be looked at together.
    """
    if targets.size > _MOST_PIXELS:
        raise MemoryLimitError()
    rows = np.arange(len(targets), dtype=np.float64)[:, None]
    above = np.maximum.accumulate(np.where(targets, rows, -np.inf), axis=0)
    below = np.minimum.accumulate(np.where(targets, rows, np.inf)[::-1], axis=0)[::-1]
    down = np.minimum(rows - above, below - rows)
    down[down > reach] = np.inf
    down = down[reach : len(targets) - reach]
    width = targets.shape[1] - 2 * reach
    best = np.full((len(down), width), np.inf)
    for offset in range(-reach, reach + 1):
        np.minimum(best, metric(down[:, reach + offset : reach + offset + width], abs(offset)), out=best)
    return best


def _check_reach(reach: int) -> int:
    if reach > _MOST_STEPS:
        raise MemoryLimitError()
    return reach


@function("Image.fastDistanceTransform")
def fast_distance_transform(image: Image, neighborhood: int, units: str, metric: str) -> Image:
    """Return the band "distance": to the nearest pixel of the first band that is not zero, whatever its own mask.

    Pixels that are farther from it than the neighborhood reaches are not masked: focalMin of
    https://github.com/gee-community/ee-packages-py erodes by ``mask.Not().fastDistanceTransform(radius).sqrt()
    .lte(radius).Not()``, which would leave nothing; geedim clamps what is farther than its ``max_cloud_dist``, and
    RivWidthCloud masks what is farther than its neighborhood (https://github.com/seanyx/RivWidthCloudPaper). Which
    value they have is not published: here that of a target just outside the corner of the square, which is more than
    any value inside.
    """
    if units != "pixels":
        raise InvalidError(f"Unknown units '{units}'. Only 'pixels' are supported.")
    check_choice("metric", metric, _METRICS)
    if neighborhood < 1:
        raise InvalidError(f"The neighborhood must be positive; found {neighborhood}.")
    if not image.bands:
        raise InvalidError("Image has no bands.")
    band, reach = _scalar(image).bands[0], _check_reach(neighborhood)
    beyond = float(_METRICS[metric](np.array([reach + 1.0]), reach + 1.0)[0])

    def compute(pixels: Sequence[Pixels], _: Margins, grid: PixelGrid) -> list[Pixels]:
        distance = nearest(pixels[0].valid & (pixels[0].values != 0), reach, _METRICS[metric])
        distance[~np.isfinite(distance)] = beyond
        return [Pixels(distance, np.ones(distance.shape, dtype=bool))]

    raster = Neighborhood((band,), lambda _: Margins.around(reach), compute)
    return image.computed(bands_from(raster, band, ["distance"], FLOAT))


_KERNELS: Mapping[str, str] = {
    "Kernel.euclidean": "squared_euclidean",
    "Kernel.manhattan": "manhattan",
    "Kernel.chebyshev": "chebyshev",
}


@function("Image.distance")
def distance(image: Image, kernel: Kernel | None, skipMasked: bool) -> Image:
    """Return the distance to the nearest pixel of each band that is not zero, among those under a distance kernel."""
    kind = None if kernel is None else _KERNELS.get(str(kernel.description.get("type")))
    if kernel is None or kind is None:
        raise InvalidError("The distance kernel must be one of chebyshev, euclidean, or manhattan.")
    _scalar(image)

    def margins(edge: float) -> Margins:
        return Margins.around(_check_reach(kernel.weights(edge).x))

    def compute(pixels: Sequence[Pixels], around: Margins, grid: PixelGrid) -> list[Pixels]:
        weights = kernel.weights(grid.nominal_scale)
        # The weight of the pixel beside the middle: what a step counts.
        step = float(weights.values[weights.y, weights.x + 1]) if weights.x else 0.0
        results = []
        for p in pixels:
            steps = nearest(p.valid & (p.values != 0), weights.x, _METRICS[kind])
            near = np.isfinite(steps)
            steps = np.where(near, steps, 0.0)
            distances = (np.sqrt(steps) if kind == "squared_euclidean" else steps) * step
            results.append(Pixels(distances, both(cropped(p.mask, around, grid.shape), near) if skipMasked else near))
        return results

    raster = Neighborhood(image.bands, margins, compute)
    return image.with_bands(bands_from(raster, image.bands, kinds=DOUBLE))


def _scalar(image: Image) -> Image:
    if any(band.type.dimensions for band in image.bands):
        raise InvalidError("Array images have no distances; only scalar bands are supported.")
    return image
