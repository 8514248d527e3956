"""``Image.displacement`` and ``register``: displacements between two images of a place, found by correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.functions.neighborhoods.image_shift import displace
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.location import locate
from eechips_local.pixels.grids.pixel_grid import PixelGrid, metres_per_unit
from eechips_local.pixels.grids.reprojection import level_factor
from eechips_local.pixels.grids.resampling import read_computed
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render
from eechips_local.pixels.types import FLOAT
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_PATCH = 32
"""Edge in pixels of a patch whose width is not given."""
_LEAST_PATCH = 8
_MOST_REACH = 256
"""Pixels by which patches may be displaced."""
_MOST_PIXELS = 1 << 24
"""Pixels of one band that may be read for a window."""
_FLAT = 1e-9
"""Part of a window's own squares below which its deviations are rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class _Matched:
    """Bands "dx" and "dy": metres from each pixel of a reference to what is like it in an image.

    Patches around points of the reference, half a patch apart, are moved over the image. Each takes the place of the
    greatest normalized cross-correlation, to a part of a pixel by a parabola through the neighbours. Displacements
    between the points are interpolated.

    Attributes:
        references: as many bands of the reference.
        lattice: pixels that are compared.
        patch: edge of a patch in metres; None for a number of pixels.
        most: greatest metres along either axis.
        stiffness: 0 to 10: how little a point may differ from the median of those around it.
    """

    inputs: Sequence[ImageBand]
    references: Sequence[ImageBand]
    lattice: Projection
    patch: float | None
    most: float
    stiffness: float

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Match on the level whose pixels are no larger than the grid's, and interpolate between the points."""
        level = self.lattice.scaled(level_factor(locate(grid, self.lattice).scale))
        metres = level.nominal_scale
        size = _PATCH if self.patch is None else max(_LEAST_PATCH, round(self.patch / metres))
        reach = math.ceil(self.most / metres)
        if reach > _MOST_REACH:
            raise MemoryLimitError()
        step = size // 2
        points = level.scaled(step)

        def read(window: PixelWindow) -> list[Pixels]:
            return self._points(window, level, step, size, reach, render)

        both = read_computed(read, 2, locate(grid, points), grid.shape, "bilinear")
        return [both[band] for band in bands]

    def _points(
        self, window: PixelWindow, level: Projection, step: int, size: int, reach: int, render: Render
    ) -> list[Pixels]:
        """Return displacements at the points of a window, each in the middle of a cell of ``step`` pixels."""
        # One point more on each side, for medians; the patch of the first begins at the corner of what is read.
        height, width = window.height + 2, window.width + 2
        left = (window.column - 1) * step + step // 2 - size // 2
        top = (window.row - 1) * step + step // 2 - size // 2
        across, down = (width - 1) * step + size, (height - 1) * step + size
        if (across + 2 * reach) * (down + 2 * reach) > _MOST_PIXELS:
            raise MemoryLimitError()
        reference = _stack(render.read(self.references, level.window(left, top, across, down)))
        around = level.window(left - reach, top - reach, across + 2 * reach, down + 2 * reach)
        image = _stack(render.read(self.inputs, around))
        offsets, valid = np.zeros((2, height, width)), np.zeros((height, width), dtype=bool)
        for row, column in np.ndindex(height, width):
            render.check_time()
            y, x = row * step, column * step
            place = _best_place(
                reference[:, y : y + size, x : x + size], image[:, y : y + size + 2 * reach, x : x + size + 2 * reach]
            )
            if place is not None:
                offsets[:, row, column], valid[row, column] = np.array(place) - reach, True
        offsets, valid = _stiffened(offsets, valid, reach * (1.0 - self.stiffness / 10.0))
        t, unit = level.transform, metres_per_unit(level.crs)
        rows, columns = offsets
        dx, dy = (t.a * columns + t.b * rows) * unit, (t.d * columns + t.e * rows) * unit
        return [Pixels(part.astype(np.float32), valid) for part in (dx, dy)]


def _stack(pixels: Sequence[Pixels]) -> Floats:
    """Return bands as floats, NaN where they are masked; shape (bands, height, width)."""
    return np.stack([np.where(p.valid, p.values.astype(np.float64), np.nan) for p in pixels])


def _best_place(patch: Floats, around: Floats) -> tuple[float, float] | None:
    """Return row and column in a window where a patch correlates best with it, as a mean of the bands.

    Lewis, "Fast normalized cross-correlation" (1995): products by Fourier transforms, sums by running sums.

    Args:
        patch: shape (bands, size, size).
        around: shape (bands, size + 2 * reach, size + 2 * reach).

    Returns:
        None where a pixel is masked or infinite, or nothing varies.
    """
    if not (np.isfinite(patch).all() and np.isfinite(around).all()):
        return None
    size, places = patch.shape[1], around.shape[1] - patch.shape[1] + 1
    # A correlation is the same for multiples of a band, whose squares may be beyond float64.
    patch, around = _scaled(patch), _scaled(around)
    patch = patch - patch.mean(axis=(1, 2), keepdims=True)
    around = around - around.mean(axis=(1, 2), keepdims=True)
    strength = (patch**2).sum(axis=(1, 2))
    shape = around.shape[1:]
    spectrum = np.fft.rfft2(around) * np.conj(np.fft.rfft2(patch, shape))
    products = np.fft.irfft2(spectrum, shape)[:, :places, :places]
    squares = _box_sums(around**2, size)
    spread = squares - _box_sums(around, size) ** 2 / size**2
    varied = (spread > _FLAT * squares.max()) & (strength > 0)[:, None, None]
    if not varied.any():
        return None
    norm = np.sqrt(np.where(varied, spread * strength[:, None, None], 1.0))
    score = np.where(varied, products / norm, 0.0).mean(axis=0)
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    return row + _apex(score[:, column], int(row)), column + _apex(score[row], int(column))


def _scaled(bands: Floats) -> Floats:
    """Return bands divided by the greatest absolute value of each; shape (bands, height, width)."""
    greatest = np.abs(bands).max(axis=(1, 2), keepdims=True)
    scaled: Floats = bands / np.where(greatest > 0.0, greatest, 1.0)
    return scaled


def _box_sums(values: Floats, size: int) -> Floats:
    """Return sums over all squares of an edge; shape (bands, height - size + 1, width - size + 1)."""
    total = np.pad(values.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    sums: Floats = total[:, size:, size:] - total[:, :-size, size:] - total[:, size:, :-size] + total[:, :-size, :-size]
    return sums


def _apex(score: Floats, place: int) -> float:
    """Return how far beside the greatest score the top of a parabola through it and its neighbours lies."""
    if not 0 < place < len(score) - 1:
        return 0.0
    before, here, after = score[place - 1 : place + 2].tolist()
    bend = before - 2.0 * here + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def _stiffened(offsets: Floats, valid: Flags, tolerance: float) -> tuple[Floats, Flags]:
    """Return inner points, those that are farther from the median of the nine around as that median.

    Points that match nothing take it, too; they stay masked where there is none.
    """
    known = np.where(valid, offsets, np.nan)
    height, width = valid.shape[0] - 2, valid.shape[1] - 2
    nine = np.stack([known[:, r : r + height, c : c + width] for r in range(3) for c in range(3)])
    there = ~np.isnan(nine[:, 0]).all(axis=0)
    median = np.zeros((2, height, width))
    median[:, there] = np.nanmedian(nine[:, :, there], axis=0)
    inner = known[:, 1:-1, 1:-1]
    with np.errstate(invalid="ignore"):
        kept = np.hypot(*(inner - median)) <= tolerance
    return np.where(kept, inner, median), there


@function("Image.displacement")
def displacement(
    image: Image,
    referenceImage: Image,
    maxOffset: float,
    projection: Projection | None,
    patchWidth: float | None,
    stiffness: float,
) -> Image:
    """Return the displacements that register an image to a reference: bands "dx" and "dy", metres.

    https://developers.google.com/earth-engine/guides/register: all bands are matched by correlation, in the pixels of
    the coarsest of three projections: the image's, the reference's, and that of the result.
    """
    if len(image.bands) != len(referenceImage.bands):
        raise InvalidError(
            "The image and the reference must have as many bands; "
            f"they have {len(image.bands)} and {len(referenceImage.bands)}."
        )
    if not image.bands or any(band.type.dimensions for band in (*image.bands, *referenceImage.bands)):
        raise InvalidError("The images must have scalar bands.")
    if not maxOffset >= 0:
        raise InvalidError(f"The maxOffset must not be negative; found {maxOffset}.")
    if patchWidth is not None and not patchWidth > 0:
        raise InvalidError(f"The patchWidth must be positive; found {patchWidth}.")
    if not 0 <= stiffness <= 10:
        raise InvalidError(f"The stiffness must be within [0, 10]; found {stiffness}.")
    reference = referenceImage.bands[0].projection
    target = reference if projection is None else projection
    coarsest = max(p.nominal_scale for p in (*(band.projection for band in image.bands), reference, target))
    lattice = target.at_scale(coarsest)
    raster = _Matched(image.bands, referenceImage.bands, lattice, patchWidth, maxOffset, stiffness)
    return referenceImage.computed([ImageBand(name, FLOAT, target, raster, n) for n, name in enumerate(("dx", "dy"))])


@function("Image.register")
def register(
    image: Image, referenceImage: Image, maxOffset: float, patchWidth: float | None, stiffness: float
) -> Image:
    """Return an image moved so that it shows things where a reference does.

    https://developers.google.com/earth-engine/guides/register: ``displacement``, then ``displace``.
    """
    displaced = displacement(image, referenceImage, maxOffset, None, patchWidth, stiffness)
    return displace(image, displaced, "bicubic", None)
