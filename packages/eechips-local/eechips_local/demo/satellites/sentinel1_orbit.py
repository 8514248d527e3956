"""Scenes of Sentinel-1A: 175 orbits in 12 days, each cut into slices of 25 seconds.

Inclination, repeat and swath: https://sentiwiki.copernicus.eu/web/s1-mission. The phase is that of the product
S1A_IW_GRDH_1SDV_20191202T163455_20191202T163520_030172_0372A4_67BA, whose metadata in Earth Engine have the time of its
ascending node; the longitude of that node follows from its footprint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np
import shapely
from affine import Affine

from eechips_local.demo.borders import tessellation
from eechips_local.demo.image_search import query_boxes
from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.mercator import Floats
from eechips_local.demo.painting.painted_source import outline_around
from eechips_local.evaluation.asset_model import Bounds, Query
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer

ORBITS = 175
"""Orbits until the track repeats."""

REPEAT = 12 * 86_400_000
"""Milliseconds until the track repeats."""

SLICES = 237
_SLICE, _SLICE_PHASE = 25_000, 14_447
"""Milliseconds of a slice, and from the ascending node to the first."""

_ORBIT, _NODE, _NODE_LONGITUDE = 30_172, 1_575_303_706_150, 24.98
"""Absolute number, time and longitude of the ascending node of the orbit that fixes the phase."""

_INCLINATION = math.radians(98.18)
_ASIDE = 4.32
"""Degrees of the sphere from the track to the middle of the swath, which lies on its right.

Of 693 km of height and incidences of 29.1 to 46 degrees, between which the swath lies (sentiwiki).
"""
_GEODETIC = 1.0067395
"""Tangent of a geodetic latitude on WGS84, of that of the geocentric one."""

_HALF_WIDTH, _HALF_HEIGHT = 125_000.0, 86_500.0
_NORTHERNMOST = 76.0
_ANGLE_PIXEL = 20_000
_POLAR = 66.0
"""Latitude from which on scenes are those of sea ice and ice sheets."""

Pass = Literal["ASCENDING", "DESCENDING"]


@dataclass(frozen=True, slots=True, order=True)
class Slice:
    """A slice of a relative orbit: the orbit from 1, the slice from 0."""

    orbit: int
    number: int

    @property
    def direction(self) -> Pass:
        """Whether the satellite flies north or south."""
        angle = float(_angle(self.number))
        return "ASCENDING" if math.cos(angle) > 0.0 else "DESCENDING"


def _angle(number: int | Floats) -> Floats:
    """Return the angle from the ascending node to the middle of slices, radians."""
    since = (np.asarray(number, dtype=np.float64) + 0.5) * _SLICE + _SLICE_PHASE
    return since * (2.0 * math.pi * ORBITS / REPEAT)


def _track(orbit: int | Floats, angle: Floats) -> tuple[Floats, Floats]:
    """Return longitude and latitude under the satellite, degrees."""
    turn = 360.0 * 12.0 / ORBITS
    node = _NODE_LONGITUDE - (np.asarray(orbit, dtype=np.float64) - relative_orbit(_ORBIT)) * turn
    latitude = np.degrees(np.arcsin(np.sin(angle) * math.sin(_INCLINATION)))
    inertial = np.degrees(np.arctan2(math.cos(_INCLINATION) * np.sin(angle), np.cos(angle)))
    return node + inertial - np.degrees(angle) * (turn / 360.0), latitude


def _middles(orbit: int | Floats, number: int | Floats) -> tuple[Floats, Floats, Floats]:
    """Return longitude and latitude of the middles of slices, and the heading east of north, degrees."""
    angle = _angle(number)
    longitude, latitude = _track(orbit, angle)
    ahead, up = _track(orbit, angle + 1e-3)
    north = np.radians(latitude)
    heading = np.arctan2((ahead - longitude) * np.cos(north), up - latitude)
    aside, right = math.radians(_ASIDE), heading + math.pi / 2.0
    sine = np.sin(north) * math.cos(aside) + np.cos(north) * math.sin(aside) * np.cos(right)
    east = np.arctan2(
        np.sin(right) * math.sin(aside) * np.cos(north), math.cos(aside) - np.sin(north) * np.clip(sine, -1.0, 1.0)
    )
    longitude = longitude + np.degrees(east)
    longitude = longitude - np.rint(longitude * (1.0 / 360.0)) * 360.0
    latitude = np.degrees(np.arctan(np.tan(np.arcsin(np.clip(sine, -1.0, 1.0))) * _GEODETIC))
    lean: Floats = np.degrees(heading)
    return np.round(longitude, 6), np.round(latitude, 6), np.round(lean, 6)


@lru_cache(maxsize=32768)
def middle(scene: Slice) -> tuple[float, float, float]:
    """Return longitude and latitude of a slice's middle, and the heading of the satellite east of north, degrees."""
    longitude, latitude, heading = _middles(scene.orbit, scene.number)
    return float(longitude), float(latitude), float(heading)


def relative_orbit(orbit: int) -> int:
    """Return the number of an orbit within the repeat cycle, from 1."""
    return (orbit - 73) % ORBITS + 1


def numbers(orbit: int) -> Mapping[str, int]:
    """Return the properties of scenes that are numbers of their orbit."""
    relative = relative_orbit(orbit)
    return {
        "cycleNumber": (orbit - 73) // ORBITS + 15,
        "orbitNumber_start": orbit,
        "orbitNumber_stop": orbit,
        "relativeOrbitNumber_start": relative,
        "relativeOrbitNumber_stop": relative,
    }


def may_match(query: Query, orbit: int) -> bool:
    """Return whether scenes of an orbit may match a query, by the numbers of the orbit."""
    known = query.equals.keys() | query.ranges.keys()
    return all(query.admits(name, number) for name, number in numbers(orbit).items() if name in known)


def node_time(orbit: int) -> int:
    """Return milliseconds since 1970 at which an orbit crosses its ascending node."""
    return _NODE + (orbit - _ORBIT) * REPEAT // ORBITS


def orbit_at(milliseconds: float) -> int:
    """Return the absolute number of the orbit at a time."""
    return _ORBIT + math.floor((milliseconds - _NODE) * ORBITS / REPEAT)


def start_time(orbit: int, number: int) -> int:
    """Return milliseconds since 1970 at which a slice of an orbit starts."""
    return node_time(orbit) + _SLICE_PHASE + number * _SLICE


def stop_time(orbit: int, number: int) -> int:
    """Return milliseconds since 1970 at which a slice of an orbit ends."""
    return start_time(orbit, number) + _SLICE


@lru_cache(maxsize=8192)
def corners(scene: Slice) -> tuple[str, tuple[tuple[float, float], ...]]:
    """Return CRS, and the corners of what is seen, clockwise from the north-west."""
    longitude, latitude, heading = middle(scene)
    zone = min(60, int((longitude + 180.0) // 6.0) + 1)
    crs = f"EPSG:{(32600 if latitude >= 0.0 else 32700) + zone}"
    x, y = transformer("EPSG:4326", crs).transform(longitude, latitude)
    # Southwards or northwards, the scene stands upright along the track.
    lean = heading - 180.0 * round(heading / 180.0)
    sine, cosine = math.sin(math.radians(lean)), math.cos(math.radians(lean))
    points = []
    for across, up in ((-1, 1), (1, 1), (1, -1), (-1, -1)):
        dx, dy = across * _HALF_WIDTH, up * _HALF_HEIGHT
        points.append((round(x + dx * cosine + dy * sine, 1), round(y - dx * sine + dy * cosine, 1)))
    return crs, tuple(points)


def _grid(scene: Slice, pixel: int) -> PixelGrid:
    crs, points = corners(scene)
    xs, ys = zip(*points, strict=True)
    left, right = math.floor(min(xs) / pixel), math.ceil(max(xs) / pixel)
    bottom, top = math.floor(min(ys) / pixel), math.ceil(max(ys) / pixel)
    return PixelGrid(crs, Affine(pixel, 0.0, left * pixel, 0.0, -pixel, top * pixel), right - left, top - bottom)


@lru_cache(maxsize=8192)
def grid(scene: Slice, pixel: int) -> PixelGrid:
    """Return pixels around what is seen, whose edges have so many metres."""
    return _grid(scene, pixel)


def is_polar(scene: Slice) -> bool:
    """Return whether a slice shows the surroundings of a pole."""
    return abs(_latitude(scene.number)) > _POLAR


@lru_cache(maxsize=SLICES)
def _latitude(number: int) -> float:
    """Return the latitude of the middles of the slices with a number, in degrees: that of any orbit."""
    return middle(Slice(1, number))[1]


@lru_cache(maxsize=8192)
def angle_grid(scene: Slice) -> PixelGrid:
    """Return pixels of 20 km around what is seen, for the angle of incidence."""
    return _grid(scene, _ANGLE_PIXEL)


@lru_cache(maxsize=8192)
def outline(scene: Slice) -> shapely.Polygon:
    """Return the outline of a slice in degrees; longitudes continue across the antimeridian."""
    return outline_around(*corners(scene), middle(scene)[0])


@cache
def _lands() -> tuple[tuple[Slice, ...], shapely.STRtree]:
    """Return all slices that show land, and boxes around them in a tree."""
    orbit, number = (index.ravel() for index in np.meshgrid(np.arange(1, ORBITS + 1), np.arange(SLICES), indexing="ij"))
    longitude, latitude, _ = _middles(orbit.astype(np.float64), number.astype(np.float64))
    unit = mercator.EQUATOR_UNIT * mercator.cosine_of(mercator.y_of(latitude))
    inland = tessellation.inland(mercator.x_of(longitude), mercator.y_of(latitude)) * unit
    kept = np.flatnonzero((np.abs(latitude) < _NORTHERNMOST) & (inland > -140_000.0))
    x, y = longitude[kept], latitude[kept]
    reach = 1.6
    wide = reach / np.maximum(0.1, np.cos(np.radians(np.abs(y) + reach)))
    boxes = shapely.box(x - wide, y - reach, x + wide, y + reach)
    land_slices = tuple(Slice(int(o), int(n)) for o, n in zip(orbit[kept], number[kept], strict=True))
    return land_slices, shapely.STRtree(boxes)


@cache
def _everything() -> Mapping[int, Sequence[Slice]]:
    return _by_orbit(_lands()[0])


def known(scene: Slice) -> bool:
    """Return whether a slice shows land."""
    return scene in _everything().get(scene.orbit, ())


def slices(bounds: Bounds | None) -> Mapping[int, Sequence[Slice]]:
    """Return slices with land that may meet the bounds, by relative orbit and in the order of time."""
    if bounds is None:
        return _everything()
    kept, tree = _lands()
    boxes = query_boxes(bounds)
    return _by_orbit(
        [
            kept[index]
            for index in np.unique(tree.query(boxes)[1])
            if any(outline(kept[index]).intersects(box) for box in boxes)
        ]
    )


def _by_orbit(scenes: Sequence[Slice]) -> Mapping[int, Sequence[Slice]]:
    slices_by_orbit: dict[int, list[Slice]] = {}
    for scene in scenes:
        slices_by_orbit.setdefault(scene.orbit, []).append(scene)
    return slices_by_orbit
