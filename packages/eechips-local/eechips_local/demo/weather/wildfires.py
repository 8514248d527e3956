"""Fires: where grass and wood that grew in a wet season have dried, or a warm and dry month makes a forest burn.

Savannas with a dry season burn most, as in the maps of burned area of MODIS: Giglio et al. (2018), Remote Sensing of
Environment 217, 72. Which places burn on a day is invented.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt

from eechips_local.demo.land.terrain import nodes
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.painting.upsampling import Upsampler
from eechips_local.demo.weather import climate, rain_normals

_STEP = 1 << 15
"""Units between nodes of the seasons."""

_CELL = 1 << 10
"""Units along the edge of what burns or not, about a pixel of 1 km."""

_MOST, _LEAST = 0.0012, 0.00002
"""Shares of the land that burn on a day in the height of the season in savannas, and in any other month."""


def burning(rect: Rect, first: date, days: int) -> npt.NDArray[np.bool_]:
    """Return which cells burn in some days, shape (height, width)."""
    pitch = max(_CELL, rect.pitch)
    columns, rows = (np.floor(p * (1.0 / pitch)).astype(np.int64) for p in (rect.x, rect.y))
    chance = noise.random(columns[None, :], rows[:, None], first.toordinal() * 4096 + 1301)
    land = climate.relief(nodes(rect))
    inland = Upsampler(rect, land.rect)(land.character("coast")) > 0.0
    burns: npt.NDArray[np.bool_] = (chance < daily_share(rect, first) * days) & inland
    return burns


def daily_share(rect: Rect, when: date) -> Floats:
    """Return the share of the land that burns on a day, shape (height, width)."""
    at = nodes(rect, _STEP)
    normals = rain_normals.normals(at)
    month, before = normals[when.month - 1], normals[when.month - 2]
    fuel = noise.smoothstep(250.0, 900.0, normals.sum(axis=0))
    dry = noise.smoothstep(70.0, 10.0, 0.5 * (month + before))
    air = climate.mean_temperature(climate.relief(at), climate.day_of_year(when))
    warm = noise.smoothstep(283.0, 293.0, air)
    share = _LEAST * warm + (_MOST - _LEAST) * fuel * dry * warm
    result: Floats = Upsampler(rect, at)(share).astype(np.float64)
    return result
