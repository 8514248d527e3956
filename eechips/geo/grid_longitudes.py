"""Find where a grid in degrees crosses the antimeridian, and move its windows to where the service has them."""

from __future__ import annotations

import math
from fractions import Fraction

from eechips.geo.grid import Grid

TURN = 360
"""Degrees of longitude around the Earth."""


def wrap_longitude(grid: Grid) -> Grid:
    """Move a window of degrees beyond the antimeridian by 360 degrees, to where the service expects it."""
    a, b, c, d, e, f = grid.transform
    centre = grid.xy(grid.width / 2, grid.height / 2)[0]
    turns = math.floor((centre + TURN / 2) / TURN) if _is_geographic(grid) else 0
    return Grid(grid.crs, (a, b, c - TURN * turns, d, e, f), grid.width, grid.height) if turns else grid


def antimeridian_columns(grid: Grid) -> tuple[int, ...]:
    """Return the columns of a grid in degrees at which an antimeridian begins: the first centre on it or beyond.

    They are those of 180 degrees, and of -180 degrees for a grid that begins before it; none for other grids.
    """
    a, b, c, _, _, _ = grid.transform
    if b != 0.0 or a <= 0.0 or not _is_geographic(grid):
        return ()
    columns = (math.ceil((edge - Fraction(c)) / Fraction(a) - Fraction(1, 2)) for edge in (-TURN // 2, TURN // 2))
    return tuple(column for column in columns if 0 < column < grid.width)


def columns_around_earth(grid: Grid) -> int | None:
    """Return how many columns of a grid in degrees go around the Earth; None if no whole number does."""
    a, b, *_ = grid.transform
    if b != 0.0 or a <= 0.0 or not _is_geographic(grid):
        return None
    columns = TURN / a
    return round(columns) if abs(columns - round(columns)) < 1e-6 * columns else None


def _is_geographic(grid: Grid) -> bool:
    from eechips.geo.crs import parse_crs  # pyproj, for which workers of windows have no memory

    return parse_crs(grid.crs).is_geographic
