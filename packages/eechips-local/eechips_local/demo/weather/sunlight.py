"""Sunlight on the demo planet, where the sun stands, and the water that it evaporates from a lawn, by place and day.

Allen, Pereira, Raes and Smith (1998): Crop evapotranspiration. FAO Irrigation and Drainage Paper 56, equations 21 to
25, 35 and 50, https://www.fao.org/4/x0490e/x0490e07.htm. Hargreaves and Samani (1985), doi:10.13031/2013.26773.
"""

from __future__ import annotations

import math
from datetime import date

import numpy as np

from eechips_local.demo.painting.mercator import Floats
from eechips_local.demo.weather import climate

_SOLAR_CONSTANT = 1367.0
"""Watts a square metre."""
_DIFFUSE, _DIRECT = 0.25, 0.50
"""Shares of sunlight that reach the ground under clouds, and besides through a clear sky."""
_DRY, _WET = 0.85, 0.45
"""Shares of the day with sunshine over dry and over wet land."""
_OF_RANGE = 0.175
"""Share of sunlight for the root of a kelvin: 0.16 inland, 0.19 at coasts."""
_MEGAJOULES = 0.0864
"""Of a day, for a watt."""
_LATENT_HEAT = 2.45
"""Megajoules that evaporate a millimetre of water from a square metre."""


def above_atmosphere(latitude: Floats, day: float) -> Floats:
    """Return mean watts a square metre of a day of the year, without an atmosphere, by degrees of latitude."""
    angle = 2.0 * math.pi * day / 365.0
    declination = 0.409 * math.sin(angle - 1.39)
    north = np.radians(latitude)
    sunset = np.arccos(np.clip(-np.tan(north) * math.tan(declination), -1.0, 1.0))
    height = sunset * np.sin(north) * math.sin(declination) + np.cos(north) * math.cos(declination) * np.sin(sunset)
    result: Floats = _SOLAR_CONSTANT / math.pi * (1.0 + 0.033 * math.cos(angle)) * np.maximum(height, 0.0)
    return result


def on_ground(latitude: Floats, day: float, wetness: Floats) -> Floats:
    """Return mean watts a square metre of a day that reach the ground.

    Args:
        latitude: degrees.
        day: day of the year.
        wetness: how wet the land is, 0 to 1: over wet land are more clouds.
    """
    sunshine = _DRY + (_WET - _DRY) * wetness
    return above_atmosphere(latitude, day) * (_DIFFUSE + _DIRECT * sunshine)


def daily_range(wetness: Floats) -> Floats:
    """Return kelvin between the coldest and the warmest hour of a day: clear skies of dry land let more heat go.

    Equation 50, solved for the temperatures; wetness as of ``on_ground``.
    """
    root = (_DIFFUSE + _DIRECT * (_DRY + (_WET - _DRY) * wetness)) * (1.0 / _OF_RANGE)
    result: Floats = root * root
    return result


def reference_evaporation(watts: Floats, kelvin: Floats) -> Floats:
    """Return millimetres a day that evaporate from well-watered grass, by sunlight and by temperature of the air."""
    warmth = np.maximum(kelvin - 273.15 + 17.8, 0.0)
    result: Floats = 0.0135 * warmth * watts * (_MEGAJOULES / _LATENT_HEAT)
    return result


def sun(north: float, when: date) -> tuple[float, float]:
    """Return the azimuth and zenith of the sun, degrees, around half past ten in the morning."""
    declination = 23.4 * climate.season(climate.day_of_year(when), 172.0)
    away = north - declination
    zenith = min(89.0, np.sqrt(away * away + 22.0 * 22.0))
    azimuth = 150.0 - 0.35 * away if away > 0.0 else 40.0 - 0.35 * away
    return round(float(azimuth), 6), round(float(zenith), 6)
