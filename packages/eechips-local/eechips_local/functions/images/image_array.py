"""``Image.toArray``, ``arrayFlatten``, ``arrayGet``, ``arraySort``, ``arrayMask``, ``arrayReduce``, ``arrayAccum``,
``arrayArgmax``, ``arrayDotProduct``: array pixels: conversion, order and reductions.

Shapes may differ between pixels: see :mod:`eechips_local.values.ragged_arrays`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.images.image_math import matched, spread
from eechips_local.functions.primitives.array_shape import axis_of_keys
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, bands_from
from eechips_local.pixels.pixelwise_rasters import Joint, PerPixel, PixelFunction, all_of, both, combined, mapped
from eechips_local.pixels.types import LONG, Numbers, union_type
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.reducers import SUM, Reducer, ReducerSample
from eechips_local.values.ragged_arrays import by_number, by_shape, by_shape_together, grouped

MOST_DIMENSIONS = 16
_MOST_ELEMENTS = 1 << 27
_WORD = 0xFFFF_FFFF_FFFF_FFFF


def check_size(elements: int) -> None:
    """End what would make too many numbers.

    Raises:
        LimitError: in Earth Engine's words for too much memory.
    """
    if elements > _MOST_ELEMENTS:
        raise MemoryLimitError()


def check_axis(axis: int, dimensions: int) -> int:
    """Return an axis, if arrays have it.

    Raises:
        InvalidError: if they have not.
    """
    if not 0 <= axis < dimensions:
        raise InvalidError(f"Axis {axis} is out of range for arrays of {dimensions} dimensions.")
    return axis


def check_arrays(image: Image) -> None:
    """Reject scalar bands.

    Raises:
        InvalidError: if there are any.
    """
    for band in image.bands:
        if not band.type.dimensions:
            raise InvalidError(f"The image must have array bands; band '{band.name}' is scalar.")


def where_valid(function: PixelFunction) -> PixelFunction:
    """Return a function of pixels that is only called where there are any.

    Rasters that have nothing to read give scalars, masked, whatever the dimensions of their bands.
    """

    whole = by_shape(function)

    def run(pixels: Sequence[Pixels]) -> Pixels:
        mask = all_of(pixels)
        return whole(pixels) if (mask > 0).any() else Pixels(np.zeros(mask.shape), mask)

    return run


def array_bands(image: Image, change: Callable[[Numbers], Numbers], kind: Callable[[PixelType], PixelType]) -> Image:
    """Return an image whose arrays, of shape (height, width, …), are changed band by band."""
    function_ = where_valid(lambda pixels: Pixels(change(pixels[0].values), pixels[0].mask))
    return image.with_bands(mapped(image.bands, function_, kind))


def dimensions_of_type(count: int) -> Callable[[PixelType], PixelType]:
    """Return a function that gives a type so many dimensions."""
    return lambda kind: replace(kind, dimensions=count)


def whole_numbers(pixels: Pixels) -> Numbers:
    """Return numbers cut to integers; 0 where masked."""
    return np.where(pixels.valid, pixels.values, 0).astype(np.int64)


# From bands to arrays and back


@function("Image.toArray")
def to_array(image: Image, axis: int) -> Image:
    """Return one band "array" whose pixels are those of all bands, one after the other along an axis."""
    if not image.bands:
        raise InvalidError("Image has no bands.")
    depths = {band.type.dimensions for band in image.bands}
    if len(depths) > 1:
        raise InvalidError("All bands must have pixels of the same number of dimensions.")
    (depth,) = depths
    if not 0 <= axis <= depth:
        raise InvalidError(f"The axis must be between 0 and the dimensions of the inputs ({depth}); found {axis}.")

    def join(pixels: Sequence[Pixels]) -> Pixels:
        layers = [p.values if axis < depth else p.values[..., None] for p in pixels]
        try:
            return Pixels(np.concatenate(layers, axis=2 + axis), all_of(pixels))
        except ValueError as error:
            shapes = ", ".join(str(list(v.shape[2:])) for v in layers)
            raise InvalidError(f"Arrays of shapes {shapes} cannot be concatenated along axis {axis}.") from error

    kind = image.bands[0].type
    for band in image.bands[1:]:
        kind = union_type(kind, band.type)
    like = replace(image.bands[0], name="array", type=replace(kind, dimensions=max(depth, axis + 1)))
    return image.with_bands(combined([tuple(image.bands)], where_valid(join), [like]))


@function("Image.bitsToArrayImage")
def bits_to_array(input: Image) -> Image:
    """Return the bits of integers as 1-D arrays, as long as the highest bit that is set is far, that first."""
    if any(band.type.dimensions or band.type.precision != "int" for band in input.bands):
        raise InvalidError("Bits can be taken from scalar bands of integer types only.")

    def spell(pixels: Sequence[Pixels]) -> Pixels:
        numbers = whole_numbers(pixels[0])
        single, codes = np.unique(numbers, return_inverse=True)
        lengths = np.array([max(1, (int(v) & _WORD).bit_length()) for v in single])
        digits = lengths[codes].reshape(*numbers.shape, 1)
        return grouped([Pixels(numbers, pixels[0].mask)], by_number(digits, pixels[0].valid), spelled)

    def spelled(pixels: Sequence[Pixels], key: Any) -> Pixels:
        places = np.arange(key[0] - 1, -1, -1)
        return Pixels(pixels[0].values[..., None] >> places & 1, pixels[0].mask)

    return input.with_bands(mapped(input.bands, spell, lambda _: PixelType("int", 0, 1, 1)))


@function("Image.arrayFlatten")
def array_flatten(image: Image, coordinateLabels: list[list[str]], separator: str) -> Image:
    """Return a scalar band for each element, named by the labels of its position."""
    check_arrays(image)
    if len(image.bands) != 1:
        raise InvalidError(f"The image must have one band; it has {len(image.bands)}.")
    lengths = [len(labels) for labels in coordinateLabels]
    (band,) = image.bands
    if len(lengths) != band.type.dimensions:
        raise InvalidError(
            f"Labels are needed for each of the {band.type.dimensions} axes; found labels for {len(lengths)}."
        )
    names = [separator.join(labels) for labels in product(*coordinateLabels)]

    def scatter(pixels: Sequence[Pixels]) -> list[Pixels]:
        values, mask = pixels[0].values, pixels[0].mask
        if list(values.shape[2:]) != lengths and mask.any():
            raise InvalidError(f"The labels are for arrays of shape {lengths}; found {list(values.shape[2:])}.")
        flat = values.reshape(*values.shape[:2], -1) if mask.any() else np.zeros((*mask.shape, len(names)))
        return [Pixels(flat[..., index], mask) for index in range(len(names))]

    raster = Joint(image.bands, by_shape_together(scatter))
    return image.with_bands(bands_from(raster, band, names, replace(band.type, dimensions=0)))


@function("Image.arrayGet")
def array_get(image: Image, position: Image) -> Image:
    """Return the element at a position, whose coordinates are the bands of an image; negative ones count from the end.

    So public scripts take the last segment of CCDC (``tEnd.arrayGet([-1])``).
    """
    check_arrays(image)
    if any(band.type.dimensions for band in position.bands):
        raise InvalidError("The bands of a position must be scalar.")
    bands: list[ImageBand] = []
    for band in image.bands:
        if len(position.bands) != band.type.dimensions:
            raise InvalidError(
                f"The position needs {band.type.dimensions} bands, one for each dimension; it has "
                f"{len(position.bands)}."
            )
        like = replace(band, type=replace(band.type, dimensions=0))
        bands.extend(combined([(band, *position.bands)], where_valid(_picked), [like]))
    return image.with_bands(bands)


def _picked(pixels: Sequence[Pixels]) -> Pixels:
    values, mask = pixels[0].values, all_of(pixels)
    valid = mask > 0
    rows, columns = np.indices(mask.shape)
    positions = [np.where(valid, p.values, 0) for p in pixels[1:]]
    if any(np.isnan(at).any() for at in positions):
        raise InvalidError("The position of an element of an array must be a number; found NaN.")
    index = [at.astype(np.int64) for at in positions]
    for axis, (at, length) in enumerate(zip(index, values.shape[2:], strict=True)):
        if valid.any() and (at.min() < -length or at.max() >= length):
            raise InvalidError(
                f"Array index out of range: {int(at.max()) if at.max() >= length else int(at.min())} along axis "
                f"{axis}, which has length {length}."
            )
    if not valid.any():
        return Pixels(np.zeros(mask.shape, dtype=values.dtype), mask)
    return Pixels(values[(rows, columns, *index)], mask)


# Order and choice


@function("Image.arraySort")
def array_sort(image: Image, keys: Image | None) -> Image:
    """Return arrays in ascending order of their elements or of keys, along the axis in which those are longer than
    1.
    """
    check_arrays(image)
    orders = spread(keys, len(image.bands), "keys") if keys is not None else image.bands
    if any(band.type.dimensions != key.type.dimensions for band, key in zip(image.bands, orders, strict=True)):
        raise InvalidError("Image and keys must have same dimensions.")  # code 57931465869

    def sort(pixels: Sequence[Pixels]) -> Pixels:
        values, order = pixels[0].values, pixels[1].values
        axis = axis_of_keys(order.shape[2:], values.shape[2:])
        if axis is None:
            raise InvalidError("The keys may only have multiple elements along one axis, as many as the arrays.")
        index = np.argsort(order, axis=2 + axis, kind="stable")
        return Pixels(np.take_along_axis(values, index, axis=2 + axis), all_of(pixels))

    return image.with_bands(combined(list(zip(image.bands, orders, strict=True)), where_valid(sort), image.bands))


@function("Image.arrayMask")
def array_mask(input: Image, mask: Image) -> Image:
    """Return the elements where a mask, which extends along one axis, is not zero."""
    check_arrays(input)
    masks = spread(mask, len(input.bands), "mask")

    def keep(pixels: Sequence[Pixels]) -> Pixels:
        values, flags, valid = pixels[0].values, pixels[1].values != 0, all_of(pixels)
        axis = axis_of_keys(flags.shape[2:], values.shape[2:])
        if axis is None:
            raise InvalidError("The mask may only extend along one axis, as far as the arrays.")
        counts = flags.sum(axis=tuple(range(2, flags.ndim)))
        index = np.argsort(~flags, axis=2 + axis, kind="stable")
        ordered = Pixels(np.take_along_axis(values, index, axis=2 + axis), valid)

        def cut(part: Sequence[Pixels], key: Any) -> Pixels:
            return Pixels(part[0].values[(slice(None),) * (2 + axis) + (slice(0, key[0]),)], part[0].mask)

        return grouped([ordered], by_number(counts[..., None], valid > 0), cut)

    return input.with_bands(combined(list(zip(input.bands, masks, strict=True)), where_valid(keep), input.bands))


@function("Image.arrayArgmax")
def array_argmax(image: Image) -> Image:
    """Return the position of the greatest element, as a 1-D array."""
    check_arrays(image)

    def position(values: Numbers) -> Numbers:
        flat = values.reshape(*values.shape[:2], -1)
        if not flat.shape[-1]:
            raise InvalidError("Arrays without elements have no greatest one.")
        return np.stack(np.unravel_index(flat.argmax(axis=-1), values.shape[2:]), axis=-1)

    return array_bands(image, position, lambda _: PixelType("int", 0, 2**31 - 1, 1))


# Reductions


def _sampled(values: Numbers, axes: Sequence[int], reducer: Reducer) -> list[tuple[Numbers, Any]]:
    """Return a reducer's outputs over some axes of values of shape (inputs, height, width, …)."""
    kept = [axis for axis in range(values.ndim - 3) if axis not in axes]
    order = values.transpose(0, *(3 + axis for axis in axes), 1, 2, *(3 + axis for axis in kept))
    count = int(np.prod([values.shape[3 + axis] for axis in axes]))
    order = order.reshape(len(values), count, *order.shape[1 + len(axes) :])
    inside = np.ones(order.shape[1:], dtype=bool)
    outputs = reducer.apply(ReducerSample(order, inside.astype(np.float64), inside))
    return [(np.asarray(output.values), np.asarray(output.valid)) for output in outputs]


@function("Image.arrayReduce")
def array_reduce(input: Image, reducer: Reducer, axes: list[int], fieldAxis: int | None) -> Image:
    """Return arrays with some axes collapsed to length 1 by a reducer."""
    check_arrays(input)
    reducer.check_numbers()
    kinds = [reducer.band_types([replace(band.type, dimensions=0)] * reducer.inputs) for band in input.bands]
    if fieldAxis is None and (reducer.inputs > 1 or len(reducer.names) > 1):
        raise InvalidError("The fieldAxis must be specified for a reducer with several inputs or outputs.")
    if fieldAxis in axes:
        raise InvalidError(f"The fieldAxis {fieldAxis} cannot be reduced over.")
    over = sorted(set(axes))
    for band in input.bands:
        for axis in (*over, *(() if fieldAxis is None else (fieldAxis,))):
            check_axis(axis, band.type.dimensions)

    def reduce(pixels: Sequence[Pixels]) -> Pixels:
        values, mask = pixels[0].values, pixels[0].mask
        fields = values[None] if fieldAxis is None else np.moveaxis(values, 2 + fieldAxis, 0)
        if fieldAxis is not None and len(fields) != reducer.inputs:
            raise InvalidError(
                f"The fieldAxis must be as long as the reducer has inputs ({reducer.inputs}); found {len(fields)}."
            )
        inner = [axis if fieldAxis is None or axis < fieldAxis else axis - 1 for axis in over]
        shape = [1 if axis in inner else size for axis, size in enumerate(fields.shape[3:])]
        outputs = []
        for reduced, valid in _sampled(fields, inner, reducer):
            outputs.append(reduced.reshape(*mask.shape, *shape))
            mask = both(mask, valid.reshape(*mask.shape, -1).all(axis=-1))
        return Pixels(outputs[0] if fieldAxis is None else np.stack(outputs, axis=2 + fieldAxis), mask)

    types = [
        replace(union_type(*kind), dimensions=band.type.dimensions)
        for band, kind in zip(input.bands, kinds, strict=True)
    ]
    raster = PerPixel(tuple((b,) for b in input.bands), (where_valid(reduce),) * len(input.bands))
    return input.with_bands(bands_from(raster, input.bands, kinds=types))


@function("Image.arrayAccum")
def array_accum(input: Image, axis: int, reducer: Reducer | None) -> Image:
    """Return each element replaced by the reduction of those up to it along an axis; by default their sum."""
    check_arrays(input)
    chosen = reducer if reducer is not None else SUM
    chosen.check_numbers()
    if chosen.inputs != 1 or len(chosen.names) != 1:
        raise InvalidError("The reducer must have one input and one output.")
    for band in input.bands:
        check_axis(axis, band.type.dimensions)

    def accumulate(values: Numbers) -> Numbers:
        if reducer is None:
            wide = np.int64 if values.dtype.kind in "biu" else np.float64
            return np.cumsum(values, axis=2 + axis, dtype=wide)
        steps = []
        for end in range(1, values.shape[2 + axis] + 1):
            part = values[(slice(None),) * (2 + axis) + (slice(0, end),)]
            ((accumulated, _),) = _sampled(part[None], [axis], chosen)
            steps.append(accumulated)
        return np.stack(steps, axis=2 + axis) if steps else values

    def kind(old: PixelType) -> PixelType:
        if reducer is None:
            return replace(LONG if old.precision == "int" else PixelType(old.precision), dimensions=old.dimensions)
        return replace(chosen.band_types([replace(old, dimensions=0)])[0], dimensions=old.dimensions)

    return array_bands(input, accumulate, kind)


@function("Image.arrayDotProduct")
def array_dot_product(image1: Image, image2: Image) -> Image:
    """Return the sums of the products of 1-D arrays."""
    pairs = matched(image1, image2)
    longer = image1 if len(image1.bands) >= len(image2.bands) else image2
    for a, b in pairs:
        if a.type.dimensions != 1 or b.type.dimensions != 1:
            raise InvalidError("Both arrays must be 1-dimensional.")

    def dot(pixels: Sequence[Pixels]) -> Pixels:
        a, b = pixels
        if a.values.shape != b.values.shape:
            raise InvalidError(f"Both arrays must be of one length; found {a.values.shape[2]} and {b.values.shape[2]}.")
        whole = a.values.dtype.kind in "biu" and b.values.dtype.kind in "biu"
        wide = np.int64 if whole else np.float64
        return Pixels(np.einsum("ijk,ijk->ij", a.values.astype(wide), b.values.astype(wide)), both(a.mask, b.mask))

    like = [
        replace(a, name=named.name, type=LONG if _whole(a, b) else PixelType("double"))
        for (a, b), named in zip(pairs, longer.bands, strict=True)
    ]
    return image1.computed(combined(pairs, where_valid(dot), like))


def _whole(*bands: ImageBand) -> bool:
    return all(band.type.precision == "int" for band in bands)
