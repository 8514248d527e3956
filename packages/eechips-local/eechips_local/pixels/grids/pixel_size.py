"""Compute areas of pixels for ``Image.pixelArea``, and distances between their centres for slopes, shadows and costs.

`pixel_areas` and `pixel_edges` are on the WGS84 ellipsoid, `spherical_edges` and `spherical_turn` on the mean sphere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eechips_local.pixels.grids.location import between, centres_of, control_points, interpolated
from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply, parse_crs, transformer

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
# Interpolated lengths err by less than this part, turns by less than so many degrees.
_LENGTH_TOLERANCE, _TURN_TOLERANCE = 3e-6, 5e-5
# Rows and columns run along the axes of the CRS where the others are this part of a pixel's edge, at most.
_ALIGNED = 1e-9


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


def spherical_edges(grid: PixelGrid) -> tuple[Floats, Floats]:
    """Return half the metres between the centres left and right of each pixel, and of those above and below it.

    Both are great circles of a sphere with the Earth's mean radius, broadcastable to the grid's shape, and NaN where a
    centre has no place. So ee.Terrain measures in UTM (code 70191878970).
    """
    t = grid.transform
    if parse_crs(grid.crs).is_geographic and _is_aligned(grid):
        parallels = np.cos(np.radians(t.e * centres_of(grid.height) + t.f))[:, None]
        across = _MEAN_RADIUS * np.arcsin(parallels * np.sin(np.radians(abs(t.a))))
        return across, np.full_like(across, _MEAN_RADIUS * np.radians(abs(t.e)))
    across, down = _at_pixels(grid, _lengths, _LENGTH_TOLERANCE * min(map(float, _lengths(_middle(grid)))))
    return across, down


def spherical_turn(grid: PixelGrid) -> Floats:
    """Return degrees clockwise by which the axes of the CRS are turned at pixels, broadcastable to the grid's shape.

    That is the mean of the bearing of the grid's north and of that of its east less 90, as fitted to ee.Terrain in UTM
    (code 70191878970); 0 where rows do not run along the axes of the CRS.
    """
    if parse_crs(grid.crs).is_geographic or not _is_aligned(grid):
        return np.zeros((1, 1))
    east, north = float(np.sign(grid.transform.a)), -float(np.sign(grid.transform.e))
    middle = float(np.nan_to_num(_turn(_middle(grid), east, north)))
    (turn,) = _at_pixels(grid, lambda at: (_wrapped(_turn(at, east, north) - middle),), _TURN_TOLERANCE)
    return turn + middle


_Places = Callable[[int, int], Floats]
"""Unit vectors, shape (3, ...), to the centres so many pixels to the right of some points and below them."""


def _is_aligned(grid: PixelGrid) -> bool:
    t = grid.transform
    return float(np.hypot(t.b, t.d)) <= _ALIGNED * float(np.hypot(t.a, t.e))


def _wrapped(degrees: Floats) -> Floats:
    return (degrees + 180.0) % 360.0 - 180.0


def _at_pixels(
    grid: PixelGrid, measure: Callable[[_Places], tuple[Floats, ...]], tolerance: float
) -> tuple[Floats, ...]:
    """Return measures of each pixel, interpolated between some pixels where that is exact to a tolerance."""

    def exact(columns: Floats, rows: Floats) -> tuple[Floats, ...]:
        return measure(lambda right, down: _on_sphere(grid, columns + right, rows + down))

    for spacing in (2 * _SPACING, _SPACING):
        measured = interpolated(grid, exact, spacing, tolerance) if min(grid.shape) > spacing else None
        if measured is not None:
            return measured
    width, height = grid.width, grid.height
    places = _on_sphere(grid, *np.meshgrid(np.arange(width + 2.0) - 0.5, np.arange(height + 2.0) - 0.5))
    return measure(lambda right, down: places[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width])


def _middle(grid: PixelGrid) -> _Places:
    return lambda right, down: _on_sphere(grid, np.array(grid.width / 2 + right), np.array(grid.height / 2 + down))


def _on_sphere(grid: PixelGrid, columns: Floats, rows: Floats) -> Floats:
    lon, lat = (np.radians(degrees) for degrees in _lonlat(grid, columns, rows))
    parallel = np.cos(lat)
    return np.stack([parallel * np.cos(lon), parallel * np.sin(lon), np.sin(lat)])


def _lengths(at: _Places) -> tuple[Floats, Floats]:
    """Return half the metres from the left neighbour to the right one, and from the upper to the lower."""
    chords = (np.linalg.norm(at(1, 0) - at(-1, 0), axis=0), np.linalg.norm(at(0, 1) - at(0, -1), axis=0))
    across, down = (_MEAN_RADIUS * np.arcsin(np.minimum(chord / 2, 1.0)) for chord in chords)
    return across, down


def _turn(at: _Places, east: float, north: float) -> Floats:
    """Return degrees clockwise from true north to the grid's, whose east and north are 1 right and up, else -1."""
    x, y, z = at(0, 0)

    def bearing(step: Floats) -> Floats:
        degrees: Floats = np.degrees(
            np.arctan2(x * step[1] - y * step[0], (x * x + y * y) * step[2] - z * (x * step[0] + y * step[1]))
        )
        return degrees

    upward = bearing(north * (at(0, -1) - at(0, 1)))
    return upward + _wrapped(bearing(east * (at(1, 0) - at(-1, 0))) - 90.0 - upward) / 2


def _edge_lengths(grid: PixelGrid, columns: Floats, rows: Floats, right: float, down: float) -> Floats:
    """Return metres from half a step before to half a step behind some pixel coordinates."""
    lengths: Floats = np.hypot(*_ground_step(grid, columns, rows, right, down))
    return lengths


def _ground_step(grid: PixelGrid, columns: Floats, rows: Floats, right: float, down: float) -> tuple[Floats, Floats]:
    """Return metres east and north from half a step before to half a step behind some pixel coordinates."""
    lon, lat = (np.array(v) for v in _lonlat(grid, columns - right, rows - down))
    lon2, lat2 = (np.array(v) for v in _lonlat(grid, columns + right, rows + down))
    turn = lon2 - lon
    turn -= 360.0 * np.round(turn / 360.0)
    middle = np.radians((lat + lat2) / 2)
    along, across = _radii(middle)
    return across * np.cos(middle) * np.radians(turn), along * np.radians(lat2 - lat)


def _lonlat(grid: PixelGrid, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    x, y = apply(grid.transform, columns, rows)
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
    known = np.isfinite(lon) & np.isfinite(lat)
    return np.where(known, lon, np.nan), np.where(known, lat, np.nan)
