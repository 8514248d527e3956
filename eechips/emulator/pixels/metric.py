"""Lengths of pixel edges on the WGS84 ellipsoid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eechips.emulator.pixels.grid import Grid, parse_crs, transformer
from eechips.emulator.pixels.resample import between, centres_of, control_points

Floats = npt.NDArray[np.float64]

_EQUATOR = 6_378_137.0
_ECCENTRICITY = 0.081_819_190_842_622  # of WGS84
_SPACING = 16


def _radii(latitude: Floats) -> tuple[Floats, Floats]:
    """Radii of curvature along the meridian and across it, in metres, at latitudes in radians."""
    root = 1 - (_ECCENTRICITY * np.sin(latitude)) ** 2
    across = _EQUATOR / np.sqrt(root)
    return across * (1 - _ECCENTRICITY**2) / root, across


def pixel_edges(grid: Grid) -> tuple[Floats, Floats]:
    """Metres between the centres of neighbouring pixels: along rows and along columns.

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
        between(_step(grid, at[0], at[1], 0.5, 0.0), columns, rows, *centres),
        between(_step(grid, at[0], at[1], 0.0, 0.5), columns, rows, *centres),
    )


def _step(grid: Grid, columns: Floats, rows: Floats, right: float, down: float) -> Floats:
    """Metres from half a step before to half a step behind some pixel coordinates."""
    lon, lat = (np.array(v) for v in _lonlat(grid, columns - right, rows - down))
    lon2, lat2 = (np.array(v) for v in _lonlat(grid, columns + right, rows + down))
    turn = lon2 - lon
    turn -= 360.0 * np.round(turn / 360.0)
    middle = np.radians((lat + lat2) / 2)
    along, across = _radii(middle)
    found: Floats = np.hypot(across * np.cos(middle) * np.radians(turn), along * np.radians(lat2 - lat))
    return found


def _lonlat(grid: Grid, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    t = grid.transform
    x, y = t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
    known = np.isfinite(lon) & np.isfinite(lat)
    return np.where(known, lon, np.nan), np.where(known, lat, np.nan)
