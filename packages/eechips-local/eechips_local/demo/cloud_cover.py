"""Compute clouds over a satellite image, their shadows, and the confidence in either."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np

from eechips_local.demo import climate, mercator, noise
from eechips_local.demo.farmland import Field32
from eechips_local.demo.mercator import Rect
from eechips_local.demo.terrain import nodes
from eechips_local.demo.upsampling import Upsampler

_FINEST = 64
_SHADOW = (-22, -20)
"""Nodes of 64 units by which shadows lie west and north of their clouds."""


@dataclass(frozen=True)
class Sky:
    """Clouds in the cells of a rectangle, shape (height, width).

    Attributes:
        cloud: opacity, 0 to 1.
        shadow: how much of the sunlight is kept away, 0 to 1.
    """

    cloud: Field32
    shadow: Field32


def overcast(place: int, when: date, north: float) -> float:
    """Return rough share of the sky that clouds cover over a place on a date: every other pass is nearly clear."""
    draw = float(noise.random(place, when.toordinal(), 1001)[0])
    damp = 0.10 if abs(north) > 12.0 else 0.30
    return min(0.85, damp + (draw - 0.40) * 0.9 if draw > 0.45 else 0.02 + 0.12 * draw)


def sky(rect: Rect, when: date, share: float) -> Sky:
    """Return clouds over a rectangle on a date."""
    at = nodes(rect, _FINEST)
    up = Upsampler(rect, at)
    across = max(1, _FINEST // at.pitch)
    east = Rect(at.pitch, at.column - _SHADOW[0] * across, at.row - _SHADOW[1] * across, at.width, at.height)
    if at.pitch > _FINEST:
        moved = at.pitch // _FINEST
        east = Rect(at.pitch, at.column - _SHADOW[0] // moved, at.row - _SHADOW[1] // moved, at.width, at.height)
    here, there = (climate.cloudiness(part, when, share, 3) for part in (at, east))
    return Sky(
        up(noise.smoothstep(0.0, 0.42, here)),
        up(noise.smoothstep(0.05, 0.35, there) * (1.0 - noise.smoothstep(0.0, 0.42, here))),
    )


@lru_cache(maxsize=16384)
def cover_percent(column: int, row: int, size: int, when: date, share: float) -> float:
    """Return the percentage of a square of the plane that is cloudy, from 24 by 24 places of it.

    Args:
        column: western edge in units.
        row: northern edge in units.
        size: edge of the square in units.
        when: date.
        share: see ``climate.cloudiness``.
    """
    pitch = max(1, size // 32)
    rect = Rect(pitch, column // pitch, row // pitch, 24, 24)
    cloud = climate.cloudiness(rect, when, share, 3, finest=12)
    return round(float(np.count_nonzero(cloud > 0.06)) * (100.0 / cloud.size), 6)


def sun(north: float, when: date) -> tuple[float, float]:
    """Return the azimuth and zenith of the sun, degrees, around half past ten in the morning."""
    declination = 23.4 * climate.season(climate.day_of_year(when), 172.0)
    away = north - declination
    zenith = min(89.0, np.sqrt(away * away + 22.0 * 22.0))
    azimuth = 150.0 - 0.35 * away if away > 0.0 else 40.0 - 0.35 * away
    return round(float(azimuth), 6), round(float(zenith), 6)


def square(longitude: float, latitude: float, metres: float) -> tuple[int, int, int]:
    """Return western and northern edge, and size, in units, of the square of a size in metres around a place."""
    x, y = float(mercator.x_of(longitude)), float(mercator.y_of(latitude))
    size = metres / (mercator.EQUATOR_UNIT * float(mercator.cosine_of(y)))
    return int(x - size / 2.0), int(y - size / 2.0), int(size)
