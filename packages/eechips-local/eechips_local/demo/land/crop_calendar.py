"""What grows on the fields of the survey grid, in the codes of the Cropland Data Layer, and how green it is on a date.

Every crop has a calendar of its own, which all sensors share. The days are rounded from the usual planting and
harvesting dates between Kansas and Nebraska in USDA NASS, Agricultural Handbook 628 (2010); a canopy closes some two
months after planting, and ripens some three weeks before harvest. Fields of one crop are up to two weeks early or
late, and seasons come later towards the poles.

Codes: https://developers.google.com/earth-engine/datasets/catalog/USDA_NASS_CDL
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from eechips_local.demo.land.farmland import SurveyBlocks
from eechips_local.demo.painting import mercator, noise
from eechips_local.demo.painting.mercator import Floats

CORN, COTTON, SORGHUM, SOYBEANS, WINTER_WHEAT, ALFALFA, HAY, FALLOW = 1, 2, 4, 5, 24, 36, 37, 61

Codes = npt.NDArray[np.int64]

# Shares of the fields that lie fallow, bear a crop of summer, bear a crop of winter; on the rest grows grass.
_FALLOW, _SUMMER, _WINTER = 0.30, 0.32, 0.20
# Of the fields with a crop of summer, corn; of the watered circles, fallow and then alfalfa.
_CORN, _IDLE_CIRCLES, _WATERED_ALFALFA = 0.55, 0.16, 0.35

_CALENDARS: Final[dict[int, tuple[tuple[int, int, float], ...]]] = {
    # Month, day and greenness at 40° north; from one to the next greenness changes smoothly.
    CORN: ((5, 8, 0.0), (6, 5, 0.25), (7, 3, 0.92), (7, 18, 1.0), (8, 14, 0.95), (9, 5, 0.5), (9, 22, 0.06),
           (10, 8, 0.0)),
    COTTON: ((5, 25, 0.0), (6, 25, 0.25), (8, 1, 0.9), (8, 20, 1.0), (9, 20, 0.85), (10, 20, 0.2), (11, 15, 0.0)),
    SORGHUM: ((6, 8, 0.0), (7, 5, 0.3), (8, 5, 0.95), (8, 25, 1.0), (9, 20, 0.6), (10, 20, 0.1), (11, 1, 0.0)),
    SOYBEANS: ((5, 28, 0.0), (6, 25, 0.25), (7, 24, 0.92), (8, 10, 1.0), (9, 3, 0.95), (9, 20, 0.5), (10, 1, 0.06),
               (10, 10, 0.0)),
    WINTER_WHEAT: ((-3, 5, 0.0), (-2, 5, 0.22), (-1, 10, 0.3), (2, 20, 0.28), (4, 1, 0.6), (5, 1, 0.97), (5, 20, 1.0),
                   (6, 10, 0.5), (6, 25, 0.08), (7, 5, 0.0)),
    # Cut every five weeks.
    ALFALFA: ((3, 15, 0.12), (4, 20, 0.6), (5, 20, 1.0), (5, 27, 0.98), (5, 29, 0.2), (6, 28, 0.95), (7, 1, 0.95),
              (7, 3, 0.2), (8, 1, 0.95), (8, 5, 0.95), (8, 7, 0.2), (9, 8, 0.9), (9, 14, 0.9), (9, 16, 0.2),
              (10, 10, 0.55), (11, 10, 0.12)),
    # Cut before midsummer, and once more.
    HAY: ((3, 20, 0.15), (5, 1, 0.6), (6, 5, 1.0), (6, 18, 0.95), (6, 20, 0.35), (7, 25, 0.7), (8, 25, 0.75),
          (8, 27, 0.35), (10, 1, 0.6), (11, 10, 0.15)),
    # Weeds, until the next tillage.
    FALLOW: ((4, 1, 0.2), (5, 15, 1.0), (6, 1, 0.4), (7, 20, 1.0), (8, 5, 0.4), (9, 20, 0.8), (10, 20, 0.2)),
}  # fmt: skip

_DENSITIES: Final = {
    CORN: 0.95,
    COTTON: 0.85,
    SORGHUM: 0.85,
    SOYBEANS: 0.95,
    WINTER_WHEAT: 0.90,
    ALFALFA: 0.92,
    HAY: 0.60,
    FALLOW: 0.12,
}
"""Share of the ground that a full canopy hides where a field thrives."""

_LEAST = 0.65
"""How dense the poorest fields of a crop are compared to the densest."""

_WEEDS = 0.16
"""Share of the ground between the plants of a crop that weeds hide, at the most."""

_JITTER = 14
"""Days by which a field may be early or late."""

_LATITUDE, _DELAY, _LONGEST_DELAY = 40.0, 2.5, 30.0
"""Where the calendars hold; days later for each degree towards the pole, and at the most."""

_HALF_YEAR = timedelta(days=184)
"""Days by which the seasons of the south follow the seasons of the north."""

_BEFORE, _AFTER = 140, 440
"""Days of the calendars before the year of the harvest, and from its first on."""

_NO_DELAYS: Final[Mapping[int, int]] = MappingProxyType({})


@dataclass(frozen=True)
class StandingCrops:
    """What stands on blocks on a date; arrays of shape (rows, columns).

    Attributes:
        codes: codes of the crops. From autumn on winter crops of the next year stand on their fields.
        green: share of the ground that is hidden by green plants.
    """

    codes: Codes
    green: Floats


def codes(blocks: SurveyBlocks, year: int | Codes) -> Codes:
    """Return the code of the crop that each block is harvested of in a year, as if all were fields.

    Args:
        blocks: blocks of the survey grid.
        year: one, or one for each row, shape (rows, 1).
    """
    fate, kind, watered = noise.random(blocks.field, year, np.array([505, 512, 513]).reshape(-1, 1, 1))
    second = _second_summer_crop(_latitude(blocks))
    field = np.where(fate < _FALLOW + _SUMMER, np.where(kind < _CORN, CORN, second), WINTER_WHEAT)
    field = np.where(fate < _FALLOW, FALLOW, np.where(fate < _FALLOW + _SUMMER + _WINTER, field, HAY))
    circle = np.where(fate < _IDLE_CIRCLES, FALLOW, np.where(watered < _WATERED_ALFALFA, ALFALFA, CORN))
    crop: Codes = np.where(blocks.circle > 0.0, circle, field)
    return crop


def standing(blocks: SurveyBlocks, when: date, delays: Mapping[int, int] = _NO_DELAYS) -> StandingCrops:
    """Return what stands on blocks on a date, as if all were fields.

    Args:
        blocks: blocks of the survey grid.
        delays: days by which crops are late, by code.
    """
    north = _latitude(blocks)
    year, day, left = _local_dates(north, when)
    late = _lateness(north)
    crop, green = _growing(blocks, year, day - late, delays)
    # A winter crop is sown in the year before its harvest.
    if int(left.min()) < _BEFORE:
        sown, young = _growing(blocks, year + 1, -left - late, delays)
        young = np.where(sown == WINTER_WHEAT, young, 0.0)
        crop, green = np.where(young > green, sown, crop), np.maximum(young, green)
    return StandingCrops(crop, green)


def mean_green(north: Floats, when: date) -> Floats:
    """Return the mean over many fields of the share of the ground that is hidden by green plants, at latitudes."""
    _, day, left = _local_dates(north, when)
    late, table = _lateness(north), _table()
    kinds = (
        (_FALLOW, FALLOW),
        (_SUMMER * _CORN, CORN),
        (_SUMMER * (1.0 - _CORN), _second_summer_crop(north)),
        (_WINTER, WINTER_WHEAT),
        (1.0 - _FALLOW - _SUMMER - _WINTER, HAY),
    )
    total = _WINTER * table[WINTER_WHEAT, np.clip(-left - late + _BEFORE, 0, _BEFORE)]
    for share, kind in kinds:
        total = total + share * table[kind, day - late + _BEFORE]
    green = total * (0.5 + 0.5 * _LEAST)
    result: Floats = green + (1.0 - green) * (0.5 * _WEEDS)
    return result


def _growing(blocks: SurveyBlocks, year: Codes, day: Codes, delays: Mapping[int, int]) -> tuple[Codes, Floats]:
    """Return crops that are harvested in a year, and their greenness on a day counted from its first."""
    crop = codes(blocks, year)
    # The sum of two draws: few fields are very early or very late.
    thriving, one, other = noise.random(blocks.field, year, np.array([506, 514, 516]).reshape(-1, 1, 1))
    day = day - np.rint((one + other - 1.0) * _JITTER).astype(np.int64)
    if delays:
        late = np.zeros(256, dtype=np.int64)
        late[list(delays)] = list(delays.values())
        day = day - late[crop]
    green = _table()[crop, np.clip(day + _BEFORE, 0, _BEFORE + _AFTER - 1)]
    green = green * (_LEAST + (1.0 - _LEAST) * thriving)
    # They stay from year to year.
    weeds = noise.random(blocks.field, 0, 515) * _WEEDS
    return crop, green + (1.0 - green) * weeds


def _latitude(blocks: SurveyBlocks) -> Floats:
    return mercator.latitude_of((blocks.rows + 0.5) * 128.0)[:, None]


def _second_summer_crop(north: Floats) -> Codes:
    """Return the crop that shares the summer with corn, by latitude."""
    second: Codes = np.where(north < 35.0, COTTON, np.where(north < 38.0, SORGHUM, SOYBEANS))
    return second


def _local_dates(north: Floats, when: date) -> tuple[Codes, Codes, Codes]:
    """Return the year in which crops are harvested, days since its first day, and days to that of the next."""
    known = []
    for local in (when, when + _HALF_YEAR):
        first, following = date(local.year, 1, 1), date(local.year + 1, 1, 1)
        known.append((local.year, (local - first).days, (following - local).days))
    year, day, left = (np.where(north >= 0.0, *pair) for pair in zip(*known, strict=True))
    return year, day, left


def _lateness(north: Floats) -> Codes:
    """Return days by which seasons are later than where the calendars hold."""
    days = np.clip((np.abs(north) - _LATITUDE) * _DELAY, -_LONGEST_DELAY, _LONGEST_DELAY)
    late: Codes = np.rint(days).astype(np.int64)
    return late


@cache
def _table() -> Floats:
    """Return greenness of thriving fields by code and day, shape (256, days)."""
    table = np.zeros((256, _BEFORE + _AFTER))
    for code, calendar in _CALENDARS.items():
        days, values = zip(*((_day(month, day), value) for month, day, value in calendar), strict=True)
        for day in range(-_BEFORE, _AFTER):
            table[code, day + _BEFORE] = _DENSITIES[code] * _between(day, days, values)
    table.setflags(write=False)
    return table


def _day(month: int, day: int) -> int:
    """Return days since the first of January; months 0, -1, … belong to the year before."""
    year, month = (2001, month) if month > 0 else (2000, month + 12)
    return (date(year, month, day) - date(2001, 1, 1)).days


def _between(day: int, days: tuple[int, ...], values: tuple[float, ...]) -> float:
    """Return the value of a day: that of the nearest end beyond the days that are known, a cubic between two."""
    if day <= days[0]:
        return values[0]
    for n in range(1, len(days)):
        if day <= days[n]:
            t = (day - days[n - 1]) / (days[n] - days[n - 1])
            return values[n - 1] + (values[n] - values[n - 1]) * t * t * (3.0 - 2.0 * t)
    return values[-1]
