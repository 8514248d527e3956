"""``Image.connectedPixelCount``, ``connectedComponents`` and ``reduceConnectedComponents``: connected pixels of one
value, their size, labels, statistics (``maxSize``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.images.image_bands import unique_names
from eechips_local.functions.registration import function
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, Pixels, bands_from
from eechips_local.pixels.neighborhood import Margins, Neighborhood, cropped
from eechips_local.pixels.pixelwise_rasters import both
from eechips_local.pixels.vector_image import stacked
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import Output, Reducer, ReducerSample, scattered
from eechips_local.values.kernel_weights import Kernel

Labels = npt.NDArray[np.intp]
Steps = Sequence[tuple[int, int]]

_LARGEST = 1024
SIDES = ((0, 1), (1, 0))
CORNERS = ((1, 1), (1, -1))


@function("Image.connectedPixelCount")
def connected_pixel_count(input: Image, maxSize: int, eightConnected: bool) -> Image:
    """Return the number of connected pixels of the same value, itself included; at most ``maxSize``.

    A component that leaves the margin of ``maxSize`` pixels has at least as many, so counts are exact.
    """
    if not 1 <= maxSize <= _LARGEST:
        raise InvalidError(f"maxSize must be between 1 and {_LARGEST}; found {maxSize}.")
    if any(band.type.dimensions for band in input.bands):
        raise InvalidError("Array images have no connected pixels.")
    steps = (*SIDES, *CORNERS) if eightConnected else SIDES

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        outputs = []
        for p in pixels:
            labels = components(p.values, p.valid, steps)
            sizes = np.bincount(labels.ravel())[labels]
            counts = cropped(np.minimum(sizes, maxSize), margins, grid.shape)
            outputs.append(Pixels(counts, cropped(p.mask, margins, grid.shape)))
        return outputs

    raster = Neighborhood(input.bands, lambda _: Margins.around(maxSize), compute)
    kind = PixelType("int", 0, maxSize)
    return input.with_bands(bands_from(raster, input.bands, kinds=kind))


def _check_kernel(kernel: Kernel) -> Steps:
    """Return offsets of half of the neighbours that a kernel connects: those beside a pixel, or all around it.

    Raises:
        InvalidError: for other kernels.
    """
    weights = kernel.weights(1.0)
    around = np.zeros((3, 3), dtype=bool)
    for row, column in zip(*np.nonzero(weights.values), strict=True):
        if max(abs(row - weights.y), abs(column - weights.x)) > 1:
            raise InvalidError("The connectedness kernel may not reach farther than one pixel.")
        around[row - weights.y + 1, column - weights.x + 1] = True
    around[1, 1] = True
    for pattern, steps in ((_PLUS, SIDES), (np.ones((3, 3), dtype=bool), (*SIDES, *CORNERS))):
        if np.array_equal(around, pattern):
            return steps
    raise InvalidError("The local Earth Engine connects pixels by a plus or a square of radius 1 only.")


_PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)

# Labels are positions on the lattice of the output: up to here whole numbers are exact in doubles.
_SPAN = 1 << 26


@function("Image.connectedComponents")
def connected_components(image: Image, connectedness: Kernel, maxSize: int) -> Image:
    """Return the image with a band "labels": the same number for connected pixels of one value in the first band.

    Objects of more than ``maxSize`` pixels are masked. A label tells the first pixel of its object on the lattice of
    the output, so that neighbouring tiles agree.
    """
    steps = _check_kernel(connectedness)
    _check_objects(image, maxSize)

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        labels = components(pixels[0].values, pixels[0].valid, steps)
        small = (np.bincount(labels.ravel()) <= maxSize)[labels]
        rows, columns = np.divmod(labels, labels.shape[1])
        origin = ~grid.transform
        left, top = round(origin.c), round(origin.f)
        numbers = ((rows - margins.top - top) % _SPAN) * _SPAN + (columns - margins.left - left) % _SPAN
        layers = [*((p.values, p.mask) for p in pixels), (numbers, pixels[0].mask)]
        return [
            Pixels(cropped(values, margins, grid.shape), cropped(both(mask, small), margins, grid.shape))
            for values, mask in layers
        ]

    raster = Neighborhood(image.bands, lambda _: Margins.around(maxSize), compute)
    (name,) = unique_names(["labels"], [band.name for band in image.bands])
    added = replace(image.bands[0], name=name, type=PixelType("int", 0, _SPAN**2 - 1))
    return image.with_bands(bands_from(raster, (*image.bands, added)))


def _check_objects(image: Image, size: int) -> None:
    if not 1 <= size <= _LARGEST:
        raise InvalidError(f"maxSize must be between 1 and {_LARGEST}; found {size}.")
    if not image.bands:
        raise InvalidError("Image has no bands.")
    if any(band.type.dimensions for band in image.bands):
        raise InvalidError("Array images have no connected pixels.")


@function("Image.reduceConnectedComponents")
def reduce_connected_components(image: Image, reducer: Reducer, labelBand: str | None, maxSize: int) -> Image:
    """Return the other bands reduced over the pixels (8-connected) that share a value in the label band.

    Objects that are larger than ``maxSize`` in either dimension are masked.
    """
    _check_objects(image, maxSize)
    names = [band.name for band in image.bands]
    if labelBand is not None and labelBand not in names:
        raise InvalidError(f"Band '{labelBand}' not found in the image.")
    label = image.bands[0] if labelBand is None else image.bands[names.index(labelBand)]
    others = [band for band in image.bands if band is not label]
    if reducer.inputs != 1:
        reducer.check_inputs(len(others))
    groups = reducer.groups(len(others))
    kinds = [kind for group in groups for kind in reducer.band_types([others[i].type for i in group])]

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        labels = components(pixels[0].values, pixels[0].valid, (*SIDES, *CORNERS))
        whole = pixels[0].valid & _within(labels, maxSize)
        inner = cropped(labels, margins, grid.shape)[cropped(whole, margins, grid.shape)]
        wanted = np.flatnonzero((whole & np.isin(labels, np.unique(inner))).ravel())
        outputs: list[Pixels] = []
        for group in groups:
            values = np.stack([pixels[1 + i].values.ravel() for i in group])
            masks = np.stack([pixels[1 + i].mask.ravel() for i in group]).astype(np.float64)
            outputs.extend(
                Pixels(cropped(p.values, margins, grid.shape), cropped(p.mask, margins, grid.shape))
                for p in _per_object(reducer, labels, wanted, values, masks)
            )
        return outputs

    raster = Neighborhood((label, *others), lambda _: Margins.around(maxSize), compute)
    leaders = [others[group[0]] for group in groups for _ in reducer.names]
    output_names = reducer.output_names([band.name for band in others], short=True)
    return image.computed(bands_from(raster, leaders, output_names, kinds))


def _within(labels: Labels, size: int) -> npt.NDArray[np.bool_]:
    """Return pixels of objects that are at most so many pixels wide and high."""
    rows, columns = np.indices(labels.shape)
    fits = np.ones(labels.size, dtype=bool)
    for position in (rows, columns):
        low, high = np.full(labels.size, labels.size), np.full(labels.size, -1)
        np.minimum.at(low, labels.ravel(), position.ravel())
        np.maximum.at(high, labels.ravel(), position.ravel())
        fits &= high - low < size
    return fits[labels]


def _per_object(
    reducer: Reducer, labels: Labels, wanted: Labels, values: npt.NDArray[Any], masks: npt.NDArray[np.float64]
) -> list[Pixels]:
    """Return a reducer's outputs for each object, at all of its pixels.

    Args:
        reducer: any that gives numbers.
        labels: shape (height, width).
        wanted: flat indices of the pixels of the objects.
        values: shape (inputs, pixels).
        masks: likewise.
    """
    parts: list[list[tuple[Labels, Output]]] = [[] for _ in reducer.names]
    flat = labels.ravel()
    for objects, table in stacked(flat[wanted], wanted):
        there = table >= 0
        weights = np.where(there, masks[:, table], 0.0)
        results = reducer.apply(ReducerSample(values[:, table], weights, weights > 0))
        for part, result in zip(parts, results, strict=True):
            part.append((objects, result))
    outputs = [scattered(labels.size, part) for part in parts]
    inside = np.zeros(labels.size, dtype=bool)
    inside[wanted] = True
    return [
        Pixels(
            output.values[flat].reshape(*labels.shape, *output.values.shape[1:]),
            (output.valid[flat] & inside).reshape(labels.shape),
        )
        for output in outputs
    ]


def components(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], steps: Sequence[tuple[int, int]]) -> Labels:
    """Return a label for each pixel, the same for those that are connected; shape (height, width).

    Trees of labels are hooked onto each other and flattened until no edge joins two of them (Shiloach and Vishkin
    1982), which takes about as many rounds as the logarithm of the number of pixels.

    Args:
        values: what connected pixels share.
        valid: pixels that may be connected at all.
        steps: offsets (rows, columns) of half of the neighbours.
    """
    numbers = np.arange(values.size).reshape(values.shape)
    ends = [_joined(values, valid, numbers, row, column) for row, column in steps]
    first = np.concatenate([a for a, _ in ends])
    second = np.concatenate([b for _, b in ends])
    parent = np.arange(values.size)
    while len(first):
        low, high = np.minimum(parent[first], parent[second]), np.maximum(parent[first], parent[second])
        np.minimum.at(parent, high, low)
        while True:
            flatter = parent[parent]
            if np.array_equal(flatter, parent):
                break
            parent = flatter
        apart = parent[first] != parent[second]
        first, second = first[apart], second[apart]
    return parent.reshape(values.shape)


def _joined(
    values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], numbers: Labels, row: int, column: int
) -> tuple[Labels, Labels]:
    """Return numbers of the pixels that are equal to their neighbour at an offset, and of those neighbours."""
    height, width = values.shape
    here = (slice(0, height - row), slice(max(0, -column), width - max(0, column)))
    there = (slice(row, height), slice(max(0, column), width - max(0, -column)))
    same = (values[here] == values[there]) & valid[here] & valid[there]
    return numbers[here][same], numbers[there][same]
