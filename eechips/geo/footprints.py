"""Compute the outlines of pixel grids as polygons in longitude and latitude (EPSG:4326).

The polygons are those of GeoJSON: edges are straight in the plane of longitude and latitude, longitudes lie within -180
to 180, and polygons that cross the antimeridian are cut there (RFC 7946, 3.1.9).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips.geo.crs import parse_crs, project, unproject
from eechips.geo.ellipsoid import Floats, Geometries
from eechips.geo.grid import Grid
from eechips.geo.polygons import wrap_at_antimeridian

_TOLERANCE = 0.1  # of a pixel: largest deviation of an edge from the straight line between two vertices
_MAX_PIECES = 64  # of an edge
_LONG_EDGE = 5.0  # degrees: longer edges are cut into _MAX_PIECES, as the middle of an S-shaped edge shows no bend
_METRES_PER_DEGREE = 111_195.0
_HALF_TURN = 179.0  # degrees of longitude: a longer step between two vertices passes a pole
_INSET = 1e-6  # share of a grid's size by which an outline that passes exactly through a pole is shrunk


def footprints(grids: Sequence[Grid | None]) -> Geometries:
    """Compute the outlines of many grids at once, in degrees of WGS84.

    Edges get as many vertices between their ends as an accuracy of a tenth of a pixel takes, at most 63. The outline of
    a grid across the antimeridian is a MultiPolygon. The outline of a grid around a pole reaches to the pole. Pixels
    beyond the edge of a projection such as MODIS's sinusoidal one are placed on its other side.

    Args:
        grids: the grids; None for units without one.

    Returns:
        Shape (n,): a Polygon or a MultiPolygon each; None for a missing grid, where the projection cannot place a
        corner, and beyond the poles, as with metres in place of degrees.

    Raises:
        UsageError: if a CRS is unknown.
    """
    outlines = np.full(len(grids), None, dtype=object)
    by_crs: dict[str, list[int]] = defaultdict(list)
    for index, grid in enumerate(grids):
        if grid is not None:
            by_crs[grid.crs].append(index)
    for crs, indices in by_crs.items():
        places = np.array(indices)
        corners = grid_corners([grid for index in indices if (grid := grids[index]) is not None])
        sizes = np.array([max(grid.shape) for index in indices if (grid := grids[index]) is not None])
        pieces = _pieces(crs, corners, sizes)
        for count in np.unique(pieces):
            chosen = pieces == count
            outlines[places[chosen]] = _outlines(crs, corners[chosen], int(count))
    return outlines


def grid_corners(grids: Sequence[Grid], inset: float = 0.0) -> Floats:
    """Return x and y of the corners of grids, (n, 4, 2), anticlockwise if north is up; grids may be rotated.

    Args:
        inset: pixels by which the corners are drawn in.
    """
    numbers = np.array([(*grid.transform, grid.width, grid.height) for grid in grids])
    a, b, c, d, e, f, width, height = numbers.T[..., None]
    columns = np.where([False, False, True, True], width - inset, inset)
    rows = np.where([False, True, True, False], height - inset, inset)
    return np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=-1)


def _pieces(crs: str, corners: Floats, sizes: npt.NDArray[np.int_]) -> npt.NDArray[np.int_]:
    """Return the number of pieces of each grid's edges, a power of two: n pieces reduce the deviation by n²."""
    edges = np.hypot(*np.moveaxis(np.roll(corners, -1, axis=1) - corners, -1, 0)).max(axis=1)
    is_long = edges > _LONG_EDGE * (1.0 if parse_crs(crs).is_geographic else _METRES_PER_DEGREE)
    lonlat = _unwrapped(crs, _ring(corners, 2))
    ends, middles = lonlat[:, ::2], lonlat[:, 1::2]
    bends = middles - (ends[:, 1:] + ends[:, :-1]) / 2
    steps = np.diff(ends, axis=1)
    shrink = np.cos(np.radians(middles[..., 1]))  # of degrees of longitude
    with np.errstate(invalid="ignore", divide="ignore"):
        bend = np.hypot(bends[..., 0] * shrink, bends[..., 1]).max(axis=1)
        pixel = np.hypot(steps[..., 0] * shrink, steps[..., 1]).max(axis=1) / sizes
        wanted = np.sqrt(bend / (_TOLERANCE * pixel))
        powers = np.ceil(np.log2(np.clip(np.nan_to_num(wanted, nan=_MAX_PIECES), 1, _MAX_PIECES)))
    return np.where(is_long, _MAX_PIECES, 2 ** powers.astype(int))


def divide_edges(corners: Floats, pieces: int) -> Floats:
    """Cut the edges between corners (n, 4, 2) into pieces; return open rings (n, 4 * pieces, 2)."""
    shares = (np.arange(pieces) / pieces)[:, None]
    starts, ends = corners[:, :, None], np.roll(corners, -1, axis=1)[:, :, None]
    return (starts * (1 - shares) + ends * shares).reshape(len(corners), -1, 2)


def _ring(corners: Floats, pieces: int) -> Floats:
    """Return the same, closed."""
    points = divide_edges(corners, pieces)
    return np.concatenate([points, points[:, :1]], axis=1)


def _unwrapped(crs: str, rings: Floats) -> Floats:
    """Convert rings to longitude and latitude with continuous longitudes; NaN for rings that cannot be projected."""
    lonlat = unproject(crs, rings.reshape(-1, 2)).reshape(rings.shape)
    whole = np.isfinite(lonlat).all(axis=(1, 2))
    lonlat[whole, :, 0] = np.unwrap(lonlat[whole, :, 0], period=360.0, axis=1)
    lonlat[~whole] = np.nan
    return lonlat


def _outlines(crs: str, corners: Floats, pieces: int) -> Geometries:
    lonlat = _unwrapped(crs, _ring(corners, pieces))
    with np.errstate(invalid="ignore"):
        passes = (np.abs(np.diff(lonlat[..., 0], axis=1)) > _HALF_TURN) | (np.abs(lonlat[:, 1:, 1]) > 90.0 - 1e-9)
    at_pole = passes.any(axis=1) & (not parse_crs(crs).is_geographic)
    if at_pole.any():
        centres = corners[at_pole].mean(axis=1, keepdims=True)
        lonlat[at_pole] = _unwrapped(crs, _ring(centres + (corners[at_pole] - centres) * (1 - _INSET), pieces))
    outlines = np.full(len(lonlat), None, dtype=object)
    whole = np.isfinite(lonlat).all(axis=(1, 2))
    outlines[whole] = shapely.polygons(lonlat[whole])
    turns = np.abs(lonlat[:, -1, 0] - lonlat[:, 0, 0]) > 180.0
    for index in np.flatnonzero(whole & turns):
        outlines[index] = _around_pole(crs, lonlat[index], corners[index])
    odd = np.flatnonzero(whole & ~shapely.is_valid(outlines))
    outlines[odd] = shapely.make_valid(outlines[odd])
    outside = whole & ((lonlat[..., 0].min(axis=1) < -180.0) | (lonlat[..., 0].max(axis=1) > 180.0))
    for index in np.flatnonzero(outside):
        outlines[index] = wrap_at_antimeridian(outlines[index])
    outlines[shapely.is_empty(outlines)] = None
    return outlines


def _around_pole(crs: str, ring: Floats, corners: Floats) -> Any:
    """Return the polygon between a ring that goes once around the Earth and the pole inside it."""
    # The other pole, if the projection can place it, lies far outside the box of the corners.
    north = project(crs, [(0.0, 90.0)])[0]
    is_north = bool(np.isfinite(north).all()) and shapely.Polygon(corners).intersects(shapely.Point(north))
    latitude = 90.0 if is_north else -90.0
    return shapely.Polygon([*ring, (ring[-1, 0], latitude), (ring[0, 0], latitude)])
