"""``CrossCorrelation``: where the surroundings of each pixel lie in another image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eechips_local.functions.registration import function
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render
from eechips_local.pixels.neighborhood import Margins, shift, weighted_sum
from eechips_local.pixels.types import FLOAT
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.values.kernel_weights import Weights

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_NAMES = ("deltaX", "deltaY", "distance", "correlationCoeff")
_MOST_OFFSETS = 1 << 14
_FLAT = 1e-9
"""Part of the sum of squares of a window below which its deviations are rounding."""
_BETTER = 1e-9
"""By how much a coefficient must exceed that of a nearer place."""


@dataclass(frozen=True, slots=True, eq=False)
class _Correlated:
    """Displacement, distance and coefficient of the place in a second image that correlates best with each pixel's.

    Attributes:
        second: as many bands of the second.
        gap: greatest pixels along either axis.
        window: weights of 1 for the pixels that are compared.
        masked: greatest part of a window that may be masked.
    """

    first: Sequence[ImageBand]
    second: Sequence[ImageBand]
    gap: int
    window: Weights
    masked: float

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Compute all bands at once."""
        computed: Sequence[Pixels] = render.note(("correlation", self, grid), lambda: self._compute(grid, render))
        return [computed[band] for band in bands]

    def _compute(self, grid: PixelGrid, render: Render) -> list[Pixels]:
        reach = Margins.of(self.window)
        size = self.window.values.shape[0]
        outer = (grid.height + size - 1, grid.width + size - 1)
        wide = Margins(*(side + self.gap for side in (reach.left, reach.top, reach.right, reach.bottom)))
        first, held = _centred(render.read(self.first, reach.padded(grid)))
        second, known = _centred(render.read(self.second, wide.padded(grid)))
        best, valid = np.full(grid.shape, -np.inf), np.ones(grid.shape, dtype=bool)
        place = np.zeros((2, *grid.shape))
        for row, column in _offsets(self.gap):
            render.check_time()
            at = (row + self.gap, column + self.gap)
            there = held & shift(known, *at, outer)
            count = weighted_sum(there, self.window, grid.shape)
            valid &= size**2 - count <= self.masked * size**2
            others = [shift(band, *at, outer) for band in second]
            score = self._score(first, others, there, count)
            better = score > best + _BETTER
            best = np.where(better, score, best)
            place = np.where(better, np.array([column, row], dtype=np.float64)[:, None, None], place)
        results = [place[0], place[1], np.hypot(*place), best]
        return [Pixels(np.where(valid, part, 0.0).astype(np.float32), valid) for part in results]

    def _score(self, first: Sequence[Floats], second: Sequence[Floats], there: Flags, count: Floats) -> Floats:
        """Return the mean of the bands' coefficients of correlation, 0 for a band that does not vary."""
        total = np.zeros(count.shape)
        number = np.maximum(count, 1.0)
        for one, other in zip(first, second, strict=True):
            a, b = np.where(there, one, 0.0), np.where(there, other, 0.0)
            sum_a, sum_b, aa, bb, ab = (
                weighted_sum(part, self.window, count.shape) for part in (a, b, a * a, b * b, a * b)
            )
            spread_a, spread_b = aa - sum_a**2 / number, bb - sum_b**2 / number
            varied = (spread_a > _FLAT * aa) & (spread_b > _FLAT * bb)
            norm = np.sqrt(np.where(varied, spread_a * spread_b, 1.0))
            total += np.where(varied, (ab - sum_a * sum_b / number) / norm, 0.0)
        return np.clip(total / len(first), -1.0, 1.0)


def _offsets(gap: int) -> Iterator[tuple[int, int]]:
    """Yield rows and columns of all offsets, the nearest first."""
    steps = range(-gap, gap + 1)
    yield from sorted(((row, column) for row in steps for column in steps), key=lambda at: math.hypot(*at))


def _centred(pixels: Sequence[Pixels]) -> tuple[list[Floats], Flags]:
    """Return bands as floats less their means, 0 where any band is masked or infinite, and where none is.

    Bands are divided by a power of two, which changes no coefficient, so that no product is beyond doubles.
    """
    values = [p.values.astype(np.float64) for p in pixels]
    known = np.logical_and.reduce([p.valid & np.isfinite(v) for p, v in zip(pixels, values, strict=True)])
    if not known.any():
        return [np.zeros_like(v) for v in values], known
    scaled = [np.ldexp(np.where(known, v, 0.0), -np.frexp(np.abs(v[known]).max())[1]) for v in values]
    return [np.where(known, v - v[known].mean(), 0.0) for v in scaled], known


@function("CrossCorrelation")
def cross_correlation(imageA: Image, imageB: Image, maxGap: int, windowSize: int, maxMaskedFrac: float) -> Image:
    """Return how far to the right and below, in pixels, imageB is most like the surroundings of each pixel of imageA.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-crosscorrelation. Bands: ``deltaX``, ``deltaY``
    (so scripts select them), their Euclidean distance, and ``correlationCoeff``, from -1 to 1
    (https://developers.google.com/earth-engine/docs/release-notes, 31 March 2016).
    """
    if len(imageA.bands) != len(imageB.bands):
        raise InvalidError(
            f"The images must have the same number of bands; found {len(imageA.bands)} and {len(imageB.bands)}."
        )
    if not imageA.bands or any(band.type.dimensions for band in (*imageA.bands, *imageB.bands)):
        raise InvalidError("The images must have scalar bands.")
    if maxGap < 0:
        raise InvalidError(f"The maxGap must not be negative; found {maxGap}.")
    if windowSize < 1:
        raise InvalidError(f"The windowSize must be positive; found {windowSize}.")
    if not 0 <= maxMaskedFrac <= 1:
        raise InvalidError(f"The maxMaskedFrac must be within [0, 1]; found {maxMaskedFrac}.")
    if (2 * maxGap + 1) ** 2 > _MOST_OFFSETS or windowSize**2 > _MOST_OFFSETS:
        raise MemoryLimitError()
    middle = windowSize // 2
    window = Weights(np.ones((windowSize, windowSize)), middle, middle)
    raster = _Correlated(imageA.bands, imageB.bands, maxGap, window, maxMaskedFrac)
    projection = imageA.bands[0].projection
    return imageA.computed([ImageBand(name, FLOAT, projection, raster, n) for n, name in enumerate(_NAMES)])
