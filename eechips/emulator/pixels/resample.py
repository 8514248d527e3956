"""Resample pixels from one grid to another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips.emulator.errors import InvalidError, LimitError
from eechips.emulator.model import PixelWindow
from eechips.emulator.pixels.grid import PixelGrid, parse_crs, transformer
from eechips.emulator.pixels.image import Pixels, Render
from eechips.emulator.projection import Projection

Method = Literal["nearest", "bilinear", "bicubic"]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# A centre that lies on an edge between two pixels, up to rounding, belongs to the later one, as in GDAL.
_EDGE = 1e-6
# Coordinates between control points are interpolated where that is exact to this part of a source pixel.
_TOLERANCE = 1e-4
_SPACING = 32
# Source pixels of one band that a single read may touch.
_MAX_WINDOW = 1 << 27
# Single pixels are picked from windows that hold this many times as many as are wanted: at least the first number,
# and at most the second, for what lies farther apart is at the two ends of a lattice.
_SPARSE, _SCATTERED = 1.25, 8.0
# Columns beyond which a window is looked at for a gap in its middle.
_WIDE = 4096.0


@dataclass(frozen=True, slots=True, eq=False)
class Location:
    """Where the centres of a grid's pixels fall in another lattice of pixels.

    Attributes:
        columns: fractional columns, broadcastable to the grid's shape.
        rows: fractional rows, likewise.
        scale: edge of the grid's pixels in pixels of the lattice.
    """

    columns: Floats
    rows: Floats
    scale: float


def locate(grid: PixelGrid, lattice: Projection, *, exact: bool = False) -> Location:
    """Find the centres of a grid's pixels in the pixel coordinates of a lattice.

    The CRS transformation is evaluated at control points and interpolated between them where that is exact to
    1e-4 of a pixel (checked half-way between control points), else at every pixel.

    Args:
        grid: whose pixels.
        lattice: in whose coordinates.
        exact: transform every centre, however smooth the transformation is.
    """
    if grid.crs == lattice.crs or parse_crs(grid.crs) == parse_crs(lattice.crs):
        return _locate_affine(grid, ~lattice.transform @ grid.transform)

    inverse = ~lattice.transform

    def transform(columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        x, y = _moved(grid.transform, columns, rows)
        x, y = transformer(grid.crs, lattice.crs).transform(x, y)
        known = np.isfinite(x) & np.isfinite(y)  # PROJ gives infinities for what has no place
        if not known.all():
            x, y = np.where(known, x, np.nan), np.where(known, y, np.nan)
        return _moved(inverse, np.asarray(x), np.asarray(y))

    spacing = _SPACING if not exact else 0
    while spacing >= 8 and min(grid.width, grid.height) > spacing:
        found = _interpolated(grid, transform, spacing)
        if found is not None:
            break
        spacing //= 2
    else:
        rows, columns = np.mgrid[0 : grid.height, 0 : grid.width] + 0.5
        found = transform(columns, rows)
    return Location(found[0], found[1], _jacobian_scale(grid, transform))


def locate_once(lattice: Projection, grid: PixelGrid, render: Render) -> Location:
    """Return ``locate(grid, lattice)``, cached for one computation of pixels."""
    found: Location = render.note(("location", grid, lattice), lambda: locate(grid, lattice))
    return found


def _moved(affine: Affine, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _locate_affine(grid: PixelGrid, step: Affine) -> Location:
    scale = math.sqrt(abs(step.determinant))
    columns, rows = centres_of(grid.width), centres_of(grid.height)
    if step.b == 0 and step.d == 0:
        return Location((step.a * columns + step.c)[None, :], (step.e * rows + step.f)[:, None], scale)
    found = _moved(step, *np.meshgrid(columns, rows))
    return Location(found[0], found[1], scale)


def centres_of(size: int) -> Floats:
    """Return 0.5, 1.5, …: where the centres of pixels lie."""
    return np.arange(size, dtype=np.float64) + 0.5


def _jacobian_scale(grid: PixelGrid, exact: Callable[[Floats, Floats], tuple[Floats, Floats]]) -> float:
    column, row = grid.width / 2, grid.height / 2
    x, y = exact(
        np.array([column - 0.5, column, column + 0.5, column, column, column]),
        np.array([row, row, row, row - 0.5, row, row + 0.5]),
    )
    places = np.column_stack([x, y])
    across, down = _step(places[:3]), _step(places[3:])
    determinant = across[0] * down[1] - down[0] * across[1]
    return math.sqrt(abs(determinant)) if np.isfinite(determinant) else 1.0


def _step(places: Floats) -> Floats:
    """From the first of three places in a row to the last; twice the shorter half where a seam lies in between."""
    whole: Floats = places[2] - places[0]
    shorter: Floats = 2 * min(places[1] - places[0], places[2] - places[1], key=lambda half: float(np.hypot(*half)))
    return shorter if np.hypot(*whole) > 2 * np.hypot(*shorter) else whole


def _interpolated(
    grid: PixelGrid, exact: Callable[[Floats, Floats], tuple[Floats, Floats]], spacing: int
) -> tuple[Floats, Floats] | None:
    """Return bilinear interpolation between control points, or None where that is not exact enough."""
    at_columns = control_points(grid.width, spacing)
    at_rows = control_points(grid.height, spacing)
    control = exact(*np.meshgrid(at_columns, at_rows))
    if not (np.isfinite(control[0]).all() and np.isfinite(control[1]).all()):
        return None
    middle_columns = (at_columns[1:] + at_columns[:-1]) / 2
    middle_rows = (at_rows[1:] + at_rows[:-1]) / 2
    middles = exact(*np.meshgrid(middle_columns, middle_rows))
    for values, truth in zip(control, middles, strict=True):
        guess = (values[1:, 1:] + values[1:, :-1] + values[:-1, 1:] + values[:-1, :-1]) / 4
        if not np.abs(guess - truth).max() < _TOLERANCE:
            return None
    columns, rows = centres_of(grid.width), centres_of(grid.height)
    return (
        between(control[0], at_columns, at_rows, columns, rows),
        between(control[1], at_columns, at_rows, columns, rows),
    )


def control_points(size: int, spacing: int) -> Floats:
    """Return centres of pixels at which a smooth function is evaluated: the first, the last, and some between."""
    return np.linspace(0.5, size - 0.5, max(2, math.ceil(size / spacing) + 1))


def between(values: Floats, at_columns: Floats, at_rows: Floats, columns: Floats, rows: Floats) -> Floats:
    """Return bilinear interpolation of values given at control points: shape (rows, columns)."""
    i, u = _bracket(at_columns, columns)
    j, v = _bracket(at_rows, rows)
    # No matrix product: BLAS starts threads for these, which fight over the cores with other requests'.
    by_row = values[j] * (1 - v)[:, None] + values[j + 1] * v[:, None]
    result: Floats = np.diff(by_row, axis=1).take(i, axis=1)
    result *= u
    result += by_row.take(i, axis=1)
    return result


def _bracket(knots: Floats, positions: Floats) -> tuple[Indices, Floats]:
    index = np.clip(np.searchsorted(knots, positions, side="right") - 1, 0, len(knots) - 2)
    span = knots[index + 1] - knots[index]
    return index, np.divide(positions - knots[index], span, out=np.zeros(len(positions)), where=span > 0)


def window_of(location: Location, extent: PixelWindow | None, margin: int) -> PixelWindow | None:
    """Return the pixels of the lattice that a location needs, within ``extent``; None if there are none.

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
        raise LimitError("User memory limit exceeded.")
    return PixelWindow(low, top, high - low, bottom - top)


def _span(positions: Floats, margin: int) -> tuple[int, int]:
    finite = positions if np.isfinite(positions).all() else positions[np.isfinite(positions)]
    if not finite.size:
        return 0, 0
    return math.floor(finite.min() + _EDGE) - margin, math.floor(finite.max() + _EDGE) + 1 + margin


MARGINS: dict[Method, int] = {"nearest": 0, "bilinear": 1, "bicubic": 2}
"""Pixels that each method needs around the one a centre falls into."""


def gather(
    values: npt.NDArray[Any], valid: npt.NDArray[Any], window: PixelWindow, location: Location, method: Method
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Take pixels of a lattice at a location.

    Args:
        values: shape (bands, window.height, window.width).
        valid: the same shape, bool or fractional.
        window: which pixels of the lattice those are.
        location: where to take them.
        method: nearest keeps values and dtype; the others give float64.

    Returns:
        Values and validity of shape (bands, height, width) of the location's grid; invalid outside the window.
    """
    if method == "nearest":
        return _gather_nearest(values, valid, window, location)
    return _gather_weighted(values, valid, window, location, _KERNELS[method])


def _gather_nearest(
    values: npt.NDArray[Any], valid: npt.NDArray[Any], window: PixelWindow, location: Location
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
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
        mask = np.where(outside, mask.dtype.type(0), mask)
    return taken, mask


def _taken(values: npt.NDArray[Any], rows: Indices, columns: Indices) -> npt.NDArray[Any]:
    """Return pixels at rows and columns, which are broadcast to each other, of values of shape (bands, height, width,
    …).
    """
    if rows.shape[1] == 1 and columns.shape[0] == 1:
        return _along(_along(values, rows[:, 0], 1), columns[0], 2)
    flat = values.reshape(len(values), values.shape[1] * values.shape[2], *values.shape[3:])
    found: npt.NDArray[Any] = flat.take(rows * values.shape[2] + columns, axis=1)
    return found


def _along(values: npt.NDArray[Any], index: Indices, axis: int) -> npt.NDArray[Any]:
    """Return values at indices along an axis: a view where those follow each other."""
    first, last = int(index[0]), int(index[-1])
    if last - first == len(index) - 1 and (len(index) < 2 or bool((np.diff(index) == 1).all())):
        return values[(slice(None),) * axis + (slice(first, last + 1),)]
    return values.take(index, axis=axis)


def _indices(positions: Floats, start: int, size: int) -> tuple[Indices, npt.NDArray[np.bool_] | None]:
    """Return indices into a window, and which positions lie outside it (None: none do)."""
    floored = np.floor(positions + _EDGE) - start
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
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return weighted means of neighbours; masked ones drop out and the weights of the others are scaled up."""
    x, y = location.columns - 0.5, location.rows - 0.5
    left, top = np.floor(x), np.floor(y)
    by_column = [(left + step, weight) for step, weight in kernel(x - left)]
    by_row = [(top + step, weight) for step, weight in kernel(y - top)]
    shape = (len(values), *np.broadcast_shapes(x.shape, y.shape))
    if valid.dtype == bool and valid.all():
        whole = _gather_whole(values, window, by_column, by_row, shape)
        if whole is not None:
            return whole, np.ones(shape, dtype=bool)
    total, weights, fraction = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    numbers = np.where(valid > 0, values, 0).astype(np.float64)
    for at_row, row_weight in by_row:
        for at_column, column_weight in by_column:
            neighbour, mask = _gather_nearest(
                numbers, valid.astype(np.float64), window, Location(at_column + 0.5, at_row + 0.5, location.scale)
            )
            weight = np.broadcast_to(row_weight * column_weight, shape[1:])
            present = weight * (mask > 0)
            total += neighbour * present
            weights += present
            fraction += weight * mask
    enough = weights > 1e-5
    result = np.divide(total, weights, out=np.zeros(shape), where=enough)
    centre = _gather_nearest(numbers, valid, window, location)[1]
    if valid.dtype == bool:
        return result, enough & centre
    return result, np.where(enough & (centre > 0), np.clip(fraction, 0, 1), 0)


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


def read_lattice(
    read: Callable[[PixelWindow], tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    count: int,
    dtype: npt.DTypeLike,
    location: Location,
    extent: PixelWindow | None,
    shape: tuple[int, int],
    method: Method,
) -> list[Pixels]:
    """Read what a location needs of a lattice and resamples it.

    Args:
        read: reads a window: values and validity of shape (count, height, width).
        count: number of bands.
        dtype: of the values where nothing has to be read.
        location: where the output's centres fall.
        extent: pixels that exist, None for all.
        shape: the output's (height, width).
        method: of resampling.
    """
    halves = _halves(location)
    if halves is not None:
        left, right = (read_lattice(read, count, dtype, half, extent, shape, method) for half in halves)
        return [_merged(a, b) for a, b in zip(left, right, strict=True)]
    window = window_of(location, extent, MARGINS[method])
    if window is None:
        nothing = Pixels(np.zeros(shape, dtype), np.zeros(shape, dtype=bool))
        return [nothing] * count
    values, valid = gather(*read(window), window, location, method)
    return [Pixels(v, m) for v, m in zip(values, valid, strict=True)]


def read_computed(
    read: Callable[[PixelWindow], Sequence[Pixels]],
    count: int,
    location: Location,
    shape: tuple[int, int],
    method: Method,
) -> list[Pixels]:
    """Read what a location needs of computed bands and resamples it; bands may differ in type and be arrays.

    Args:
        read: computes a window of all bands.
        count: number of bands.
        location: where the output's centres fall.
        shape: the output's (height, width).
        method: of resampling.
    """
    halves = _halves(location)
    if halves is not None:
        left, right = (read_computed(read, count, half, shape, method) for half in halves)
        return [_merged(a, b) for a, b in zip(left, right, strict=True)]
    window = window_of(location, None, MARGINS[method])
    if window is None:
        return [Pixels(np.zeros(shape, np.uint8), np.zeros(shape, dtype=bool))] * count
    pixels = read(window)
    if method != "nearest" and any(own.values.ndim > 2 for own in pixels):
        raise InvalidError(f"Arrays cannot be resampled by the method '{method}'.")
    alike: dict[tuple[np.dtype[Any], tuple[int, ...]], list[int]] = {}
    for band, own in enumerate(pixels):
        alike.setdefault((own.values.dtype, own.values.shape[2:]), []).append(band)
    found: dict[int, Pixels] = {}
    for members in alike.values():
        values, masks = np.stack([pixels[m].values for m in members]), np.stack([pixels[m].mask for m in members])
        taken = gather(values, masks, window, location, method)
        found.update((m, Pixels(v, mask)) for m, v, mask in zip(members, *taken, strict=True))
    return [found[band] for band in range(count)]


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
    found = pick(columns.indices, rows.indices)
    if found is None:
        return None
    values, valid = found
    for outside in (columns.outside, rows.outside):
        if outside is not None:
            valid = np.where(outside, valid.dtype.type(0), valid)
    return [Pixels(v, m) for v, m in zip(values, valid, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Indices held within an extent.

    Attributes:
        indices: of columns or rows.
        span: columns or rows from the first to the last.
        outside: which of them lie outside and were moved to the edge; None where none does.
    """

    indices: Indices
    span: int
    outside: npt.NDArray[np.bool_] | None


def _held(positions: Floats, start: int, size: int) -> _Held | None:
    """Return the indices of positions within an extent; None where none lies there, or some are not numbers."""
    floored = positions + _EDGE
    np.floor(floored, out=floored)
    low, high = float(floored.min()), float(floored.max())
    if not (math.isfinite(low) and math.isfinite(high) and low < start + size and high >= start):
        return None
    if start <= low and high < start + size:
        return _Held(floored.astype(np.intp), int(high - low) + 1, None)
    held = np.clip(floored, start, start + size - 1)
    span = min(high, start + size - 1) - max(low, start)
    return _Held(held.astype(np.intp), int(span) + 1, held != floored)


def _halves(location: Location) -> tuple[Location, Location] | None:
    """Return a location in two where it lies at both ends of a wide lattice, as on the antimeridian; else None."""
    columns = location.columns
    if columns.size < 2 or columns.shape[0] == 1:
        return None
    low, high = np.nanmin(columns, initial=np.inf), np.nanmax(columns, initial=-np.inf)
    if not high - low > _WIDE:
        return None
    positions = np.sort(columns[np.isfinite(columns)])
    gaps = np.diff(positions)
    widest = int(np.argmax(gaps))
    if gaps[widest] * 2 < high - low:
        return None
    middle = (positions[widest] + positions[widest + 1]) / 2
    west = np.where(columns < middle, columns, np.nan)
    east = np.where(columns >= middle, columns, np.nan)
    return Location(west, location.rows, location.scale), Location(east, location.rows, location.scale)


def _merged(first: Pixels, second: Pixels) -> Pixels:
    """Return the pixels of both, which have none in common."""
    take = second.valid
    if take.all() or not first.valid.any():
        return second
    if not take.any():
        return first
    values = np.where(take.reshape(take.shape + (1,) * (second.values.ndim - 2)), second.values, first.values)
    return Pixels(values, np.where(take, second.mask, first.mask))
