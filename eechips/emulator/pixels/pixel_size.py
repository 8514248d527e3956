"""Areas and edge lengths of pixels on the WGS84 ellipsoid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eechips.emulator.pixels.location import between, centres_of, control_points
from eechips.emulator.pixels.pixel_grid import PixelGrid, parse_crs, transformer

Floats = npt.NDArray[np.float64]

# Equal-area projections of the ellipsoid: an area in their coordinates is one on the ground (Snyder 1987, 10 and 24).
_CYLINDRICAL = "+proj=cea +ellps=WGS84 +units=m"
_POLAR = {1: "+proj=laea +lat_0=90 +ellps=WGS84 +units=m", -1: "+proj=laea +lat_0=-90 +ellps=WGS84 +units=m"}
_POLAR_FROM = 75.0
_GIRDLE = 2 * np.pi * 6_378_137.0  # width of the cylindrical projection in metres


def pixel_areas(grid: PixelGrid) -> Floats:
    """Return square metres of each pixel: shape (height, width), NaN where a pixel has no place on Earth.

    Exact for grids along meridians and parallels; elsewhere the sides of a pixel are taken as straight in an
    equal-area projection, which they are to about the square of the pixel's size over that of the Earth.
    """
    t = grid.transform
    if parse_crs(grid.crs).is_geographic and t.b == t.d == 0:
        return _zonal(grid)
    columns, rows = np.meshgrid(np.arange(grid.width + 1.0), np.arange(grid.height + 1.0))
    x, y = t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
    lon, lat = _moved(grid.crs, "EPSG:4326", x, y)
    areas = _quadrilaterals(*_moved("EPSG:4326", _CYLINDRICAL, lon, lat), girdle=_GIRDLE)
    for side, crs in _POLAR.items():
        near = side * lat[:-1, :-1] > _POLAR_FROM
        if near.any():
            areas = np.where(near, _quadrilaterals(*_moved("EPSG:4326", crs, lon, lat)), areas)
    return areas


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
    found: Floats = np.broadcast_to((heights * width)[:, None], grid.shape)
    return found


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


def _edge_lengths(grid: PixelGrid, columns: Floats, rows: Floats, right: float, down: float) -> Floats:
    """Return metres from half a step before to half a step behind some pixel coordinates."""
    lon, lat = (np.array(v) for v in _lonlat(grid, columns - right, rows - down))
    lon2, lat2 = (np.array(v) for v in _lonlat(grid, columns + right, rows + down))
    turn = lon2 - lon
    turn -= 360.0 * np.round(turn / 360.0)
    middle = np.radians((lat + lat2) / 2)
    along, across = _radii(middle)
    found: Floats = np.hypot(across * np.cos(middle) * np.radians(turn), along * np.radians(lat2 - lat))
    return found


def _lonlat(grid: PixelGrid, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    t = grid.transform
    x, y = t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
    known = np.isfinite(lon) & np.isfinite(lat)
    return np.where(known, lon, np.nan), np.where(known, lat, np.nan)
