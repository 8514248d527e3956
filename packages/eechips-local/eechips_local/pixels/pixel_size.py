"""Areas and edge lengths of pixels on the WGS84 ellipsoid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eechips_local.pixels.location import between, centres_of, control_points
from eechips_local.pixels.pixel_grid import PixelGrid, apply, parse_crs, transformer

Floats = npt.NDArray[np.float64]

# Equal-area projections of the ellipsoid: an area in their coordinates is one on the ground (Snyder 1987, 10 and 24).
_CYLINDRICAL = "+proj=cea +ellps=WGS84 +units=m"
_POLAR = {1: "+proj=laea +lat_0=90 +ellps=WGS84 +units=m", -1: "+proj=laea +lat_0=-90 +ellps=WGS84 +units=m"}
_POLAR_FROM = 75.0
_GIRDLE = 2 * np.pi * 6_378_137.0  # width of the cylindrical projection in metres
# Pixels that a side of the map or a pole divides are measured at so many points along each edge, over so many pixels.
_POINTS, _HAIR = 8, 0.001
# Degrees of longitude near a pole beyond which the sides of a pixel show nothing of what lies between.
_WIDE = 5.0
_AT_POLE = 90.0 - 1e-6


def pixel_areas(grid: PixelGrid) -> Floats:
    """Return square metres of each pixel: shape (height, width), NaN where a pixel has no place on Earth.

    Exact for grids along meridians and parallels; elsewhere the sides of a pixel are taken as straight in an
    equal-area projection, which they are to about the square of the pixel's size over that of the Earth. A pixel that
    reaches beyond the map counts as if all of it were like its part on the map: so the area of that part is its share
    of the pixel times the pixel's area.
    """
    t = grid.transform
    if parse_crs(grid.crs).is_geographic and t.b == t.d == 0:
        return _zonal(grid)
    columns, rows = np.meshgrid(np.arange(grid.width + 1.0), np.arange(grid.height + 1.0))
    x, y = apply(t, columns, rows)
    lon, lat = _moved(grid.crs, "EPSG:4326", x, y)
    areas = _quadrilaterals(*_moved("EPSG:4326", _CYLINDRICAL, lon, lat), girdle=_GIRDLE)
    for side, crs in _POLAR.items():
        near = side * lat[:-1, :-1] > _POLAR_FROM
        if near.any():
            areas = np.where(near, _quadrilaterals(*_moved("EPSG:4326", crs, lon, lat)), areas)
    return _with_divided(areas, grid, lon, lat)


def _with_divided(areas: Floats, grid: PixelGrid, lon: Floats, lat: Floats) -> Floats:
    """Return areas, with those of pixels that a side of the map or a pole divides measured within the pixel.

    Args:
        areas: shape (height, width), NaN where a corner has no place.
        grid: whose pixels.
        lon: longitudes of the corners, shape (height + 1, width + 1).
        lat: their latitudes.
    """
    known = np.isfinite(lon)
    some = known[1:, 1:] | known[1:, :-1] | known[:-1, 1:] | known[:-1, :-1]
    divided = some & ~np.isfinite(areas)
    polar = np.abs(np.where(known, lat, 0.0))
    if (polar > _POLAR_FROM).any():
        turns = np.abs(_step(np.diff(lon, axis=1), 360.0))
        corners = np.stack([polar[1:, 1:], polar[1:, :-1], polar[:-1, 1:], polar[:-1, :-1]])
        wide = np.fmax(turns[1:], turns[:-1]) > _WIDE
        # Some projections take what lies beyond a pole to the pole.
        divided |= some & ((wide & (corners.max(axis=0) > _POLAR_FROM)) | (corners.max(axis=0) > _AT_POLE))
    if not divided.any():
        return areas
    rows, columns = np.nonzero(divided)
    inside = (np.arange(_POINTS) + 0.5) / _POINTS
    column = (columns[:, None, None] + inside[None, None, :] + np.zeros((1, _POINTS, 1))).reshape(len(rows), -1)
    row = (rows[:, None, None] + inside[None, :, None] + np.zeros((1, 1, _POINTS))).reshape(len(rows), -1)
    across, down = _ground_step(grid, column, row, _HAIR, 0.0), _ground_step(grid, column, row, 0.0, _HAIR)
    spread = np.abs(across[0] * down[1] - across[1] * down[0]) / (2 * _HAIR) ** 2
    there = np.isfinite(spread) & (np.abs(_lonlat(grid, column, row)[1]) < _AT_POLE)
    count = there.sum(axis=1)
    sums = np.where(there, spread, 0.0).sum(axis=1)
    measured = areas.copy()
    measured[rows, columns] = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    return measured


def _moved(source: str, target: str, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return points in another CRS, NaN where they have no place."""
    x, y = transformer(source, target).transform(x, y)
    known = np.isfinite(x) & np.isfinite(y)
    return np.where(known, x, np.nan), np.where(known, y, np.nan)


def _zonal(grid: PixelGrid) -> Floats:
    """Return areas between meridians and parallels: rectangles in the cylindrical projection."""
    t = grid.transform
    edges = t.e * np.arange(grid.height + 1.0) + t.f
    geodetic = parse_crs(grid.crs).geodetic_crs
    assert geodetic is not None
    if "WGS 84" not in str(geodetic.ellipsoid):
        edges = transformer(grid.crs, "EPSG:4326").transform(np.zeros(len(edges)), edges)[1]
    _, y = _moved("EPSG:4326", _CYLINDRICAL, np.zeros(len(edges)), np.clip(edges, -90, 90))
    heights = np.abs(np.diff(y))
    heights[heights == 0] = np.nan
    width = abs(t.a) / 360.0 * _GIRDLE
    areas: Floats = np.broadcast_to((heights * width)[:, None], grid.shape)
    return areas


def _quadrilaterals(x: Floats, y: Floats, girdle: float | None = None) -> Floats:
    """Return areas of the cells between corners of shape (height + 1, width + 1).

    Args:
        x: abscissae of the corners.
        y: ordinates.
        girdle: the length after which x starts again, or None.
    """
    ax, bx = _step(x[1:, 1:] - x[:-1, :-1], girdle), _step(x[1:, :-1] - x[:-1, 1:], girdle)
    ay, by = y[1:, 1:] - y[:-1, :-1], y[1:, :-1] - y[:-1, 1:]
    areas: Floats = np.abs(ax * by - bx * ay) / 2  # half the cross product of the diagonals
    return areas


def _step(difference: Floats, girdle: float | None) -> Floats:
    return difference if girdle is None else difference - girdle * np.round(difference / girdle)


_EQUATOR = 6_378_137.0
_ECCENTRICITY = 0.081_819_190_842_622  # of WGS84
_SPACING = 16
_MEAN_RADIUS = 6_371_008.8  # of the Earth


def _radii(latitude: Floats) -> tuple[Floats, Floats]:
    """Return radii of curvature along the meridian and across it, in metres, at latitudes in radians."""
    root = 1 - (_ECCENTRICITY * np.sin(latitude)) ** 2
    across = _EQUATOR / np.sqrt(root)
    return across * (1 - _ECCENTRICITY**2) / root, across


def pixel_edges(grid: PixelGrid) -> tuple[Floats, Floats]:
    """Return metres between the centres of neighbouring pixels: along rows and along columns.

    Both are broadcastable to the grid's shape. Away from geographic grids they are computed at every 16th pixel and
    interpolated, for they change slowly.
    """
    t = grid.transform
    if parse_crs(grid.crs).is_geographic and t.b == t.d == 0:
        latitude = np.radians(t.e * centres_of(grid.height) + t.f)[:, None]
        along, across = _radii(latitude)
        return np.abs(across * np.cos(latitude) * np.radians(t.a)), np.abs(along * np.radians(t.e))
    columns, rows = control_points(grid.width, _SPACING), control_points(grid.height, _SPACING)
    at = np.meshgrid(columns, rows)
    centres = (centres_of(grid.width), centres_of(grid.height))
    return (
        between(_edge_lengths(grid, at[0], at[1], 0.5, 0.0), columns, rows, *centres),
        between(_edge_lengths(grid, at[0], at[1], 0.0, 0.5), columns, rows, *centres),
    )


def spherical_axes(grid: PixelGrid) -> tuple[Floats, Floats, Floats]:
    """Return metres between neighbouring pixels along rows and columns of a sphere, and how far those are turned.

    The turn is in degrees clockwise: the mean of the bearing of the grid's north and of that of its east less 90. It is
    0 where rows do not run along the axes of the CRS. All are broadcastable to the grid's shape. That ee.Terrain has
    this sphere was measured on the service (code 70191878970).
    """
    t = grid.transform
    if parse_crs(grid.crs).is_geographic and t.b == t.d == 0:
        parallels = np.cos(np.radians(t.e * centres_of(grid.height) + t.f))[:, None]
        across, down = _MEAN_RADIUS * np.radians([abs(t.a), abs(t.e)])
        return across * parallels, down * np.ones_like(parallels), np.zeros_like(parallels)
    columns, rows = control_points(grid.width, _SPACING), control_points(grid.height, _SPACING)
    at, centres = np.meshgrid(columns, rows), (centres_of(grid.width), centres_of(grid.height))
    steps = (*_ground_step(grid, *at, 0.5, 0.0, _on_sphere), *_ground_step(grid, *at, 0.0, 0.5, _on_sphere))
    right_east, right_north, down_east, down_north = (between(step, columns, rows, *centres) for step in steps)
    across, down = np.hypot(right_east, right_north), np.hypot(down_east, down_north)
    if t.b or t.d:
        return across, down, np.zeros_like(across)
    east, north = np.sign(t.a), -np.sign(t.e)
    upward = np.degrees(np.arctan2(north * -down_east, north * -down_north))
    rightward = np.degrees(np.arctan2(east * right_east, east * right_north)) - 90.0
    return across, down, upward + ((rightward - upward + 180.0) % 360.0 - 180.0) / 2


def _on_sphere(latitude: Floats) -> tuple[float, float]:
    return _MEAN_RADIUS, _MEAN_RADIUS


def _edge_lengths(grid: PixelGrid, columns: Floats, rows: Floats, right: float, down: float) -> Floats:
    """Return metres from half a step before to half a step behind some pixel coordinates."""
    lengths: Floats = np.hypot(*_ground_step(grid, columns, rows, right, down))
    return lengths


def _ground_step(
    grid: PixelGrid,
    columns: Floats,
    rows: Floats,
    right: float,
    down: float,
    radii: Callable[[Floats], tuple[Floats | float, Floats | float]] = _radii,
) -> tuple[Floats, Floats]:
    """Return metres east and north from half a step before to half a step behind some pixel coordinates."""
    lon, lat = (np.array(v) for v in _lonlat(grid, columns - right, rows - down))
    lon2, lat2 = (np.array(v) for v in _lonlat(grid, columns + right, rows + down))
    turn = lon2 - lon
    turn -= 360.0 * np.round(turn / 360.0)
    middle = np.radians((lat + lat2) / 2)
    along, across = radii(middle)
    return across * np.cos(middle) * np.radians(turn), along * np.radians(lat2 - lat)


def _lonlat(grid: PixelGrid, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    x, y = apply(grid.transform, columns, rows)
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
    known = np.isfinite(lon) & np.isfinite(lat)
    return np.where(known, lon, np.nan), np.where(known, lat, np.nan)
