"""Array pixels whose shapes differ from pixel to pixel, as those of a cloud-masked series do.

Values of such a band are of dtype object and of shape (height, width), each an array; anything where masked. Functions
of pixels know arrays of one shape only: :func:`by_shape` calls them once for each combination of shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.pixels.lazy_image import Pixels
from eechips_local.pixels.pixelwise_rasters import PixelFunction, all_of
from eechips_local.protocol.request_errors import MemoryLimitError

Numbers = npt.NDArray[Any]
Indices = npt.NDArray[np.intp]

# Pixels that may differ in shape: each takes an object of its own.
_MOST_PIXELS = 1 << 22


def is_ragged(values: Numbers) -> bool:
    """Return whether the arrays of a band differ in shape."""
    return values.dtype == object


def by_shape(function: PixelFunction) -> PixelFunction:
    """Return a function of pixels that also takes ragged arrays."""

    def run(pixels: Sequence[Pixels]) -> Pixels:
        if not any(is_ragged(p.values) for p in pixels):
            return function(pixels)
        return grouped(pixels, shapes_of(pixels), lambda part, _: function(part))

    return run


def by_shape_together(
    function: Callable[[Sequence[Pixels]], Sequence[Pixels]],
) -> Callable[[Sequence[Pixels]], Sequence[Pixels]]:
    """Return a function of pixels with several results that also takes ragged arrays."""

    def run(pixels: Sequence[Pixels]) -> Sequence[Pixels]:
        if not any(is_ragged(p.values) for p in pixels):
            return function(pixels)
        groups = shapes_of(pixels)
        if not groups:
            return function([_nothing(p.mask.shape) for p in pixels])
        return _together(pixels, groups, lambda part, _: function(part))

    return run


def shapes_of(pixels: Sequence[Pixels]) -> Mapping[Hashable, Indices]:
    """Return flat indices of the valid pixels that have the same shapes in all ragged bands, by those shapes."""
    bands = [p.values.ravel() for p in pixels if is_ragged(p.values)]
    where = np.flatnonzero(all_of(pixels).ravel() > 0)
    if len(where) > _MOST_PIXELS:
        raise MemoryLimitError()
    indices_by_shape: dict[Hashable, list[int]] = {}
    for index in where.tolist():
        indices_by_shape.setdefault(tuple(band[index].shape for band in bands), []).append(index)
    return {key: np.array(indices, dtype=np.intp) for key, indices in indices_by_shape.items()}


def by_number(numbers: Numbers, valid: npt.NDArray[np.bool_]) -> Mapping[Hashable, Indices]:
    """Return flat indices of the valid pixels that have the same numbers, by those numbers.

    Args:
        numbers: integers, shape (height, width, n).
        valid: shape (height, width).
    """
    where = np.flatnonzero(valid.ravel())
    if len(where) > _MOST_PIXELS:
        raise MemoryLimitError()
    rows, inverse = np.unique(numbers.reshape(valid.size, -1)[where], axis=0, return_inverse=True)
    inverse = inverse.ravel()
    return {tuple(row.tolist()): where[inverse == code] for code, row in enumerate(rows)}


def grouped(
    pixels: Sequence[Pixels],
    groups: Mapping[Hashable, Indices],
    function: Callable[[Sequence[Pixels], Hashable], Pixels],
) -> Pixels:
    """Return the results of calls for groups of pixels, put together.

    Args:
        pixels: the inputs; dense, or ragged with one shape in each group.
        groups: flat indices of the pixels of each call. All others are masked in the result.
        function: gets the pixels of one group, as a column, and its key.
    """
    if not groups:
        return _nothing(pixels[0].mask.shape)
    return _together(pixels, groups, lambda part, key: [function(part, key)])[0]


def concatenated(parts: Sequence[Pixels], axis: int) -> Pixels:
    """Return blocks of pixels put together: dense if their valid arrays have one shape, else ragged.

    Args:
        parts: the blocks, in order.
        axis: 0 for blocks one below the other, 1 for blocks from left to right.
    """
    if len({(p.values.shape[2:], is_ragged(p.values)) for p in parts}) == 1:
        return Pixels(np.concatenate([p.values for p in parts], axis), np.concatenate([p.mask for p in parts], axis))
    ends = np.cumsum([p.mask.shape[axis] for p in parts])
    shape = (int(ends[-1]), parts[0].mask.shape[1]) if axis == 0 else (parts[0].mask.shape[0], int(ends[-1]))
    places = np.split(np.arange(shape[0] * shape[1]).reshape(shape), ends[:-1], axis)
    columns = [Pixels(p.values.reshape(p.mask.size, 1, *p.values.shape[2:]), p.mask.reshape(-1, 1)) for p in parts]
    return _joined(shape, [(place.ravel(), column) for place, column in zip(places, columns, strict=True)])


def _nothing(shape: tuple[int, ...]) -> Pixels:
    """Return nothing but masked pixels."""
    return Pixels(np.zeros(shape), np.zeros(shape, dtype=bool))


def _together(
    pixels: Sequence[Pixels],
    groups: Mapping[Hashable, Indices],
    function: Callable[[Sequence[Pixels], Hashable], Sequence[Pixels]],
) -> list[Pixels]:
    shape = pixels[0].mask.shape
    parts = [(where, function([_column(p, where) for p in pixels], key)) for key, where in groups.items()]
    return [
        _joined(shape, [(where, pixel_columns[band]) for where, pixel_columns in parts])
        for band in range(len(parts[0][1]))
    ]


def _column(pixels: Pixels, where: Indices) -> Pixels:
    """Return some pixels, as a grid of one column."""
    mask = pixels.mask.ravel()[where][:, None]
    if is_ragged(pixels.values):
        flat = pixels.values.ravel()
        return Pixels(np.stack([flat[index] for index in where.tolist()])[:, None], mask)
    flat = pixels.values.reshape(pixels.mask.size, *pixels.values.shape[2:])  # arrays may have length 0
    return Pixels(flat[where][:, None], mask)


def _joined(shape: tuple[int, ...], parts: Iterable[tuple[Indices, Pixels]]) -> Pixels:
    """Return columns of pixels, put where they belong: dense if their arrays have one shape, else ragged."""
    located_pixels = [(where, p) for where, p in parts]
    masks = np.result_type(*(p.mask.dtype for _, p in located_pixels))
    mask = np.zeros(shape, dtype=masks)
    for where, p in located_pixels:
        mask.ravel()[where] = p.mask.ravel()
    # A part without any valid pixel may have any shape.
    held = [(where, p.values) for where, p in located_pixels if (p.mask > 0).any()]
    if not held:
        return Pixels(np.zeros(shape), mask)
    inner = {values.shape[2:] for _, values in held if not is_ragged(values)}
    if len(inner) == 1 and not any(is_ragged(values) for _, values in held):
        (one,) = inner
        dtype = np.result_type(*(values.dtype for _, values in held))
        dense: Numbers = np.zeros((shape[0] * shape[1], *one), dtype=dtype)
        for where, values in held:
            dense[where] = values[:, 0]
        return Pixels(dense.reshape(*shape, *one), mask)
    ragged: Numbers = np.empty(shape[0] * shape[1], dtype=object)
    for where, values in held:
        for index, array in zip(where.tolist(), values[:, 0], strict=True):
            ragged[index] = array
    return Pixels(ragged.reshape(shape), mask)
