"""Orbits of Sentinel-2: 143 in 10 days, and those whose swaths show a tile.

Two satellites follow the same track five days apart. Times, numbers and longitudes of ascending nodes are from the
orbit scenario files of ESA, S2A_OPER_MPL_ORBSCT_20150625T073255_99999999T999999_0008 and
S2B_OPER_MPL_ORBSCT_20170309T104400_99999999T999999_0007 (https://github.com/LIME-ESA/lime_tbx). Inclination and swath:
https://sentiwiki.copernicus.eu/web/s2-mission.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cache, lru_cache

import numpy as np
import shapely

from eechips_local.demo.borders import tessellation
from eechips_local.demo.painting import drawing_cache, mercator
from eechips_local.demo.painting.mercator import Floats
from eechips_local.demo.painting.painted_source import outline_around
from eechips_local.demo.satellites import mgrs
from eechips_local.demo.satellites.mgrs import MgrsTile
from eechips_local.pixels.grids.pixel_grid import transformer

ORBITS = 143
"""Orbits until the track of a satellite repeats."""

REPEAT = timedelta(days=5)
"""Until the other satellite passes."""

LONGEST = timedelta(hours=1)
"""More than a satellite needs from the north of the Earth, where the latest datatakes start, to its south."""

_PERIOD = 2 * REPEAT / ORBITS
_NODE = datetime(2017, 1, 1, 1, 7, 13, tzinfo=timezone.utc)
_NODE_ORBIT, _NODE_LONGITUDE = 117, 320.72028
"""Relative number, and degrees east, of the ascending node of Sentinel-2A at that time."""

_FIRST_B = datetime(2017, 6, 10, tzinfo=timezone.utc)
"""No older image of Sentinel-2B has a name in public repositories than S2B_MSIL1C_20170610T105029_N0205_R051_T31UET."""

_FIRST_C = datetime(2025, 1, 21, tzinfo=timezone.utc)
"""Sentinel-2C has taken the place of 2A: S2A_MSIL2A_20250118T053141_N0511_R105_T43QCA_20250118T092848 and
S2C_MSIL2A_20250128T053131_N0511_R105_T43QCA_20250128T084454 are products of one orbit.
"""

_INCLINATION = math.radians(98.62)
_RADIUS = 6_371_000.0
_HALF_WIDTH = 145_000.0 / _RADIUS
"""Of the swath, radians."""

_HALF_LENGTH = 0.014
"""Radians along the track by which a tile, 155 km from corner to corner, reaches at most."""

_LEAST = 3_000.0 / _RADIUS
"""Radians by which a swath reaches into the tiles that it shows."""

_GEOCENTRIC = (6_356_752.314 / 6_378_137.0) ** 2
"""Tangent of a geocentric latitude per that of a geographic one."""

_EVERYWHERE = datetime(2017, 11, 12, tzinfo=timezone.utc)
"""From then on each satellite takes images of all land on each pass. Before, it did so in ``_FIRST_REGIONS``, and
elsewhere on one orbit out of two, so both together came every 10 days:
https://labo.obs-mip.fr/multitemp/sentinel-2-mission-close-to-start-observing-all-lands-every-5th-day-really/
"""

_FIRST_REGIONS = ((-26.0, -36.0, 52.0, 72.0), (-75.0, 59.0, -10.0, 84.0))
"""About Europe with Africa, and Greenland: degrees west, south, east, north."""

_GAP = 20
"""Degrees of sea along the track after which another datatake starts."""


@dataclass(frozen=True, slots=True, order=True)
class Datatake:
    """What a satellite takes without a break on one of its relative orbits, counted from 1.

    Attributes:
        angle: degrees along the track from the descending node to where it starts, negative in the north.
        is_early: whether images of its tiles were taken on each pass from the start.
    """

    orbit: int
    angle: int
    is_early: bool

    @property
    def _first(self) -> datetime:
        """When one of the passes starts."""
        orbits = self.orbit - _NODE_ORBIT + 0.5 + self.angle / 360.0
        return _NODE + timedelta(seconds=math.floor(orbits * _PERIOD.total_seconds()))

    def starts(self, first: date, last: date) -> Iterator[datetime]:
        """Yield when the datatake starts on days (UTC), before another one: every fifth day, with Sentinel-2B."""
        day = datetime(first.year, first.month, first.day, tzinfo=timezone.utc)
        start = day + (self._first - day) % REPEAT
        while start.date() < last:
            if start >= _EVERYWHERE or self._is_taken(start):
                yield start
            start += REPEAT

    def _is_taken(self, start: datetime) -> bool:
        """Return whether images are taken on a pass before ``_EVERYWHERE``."""
        cycle, is_other = divmod(self.number(start), 2)
        if is_other and start < _FIRST_B:
            return False
        # Sentinel-2A and 2B take turns: S2A_MSIL1C_20160103T154242_R068_T17NRA, S2A_MSIL1C_20160820T003712_R059_T55LCD,
        # S2B_MSIL1C_20170919T140039_R067_T22MCB, S2B_MSIL1C_20170926T135059_R024_T22MDB.
        return self.is_early or (cycle + self.orbit) % 2 == is_other

    def number(self, start: datetime) -> int:
        """Return how many times five days have gone by; even for passes of Sentinel-2A and 2C."""
        return round((start - self._first) / REPEAT)

    def away(self, start: datetime) -> timedelta:
        """Return how far a time is from that of the nearest pass."""
        return abs(start - self._first - self.number(start) * REPEAT)

    def over(self, tile: MgrsTile, start: datetime) -> datetime:
        """Return when the pass that starts at a time is over the latitude of a tile's middle, to the millisecond.

        A time at which no pass starts is returned as it is.
        """
        orbits = self.orbit - _NODE_ORBIT + 0.5 + _degrees(tile) / 360.0
        since = timedelta(milliseconds=round(orbits * _PERIOD.total_seconds() * 1000.0))
        over = _NODE + since + self.number(start) * REPEAT
        return over if timedelta() <= over - start <= LONGEST else start

    def craft(self, start: datetime) -> tuple[str, int]:
        """Return the letter of the satellite that passes at a time, and its absolute number of the orbit."""
        cycle, is_other = divmod(self.number(start), 2)
        if is_other:
            return "B", 304 + self.orbit - 135 + ORBITS * (cycle - 8)
        number = 7979 + self.orbit - _NODE_ORBIT + ORBITS * cycle
        # As that of GS2C_20251010T162221_005730_N05.11.
        return ("C", number - 48_075) if start >= _FIRST_C else ("A", number)


def _angles(latitude: Floats) -> Floats:
    """Return radians along the track from the descending node to latitudes."""
    north = np.arctan(_GEOCENTRIC * np.tan(np.radians(latitude)))
    result: Floats = -np.arcsin(np.clip(np.sin(north) / math.sin(_INCLINATION), -1.0, 1.0))
    return result


@lru_cache(maxsize=32768)
def _degrees(tile: MgrsTile) -> float:
    """Return degrees along the track from the descending node to the latitude of a tile's middle."""
    return float(np.degrees(_angles(np.array(mgrs.middle(tile)[1]))))


def _track(orbit: Floats, angle: Floats) -> Floats:
    """Return the direction from the middle of the Earth to the satellite, shape (3, …)."""
    node = np.radians(_NODE_LONGITUDE + 180.0 - (orbit - _NODE_ORBIT + 0.5) * (3600.0 / ORBITS))
    east = node + np.arctan2(math.cos(_INCLINATION) * np.sin(angle), np.cos(angle)) - angle * (10.0 / ORBITS)
    sine = -np.sin(angle) * math.sin(_INCLINATION)
    return _direction(east, sine)


def _direction(east: Floats, sine: Floats) -> Floats:
    cosine = np.sqrt(1.0 - sine * sine)
    return np.stack(np.broadcast_arrays(cosine * np.cos(east), cosine * np.sin(east), sine))


def _aside(orbit: Floats, angle: Floats) -> tuple[Floats, Floats, Floats]:
    """Return directions to the satellite, of its flight over the ground, and to its left: each of shape (3, …)."""
    here, ahead = _track(orbit, angle), _track(orbit, angle + 1e-4)
    left = np.cross(here, ahead, axis=0)
    left /= np.sqrt((left * left).sum(axis=0))
    return here, np.cross(left, here, axis=0), left


def _nearest(orbit: Floats, longitude: Floats, latitude: Floats) -> tuple[Floats, Floats]:
    """Return angles along the track nearest to places, and how far to the left of it they lie; both in radians."""
    place = _direction(np.radians(longitude), np.sin(np.arctan(_GEOCENTRIC * np.tan(np.radians(latitude)))))
    angle = _angles(latitude)
    for _ in range(3):
        here, ahead, left = _aside(orbit, angle)
        angle = angle + np.arctan2((place * ahead).sum(axis=0), (place * here).sum(axis=0))
    return angle, np.arcsin(np.clip((place * left).sum(axis=0), -1.0, 1.0))


def _shown(tiles: Sequence[MgrsTile]) -> Iterator[tuple[MgrsTile, Datatake]]:
    """Yield tiles and the datatakes whose swaths show some of them; of a tile, the one that passes nearest first."""
    places = np.array([mgrs.middle(tile) for tile in tiles]).reshape(-1, 2)
    longitude, latitude = places[:, :1], places[:, 1:]
    orbits = np.arange(1.0, ORBITS + 1.0)
    x, y, z = _track(orbits, _angles(latitude))
    away = np.radians(longitude) - np.arctan2(y, x)
    away -= 2.0 * math.pi * np.rint(away / (2.0 * math.pi))
    # Tracks cross parallels aslant: none that is further away along them has a part of the tile in its swath.
    near = np.abs(away) * np.sqrt(1.0 - z * z) < 0.08
    rows, columns = np.nonzero(near)
    orbit, longitude, latitude = orbits[columns], longitude[rows, 0], latitude[rows, 0]
    angle, aside = _nearest(orbit, longitude, latitude)
    # The square of the tile is turned against the track.
    here, ahead, _ = _aside(orbit, angle)
    heading = np.arctan2(ahead[1] * here[0] - ahead[0] * here[1], ahead[2])
    zone = np.array([tile.zone * 6.0 - 183.0 for tile in tiles])[rows]
    turned = heading - np.radians((longitude - zone + 540.0) % 360.0 - 180.0) * np.sin(np.radians(latitude))
    half = (mgrs.EDGE / 2.0 / _RADIUS) * (np.abs(np.cos(turned)) + np.abs(np.sin(turned)))
    seen = np.abs(aside) < _HALF_WIDTH + half - _LEAST
    early = np.zeros(len(rows), dtype=bool)
    for west, south, east, north in _FIRST_REGIONS:
        early |= (longitude > west) & (longitude < east) & (latitude > south) & (latitude < north)
    order = np.lexsort((np.round(np.abs(aside), 9), rows))
    for n in order[seen[order]].tolist():
        yield tiles[rows[n]], _datatake(int(columns[n]) + 1, math.degrees(angle[n]), bool(early[n]))


def _datatake(orbit: int, degrees: float, is_early: bool) -> Datatake:
    """Return the datatake of an orbit at an angle along its track."""
    known = _starts()[orbit - 1]
    return Datatake(orbit, max((start for start in known if start <= degrees), default=known[0]), is_early)


@cache
def _starts() -> tuple[tuple[int, ...], ...]:
    """Return the angles, degrees, at which the datatakes of each orbit start: where land begins after a sea."""
    degrees = np.arange(-88, 89)
    orbit = np.arange(1.0, ORBITS + 1.0)[:, None]
    x, y, z = _track(orbit, np.radians(degrees))
    row = mercator.y_of(np.degrees(np.arctan(z / np.sqrt(1.0 - z * z) / _GEOCENTRIC)))
    inland = tessellation.inland(mercator.x_of(np.degrees(np.arctan2(y, x))), row) * mercator.cosine_of(row)
    result = []
    for line in inland * mercator.EQUATOR_UNIT > -200_000.0:
        land = degrees[line]
        result.append(tuple(int(a) - 2 for a in land[np.diff(land, prepend=-999) > _GAP]))
    return tuple(result)


def by_datatake(tiles: Iterable[MgrsTile]) -> Mapping[Datatake, Sequence[MgrsTile]]:
    """Return the tiles of which each datatake shows some."""
    return _grouped(_shown(list(tiles)))


def _grouped(shown: Iterable[tuple[MgrsTile, Datatake]]) -> Mapping[Datatake, Sequence[MgrsTile]]:
    tiles_by_datatake: dict[Datatake, list[MgrsTile]] = {}
    for tile, datatake in shown:
        tiles_by_datatake.setdefault(datatake, []).append(tile)
    return tiles_by_datatake


@cache
def all_by_datatake() -> Mapping[Datatake, Sequence[MgrsTile]]:
    """Return all tiles by their datatakes."""
    drawn = drawing_cache.kept("datatakes", _find_all)
    tiles = [MgrsTile(zone, bool(southern), column, row) for zone, southern, column, row in drawn["tiles"].tolist()]
    known = [Datatake(orbit, angle, bool(is_early)) for orbit, angle, is_early in drawn["datatakes"].tolist()]
    return _grouped((tiles[tile], known[datatake]) for tile, datatake in drawn["shown"].tolist())


def _find_all() -> drawing_cache.Arrays:
    """Return all tiles, all datatakes, and the positions in both of each tile and a datatake that shows some of it."""
    shown = list(_shown(list(mgrs.tiles(None))))
    tiles, known = (list(dict.fromkeys(column)) for column in zip(*shown, strict=True))
    positions = [{item: position for position, item in enumerate(items)} for items in (tiles, known)]
    return {
        "tiles": np.array([(t.zone, t.southern, t.column, t.row) for t in tiles], dtype=np.int16),
        "datatakes": np.array([(d.orbit, d.angle, d.is_early) for d in known], dtype=np.int16),
        "shown": np.array([(positions[0][t], positions[1][d]) for t, d in shown], dtype=np.int32),
    }


@lru_cache(maxsize=8192)
def datatakes(tile: MgrsTile) -> tuple[Datatake, ...]:
    """Return the datatakes that show some of a tile; the one that passes nearest comes first."""
    return tuple(datatake for _, datatake in _shown([tile]))


@lru_cache(maxsize=32768)
def corners(orbit: int, tile: MgrsTile) -> tuple[tuple[float, float], ...] | None:
    """Return the corners of the part of a tile that an orbit shows, clockwise in its CRS; None for all of it."""
    place = (np.array(value) for value in mgrs.middle(tile))
    angle, _ = _nearest(np.array(float(orbit)), *place)
    along, across = np.array([-1.0, -1.0, 1.0, 1.0]), np.array([-1.0, 1.0, 1.0, -1.0]) * _HALF_WIDTH
    here, _, left = _aside(np.full(4, float(orbit)), angle + along * _HALF_LENGTH)
    x, y, z = here * np.cos(across) + left * np.sin(across)
    latitude = np.degrees(np.arctan(z / np.sqrt(1.0 - z * z) / _GEOCENTRIC))
    swath = np.transpose(transformer("EPSG:4326", tile.crs).transform(np.degrees(np.arctan2(y, x)), latitude))
    column, row = tile.corner
    square = shapely.box(column, row - mgrs.EDGE, column + mgrs.EDGE, row)
    shown = shapely.intersection(square, shapely.Polygon(np.round(swath)))
    if shown.area > square.area - 1.0:
        return None
    if shapely.is_ccw(shapely.get_exterior_ring(shown)):
        shown = shapely.reverse(shown)
    points = shapely.get_coordinates(shown)[:-1]
    return tuple((round(float(x), 1), round(float(y), 1)) for x, y in points)


@lru_cache(maxsize=32768)
def outline(orbit: int, tile: MgrsTile) -> shapely.Polygon:
    """Return the outline of the part of a tile that an orbit shows, in degrees; longitudes may exceed 180."""
    points = corners(orbit, tile)
    return mgrs.outline(tile) if points is None else outline_around(tile.crs, points, mgrs.middle(tile)[0])


def meets(orbit: int, tile: MgrsTile, boxes: Iterable[shapely.Polygon]) -> bool:
    """Return whether the part of a tile that an orbit shows meets one of some boxes, where the tile meets one."""
    return corners(orbit, tile) is None or any(outline(orbit, tile).intersects(box) for box in boxes)


def missing_percent(orbit: int, tile: MgrsTile) -> float:
    """Return the percentage of a tile that an orbit does not show."""
    points = corners(orbit, tile)
    return 0.0 if points is None else round(100.0 - shapely.Polygon(points).area * (100.0 / mgrs.EDGE**2), 6)
