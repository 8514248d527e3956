"""Locate the pixels of one grid in another lattice: centres on an edge, interpolation between control points, both
sides of the antimeridian.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.geometry.map_projection import Projection
from eechips_local.geometry.projected_shapes import columns_of_turn
from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply, parse_crs, transformer
from eechips_local.pixels.lazy_image import Render

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# Coordinates between control points are interpolated where that is exact to this part of a source pixel.
_TOLERANCE = 1e-4
_SPACING = 32
EDGE = 1e-6
"""A centre that lies on an edge between two pixels, up to this, belongs to the later one, as in GDAL."""
# Columns beyond which a window is looked at for a gap in its middle.
_WIDE = 4096.0


@dataclass(frozen=True, slots=True, eq=False)
class Location:
    """Centres of a grid's pixels in the coordinates of another lattice of pixels.

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
    1e-4 of a pixel (checked half-way between control points), else at every pixel. Centres that near the edge of a
    pixel are transformed.

    Args:
        grid: whose pixels.
        lattice: in whose coordinates.
        exact: transform every centre, however smooth the transformation is.
    """
    if grid.crs == lattice.crs or parse_crs(grid.crs) == parse_crs(lattice.crs):
        return _locate_affine(grid, ~lattice.transform @ grid.transform)

    inverse = ~lattice.transform

    def transform(columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        x, y = apply(grid.transform, columns, rows)
        x, y = transformer(grid.crs, lattice.crs).transform(x, y)
        known = np.isfinite(x) & np.isfinite(y)  # PROJ gives infinities for what has no place
        if not known.all():
            x, y = np.where(known, x, np.nan), np.where(known, y, np.nan)
        return apply(inverse, np.asarray(x), np.asarray(y))

    spacing = _SPACING if not exact else 0
    while spacing >= 8 and min(grid.width, grid.height) > spacing:
        coordinates = _interpolated(grid, transform, spacing)
        if coordinates is not None:
            break
        spacing //= 2
    else:
        rows, columns = np.mgrid[0 : grid.height, 0 : grid.width] + 0.5
        coordinates = transform(columns, rows)
    return Location(coordinates[0], coordinates[1], _jacobian_scale(grid, transform))


def locate_once(lattice: Projection, grid: PixelGrid, render: Render) -> Location:
    """Return ``locate(grid, lattice)``, cached for one computation of pixels."""
    location: Location = render.note(("location", grid, lattice), lambda: locate(grid, lattice))
    return location


def _locate_affine(grid: PixelGrid, step: Affine) -> Location:
    scale = math.sqrt(abs(step.determinant))
    columns, rows = centres_of(grid.width), centres_of(grid.height)
    if step.b == 0 and step.d == 0:
        return Location((step.a * columns + step.c)[None, :], (step.e * rows + step.f)[:, None], scale)
    coordinates = apply(step, *np.meshgrid(columns, rows))
    return Location(coordinates[0], coordinates[1], scale)


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
) -> tuple[Floats, ...] | None:
    """Return coordinates between control points, or None where they are not exact enough."""
    coordinates = interpolated(grid, exact, spacing, _TOLERANCE)
    if coordinates is None:
        return None
    # So that the nearest pixel depends on the centre alone, not on the window around it.
    unsure = np.logical_or(*(np.abs(values - np.rint(values)) < 2 * _TOLERANCE for values in coordinates))
    if unsure.any():
        at = np.nonzero(unsure)
        coordinates[0][at], coordinates[1][at] = exact(at[1].astype(np.float64) + 0.5, at[0].astype(np.float64) + 0.5)
    return coordinates


def interpolated(
    grid: PixelGrid, exact: Callable[[Floats, Floats], tuple[Floats, ...]], spacing: int, tolerance: float
) -> tuple[Floats, ...] | None:
    """Return bilinear interpolation at a grid's centres, or None where it is not exact half-way between control points.

    Args:
        grid: at whose centres.
        exact: the functions, of fractional columns and rows.
        spacing: pixels between control points, at most.
        tolerance: how far interpolated values may be from exact ones.
    """
    at_columns = control_points(grid.width, spacing)
    at_rows = control_points(grid.height, spacing)
    # Half-way on the sides of cells, too: the errors of a conformal map cancel out in the middle of a square.
    half_columns, half_rows = _halved(at_columns), _halved(at_rows)
    halves = exact(*np.meshgrid(half_columns, half_rows))
    if not all(np.isfinite(values).all() for values in halves):
        return None
    control = [values[::2, ::2] for values in halves]
    for values, truth in zip(control, halves, strict=True):
        guess = between(values, at_columns, at_rows, half_columns, half_rows)
        if not np.abs(guess - truth).max() < tolerance:
            return None
    centres = centres_of(grid.width), centres_of(grid.height)
    return tuple(between(values, at_columns, at_rows, *centres) for values in control)


def control_points(size: int, spacing: int) -> Floats:
    """Return centres of pixels at which a smooth function is evaluated: the first, the last, and some between."""
    return np.linspace(0.5, size - 0.5, max(2, math.ceil(size / spacing) + 1))


def _halved(points: Floats) -> Floats:
    """Return evenly spaced points, and those half-way between."""
    return np.linspace(points[0], points[-1], 2 * len(points) - 1)


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


def around_globe(location: Location, lattice: Projection, extent: PixelWindow) -> Location:
    """Return a location with columns outside of an extent moved by whole turns, where longitudes start again.

    So a raster is found whether its longitudes are -180 to 180, 0 to 360, or lie across 180.
    """
    turn = columns_of_turn(lattice)
    if turn is None:
        return location
    columns, start, end = location.columns + EDGE, extent.column, extent.column + extent.width
    outside = (columns < start) | (columns >= end)
    if not outside.any():
        return location
    first = start - max(turn - extent.width, 0.0) / 2.0
    moved = np.where(outside, first + (columns - first) % turn, columns) - EDGE
    return Location(moved, location.rows, location.scale)


def parts_of(location: Location) -> list[Location]:
    """Return a location in parts where it lies at both ends of a wide lattice, as on the antimeridian."""
    halves = _halves(location)
    return [location] if halves is None else [part for half in halves for part in parts_of(half)]


def _halves(location: Location) -> tuple[Location, Location] | None:
    """Return a location in two where it lies at both ends of a wide lattice, as on the antimeridian; else None."""
    columns = location.columns
    if columns.size < 2:
        return None
    if columns.shape[0] == 1:
        steps = np.diff(columns[0])
        if not (steps < 0.0).any() or not (steps > 0.0).any():  # it runs one way
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
