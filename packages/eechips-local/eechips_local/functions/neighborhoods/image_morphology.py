"""``Image.spectralErosion``, ``spectralDilation``, ``spectralGradient``, ``rsedTransform`` and
``medialAxis``: shapes within images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.images.image_spectrum import Spectra, spectral_metric
from eechips_local.functions.neighborhoods.image_distance import nearest
from eechips_local.functions.neighborhoods.kernels import FUNCTIONS as KERNELS
from eechips_local.functions.registration import function
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.tiles import TILE, Tile, Tiled
from eechips_local.pixels.lazy_image import Image, ImageBand, Mask, Pixels, bands_from
from eechips_local.pixels.neighborhood import Margins, Neighborhood, cropped, shift, taps
from eechips_local.pixels.pixelwise_rasters import all_of, both
from eechips_local.pixels.types import DOUBLE, FLOAT
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.values.kernel_weights import Kernel

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

_MOST_REACH = 512


def _check(image: Image) -> None:
    if not image.bands:
        raise InvalidError("Image has no bands.")
    if any(band.type.dimensions for band in image.bands):
        raise InvalidError("The local Earth Engine has no morphology of array images; only scalar bands are supported.")


# Spectra


def _extreme_spectra(
    pixels: Sequence[Pixels], cells: Sequence[tuple[int, int]], metric: Callable[[Spectra, Spectra], Spectra],
    origin: Spectra, shape: tuple[int, int], *, farthest: bool,
) -> tuple[Spectra, Bools]:  # fmt: skip
    """Return the spectrum under a kernel that is nearest to one of each pixel, or farthest; and where there is one.

    Args:
        pixels: pixels of all bands, with margins.
        cells: rows and columns of the kernel's cells in the margins. Of spectra that are as near, the first is taken.
        metric: distance of two spectra.
        origin: spectra from which distances are taken; shape (bands, height, width).
        shape: shape of the result.
        farthest: whether the farthest is wanted.
    """
    chosen = np.zeros_like(origin)
    best = np.full(shape, -np.inf if farthest else np.inf)
    known = np.logical_and.reduce([p.valid for p in pixels])
    for row, column in cells:
        spectrum = np.stack([shift(p.values, row, column, shape).astype(np.float64) for p in pixels])
        with np.errstate(all="ignore"):
            distance = metric(spectrum, origin)
        better = distance > best if farthest else distance < best
        better &= shift(known, row, column, shape) & np.isfinite(distance)
        best[better] = distance[better]
        chosen[:, better] = spectrum[:, better]
    return chosen, np.isfinite(best)


def _centroid(pixels: Sequence[Pixels], cells: Sequence[tuple[int, int]], shape: tuple[int, int]) -> Spectra:
    """Return the mean of the spectra under a kernel; shape (bands, height, width)."""
    known = np.logical_and.reduce([p.valid for p in pixels])
    total, count = np.zeros((len(pixels), *shape)), np.zeros(shape)
    for row, column in cells:
        inside = shift(known, row, column, shape)
        count += inside
        for band, p in zip(total, pixels, strict=True):
            band += np.where(inside, shift(p.values, row, column, shape), 0)
    mean_spectra: Spectra = total / np.maximum(count, 1)
    return mean_spectra


_Combine = Callable[[Callable[[bool], tuple[Spectra, Bools]], Mask], list[Pixels]]
"""From a function that returns the nearest spectra, or the farthest ones, and the mask of the pixels, to the bands."""


def _under_kernel(
    image: Image, metric: str, kernel: Kernel | None, *, use_centroid: bool, combine: _Combine, bands: list[ImageBand]
) -> Image:
    """Return bands made from the nearest and farthest spectra under a kernel."""
    _check(image)
    distance = spectral_metric(metric)
    chosen: Kernel = kernel or KERNELS["Kernel.square"].call(radius=1.0, units="pixels", normalize=True, magnitude=1.0)

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        weights = chosen.weights(grid.nominal_scale)
        focus = weights.y, weights.x
        # The pixel itself comes first: no other spectrum that is as near takes its place.
        cells = sorted(((row, column) for row, column, _ in taps(weights)), key=lambda cell: cell != focus)
        if use_centroid:
            origin = _centroid(pixels, cells, grid.shape)
        else:
            origin = np.stack([cropped(p.values, margins, grid.shape).astype(np.float64) for p in pixels])

        def pick(farthest: bool) -> tuple[Spectra, Bools]:
            return _extreme_spectra(pixels, cells, distance, origin, grid.shape, farthest=farthest)

        return combine(pick, cropped(all_of(pixels), margins, grid.shape))

    raster = Neighborhood(image.bands, lambda edge: Margins.of(chosen.weights(edge)), compute)
    return image.with_bands(bands_from(raster, bands))


def _picked(image: Image, metric: str, kernel: Kernel | None, *, use_centroid: bool, farthest: bool) -> Image:
    def combine(pick: Callable[[bool], tuple[Spectra, Bools]], mask: Mask) -> list[Pixels]:
        spectra, known = pick(farthest)
        return [Pixels(band, both(mask, known)) for band in spectra]

    return _under_kernel(image, metric, kernel, use_centroid=use_centroid, combine=combine, bands=list(image.bands))


@function("Image.spectralErosion")
def spectral_erosion(image: Image, metric: str, kernel: Kernel | None, useCentroid: bool) -> Image:
    """Return the spectrum under the kernel that is nearest to that of the pixel itself, or to the mean of all.

    https://developers.google.com/earth-engine/apidocs/ee-image-spectralerosion. By these words the image stays as it
    is without ``useCentroid``, for no spectrum is nearer to a pixel than its own.
    """
    return _picked(image, metric, kernel, use_centroid=useCentroid, farthest=False)


@function("Image.spectralDilation")
def spectral_dilation(image: Image, metric: str, kernel: Kernel | None, useCentroid: bool) -> Image:
    """Return the spectrum under the kernel that is farthest from that of the pixel itself, or from the mean of all.

    https://developers.google.com/earth-engine/apidocs/ee-image-spectraldilation.
    """
    return _picked(image, metric, kernel, use_centroid=useCentroid, farthest=True)


@function("Image.spectralGradient")
def spectral_gradient(image: Image, metric: str, kernel: Kernel | None, useCentroid: bool) -> Image:
    """Return the band "gradient": the distance between the dilation and the erosion.

    Plaza et al. (2002), "Spatial/spectral endmember extraction by multidimensional morphological operations", IEEE
    TGRS 40, 2025-2041: the morphological eccentricity index.
    """
    distance = spectral_metric(metric)

    def combine(pick: Callable[[bool], tuple[Spectra, Bools]], mask: Mask) -> list[Pixels]:
        (near, known), (far, far_known) = pick(False), pick(True)
        with np.errstate(all="ignore"):
            gradient = distance(far, near)
        valid = known & far_known & np.isfinite(gradient)
        return [Pixels(np.where(valid, gradient, 0.0), both(mask, valid))]

    _check(image)
    band = replace(image.bands[0], name="gradient", type=DOUBLE)
    return _under_kernel(image, metric, kernel, use_centroid=useCentroid, combine=combine, bands=[band])


# Distances and their reverse


def _reach(neighborhood: int, units: str) -> int:
    if units != "pixels":
        raise InvalidError(f"Unknown units '{units[:100]}'. Only 'pixels' are supported.")
    if neighborhood < 1:
        raise InvalidError(f"The neighborhood must be positive; found {neighborhood}.")
    if neighborhood > _MOST_REACH:
        raise MemoryLimitError()
    return neighborhood


def paraboloids(heights: Floats, reach: int) -> tuple[Floats, Indices, Indices]:
    """Return the greatest ``height - distance²`` of the pixels around each, and the rows and columns to that pixel.

    Coeurjolly and Montanvert (2007), "Optimal separable algorithms to compute the reverse Euclidean distance
    transformation and discrete medial axis in arbitrary dimension", IEEE PAMI 29, 437-448: first along the columns,
    then along the rows. Of pixels that give as much, the nearest along each axis is taken.

    Args:
        heights: heights of paraboloids, -inf where there is none; with a margin of ``reach`` pixels on all sides.
        reach: pixels along each axis.

    Returns:
        Each of shape (height - 2 * reach, width - 2 * reach).
    """
    steps = sorted(range(-reach, reach + 1), key=abs)
    height, width = heights.shape[0] - 2 * reach, heights.shape[1] - 2 * reach
    best, rows = np.full((height, heights.shape[1]), -np.inf), np.zeros((height, heights.shape[1]), dtype=np.intp)
    for step in steps:
        value = heights[reach + step : reach + step + height] - float(step) ** 2
        better = value > best
        np.copyto(best, value, where=better)
        np.copyto(rows, step, where=better)
    surface, down, across = (np.full((height, width), -np.inf), *(np.zeros((height, width), np.intp) for _ in range(2)))
    for step in steps:
        window = slice(reach + step, reach + step + width)
        value = best[:, window] - float(step) ** 2
        better = value > surface
        np.copyto(surface, value, where=better)
        np.copyto(down, rows[:, window], where=better)
        np.copyto(across, step, where=better)
    return surface, down, across


@function("Image.rsedTransform")
def rsed_transform(image: Image, neighborhood: int, units: str) -> Image:
    """Return the upper surface of inverted paraboloids as high as each pixel that is not zero, and 0 below them.

    https://developers.google.com/earth-engine/apidocs/ee-image-rsedtransform. Masked pixels have no paraboloid.
    """
    _check(image)
    reach = _reach(neighborhood, units)

    def compute(pixels: Sequence[Pixels], _: Margins, grid: PixelGrid) -> list[Pixels]:
        outputs = []
        for p in pixels:
            surface, _rows, _columns = paraboloids(
                np.where(p.valid & (p.values != 0), p.values.astype(np.float64), -np.inf), reach
            )
            outputs.append(Pixels(np.maximum(surface, 0.0), np.ones(grid.shape, dtype=bool)))
        return outputs

    raster = Neighborhood(image.bands, lambda _: Margins.around(reach), compute)
    return image.with_bands(bands_from(raster, image.bands, kinds=FLOAT))


def _squares(zero: Bools, solid: Bools, reach: int) -> Floats:
    """Return squared distances of zeros to the nearest solid pixel, inf where there is none within reach."""
    for size in (min(16, reach), reach):  # most shapes are narrow
        squares = nearest(np.pad(solid, size), size, lambda down, across: down**2 + across**2)
        if (squares[zero] <= size**2).all():
            break
    return squares


def _power_points(zero: Bools, squares: Floats) -> list[Pixels]:
    """Return "medial", "coverage", "xlabel" and "ylabel" of an area by itself.

    Args:
        zero: pixels whose medial axis is wanted.
        squares: squares of their distances to the nearest other pixel, inf where none is near; same shape.
    """
    heights = np.where(zero & np.isfinite(squares), squares, -np.inf)
    reach = math.ceil(math.sqrt(max(float(heights.max(initial=0.0)), 0.0)))
    surface, down, across = paraboloids(np.pad(heights, reach, constant_values=-np.inf), reach)
    known = zero & (surface > 0)
    rows, columns = np.indices(zero.shape)
    owners = (rows + down)[known] * zero.shape[1] + (columns + across)[known]
    coverage = np.bincount(owners, minlength=zero.size).reshape(zero.shape)
    medial = np.where(coverage > 0, heights, 0.0)
    everywhere = np.ones(zero.shape, dtype=bool)
    return [
        Pixels(medial, everywhere),
        Pixels(coverage, everywhere),
        Pixels(np.where(known, across, 0), known),
        Pixels(np.where(known, down, 0), known),
    ]


@function("Image.medialAxis")
def medial_axis(image: Image, neighborhood: int, units: str) -> Image:
    """Return the bands "medial", "coverage", "xlabel" and "ylabel" of the zeros of the first band.

    https://developers.google.com/earth-engine/apidocs/ee-image-medialaxis, by the power labels of Coeurjolly and
    Montanvert (2007): each zero belongs to the power point whose disc of zeros reaches farthest beyond it. Power points
    are the medial axis: their discs cover all zeros. "medial" has the square of the radius, as
    ``fastDistanceTransform`` gives it and ``rsedTransform`` takes it, and 0 elsewhere; "coverage" the number of zeros
    that belong to a power point; the labels the columns and rows from a zero to its power point. Zeros without another
    value within the neighborhood belong to none. It is computed on tiles of 256 pixels, with the neighborhood around.
    """
    _check(image)
    band, reach = image.bands[0], _reach(neighborhood, units)

    def compute(pixels: Sequence[Pixels], tile: Tile) -> list[Pixels]:
        solid = pixels[0].valid & (pixels[0].values != 0)
        zero = pixels[0].valid & ~solid
        outputs = _power_points(zero, _squares(zero, solid, reach))
        mask = pixels[0].mask
        return [
            Pixels(
                cropped(p.values, tile.margins, tile.grid.shape),
                cropped(both(mask, p.valid), tile.margins, tile.grid.shape),
            )
            for p in outputs
        ]

    raster = Tiled((band,), TILE, reach, compute)
    labels = PixelType("int", -reach, reach)
    kinds = {"medial": FLOAT, "coverage": PixelType("int", 0, (1 << 31) - 1), "xlabel": labels, "ylabel": labels}
    return image.computed(bands_from(raster, band, list(kinds), list(kinds.values())))
