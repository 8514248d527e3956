"""Where grids of pixels lie on the Earth: polygons in longitude and latitude (EPSG:4326).

They are what GeoJSON has: edges are straight in the plane of longitude and latitude, longitudes lie within -180 to 180,
and what crosses the antimeridian is cut there (RFC 7946, 3.1.9).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity
from shapely.geometry.base import BaseGeometry

from eechips.crs import parse_crs, project, unproject
from eechips.grid import Grid

_TOLERANCE = 0.1  # of a pixel: so much may an edge bend between two corners of its polygon
_MOST_PIECES = 64  # of an edge
_LONG = 5.0  # degrees: edges that are longer are cut into the most pieces, as an edge may bend there and back
_METRES_PER_DEGREE = 111_195.0
_HALF_TURN = 179.0  # degrees: a step that is longer passes a pole, if the edge is not longer than it may be
_INSET = 1e-6  # share of a grid's size that its outline is drawn in where it passes exactly through a pole


def footprints(grids: Sequence[Grid | None]) -> npt.NDArray[np.object_]:
    """The outlines of grids, as polygons in degrees of WGS84; of many grids at a time.

    Edges have as many corners between their ends as it takes to be right to a tenth of a pixel, 63 at most. A grid over
    the antimeridian is a MultiPolygon; one around a pole reaches to it. Pixels beyond the rim of a projection such as
    MODIS's count as on the other side of it.

    Args:
        grids: the grids; None for what has none.

    Returns:
        shape (n,): a Polygon or a MultiPolygon, or None without a grid, and where the projection has no place for a
        corner.

    Raises:
        UsageError: if a CRS is unknown.
    """
    found = np.full(len(grids), None, dtype=object)
    by_crs: dict[str, list[int]] = defaultdict(list)
    for index, grid in enumerate(grids):
        if grid is not None:
            by_crs[grid.crs].append(index)
    for crs, indices in by_crs.items():
        places = np.array(indices)
        corners = _corners([grid for index in indices if (grid := grids[index]) is not None])
        sizes = np.array([max(grid.shape) for index in indices if (grid := grids[index]) is not None])
        pieces = _pieces(crs, corners, sizes)
        for count in np.unique(pieces):
            chosen = pieces == count
            found[places[chosen]] = _outlines(crs, corners[chosen], int(count))
    return found


def polygons(geometry: BaseGeometry) -> list[Any]:
    """The polygons among a geometry's parts; lines and points, which have no area, are left out."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]


def wrap(geometry: BaseGeometry) -> BaseGeometry:
    """The same polygons with every longitude within -180 to 180, cut at the antimeridian where needed."""
    west, _, east, _ = geometry.bounds
    if west >= -180.0 and east <= 180.0:
        return geometry
    parts = []
    for turn in range(int(np.floor((west + 180.0) / 360.0)), int(np.ceil((east + 180.0) / 360.0))):
        offset = 360.0 * turn
        part = geometry.intersection(shapely.box(offset - 180.0, -90.0, offset + 180.0, 90.0))
        parts += [shapely.affinity.translate(polygon, xoff=-offset) for polygon in polygons(part)]
    return shapely.union_all(parts)


def _corners(grids: Sequence[Grid]) -> npt.NDArray[np.float64]:
    """x and y of each grid's corners, (n, 4, 2), anticlockwise where north is up; shapes other than boxes too."""
    numbers = np.array([(*grid.transform, grid.width, grid.height) for grid in grids])
    a, b, c, d, e, f, width, height = numbers.T[..., None]
    columns, rows = width * [0, 0, 1, 1], height * [0, 1, 1, 0]
    return np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=-1)


def _pieces(crs: str, corners: npt.NDArray[np.float64], sizes: npt.NDArray[np.int_]) -> npt.NDArray[np.int_]:
    """Into how many pieces edges are cut, powers of two: an edge of n pieces bends n² times less between corners."""
    edges = np.hypot(*np.moveaxis(np.roll(corners, -1, axis=1) - corners, -1, 0)).max(axis=1)
    is_long = edges > _LONG * (1.0 if parse_crs(crs).is_geographic else _METRES_PER_DEGREE)
    lonlat = _unwrapped(crs, _ring(corners, 2))
    ends, middles = lonlat[:, ::2], lonlat[:, 1::2]
    bends = middles - (ends[:, 1:] + ends[:, :-1]) / 2
    steps = np.diff(ends, axis=1)
    shrink = np.cos(np.radians(middles[..., 1]))  # of degrees of longitude
    with np.errstate(invalid="ignore", divide="ignore"):
        bend = np.hypot(bends[..., 0] * shrink, bends[..., 1]).max(axis=1)
        pixel = np.hypot(steps[..., 0] * shrink, steps[..., 1]).max(axis=1) / sizes
        wanted = np.sqrt(bend / (_TOLERANCE * pixel))
        powers = np.ceil(np.log2(np.clip(np.nan_to_num(wanted, nan=_MOST_PIECES), 1, _MOST_PIECES)))
    return np.where(is_long, _MOST_PIECES, 2 ** powers.astype(int))


def _ring(corners: npt.NDArray[np.float64], pieces: int) -> npt.NDArray[np.float64]:
    """Corners (n, 4, 2) as closed rings (n, 4 * pieces + 1, 2), each edge in so many pieces."""
    shares = (np.arange(pieces) / pieces)[:, None]
    starts, ends = corners[:, :, None], np.roll(corners, -1, axis=1)[:, :, None]
    points = (starts * (1 - shares) + ends * shares).reshape(len(corners), -1, 2)
    return np.concatenate([points, points[:, :1]], axis=1)


def _unwrapped(crs: str, rings: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rings in longitude and latitude, whose longitudes go on at the antimeridian; infinite where there is no place."""
    lonlat = unproject(crs, rings.reshape(-1, 2)).reshape(rings.shape)
    whole = np.isfinite(lonlat).all(axis=(1, 2))
    lonlat[whole, :, 0] = np.unwrap(lonlat[whole, :, 0], period=360.0, axis=1)
    lonlat[~whole] = np.nan
    return lonlat


def _outlines(crs: str, corners: npt.NDArray[np.float64], pieces: int) -> npt.NDArray[np.object_]:
    lonlat = _unwrapped(crs, _ring(corners, pieces))
    with np.errstate(invalid="ignore"):
        passes = (np.abs(np.diff(lonlat[..., 0], axis=1)) > _HALF_TURN) | (np.abs(lonlat[:, 1:, 1]) > 90.0 - 1e-9)
    at_pole = passes.any(axis=1) & (not parse_crs(crs).is_geographic)
    if at_pole.any():
        centres = corners[at_pole].mean(axis=1, keepdims=True)
        lonlat[at_pole] = _unwrapped(crs, _ring(centres + (corners[at_pole] - centres) * (1 - _INSET), pieces))
    found = np.full(len(lonlat), None, dtype=object)
    whole = np.isfinite(lonlat).all(axis=(1, 2))
    found[whole] = shapely.polygons(lonlat[whole])
    turns = np.abs(lonlat[:, -1, 0] - lonlat[:, 0, 0]) > 180.0
    for index in np.flatnonzero(whole & turns):
        found[index] = _around_pole(crs, lonlat[index], corners[index])
    odd = np.flatnonzero(whole & ~shapely.is_valid(found))
    found[odd] = shapely.make_valid(found[odd])
    outside = whole & ((lonlat[..., 0].min(axis=1) < -180.0) | (lonlat[..., 0].max(axis=1) > 180.0))
    for index in np.flatnonzero(outside):
        found[index] = wrap(found[index])
    return found


def _around_pole(crs: str, ring: npt.NDArray[np.float64], corners: npt.NDArray[np.float64]) -> Any:
    """The polygon between a ring that goes once around the Earth and the pole that lies inside it."""
    # Bounded by the box of the corners: a pole of the other side, if the projection shows it, is far outside.
    north = project(crs, [(0.0, 90.0)])[0]
    is_north = bool(np.isfinite(north).all()) and shapely.Polygon(corners).intersects(shapely.Point(north))
    latitude = 90.0 if is_north else -90.0
    return shapely.Polygon([*ring, (ring[-1, 0], latitude), (ring[0, 0], latitude)])
