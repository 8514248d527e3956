"""Seasons of growth: of rain in the tropics, of warmth elsewhere.

In the tropics vegetation indices follow the rain of the month and of the two before it, and no more than 50 to 100 mm a
month make a difference: Nicholson, Davenport and Malo (1990), Climatic Change 17, 209. Above 2,000 mm a year, the
ground keeps enough water for a dry season: Guan et al. (2015), Nature Geoscience 8, 284.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from eechips_local.demo.land import crop_calendar
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.weather import climate, rainfall

_ENOUGH = 75.0
"""Millimetres a month above which more rain makes nothing greener."""
_EVERGREEN = (1000.0, 2000.0)
"""Millimetres a year from which on a dry season matters less, and not at all."""
_DORMANT = 0.04
_TROPICS = (30.0, 20.0)
"""Degrees of latitude at which rain begins to set the season, and within which it alone does."""
_REACH = 30
"""Days of rain that count before a date, three times."""


def of_wild_plants(rect: Rect, when: date) -> Floats:
    """Return greenness on a date: 1 in the full season, 0.04 when plants are dormant; shape (height, width)."""
    warm = climate.growth(climate.latitude(rect), when)
    return warm + (_moisture(rect, when) - warm) * _share_of_rain(rect)


def of_fields(rect: Rect, when: date) -> Floats:
    """Return the mean share of fields that is hidden by green plants; without rain nothing grows in the tropics."""
    usual = crop_calendar.mean_green(climate.latitude(rect), when)
    return usual + (np.minimum(usual, _moisture(rect, when)) - usual) * _share_of_rain(rect)


def _share_of_rain(rect: Rect) -> Floats:
    return noise.smoothstep(*_TROPICS, np.abs(climate.latitude(rect)))


def _moisture(rect: Rect, when: date) -> Floats:
    """Return the usual rain of the last three months as a share of what plants use."""
    if np.abs(climate.latitude(rect)).min() >= _TROPICS[0]:
        return np.ones((1, 1))
    total = np.zeros((rect.height, rect.width))
    for days_ago in (0, _REACH, 2 * _REACH):
        total += np.minimum(_usual_on(rect, when - timedelta(days=days_ago)), _ENOUGH)
    year = np.sum([rainfall.usual(rect, month) for month in range(1, 13)], axis=0)
    return np.clip(np.maximum(total * (1.0 / (3.0 * _ENOUGH)), noise.smoothstep(*_EVERGREEN, year)), _DORMANT, 1.0)


def _usual_on(rect: Rect, when: date) -> Floats:
    """Return the usual rain of the month around a date, millimetres."""
    middle = when - timedelta(days=14)
    later = middle.day * (1.0 / 31.0)
    first = rainfall.usual(rect, middle.month)
    return first + (rainfall.usual(rect, middle.month % 12 + 1) - first) * later
