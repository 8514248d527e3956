"""Orbits of Sentinel-2: 143 in 10 days, and those that pass over a tile.

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

from eechips_local.demo import mercator, mgrs, tessellation
from eechips_local.demo.mercator import Floats
from eechips_local.demo.mgrs import MgrsTile

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
_REACH = 1.15 * (145_000.0 + 80_000.0) / 6_371_000.0
"""Radians along a parallel, which tracks cross aslant, at which a tile may have a part in the swath."""

_GEOCENTRIC = (6_356_752.314 / 6_378_137.0) ** 2
"""Tangent of a geocentric latitude per that of a geographic one."""

_GAP = 20
"""Degrees of sea along the track after which another datatake starts."""


@dataclass(frozen=True, slots=True, order=True)
class Datatake:
    """What a satellite takes without a break on one of its relative orbits, counted from 1.

    Attributes:
        orbit: relative orbit.
        angle: degrees along the track from the descending node to where it starts, negative in the north.
    """

    orbit: int
    angle: int

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
            if start >= _FIRST_B or self.craft(start)[0] != "B":
                yield start
            start += REPEAT

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


def _over(tiles: Sequence[MgrsTile]) -> tuple[Floats, Floats]:
    """Return how far the tracks of all orbits pass from tiles' middles along their parallels, shape (tiles, orbits).

    In radians; and the angle along the track there, degrees, shape (tiles,).
    """
    places = np.array([mgrs.middle(tile) for tile in tiles]).reshape(-1, 2)
    angle = _angles(places[:, 1:])
    x, y, z = _track(np.arange(1.0, ORBITS + 1.0), angle)
    away = np.radians(places[:, :1]) - np.arctan2(y, x)
    away -= 2.0 * math.pi * np.rint(away / (2.0 * math.pi))
    return np.round(np.abs(away) * np.sqrt(1.0 - z * z), 9), np.degrees(angle[:, 0])


def _datatake(orbit: int, degrees: float) -> Datatake:
    """Return the datatake of an orbit at an angle along its track."""
    known = _starts()[orbit - 1]
    return Datatake(orbit, max((start for start in known if start <= degrees), default=known[0]))


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
    """Return the tiles over which each datatake passes nearest.

    All of a tile counts as seen by that datatake, and by no other: swaths have no edges.
    """
    tiles_by_datatake: dict[Datatake, list[MgrsTile]] = {}
    known = list(tiles)
    away, degrees = _over(known)
    for tile, nearest, angle in zip(known, np.argmin(away, axis=1), degrees, strict=True):
        tiles_by_datatake.setdefault(_datatake(int(nearest) + 1, float(angle)), []).append(tile)
    return tiles_by_datatake


@cache
def all_by_datatake() -> Mapping[Datatake, Sequence[MgrsTile]]:
    """Return all tiles by their datatakes."""
    return by_datatake(mgrs.tiles(None))


@lru_cache(maxsize=8192)
def datatakes(tile: MgrsTile) -> tuple[Datatake, ...]:
    """Return the datatakes that show some of a tile; the one that passes nearest comes first."""
    (away,), (degrees,) = _over([tile])
    order = np.argsort(away, kind="stable")
    number = max(1, int(np.count_nonzero(away < _REACH)))
    return tuple(_datatake(int(orbit) + 1, float(degrees)) for orbit in order[:number])
