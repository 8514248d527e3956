"""Name squares of the Military Grid Reference System (MGRS), and list the squares of a region.

Zones with their exceptions, bands and letters: https://earth-info.nga.mil/ (NGA.STND.0037, Universal Grids and Grid
Reference Systems).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.geo.crs import project, unproject
from eechips.geo.ellipsoid import Floats

SOUTH, NORTH = -80.0, 84.0
"""Latitudes between which there are zones."""

_BANDS = "CDEFGHJKLMNPQRSTUVWX"  # of 8 degrees, the last of 12
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")  # of 100 km, the same in every third zone
_ROWS = "ABCDEFGHJKLMNPQRSTUV"  # of 100 km, shifted by five in even zones
_LARGE = 100_000  # metres, of the squares that letters name
_WIDENED_FROM = 56.0  # latitude from which some zones are wider than 6 degrees, by 6 at most
_STEP = 0.25  # degrees between points of an outline that is projected


def locate_zones(longitudes: Floats, latitudes: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the zone numbers of points, 0 around the poles, and whether points are in the north."""
    zone = np.minimum(np.floor((longitudes + 180.0) / 6.0), 59).astype(np.int64) + 1
    zone[(latitudes >= 56) & (latitudes < 64) & (longitudes >= 3) & (longitudes < 12)] = 32
    svalbard = (latitudes >= 72) & (latitudes <= NORTH) & (longitudes >= 0) & (longitudes < 42)
    zone[svalbard] = 31 + 2 * np.searchsorted([9.0, 21.0, 33.0], longitudes[svalbard], side="right")
    zone[(latitudes < SOUTH) | (latitudes > NORTH)] = 0
    return zone, latitudes >= 0


def locate_squares(longitudes: Floats, latitudes: Floats) -> list[str]:
    """Return the squares of 100 km of points, such as ``13TDE``; ``north`` and ``south`` beyond the zones."""
    zone, is_north = locate_zones(longitudes, latitudes)
    squares = np.where(is_north, "north", "south").astype(object)
    lonlat = np.column_stack([longitudes, latitudes])
    for number, hemisphere in {*zip(zone.tolist(), is_north.tolist(), strict=True)}:
        if not number:
            continue
        chosen = (zone == number) & (is_north == hemisphere)
        x, y = np.floor(project(_crs(number, hemisphere), lonlat[chosen]) / _LARGE).astype(int).T
        bands = np.clip((latitudes[chosen] - SOUTH) // 8, 0, len(_BANDS) - 1).astype(int)
        columns, shift = _COLUMNS[(number - 1) % 3], 0 if number % 2 else 5
        rows = (y + shift) % len(_ROWS)
        squares[chosen] = [
            f"{number:02}{_BANDS[band]}{columns[column - 1]}{_ROWS[row]}"
            for band, column, row in zip(bands.tolist(), x.tolist(), rows.tolist(), strict=True)
        ]
    return list(squares)


def list_squares(region: BaseGeometry, edge: int) -> tuple[list[str], Floats]:
    """List the squares whose centres lie in a region, by zone, from north to south and from west to east.

    Zones cut squares at their edges. A square is listed if its centre lies in its own zone; it has the name of its
    centre, also where it reaches into another band of latitude.

    Args:
        region: in longitude and latitude.
        edge: edge length of a square in metres: 100000, 10000 or 1000.

    Returns:
        Names, such as ``13TDE`` or ``13TDE04``, and centres as longitudes and latitudes, (n, 2).
    """
    names: list[str] = []
    centres: list[Floats] = [np.empty((0, 2))]
    shapely.prepare(region)
    for number in range(1, 61):
        for hemisphere in (True, False):
            xy = _candidates(region, number, hemisphere, edge)
            lonlat = unproject(_crs(number, hemisphere), xy)
            zone, is_north = locate_zones(lonlat[:, 0], lonlat[:, 1])
            inside = (zone == number) & (is_north == hemisphere) & shapely.intersects_xy(region, lonlat)
            squares = locate_squares(*lonlat[inside].T)
            digits = len(str(_LARGE // edge)) - 1
            offsets = (xy[inside] % _LARGE // edge).astype(int).tolist()
            names += [
                f"{square}{x:0{digits}}{y:0{digits}}" if digits else square
                for square, (x, y) in zip(squares, offsets, strict=True)
            ]
            centres.append(lonlat[inside])
    return names, np.concatenate(centres)


def _candidates(region: BaseGeometry, number: int, hemisphere: bool, edge: int) -> Floats:
    """Return the centres of the squares around the part of a region in a zone, x and y, (n, 2)."""
    west = -180.0 + 6.0 * (number - 1)
    reach = 6.0 if hemisphere and shapely.bounds(region)[3] >= _WIDENED_FROM else 0.0
    south, north = (0.0, NORTH) if hemisphere else (SOUTH, 0.0)
    part = shapely.intersection(region, shapely.box(west - reach, south, west + 6.0 + reach, north))
    if part.is_empty:
        return np.empty((0, 2))
    xy = project(_crs(number, hemisphere), shapely.get_coordinates(shapely.segmentize(part, _STEP)))
    first, last = np.floor(xy.min(axis=0) / edge) - 1, np.floor(xy.max(axis=0) / edge) + 1
    columns, rows = np.arange(first[0], last[0] + 1), np.arange(last[1], first[1] - 1, -1)
    x, y = np.meshgrid(columns, rows)
    return (np.column_stack([x.ravel(), y.ravel()]) + 0.5) * edge


def _crs(number: int, hemisphere: bool) -> str:
    """Return the code of a zone of UTM."""
    return f"EPSG:{326 if hemisphere else 327}{number:02}"
