"""Compute clouds over a satellite image, their shadows, and the percentage that is cloudy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.demo import land_character
from eechips_local.demo.land.farmland import Field32
from eechips_local.demo.land.terrain import nodes
from eechips_local.demo.painting import mercator, noise
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.painting.place_cache import kept_for_places
from eechips_local.demo.painting.upsampling import Upsampler
from eechips_local.demo.weather import cirrus, climate, cloud_regions, sunlight
from eechips_local.demo.weather.cloud_regime import CloudRegime

_FINEST = 64
_HEIGHT = 2000.0
"""Metres of clouds above the ground: the most at which low ones begin (https://cloudatlas.wmo.int/en/heights.html)."""

_LOWEST = math.radians(75.0)
"""Zenith of the sun beyond which shadows grow no longer."""

_PLACES = 24
"""Places along the edge of a square at which its clouds are counted."""

_HALF = 0.05
"""Cloudiness at which clouds send half of the light back."""

_DIRECT = 13.3
"""Optical depth there: 2 / (1 - g) for droplets, whose asymmetry g is 0.85. Little direct light passes: shadows."""

CLOUDY = 0.2
"""Opacity from which a place counts as cloudy."""

_ZONES = ((0.0, 8.0, 16.0, 24.0, 30.0, 38.0, 48.0, 60.0), (0.84, 0.76, 0.58, 0.40, 0.38, 0.50, 0.65, 0.72))
"""Degrees from the belt of rain at the equator, and the share of passes over moist land that are cloudy there.

The shares follow maps of MODIS: King et al. (2013), IEEE Transactions on Geoscience and Remote Sensing 51, 3826, with
55% of all land; Wilson and Jetz (2016), PLOS Biology 14, e1002415. Landsat sees the same: Melchiorre et al. (2020),
Remote Sensing 12, 202.
"""

_CLEARING = ((20.0, 45.0), (0.95, 0.45))
"""By degrees of latitude, the part of clouds that the aridity 1 takes away: depressions reach cold deserts."""

_SKY = 3
"""Seed of these clouds."""

_ARIDITY_STEP = 1 << 16
"""Units between nodes of aridity."""


@dataclass(frozen=True)
class Sky:
    """Clouds in the cells of a rectangle, shape (height, width).

    Attributes:
        cloud: opacity, 0 to 1.
        shadow: how much of the sunlight is kept away, 0 to 1.
        cirrus: reflectance of thin cirrus at 1.38 micrometres; see ``cirrus``.
        haze: aerosol, 0 to 1: it thickens towards clouds, as Koren et al. (2007), Geophysical Research Letters 34,
            L08805, see it over tens of kilometres.
    """

    cloud: Field32
    shadow: Field32
    cirrus: Field32
    haze: Field32

    @property
    def is_cirrus(self) -> npt.NDArray[np.bool_]:
        """Where there is cirrus."""
        return self.cirrus > np.float32(cirrus.DETECTED)

    def over(self, part: str, bright: float, ground: Field32) -> Field32:
        """Return the reflectance above all clouds.

        Args:
            part: part of the spectrum.
            bright: reflectance of opaque clouds.
            ground: reflectance below.
        """
        dark = ground * (np.float32(1.0) - np.float32(0.62) * self.shadow)
        low = dark + (np.float32(bright) - dark) * self.cloud
        result: Field32 = low + (np.float32(1.0) - low) * (np.float32(cirrus.GAIN.get(part, 1.0)) * self.cirrus)
        return result

    def without_margin(self, cells: int) -> Sky:
        """Return the sky without some cells on every side."""
        inner = (slice(cells, self.cloud.shape[0] - cells), slice(cells, self.cloud.shape[1] - cells))
        return Sky(self.cloud[inner], self.shadow[inner], self.cirrus[inner], self.haze[inner])


@lru_cache(maxsize=4)
def sky(rect: Rect, when: date, north: float, regime: CloudRegime = "climate") -> Sky:
    """Return clouds over a rectangle on a date, kept for the next bands of the image.

    Args:
        north: latitude of the scene's middle, at which the sun stands as over all of the scene.
    """
    at = nodes(rect, _FINEST)
    up = Upsampler(rect, at)
    here, there = _shifted(at, when, regime, *_shadow(at.pitch, when, north))
    opacity = _opacity(here)
    shadow, haze = _opacity(there * _DIRECT) * (1.0 - opacity), noise.smoothstep(-0.15, 0.0, here)
    fields = up(opacity), up(shadow), cirrus.reflectance(rect, when, regime), up(haze)
    for values in fields:
        values.setflags(write=False)
    return Sky(*fields)


def _opacity(cloudiness: Floats) -> Floats:
    """Return the share of light that clouds send back: of depth d, d / (1 + d), as two streams without absorption do.

    Lacis and Hansen (1974), Journal of the Atmospheric Sciences 31, 118.
    """
    depth = np.maximum(cloudiness, 0.0) * (1.0 / _HALF)
    return depth / (1.0 + depth)


def _shadow(pitch: int, when: date, north: float) -> tuple[int, int]:
    """Return columns to the east and rows to the south by which shadows lie away from their clouds."""
    azimuth, zenith = (np.radians(angle) for angle in sunlight.sun(north, when))
    unit = mercator.EQUATOR_UNIT * float(mercator.cosine_of(mercator.y_of(north)))
    cells = _HEIGHT * float(np.tan(min(zenith, _LOWEST))) / (unit * pitch)
    return round(-cells * float(np.sin(azimuth))), round(cells * float(np.cos(azimuth)))


def _shifted(at: Rect, when: date, regime: CloudRegime, east: int, south: int) -> tuple[Floats, Floats]:
    """Return the cloudiness of cells, and of those from which shadows fall on them."""
    wide = Rect(
        at.pitch, at.column - max(east, 0), at.row - max(south, 0), at.width + abs(east), at.height + abs(south)
    )
    if wide.width * wide.height > 2 * at.width * at.height:
        moved = Rect(at.pitch, at.column - east, at.row - south, at.width, at.height)
        return _cloudiness(at, when, regime), _cloudiness(moved, when, regime)
    whole = _cloudiness(wide, when, regime)
    x, y = max(east, 0), max(south, 0)
    return tuple(  # type: ignore[return-value]
        whole[top : top + at.height, left : left + at.width] for top, left in ((y, x), (y - south, x - east))
    )


def _cloudiness(rect: Rect, when: date, regime: CloudRegime, finest: int = 0) -> Floats:
    """Return the cloudiness: above zero in clouds."""
    if regime == "climate":
        return climate.cloudiness(rect, when, share(rect, when), _SKY, finest)
    if regime == "scattered":
        return climate.scattered_cloudiness(rect, when, _SKY)
    return np.full((rect.height, rect.width), 1.0 if regime == "overcast" else -1.0)


def share(rect: Rect, when: date) -> Floats:
    """Return the share of passes at that time of the year in which cells are cloudy, shape (height, width).

    Belts of clouds at the equator and in middle latitudes, and the clear one between them, move with the sun: the
    tropics have wet summers. Deserts have fewer clouds, above all warm ones. Some regions have seasons of their own.
    """
    pitch = max(_ARIDITY_STEP, rect.pitch)
    (columns, across), (rows, down) = (_before(positions, pitch) for positions in (rect.x, rect.y))
    west, top = int(columns[0]), int(rows[0])
    at = Rect(pitch, west, top, int(columns[-1]) - west + 2, int(rows[-1]) - top + 2)
    north = climate.latitude(at)
    aridity, seasons = _lasting(at)
    belts = np.interp(np.abs(climate.from_belt(north, when)), *_ZONES)
    usual = belts * (1.0 - np.interp(np.abs(north), *_CLEARING) * aridity)
    known = np.clip(cloud_regions.with_regions(seasons, usual, climate.day_of_year(when)), 0.05, 0.95)
    # Linearly between nodes.
    lines = known[:, columns - west]
    lines += (known[:, columns - west + 1] - lines) * across
    result: Floats = lines[rows - top]
    result += (lines[rows - top + 1] - result) * down[:, None]
    return result


# A search asks for the clouds of all tiles of a country.
@kept_for_places(64, small=4096, large=64)
def _lasting(at: Rect) -> tuple[Floats, cloud_regions.Seasons]:
    """Return the aridity, and the seasons of regions, at nodes."""
    return _aridity(at), cloud_regions.seasons(at)


def _aridity(at: Rect) -> Floats:
    """Return the aridity at nodes; the sea has none."""
    characters = dict(zip(land_character.CHARACTERS, land_character.characters(at), strict=True))
    inland = noise.smoothstep(-_ARIDITY_STEP, _ARIDITY_STEP, characters["coast"])
    return climate.aridity(characters["green"], characters["forest"]) * inland


def _before(positions: Floats, pitch: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the node before each position, and the part of the way from it to the next."""
    t = positions * (1.0 / pitch) - 0.5
    whole = np.floor(t)
    return whole.astype(np.int64), t - whole


@lru_cache(maxsize=16384)
def cover_percent(
    column: int,
    row: int,
    size: int,
    when: date,
    part: shapely.Polygon | None = None,
    with_cirrus: bool = False,
    regime: CloudRegime = "climate",
) -> float:
    """Return the percentage of a square of the plane that is cloudy, from 24 by 24 places of it.

    Args:
        column: western edge in units.
        row: northern edge in units.
        size: edge of the square in units.
        part: the part of it that counts, in degrees; where no place lies in it, the nearest counts. None for all of it.
        with_cirrus: whether cirrus counts as cloudy.
    """
    pitch = max(1, size // _PLACES)
    rect = Rect(pitch, column // pitch, row // pitch, _PLACES, _PLACES)
    cloudy = _opacity(_cloudiness(rect, when, regime, 10)) > CLOUDY
    if with_cirrus:
        cloudy |= _cirrus_of_every_second(rect, when, regime)
    if part is not None:
        cloudy = cloudy[_within(rect, part)]
    return round(float(np.count_nonzero(cloudy)) * (100.0 / cloudy.size), 6)


def _cirrus_of_every_second(rect: Rect, when: date, regime: CloudRegime) -> npt.NDArray[np.bool_]:
    """Return which cells have cirrus, by every second of them in either direction: it varies over larger distances."""
    left, top = rect.column % 2, rect.row % 2
    half = Rect(
        rect.pitch * 2, rect.column // 2, rect.row // 2, (rect.width + left + 1) // 2, (rect.height + top + 1) // 2
    )
    detected = cirrus.reflectance(half, when, regime) > cirrus.DETECTED
    return detected.repeat(2, axis=0).repeat(2, axis=1)[top : top + rect.height, left : left + rect.width]


@lru_cache(maxsize=8192)
def _within(rect: Rect, part: shapely.Polygon) -> npt.NDArray[np.bool_]:
    """Return which cells lie in a part, at least the nearest ones."""
    x, y = np.meshgrid(mercator.longitude_of(rect.x), mercator.latitude_of(rect.y))
    distance = shapely.distance(shapely.points(x, y), part)
    result: npt.NDArray[np.bool_] = distance == distance.min()
    return result


def square(longitude: float, latitude: float, metres: float) -> tuple[int, int, int]:
    """Return western and northern edge, and size, in units, of the square of a size in metres around a place."""
    x, y = float(mercator.x_of(longitude)), float(mercator.y_of(latitude))
    size = metres / (mercator.EQUATOR_UNIT * float(mercator.cosine_of(y)))
    return int(x - size / 2.0), int(y - size / 2.0), int(size)
