"""``Image.arrayLength``, ``arrayProject``, ``arrayTranspose``, ``arrayCat``, ``arrayRepeat``, ``arraySlice``,
``arrayPad``, ``arrayReshape``: the shapes of array pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.images.image_array import (
    MOST_DIMENSIONS,
    array_bands,
    check_arrays,
    check_axis,
    check_size,
    dimensions_of_type,
    where_valid,
    whole_numbers,
)
from eechips_local.functions.images.image_math import matched, spread
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, Pixels
from eechips_local.pixels.pixelwise_rasters import all_of, combined, mapped
from eechips_local.pixels.types import Numbers, ranged, union_type
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.ragged_arrays import by_number, grouped, is_ragged, shapes_of


@function("Image.arrayLength")
def array_length(input: Image, axis: int) -> Image:
    """Return the length of an axis."""
    check_arrays(input)
    for band in input.bands:
        check_axis(axis, band.type.dimensions)

    def length(values: Numbers) -> Numbers:
        return np.broadcast_to(np.int64(values.shape[2 + axis]), values.shape[:2])

    return array_bands(input, length, lambda _: PixelType("int", 0, 2**31 - 1))


@function("Image.arrayLengths")
def array_lengths(input: Image) -> Image:
    """Return the lengths of all axes, as a 1-D array."""

    def lengths(values: Numbers) -> Numbers:
        shape = np.array(values.shape[2:], dtype=np.int64)
        return np.broadcast_to(shape, (*values.shape[:2], len(shape)))

    return array_bands(input, lengths, lambda _: PixelType("int", 0, 2**31 - 1, 1))


@function("Image.arrayDimensions")
def array_dimensions(input: Image) -> Image:
    """Return the number of dimensions, 0 for scalars."""

    def count(values: Numbers) -> Numbers:
        return np.broadcast_to(np.uint8(values.ndim - 2), values.shape[:2])

    return array_bands(input, count, lambda _: PixelType("int", 0, 255))


@function("Image.arrayProject")
def array_project(input: Image, axes: list[int]) -> Image:
    """Return arrays along some axes only; the others must be at most 1 long.

    Axes stay in the order of the arrays: geeViz and others (codes 46201928569, 51774538693) transpose what
    ``arrayProject([2, 1])`` leaves of (1, coefficients, bands), and name it by bands and coefficients. Arrays with a
    dropped axis of length 0 are masked: Google's release notes of 30 May 2015.
    """
    check_arrays(input)
    if len(set(axes)) != len(axes):
        raise InvalidError(f"Axes must not be repeated; found {axes}.")

    def project(pixels: Sequence[Pixels]) -> Pixels:
        values, mask = pixels[0].values, pixels[0].mask
        kept = sorted(check_axis(axis, values.ndim - 2) for axis in axes)
        dropped = [axis for axis in range(values.ndim - 2) if axis not in kept]
        if any(values.shape[2 + axis] > 1 for axis in dropped):
            raise InvalidError(f"Dropped axes must be at most length 1; found arrays of {list(values.shape[2:])}.")
        shape = (*values.shape[:2], *(values.shape[2 + axis] for axis in kept))
        if any(values.shape[2 + axis] == 0 for axis in dropped):
            return Pixels(np.zeros(shape, values.dtype), np.zeros_like(mask))
        return Pixels(values.transpose(0, 1, *(2 + axis for axis in kept + dropped)).reshape(shape), mask)

    for band in input.bands:
        for axis in axes:
            check_axis(axis, band.type.dimensions)
    return input.with_bands(mapped(input.bands, where_valid(project), dimensions_of_type(len(axes))))


@function("Image.arrayTranspose", "Image.matrixTranspose")
def array_transpose(input: Image, axis1: int, axis2: int) -> Image:
    """Return arrays with two axes exchanged."""
    check_arrays(input)
    most = max(axis1, axis2)
    if min(axis1, axis2) < 0 or most >= MOST_DIMENSIONS:
        raise InvalidError(f"Axes {axis1} and {axis2} are out of range.")

    def change(values: Numbers) -> Numbers:
        missing = max(0, most + 1 - (values.ndim - 2))
        return np.swapaxes(values.reshape(values.shape + (1,) * missing), 2 + axis1, 2 + axis2)

    return array_bands(input, change, lambda kind: replace(kind, dimensions=max(kind.dimensions, most + 1)))


@function("Image.arrayCat")
def array_cat(image1: Image, image2: Image, axis: int) -> Image:
    """Return the arrays of two images, one after the other along an axis."""
    pairs = matched(image1, image2)
    longer = image1 if len(image1.bands) >= len(image2.bands) else image2
    like = []
    for (a, b), named in zip(pairs, longer.bands, strict=True):
        kind = union_type(a.type, b.type)
        if not 0 <= axis <= kind.dimensions:
            raise InvalidError(f"Axis {axis} is out of range for arrays of {kind.dimensions} dimensions.")
        depth = max(kind.dimensions, axis + 1)
        like.append(replace(a if a.fixed or not b.fixed else b, name=named.name, type=replace(kind, dimensions=depth)))

    def join(pixels: Sequence[Pixels]) -> Pixels:
        depth = max(axis + 1, *(p.values.ndim - 2 for p in pixels))
        layers = [p.values.reshape(p.values.shape + (1,) * (2 + depth - p.values.ndim)) for p in pixels]
        try:
            return Pixels(np.concatenate(layers, axis=2 + axis), all_of(pixels))
        except ValueError as error:
            shapes = " and ".join(str(list(v.shape[2:])) for v in layers)
            raise InvalidError(f"Arrays of shapes {shapes} cannot be concatenated along axis {axis}.") from error

    return image1.computed(combined(pairs, where_valid(join), like))


@function("Image.arrayRepeat")
def array_repeat(input: Image, axis: int, copies: Image) -> Image:
    """Return arrays repeated as a whole along an axis, which may be one more than they have."""
    counts = spread(copies, len(input.bands), "copies")

    def repeat(pixels: Sequence[Pixels]) -> Pixels:
        return grouped(pixels, by_number(whole_numbers(pixels[1])[..., None], all_of(pixels) > 0), repeated)

    def repeated(pixels: Sequence[Pixels], key: Any) -> Pixels:
        values, mask = pixels[0].values, all_of(pixels)
        count = max(0, key[0])
        if axis == values.ndim - 2:
            values = values[..., None]
        check_axis(axis, values.ndim - 2)
        check_size(values.size * count)
        return Pixels(np.concatenate([values] * count, axis=2 + axis) if count else values[..., :0], mask)

    like = [replace(b, type=replace(b.type, dimensions=max(b.type.dimensions, axis + 1))) for b in input.bands]
    for band in input.bands:
        check_axis(axis, band.type.dimensions + 1)
    return input.with_bands(combined(list(zip(input.bands, counts, strict=True)), where_valid(repeat), like))


@function("Image.arraySlice")
def array_slice(input: Image, axis: int, start: Image | None, end: Image | None, step: int) -> Image:
    """Return the positions along an axis from a start to before an end."""
    check_arrays(input)
    if step < 1:
        raise InvalidError(f"The step must be positive; found {step}.")
    for band in input.bands:
        check_axis(axis, band.type.dimensions)
    limits = [spread(i, len(input.bands), n) for i, n in ((start, "start"), (end, "end")) if i is not None]

    def cut(pixels: Sequence[Pixels]) -> Pixels:
        limits = [part for p in pixels[1:] for part in (whole_numbers(p), p.valid.astype(np.int64))]
        if not limits:
            return sliced(pixels, ())
        return grouped(pixels[:1], by_number(np.stack(limits, axis=-1), pixels[0].valid), sliced)

    def sliced(pixels: Sequence[Pixels], key: Any) -> Pixels:
        # A limit that is masked is none.
        known_limits = iter([number if known else None for number, known in zip(key[::2], key[1::2], strict=True)])
        first, last = (next(known_limits) if image is not None else None for image in (start, end))
        values = pixels[0].values
        return Pixels(values[(slice(None),) * (2 + axis) + (slice(first, last, step),)], pixels[0].mask)

    def safe(pixels: Sequence[Pixels]) -> Pixels:
        if not pixels[0].valid.any():
            return pixels[0]
        if not is_ragged(pixels[0].values):
            return cut(pixels)
        return grouped(pixels, shapes_of(pixels[:1]), lambda part, _: cut(part))

    groups = list(zip(input.bands, *limits, strict=True))
    return input.with_bands(combined(groups, safe, input.bands))


@function("Image.arrayPad")
def array_pad(image: Image, lengths: list[int], pad: float) -> Image:
    """Return arrays made longer, with a value appended."""
    check_arrays(image)
    is_whole = float(pad).is_integer() and abs(pad) < 2.0**63

    def change(values: Numbers) -> Numbers:
        if len(lengths) != values.ndim - 2:
            raise InvalidError(f"A length is needed for each of {values.ndim - 2} axes; found {len(lengths)}.")
        extra = [(0, max(0, wanted - size)) for wanted, size in zip(lengths, values.shape[2:], strict=True)]
        check_size(math.prod((*values.shape[:2], *map(max, lengths, values.shape[2:]))))
        wide = values.astype(np.int64 if values.dtype.kind in "iu" and is_whole else np.float64)
        return np.pad(wide, [(0, 0), (0, 0), *extra], constant_values=pad)

    padding = ranged(PixelType("int" if is_whole else "double"), [pad])
    return array_bands(image, change, lambda kind: union_type(kind, padding))


@function("Image.arrayReshape")
def array_reshape(image: Image, lengths: Image, dimensions: int) -> Image:
    """Return the same elements in another shape, given as a 1-D array."""
    check_arrays(image)
    if len(lengths.bands) != 1:
        raise InvalidError(f"The lengths must have one band; found {len(lengths.bands)}.")
    if not 0 <= dimensions <= MOST_DIMENSIONS:
        raise InvalidError(f"Arrays may have 0 to {MOST_DIMENSIONS} dimensions; found {dimensions}.")

    def change(pixels: Sequence[Pixels]) -> Pixels:
        rows = pixels[1].values.reshape(*pixels[1].mask.shape, -1).astype(np.int64)
        return grouped(pixels[:1], by_number(rows, all_of(pixels) > 0), reshaped)

    def reshaped(pixels: Sequence[Pixels], key: Any) -> Pixels:
        values, mask, shape = pixels[0].values, pixels[0].mask, list(key)
        if len(shape) != dimensions:
            raise InvalidError(f"The lengths are for {len(shape)} dimensions, not {dimensions}.")
        if any(size < -1 for size in shape) or shape.count(-1) > 1:
            raise InvalidError(f"At most one component of the shape may be -1; found {shape}.")
        try:
            return Pixels(values.reshape(*values.shape[:2], *shape), mask)
        except ValueError as error:
            raise InvalidError(f"Arrays of shape {list(values.shape[2:])} cannot become {shape}.") from error

    like = [replace(band, type=replace(band.type, dimensions=dimensions)) for band in image.bands]
    return image.with_bands(combined([(band, lengths.bands[0]) for band in image.bands], where_valid(change), like))
