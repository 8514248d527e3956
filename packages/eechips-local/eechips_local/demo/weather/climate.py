"""Weather and seasons by latitude, height and day: temperatures, growth of plants, snow lines, dryness, the noise of
clouds.

All of it is arithmetic on latitude, height, day of the year and noise, kept simple enough to come out the same
everywhere.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from eechips_local.demo import land_character
from eechips_local.demo.land import natural_cover, terrain
from eechips_local.demo.land.terrain import Terrain
from eechips_local.demo.painting import mercator, noise
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.painting.place_cache import kept_for_places


def season(day: float, peak: float = 203.0) -> float:
    """Return a wave of a year: 1 on the peak day of the year, -1 half a year away."""
    away = abs((day - peak) / 365.25 - round((day - peak) / 365.25)) * 2.0
    return 1.0 - 2.0 * away * away * (3.0 - 2.0 * away)


def day_of_year(when: date) -> int:
    """Return 1 on the first of January."""
    return (when - date(when.year, 1, 1)).days + 1


_FEW = 4096
"""Cells up to which many reliefs are kept; of larger ones, some 14 megabytes each, those of a picture."""


@kept_for_places(_FEW, small=64, large=16)
def relief(rect: Rect) -> Terrain:
    """Return the relief of a rectangle, kept for the next date of the same place."""
    return terrain.terrain(rect)


def latitude(rect: Rect) -> Floats:
    """Return the latitude of the rows, shape (height, 1)."""
    return mercator.latitude_of(rect.y)[:, None]


def mean_temperature(land: Terrain, day: float) -> Floats:
    """Return usual temperature of the air, kelvin, on a day of the year."""
    north = latitude(land.rect)
    away = np.abs(north)
    wave = np.clip(north * (1.0 / 12.0), -1.0, 1.0) * season(day)
    swing = 0.31 * away * np.clip(0.45 + land.character("coast") * (1.0 / 400_000.0), 0.45, 1.15)
    return land_character.mean_kelvin(north, land.height) + swing * wave


def frozen(air: Floats) -> Floats:
    """Return the share of the ground under snow at a usual temperature of the air, kelvin."""
    return noise.smoothstep(274.5, 268.0, air)


_BELT, _SHIFT, _WARMEST = 2.0, 10.0, 212.0
"""Mean latitude of the belt of rain at the equator, degrees by which it moves, and the day of the year on which it is
northernmost.
"""


def from_belt(north: Floats, when: date) -> Floats:
    """Return degrees of latitude from the belt of rain at the equator, which follows the sun."""
    return north - _BELT - _SHIFT * season(day_of_year(when), _WARMEST)


def weather(rect: Rect, when: date, spells: tuple[int, ...] = (21, 19)) -> Floats:
    """Return the weather's deviation from usual, about ±1: noise of 2**k units that is new every day."""
    number = when.toordinal()
    waves = noise.gradient(rect.x[None, :], rect.y[:, None], [(k, 4096 + number * 4 + n) for n, k in enumerate(spells)])
    total: Floats = waves[0] * 1.3
    for wave in waves[1:]:
        total = total + wave * 0.6
    return total


def growth(north: Floats, when: date) -> Floats:
    """Return the greenness of plants at latitudes on a date: 1 in full summer, 0.04 when they are dormant."""
    wave = season(day_of_year(when), 190.0) * np.clip(north / 15.0, -1.0, 1.0)
    strength = np.minimum(1.0, np.abs(north) / 40.0)
    return np.clip(1.0 - strength * (0.5 - 0.75 * wave) * 1.05, 0.04, 1.0)


def season_of_growth(north: float, when: date) -> float:
    """See :func:`growth`: of one latitude."""
    return float(growth(np.asarray(north, dtype=np.float64), when))


def snow_lines(north: Floats, when: date) -> Floats:
    """Return metres from the treeline up to the snow line at latitudes; negative in winter. See ``snow_share``."""
    wave = season(day_of_year(when), 212.0) * np.where(north >= 0.0, 1.0, -1.0)
    return 330.0 + (wave - 1.0) * 620.0 * np.minimum(1.6, np.abs(north) / 39.0)


def snow_line(when: date, north: float) -> float:
    """See :func:`snow_lines`: of one latitude."""
    return float(snow_lines(np.asarray(north, dtype=np.float64), when))


def cloudiness(rect: Rect, when: date, share: float | Floats, seed: int, finest: int = 0) -> Floats:
    """Return the cloudiness on a date: above zero in clouds, of a standard deviation of 0.3.

    The spectrum falls by the power of 5/3, so the lengths of clouds along a line by that of 1.66, as seen from 0.1 to
    1,500 km: Wood and Field (2011), Journal of Climate 24, 4800. Where 70% are cloudy, squares of 10 and 100 km are
    then clear as often as MODIS sees it, 16% and 3%: Krijger et al. (2007), Atmospheric Chemistry and Physics 7, 2881.

    Args:
        share: share of places and dates that are covered, 0.05 to 0.95; its shape broadcasts with that of the cells.
        seed: another sky.
        finest: smallest octave.
    """
    octaves = cloud_octaves(rect.pitch, finest)
    waves = noise.gradient(rect.x[None, :], rect.y[:, None], [(k, cloud_seed(when, seed, k)) for k, _ in octaves])
    total = np.zeros(waves.shape[1:])
    for (_, strength), wave in zip(octaves, waves, strict=True):
        wave *= strength
        total += wave
    return total + _quantile(np.asarray(share))


def scattered_cloudiness(rect: Rect, when: date, seed: int) -> Floats:
    """Return the cloudiness of a date on which small clouds cover three eighths of all places.

    Cells of any size show the middle of theirs, so that rough views are as cloudy as fine ones.

    Args:
        seed: see :func:`cloudiness`.
    """
    x, y = rect.x[None, :] + _ASIDE, rect.y[:, None] + _ASIDE
    waves = noise.gradient(x, y, [(k, cloud_seed(when, seed, k)) for k in _SCATTERED])
    total = np.zeros(waves.shape[1:])
    for strength, wave in zip(_SCATTERED.values(), waves, strict=True):
        total += strength * wave
    return total + _quantile(np.asarray(0.375))


def _quantile(share: Floats) -> Floats:
    """Return what to add to a Gaussian field of a standard deviation of 0.3 for that share above zero, by a series."""
    away = share - 0.5
    square = away * away
    return 0.3 * 2.5066 * away * (1.0 + square * (1.0472 + square * (2.3029 + square * 6.2515)))


def cloud_octaves(pitch: int, finest: int) -> list[tuple[int, float]]:
    """Return the octaves of clouds from a smallest one on, and their strengths, that show at a pitch."""
    known = [(k, noise.fading(k, pitch) * strength) for k, strength in _CLOUDS.items() if k >= finest]
    return [(k, strength) for k, strength in known if strength > 0.0]


def cloud_seed(when: date, sky: int, octave: int) -> int:
    """Return the seed of an octave of a sky on a date."""
    return 65536 + when.toordinal() * 64 + sky * 16 + octave % 16


# Octaves of 2**k units and their amplitudes; one that follows a gap stands for those of the gap, too.
_CLOUDS = {20: 0.893, 18: 0.563, 16: 0.355, 14: 0.223, 12: 0.141, 10: 0.069, 9: 0.055, 8: 0.044}
# Waves of some 600, 300 and 150 m, of the same standard deviation.
_SCATTERED = {10: 0.9, 9: 0.6, 8: 0.4}
_ASIDE = 363.0
"""Units from the middles of large cells to where they show the noise, which is zero at multiples of its lengths."""


@terrain.kept_with_relief
def dryness(land: Terrain) -> Floats:
    """Return 0 on wet, green land, 1 in deserts."""
    return aridity(land.character("green"), natural_cover.tree_density(land))


def aridity(green: Floats, forest: Floats) -> Floats:
    """Return 0 on wet, green land, 1 in deserts, by the greenness of grass and the share of trees."""
    return np.clip(1.05 - 1.35 * (0.9 * green + 0.5 * forest), 0.0, 1.0)


def next_month(when: date) -> date:
    """Return the first day of the month after that of a first day."""
    return (when + timedelta(days=31)).replace(day=1)


def days(start: date, end: date, step: int) -> list[date]:
    """Return dates from ``start`` to before ``end``."""
    return [start + timedelta(days=n) for n in range(0, (end - start).days, step)]
