"""Rain of days, its sums, and moisture of the soil: rain falls from the thickest clouds, as often and as much as usual
in that month there.

All datasets of rain show this one: CHIRPS, ERA5-Land and the stubs of others.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from eechips_local.demo.land.terrain import nodes
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.painting.upsampling import Upsampler
from eechips_local.demo.weather import climate, rain_normals

_STEP = 1 << 15
"""Units between nodes of usual rain."""

_FINEST, _CLOUDS = 16, 3
"""Smallest octave of rain, and the sky of low clouds, as of ``cloud_cover``."""

_DEVIATION = 0.28
"""Standard deviation of that field where all its octaves show."""

_HALF = 75.0
"""Millimetres of a month with 45% of wet days: London has 11 of 1 mm in a month of 50, Mumbai 23 in July of 800."""

_MOST_WET = 0.9
_MANY = 1 << 21
"""Cells and octaves of noise that are computed at once."""


def _quantiles() -> tuple[Floats, Floats, Floats]:
    """Return shares of wet days, the quantile that they exceed, and by how much all days exceed it on average."""
    normal = NormalDist()
    shares = [0.002 * 1.25**n for n in range(28)]
    limits = [normal.inv_cdf(1.0 - share) for share in shares]
    excess = [normal.pdf(limit) - limit * share for limit, share in zip(limits, shares, strict=True)]
    return np.array(shares), np.round(limits, 6), np.round(excess, 9)


_SHARES, _LIMITS, _EXCESS = _quantiles()


def daily(rect: Rect, when: date) -> Floats:
    """Return the rain of a day, millimetres, shape (height, width)."""
    return _sum(rect, [when])


@lru_cache(maxsize=16)
def _kept(rect: Rect, when: date) -> Floats:
    """Return the rain of a day, kept for the soil of the next days and hours of the same place."""
    return daily(rect, when)


def soil_moisture(rect: Rect, when: date) -> Floats:
    """Return how wet the soil is after the rain of the last days, 0 to 1."""
    water = np.zeros((rect.height, rect.width))
    for days_ago, left in enumerate((1.0, 0.65, 0.4, 0.25)):
        water = water + _kept(rect, when - timedelta(days=days_ago)) * left
    return water / (water + 12.0)


def total(rect: Rect, first: date, after: date) -> Floats:
    """Return the rain of days from the first one to before another one, millimetres, shape (height, width)."""
    days = climate.days(first, after, 1)
    result = np.zeros((rect.height, rect.width))
    step = max(1, _MANY // (rect.height * rect.width * 3))
    while days:
        some = [day for day in days[:step] if (day.year, day.month) == (days[0].year, days[0].month)]
        result += _sum(rect, some)
        days = days[len(some) :]
    return result


def usual(rect: Rect, month: int) -> Floats:
    """Return the usual rain of a month of the year, millimetres, shape (height, width)."""
    at = nodes(rect, _STEP)
    result: Floats = Upsampler(rect, at)(rain_normals.normals(at)[month - 1]).astype(np.float64)
    return result


def _sum(rect: Rect, days: list[date]) -> Floats:
    """Return the rain of some days of one month."""
    month = days[0].replace(day=1)
    amount = usual(rect, month.month)
    # Years differ, in dry places most.
    amount = amount * np.clip(1.0 + 0.5 * climate.weather(rect, month, (20, 18)), 0.2, 2.0)
    whole_month = float((climate.next_month(month) - month).days)
    octaves = climate.cloud_octaves(rect.pitch, _FINEST)
    if not octaves:
        # No cloud shows in pixels so large: each day is as the others.
        return amount * (len(days) / whole_month)
    share = np.clip(_MOST_WET * amount / (amount + _HALF), _SHARES[0], _SHARES[-1])
    limit, excess = (np.interp(share, _SHARES, values) for values in (_LIMITS, _EXCESS))
    waves = noise.gradient(
        rect.x[None, :], rect.y[:, None], [(k, climate.cloud_seed(day, _CLOUDS, k)) for day in days for k, _ in octaves]
    )
    strengths = np.array([strength for _, strength in octaves])[:, None, None]
    fields = (waves.reshape(len(days), len(octaves), *waves.shape[1:]) * strengths).sum(axis=1)
    # Where small octaves do not show, as much rain falls from the others.
    whole = climate.cloud_octaves(1, _FINEST)
    shown = sum(strength * strength for _, strength in octaves) / sum(strength * strength for _, strength in whole)
    over = np.maximum(0.0, fields * (1.0 / (_DEVIATION * np.sqrt(shown))) - limit).sum(axis=0)
    result: Floats = over * amount / (excess * whole_month)
    return result
