"""``Image.convolve``, ``reduceNeighborhood``, ``focalMax`` and the like, ``neighborhoodToBands``,
``neighborhoodToArray``, ``entropy``: the pixels around each pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.functions.neighborhoods.kernels import FUNCTIONS as KERNELS
from eechips_local.functions.registration import Implementation, function
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, bands_from
from eechips_local.pixels.neighborhood import (
    Margins,
    Neighborhood,
    cropped,
    extreme,
    row_blocks,
    shift,
    stacked,
    taps,
    weighted_sum,
)
from eechips_local.pixels.pixelwise_rasters import all_of, both
from eechips_local.pixels.types import FLOAT, cast_values, dtype_of, floating_type, without_range
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError, check_choice
from eechips_local.reducers import MAX, MEAN, MEDIAN, MIN, MODE, Reducer, ReducerSample
from eechips_local.reducers.rank_statistics import comparable, quantiles_by_rank
from eechips_local.values.kernel_weights import Kernel, Weights

# Neighbours that are looked at one by one for one output: about two minutes of a percentile.
_MOST_VISITS = 1 << 31


def _reach(kernel: Kernel, edge: float) -> Margins:
    return Margins.of(kernel.weights(edge))


def _fixed(margins: Margins, _: float) -> Margins:
    return margins


def _scalars(image: Image) -> None:
    if any(band.type.dimensions for band in image.bands):
        raise InvalidError("Array images have no neighborhoods; only scalar bands are supported.")


# Convolution


@function("Image.convolve")
def convolve(image: Image, kernel: Kernel) -> Image:
    """Return the sum of the neighbours of each pixel times the kernel's weights, under the pixel's own mask.

    Masked neighbours count as 0, and the weights of the others stay, as measured on the service (code 70191878970).
    """
    _scalars(image)

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        weights = kernel.weights(grid.nominal_scale)
        values = [p.values if p.valid.all() else np.where(p.valid, p.values, 0) for p in pixels]
        masks = [cropped(p.mask, margins, grid.shape) for p in pixels]
        return [Pixels(weighted_sum(v, weights, grid.shape), mask) for v, mask in zip(values, masks, strict=True)]

    raster = Neighborhood(image.bands, partial(_reach, kernel), compute)
    return image.with_bands(
        bands_from(raster, image.bands, kinds=[without_range(floating_type(band.type)) for band in image.bands])
    )


# Reductions


def _weights_of(masks: npt.NDArray[Any], kernel: npt.NDArray[np.float64], mode: str) -> npt.NDArray[np.float64]:
    """Return weights of neighbours, shape (cells, rows, columns): the mask, the kernel, or the lesser of the two."""
    if mode == "mask":
        return masks.astype(np.float64)
    if mode == "kernel":
        return np.where(masks > 0, kernel[:, None, None], 0.0)
    return np.minimum(masks.astype(np.float64), kernel[:, None, None])


def _reduced(
    pixels: Sequence[Pixels], weights: Weights, reducer: Reducer, mode: str, shape: tuple[int, int]
) -> list[Pixels]:
    """Return one call of a reducer over the neighbours in some bands: one Pixels for each output."""
    if len(pixels) == 1 and mode == "kernel" and (weights.values >= 0).all():
        if reducer.equals(MEAN):
            return [_mean(pixels[0], weights, shape)]
        if reducer.equals(MIN) or reducer.equals(MAX):
            return [_extreme(pixels[0], weights, shape, greatest=reducer.equals(MAX))]
    cells = taps(weights)
    if len(pixels) * len(cells) * shape[0] * shape[1] > _MOST_VISITS:
        raise MemoryLimitError()
    is_even = len({weight for *_, weight in cells}) == 1 and cells[0][2] > 0
    if len(pixels) == 1 and mode == "kernel" and reducer.equals(MEDIAN) and is_even:
        return [_median(pixels[0], weights, shape)]
    kernel = np.array([weight for _, _, weight in cells])
    parts: list[list[Pixels]] = []
    for start, stop in row_blocks(shape[0], len(pixels) * len(cells) * shape[1] * 24):
        layers = [stacked(p, cells, start, stop, shape[1]) for p in pixels]
        together = [_weights_of(masks, kernel, mode) for _, masks in layers]
        inside = [masks > 0 for _, masks in layers]
        sample = ReducerSample(
            np.stack([values for values, _ in layers]), np.min(together, axis=0), np.logical_and.reduce(inside)
        )
        parts.append([Pixels(np.asarray(o.values), np.asarray(o.valid)) for o in reducer.apply(sample)])
    return [
        Pixels(np.concatenate([p.values for p in column]), np.concatenate([p.mask for p in column]))
        for column in zip(*parts, strict=True)
    ]


def _mean(pixels: Pixels, weights: Weights, shape: tuple[int, int]) -> Pixels:
    """Return the mean of the valid neighbours, weighted by the kernel."""
    valid = pixels.valid
    weight = weighted_sum(valid, weights, shape)
    count = weighted_sum(valid, _flat(weights), shape)
    total = weighted_sum(np.where(valid, pixels.values, 0), weights, shape)
    some = count > 0.5
    return Pixels(np.divide(total, weight, out=np.zeros(shape), where=some), some)


def _median(pixels: Pixels, weights: Weights, shape: tuple[int, int]) -> Pixels:
    """Return the median of the valid neighbours; all weights that are not zero are equal."""
    count = weighted_sum(pixels.valid, _flat(weights), shape).round().astype(np.intp)
    values = comparable(pixels.values, pixels.valid)
    windows = np.lib.stride_tricks.sliding_window_view(values, weights.values.shape)
    parts = []
    for start, stop in row_blocks(shape[0], shape[1] * int(np.count_nonzero(weights.values)) * 24):
        near = np.sort(windows[start:stop, : shape[1]][..., weights.values != 0], axis=-1)
        parts.append(quantiles_by_rank(np.moveaxis(near, -1, 0), count[start:stop], [0.5])[0][0])
    return Pixels(np.concatenate(parts), count > 0)


def _extreme(pixels: Pixels, weights: Weights, shape: tuple[int, int], *, greatest: bool) -> Pixels:
    """Return the greatest or least valid neighbour."""
    valid, values = pixels.valid, pixels.values
    pick = np.maximum if greatest else np.minimum
    if values.dtype.kind == "f":
        worst: Any = -np.inf if greatest else np.inf
    else:
        values = values.astype(np.uint8) if values.dtype == bool else values
        worst = np.iinfo(values.dtype).min if greatest else np.iinfo(values.dtype).max
    some = extreme(np.maximum, valid, weights, shape)
    extremes = extreme(pick, np.where(valid, values, values.dtype.type(worst)), weights, shape)
    return Pixels(np.where(some, extremes, values.dtype.type(0)), some)


def _flat(weights: Weights) -> Weights:
    return replace(weights, values=(weights.values != 0).astype(np.float64))


def _reduction(
    image: Image,
    reducer: Reducer,
    kernel: Kernel,
    mode: str,
    names: Sequence[str],
    *,
    skip_masked: bool,
    optimization: str | None = None,
) -> list[ImageBand]:
    """Return bands of a reduction over neighbourhoods."""
    _scalars(image)
    groups = reducer.groups(len(image.bands))
    types = [kind for group in groups for kind in reducer.band_types([image.bands[i].type for i in group])]

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        weights = kernel.weights(grid.nominal_scale)
        if optimization is not None and weights.values.min() != weights.values.max():  # at this scale, if in metres
            raise InvalidError(_OPTIMIZABLE.format(optimization))
        reductions: list[Pixels] = []
        for group in groups:
            outputs = _reduced([pixels[i] for i in group], weights, reducer, mode, grid.shape)
            if skip_masked:
                centre = cropped(all_of([pixels[i] for i in group]), margins, grid.shape)
                outputs = [Pixels(o.values, both(o.mask, centre)) for o in outputs]
            reductions.extend(outputs)
        return reductions

    raster = Neighborhood(image.bands, partial(_reach, kernel), compute)
    leaders = [image.bands[group[0]] for group in groups for _ in reducer.names]
    return bands_from(raster, leaders, names, types)


@function("Image.reduceNeighborhood")
def reduce_neighborhood(
    image: Image, reducer: Reducer, kernel: Kernel, inputWeight: str, skipMasked: bool, optimization: str | None
) -> Image:
    """Return a reducer over the neighbours of each pixel that a kernel names."""
    check_choice("inputWeight", inputWeight, ("mask", "kernel", "min"))
    if optimization is not None:
        check_choice("optimization", optimization, ("boxcar", "window"))
        _check_optimization(optimization, reducer, inputWeight)
    names = reducer.output_names([band.name for band in image.bands], short=False)
    bands = _reduction(image, reducer, kernel, inputWeight, names, skip_masked=skipMasked, optimization=optimization)
    return image.computed(bands)


_OPTIMIZABLE = (
    "The optimization '{}' requires a homogeneous kernel, a reducer of a single input, and 'mask' or 'kernel' as"
    " inputWeight."
)
"""What the signature of ``Image.reduceNeighborhood`` says that its optimizations cannot do."""


def _check_optimization(optimization: str, reducer: Reducer, weighting: str) -> None:
    """Refuse a reducer or weighting that an optimization cannot take; see :data:`_OPTIMIZABLE` for the rule."""
    if len(reducer.weighted) != 1 or weighting == "min":
        raise InvalidError(_OPTIMIZABLE.format(optimization))
    if optimization == "boxcar" and not {output.name for output in reducer.outputs} <= {"count", "sum", "mean"}:
        raise InvalidError("The optimization 'boxcar' computes a count, a sum or a mean.")


_MOST_ITERATIONS = 100
_FOCAL: Mapping[str, Reducer] = {"Max": MAX, "Min": MIN, "Mean": MEAN, "Median": MEDIAN, "Mode": MODE}
_SHAPES = ("circle", "square", "cross", "plus", "octagon", "diamond")


def _focal(
    reducer: Reducer, image: Image, radius: float, kernelType: str, units: str, iterations: int, kernel: Kernel | None
) -> Image:
    """Return a reduction over a shape around each pixel, once or several times; it also fills masked pixels."""
    if kernel is None:
        check_choice("kernelType", kernelType, _SHAPES)
        kernel = KERNELS[f"Kernel.{kernelType}"].call(radius=radius, units=units, normalize=True, magnitude=1.0)
    if iterations < 1:
        raise InvalidError(f"The number of iterations must be positive; found {iterations}.")
    if iterations > _MOST_ITERATIONS:
        raise MemoryLimitError()
    names = [band.name for band in image.bands]
    focal_image = image
    for _ in range(iterations):
        focal_image = focal_image.with_bands(
            _reduction(focal_image, reducer, kernel, "kernel", names, skip_masked=False)
        )
    return focal_image


FUNCTIONS: Mapping[str, Implementation] = {
    spelling: Implementation(partial(_focal, reducer))
    for name, reducer in _FOCAL.items()
    for spelling in (f"Image.focal{name}", f"Image.focal_{name.lower()}", f"Window.{name.lower()}")
}
"""Filters of one shape: the largest, least, mean, middle and most frequent neighbour."""


# Neighbours as bands and arrays


@function("Image.neighborhoodToBands")
def neighborhood_to_bands(image: Image, kernel: Kernel) -> Image:
    """Return a band for each neighbour that the kernel names, called <band>_<x>_<y> by its offset, rows first."""
    _scalars(image)
    bands: list[ImageBand] = []
    for band in image.bands:
        weights = kernel.weights(band.projection.nominal_scale)
        cells = taps(weights)
        raster = Neighborhood((band,), partial(_fixed, Margins.of(weights)), partial(_neighbours, cells))
        for index, (row, column, _) in enumerate(cells):
            name = f"{band.name}_{column - weights.x}_{row - weights.y}"
            bands.append(replace(band, name=name, raster=raster, index=index))
    return image.with_bands(bands)


def _neighbours(
    cells: Sequence[tuple[int, int, float]], pixels: Sequence[Pixels], _: Margins, grid: PixelGrid
) -> list[Pixels]:
    values, mask = pixels[0].values, pixels[0].mask
    return [Pixels(shift(values, r, c, grid.shape), shift(mask, r, c, grid.shape)) for r, c, _ in cells]


@function("Image.neighborhoodToArray")
def neighborhood_to_array(image: Image, kernel: Kernel, defaultValue: float) -> Image:
    """Return the rectangle around each pixel as a 2-D array: rows, then columns. Masked neighbours get a default."""
    _scalars(image)
    if kernel.description.get("type") not in ("Kernel.fixed", "Kernel.square", "Kernel.rectangle"):
        raise InvalidError("Only fixed, square and rectangle kernels are supported.")

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        window = (margins.top + margins.bottom + 1, margins.left + margins.right + 1)
        outputs = []
        for band, p in zip(image.bands, pixels, strict=True):
            filler = cast_values(np.array(defaultValue), dtype_of(band.type))
            values = p.values if p.valid.all() else np.where(p.valid, p.values, filler)
            arrays = np.lib.stride_tricks.sliding_window_view(values, window)
            outputs.append(Pixels(arrays, cropped(p.mask, margins, grid.shape)))
        return outputs

    raster = Neighborhood(image.bands, partial(_reach, kernel), compute)
    return image.with_bands(
        bands_from(raster, image.bands, kinds=[replace(band.type, dimensions=2) for band in image.bands])
    )


# Statistics of windows


@function("Image.entropy")
def entropy(image: Image, kernel: Kernel) -> Image:
    """Return the entropy of the values around each pixel: -sum(p log2 p) over the shares of the values that occur."""
    _scalars(image)
    for band in image.bands:
        if band.type.precision != "int" or dtype_of(band.type).itemsize > 4:
            raise InvalidError("Only 32-bit or smaller integer types are currently supported.")

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        cells = taps(kernel.weights(grid.nominal_scale))
        outputs = []
        for p in pixels:
            blocks = [
                _entropy(*stacked(p, cells, start, stop, grid.width))
                for start, stop in row_blocks(grid.height, len(cells) * grid.width * 32)
            ]
            centre = cropped(p.mask, margins, grid.shape)
            outputs.append(Pixels(np.concatenate(blocks), centre))
        return outputs

    raster = Neighborhood(image.bands, partial(_reach, kernel), compute)
    return image.with_bands(bands_from(raster, image.bands, kinds=FLOAT))


def _entropy(values: npt.NDArray[Any], masks: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the entropy along the first axis, of valid values only."""
    valid = masks > 0
    count = np.maximum(valid.sum(axis=0), 1).astype(np.float64)
    ordered = np.sort(np.where(valid, values.astype(np.float64), np.inf), axis=0)
    run, total = np.zeros(count.shape), np.zeros(count.shape)
    for index in range(len(ordered)):
        run = run + 1
        last = ordered[index] != ordered[index + 1] if index + 1 < len(ordered) else np.ones(count.shape, dtype=bool)
        ended = last & np.isfinite(ordered[index])
        share = np.where(ended, run / count, 1.0)
        total -= share * np.log2(share)
        run = np.where(last, 0.0, run)
    return total
