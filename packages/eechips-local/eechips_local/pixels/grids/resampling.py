"""Resample pixels from one grid to another: nearest, bilinear and bicubic, with masked neighbours; "Reprojection output
too large".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.pixels.grids.location import EDGE, Floats, Indices, Location, parts_of
from eechips_local.pixels.lazy_image import Pixels
from eechips_local.protocol.request_errors import InvalidError, LimitError, MemoryLimitError

Method = Literal["nearest", "bilinear", "bicubic"]

# Source pixels of one band that a single read may touch.
_MAX_WINDOW = 1 << 27
# Single pixels are picked from windows that hold this many times as many as are wanted: at least the first number,
# and at most the second, for what lies farther apart is at the two ends of a lattice.
_SPARSE, _SCATTERED = 1.25, 8.0


def window_of(location: Location, extent: PixelWindow | None, margin: int) -> PixelWindow | None:
    """Return the pixels of the lattice that a location needs, within ``extent``; None if there are none.

    Computed pixels, which have no ``extent``, are refused in the words of scripts that met the service's limit, as
    "Reprojection output too large (12800x12800 pixels)" (code 65885561473).

    Raises:
        LimitError: if they are too many to read at once.
    """
    low, high = _span(location.columns, margin)
    top, bottom = _span(location.rows, margin)
    if extent is not None:
        low, high = max(low, extent.column), min(high, extent.column + extent.width)
        top, bottom = max(top, extent.row), min(bottom, extent.row + extent.height)
    if low >= high or top >= bottom:
        return None
    if (high - low) * (bottom - top) > _MAX_WINDOW:
        if extent is None:
            raise LimitError(f"Reprojection output too large ({high - low}x{bottom - top} pixels).")
        raise MemoryLimitError()
    return PixelWindow(low, top, high - low, bottom - top)


def _span(positions: Floats, margin: int) -> tuple[int, int]:
    finite = positions if np.isfinite(positions).all() else positions[np.isfinite(positions)]
    if not finite.size:
        return 0, 0
    return math.floor(finite.min() + EDGE) - margin, math.floor(finite.max() + EDGE) + 1 + margin


MARGINS: dict[Method, int] = {"nearest": 0, "bilinear": 1, "bicubic": 2}
"""Pixels that each method needs around the one a centre falls into."""


def resample(
    values: npt.NDArray[Any],
    valid: npt.NDArray[Any],
    window: PixelWindow,
    location: Location,
    method: Method,
    held: npt.NDArray[np.bool_] | None = None,
) -> list[Pixels]:
    """Take pixels of a lattice at a location.

    Args:
        values: shape (bands, window.height, window.width).
        valid: the same shape, bool or fractional.
        window: which pixels of the lattice those are.
        location: where to take them.
        method: nearest keeps values and dtype; the others give float64.
        held: the shape of ``values``: pixels within the image's extent, masked or not; None: the whole window is.

    Returns:
        The bands on the location's grid; invalid outside the window.
    """
    if method == "nearest":
        resampled = _gather_nearest(values, valid, window, location)
    else:
        resampled = _gather_weighted(values, valid, window, location, _KERNELS[method], held)
    return [Pixels(v, m) for v, m in zip(*resampled, strict=True)]


def _gather_nearest(
    values: npt.NDArray[Any], valid: npt.NDArray[Any], window: PixelWindow, location: Location, beyond: int = 0
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return pixels and masks at a location; the mask is ``beyond`` outside the window."""
    columns, outside_columns = _indices(location.columns, window.column, window.width)
    rows, outside_rows = _indices(location.rows, window.row, window.height)
    whole = valid.dtype == bool and bool(valid.all())
    taken = _taken(values, rows, columns)
    mask = np.ones(taken.shape[:3], dtype=bool) if whole else _taken(valid, rows, columns)
    if outside_columns is not None or outside_rows is not None:
        outside = np.zeros(taken.shape[1:3], dtype=bool)
        for part in (outside_columns, outside_rows):
            if part is not None:
                outside |= part
        mask = np.where(outside, mask.dtype.type(beyond), mask)
    return taken, mask


def _taken(values: npt.NDArray[Any], rows: Indices, columns: Indices) -> npt.NDArray[Any]:
    """Return pixels at rows and columns, which are broadcast to each other, of values of shape (bands, height, width,
    …).
    """
    if rows.shape[1] == 1 and columns.shape[0] == 1:
        return _along(_along(values, rows[:, 0], 1), columns[0], 2)
    flat = values.reshape(len(values), values.shape[1] * values.shape[2], *values.shape[3:])
    taken_pixels: npt.NDArray[Any] = flat.take(rows * values.shape[2] + columns, axis=1)
    return taken_pixels


def _along(values: npt.NDArray[Any], index: Indices, axis: int) -> npt.NDArray[Any]:
    """Return values at indices along an axis: a view where those follow each other."""
    first, last = int(index[0]), int(index[-1])
    if last - first == len(index) - 1 and (len(index) < 2 or bool((np.diff(index) == 1).all())):
        return values[(slice(None),) * axis + (slice(first, last + 1),)]
    return values.take(index, axis=axis)


def _indices(positions: Floats, start: int, size: int) -> tuple[Indices, npt.NDArray[np.bool_] | None]:
    """Return indices into a window, and which positions lie outside it (None: none do)."""
    floored = np.floor(positions + EDGE) - start
    outside = ~((floored >= 0) & (floored < size))  # also true for NaN
    if outside.any():
        return np.where(outside, 0, floored).astype(np.intp), outside
    return floored.astype(np.intp), None


def _linear(offset: Floats) -> list[tuple[int, Floats]]:
    return [(0, 1 - offset), (1, offset)]


def _cubic(offset: Floats) -> list[tuple[int, Floats]]:
    """Return weights of the cubic convolution with a = -0.5 (Keys 1981), as GDAL's "cubic"."""
    t = offset
    return [
        (-1, -0.5 * t + t**2 - 0.5 * t**3),
        (0, 1 - 2.5 * t**2 + 1.5 * t**3),
        (1, 0.5 * t + 2 * t**2 - 1.5 * t**3),
        (2, -0.5 * t**2 + 0.5 * t**3),
    ]


_KERNELS: dict[Method, Callable[[Floats], list[tuple[int, Floats]]]] = {"bilinear": _linear, "bicubic": _cubic}


def _gather_weighted(
    values: npt.NDArray[Any],
    valid: npt.NDArray[Any],
    window: PixelWindow,
    location: Location,
    kernel: Callable[[Floats], list[tuple[int, Floats]]],
    held: npt.NDArray[np.bool_] | None,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return weighted means of neighbours; masked ones drop out and the weights of the others are scaled up."""
    by_column, by_row = _neighbours(location.columns, kernel), _neighbours(location.rows, kernel)
    shape = (len(values), *np.broadcast_shapes(location.columns.shape, location.rows.shape))
    if valid.dtype == bool and valid.all():
        whole = _gather_whole(values, window, by_column, by_row, shape)
        if whole is not None:
            return whole, np.ones(shape, dtype=bool)
    total, weights, lost = np.zeros(shape), np.zeros(shape), np.zeros(1)
    fraction = weights if valid.dtype == bool or kernel is not _linear else np.zeros(shape)
    numbers = np.where(valid > 0, values, 0).astype(np.float64)
    masks = valid.astype(np.int8 if valid.dtype == bool else np.float32)
    if held is not None:
        masks[(masks == 0) & ~held] = -1  # as what lies outside the window: no pixel of the image
    for (at_row, row_weight), (at_column, column_weight) in product(by_row, by_column):
        place = Location(at_column + 0.5, at_row + 0.5, location.scale)
        neighbour, mask = _gather_nearest(numbers, masks, window, place, -1)
        weight = np.broadcast_to(row_weight * column_weight, shape[1:])
        present = weight * (mask > 0)
        total += neighbour * present
        weights += present
        if fraction is not weights:
            fraction += present * mask
        if kernel is _linear and (mask < 0).any():
            lost = lost + weight * (mask < 0)
    enough = weights > 1e-5
    result = np.divide(total, weights, out=np.zeros(shape), where=enough)
    centre = _gather_nearest(numbers, masks, window, location, -1)[1]
    if kernel is _linear:
        return result, _bilinear_masks(fraction, 1 - lost, enough & (centre >= 0))
    return result, np.where(enough, np.maximum(centre, 0), 0).astype(valid.dtype)


def _neighbours(positions: Floats, kernel: Callable[[Floats], list[tuple[int, Floats]]]) -> list[tuple[Floats, Floats]]:
    """Return the indices and weights of the neighbours of positions along one axis."""
    first = np.floor(positions - 0.5)
    return [(first + step, weight) for step, weight in kernel(positions - 0.5 - first)]


def _bilinear_masks(fraction: Floats, within: Floats, there: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return masks of bilinear pixels: the sum of weights times masks, in 255 parts.

    So a user measured it on the service around masked pixels of scenes (code 70191878970). Nobody measured the edges of
    images: there, weights are those of the neighbours within the extent, and the centre has to lie in it, so that
    tiles side by side have no seam.

    Args:
        fraction: sums of weights times masks.
        within: sums of the weights of neighbours within the extent.
        there: which pixels have a value and lie in the extent.
    """
    parts = np.divide(fraction * 255.0, within, out=np.zeros(fraction.shape), where=there)
    return (np.round(parts, out=parts) / 255.0).astype(np.float32)


def _gather_whole(
    values: npt.NDArray[Any],
    window: PixelWindow,
    by_column: Sequence[tuple[Floats, Floats]],
    by_row: Sequence[tuple[Floats, Floats]],
    shape: tuple[int, ...],
) -> Floats | None:
    """Return weighted means where all neighbours are there; None where some are not."""
    columns = [at - window.column for at, _ in by_column]
    rows = [at - window.row for at, _ in by_row]
    # Also false where a position is not a number.
    if not (columns[0].min() >= 0 and columns[-1].max() < window.width):
        return None
    if not (rows[0].min() >= 0 and rows[-1].max() < window.height):
        return None
    total = np.zeros(shape)
    first_column, first_row = columns[0].astype(np.intp), rows[0].astype(np.intp)
    for down, (_, row_weight) in enumerate(by_row):
        line = np.zeros(shape)
        for right, (_, column_weight) in enumerate(by_column):
            line += _taken(values, first_row + down, first_column + right) * column_weight
        line *= row_weight
        total += line
    return total


def read_computed(
    read: Callable[[PixelWindow], Sequence[Pixels]],
    count: int,
    location: Location,
    shape: tuple[int, int],
    method: Method,
    held: Callable[[PixelWindow], npt.NDArray[np.bool_]] | None = None,
) -> list[Pixels]:
    """Read what a location needs of computed bands and resample it; bands may differ in type and be arrays.

    Args:
        read: computes a window of all bands.
        count: number of bands.
        location: where the output's centres fall.
        shape: the output's (height, width).
        method: method of resampling.
        held: tells which pixels of a window lie within the extents of the bands: shape (count, height, width). None:
            all do.
    """
    parts = []
    for part in parts_of(location):
        window = window_of(part, None, MARGINS[method])
        if window is not None:
            parts.append(_resample_computed(read(window), window, part, method, held))
    return merge(parts) if parts else masked(count, np.uint8, shape)


def _resample_computed(
    pixels: Sequence[Pixels],
    window: PixelWindow,
    location: Location,
    method: Method,
    held: Callable[[PixelWindow], npt.NDArray[np.bool_]] | None,
) -> list[Pixels]:
    """Resample bands of one window, those of one type together."""
    if method != "nearest" and any(own.values.ndim > 2 for own in pixels):
        raise InvalidError(f"Arrays cannot be resampled by the method '{method}'.")
    alike: dict[tuple[np.dtype[Any], tuple[int, ...]], list[int]] = {}
    for band, own in enumerate(pixels):
        alike.setdefault((own.values.dtype, own.values.shape[2:]), []).append(band)
    extents = None
    if held is not None and method == "bilinear" and not all(own.valid.all() for own in pixels):
        extents = held(window)
    pixels_by_band: dict[int, Pixels] = {}
    for members in alike.values():
        values, masks = np.stack([pixels[m].values for m in members]), np.stack([pixels[m].mask for m in members])
        within = None if extents is None else extents[members]
        pixels_by_band.update(zip(members, resample(values, masks, window, location, method, within), strict=True))
    return [pixels_by_band[band] for band in range(len(pixels))]


def pick_lattice(
    pick: Callable[[Indices, Indices], tuple[npt.NDArray[Any], npt.NDArray[Any]] | None],
    location: Location,
    extent: PixelWindow,
    shape: tuple[int, int],
) -> list[Pixels] | None:
    """Take nothing but the pixels of a lattice that a location falls into; None where a window does better.

    Args:
        pick: reads the pixels at columns and rows that broadcast: values and validity of shape (count, height, width).
        location: where the output's centres fall.
        extent: pixels that exist.
        shape: the output's (height, width).
    """
    columns = _held(location.columns, extent.column, extent.width)
    rows = _held(location.rows, extent.row, extent.height)
    if columns is None or rows is None:
        return None
    share = columns.span * rows.span / (shape[0] * shape[1])
    if not _SPARSE <= share <= _SCATTERED:
        return None
    picked = pick(columns.indices, rows.indices)
    if picked is None:
        return None
    values, valid = picked
    for outside in (columns.outside, rows.outside):
        if outside is not None:
            valid = np.where(outside, valid.dtype.type(0), valid)
    return [Pixels(v, m) for v, m in zip(values, valid, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Indices held within an extent.

    Attributes:
        indices: indices of columns or rows.
        span: columns or rows from the first to the last.
        outside: which of them lie outside and were moved to the edge; None where none does.
    """

    indices: Indices
    span: int
    outside: npt.NDArray[np.bool_] | None


def _held(positions: Floats, start: int, size: int) -> _Held | None:
    """Return the indices of positions within an extent; None where none lies there, or some are not numbers."""
    floored = positions + EDGE
    np.floor(floored, out=floored)
    low, high = float(floored.min()), float(floored.max())
    if not (math.isfinite(low) and math.isfinite(high) and low < start + size and high >= start):
        return None
    if start <= low and high < start + size:
        return _Held(floored.astype(np.intp), int(high - low) + 1, None)
    held = np.clip(floored, start, start + size - 1)
    span = min(high, start + size - 1) - max(low, start)
    return _Held(held.astype(np.intp), int(span) + 1, held != floored)


def masked(count: int, dtype: npt.DTypeLike, shape: tuple[int, int]) -> list[Pixels]:
    """Return bands without a valid pixel."""
    return [Pixels(np.zeros(shape, dtype), np.zeros(shape, dtype=bool))] * count


def merge(parts: Sequence[list[Pixels]]) -> list[Pixels]:
    """Merge the same bands of several parts of a location, which have no valid pixels in common."""
    return parts[0] if len(parts) == 1 else [reduce(_merged, bands) for bands in zip(*parts, strict=True)]


def _merged(first: Pixels, second: Pixels) -> Pixels:
    """Return the pixels of both, which have none in common."""
    take = second.valid
    if take.all() or not first.valid.any():
        return second
    if not take.any():
        return first
    values = np.where(take.reshape(take.shape + (1,) * (second.values.ndim - 2)), second.values, first.values)
    return Pixels(values, np.where(take, second.mask, first.mask))
