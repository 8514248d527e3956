"""How much water the air holds, and how much more it could.

Allen, Pereira, Raes and Smith (1998): Crop evapotranspiration. FAO Irrigation and Drainage Paper 56, equations 7, 10,
11, 12 and 48, https://www.fao.org/4/x0490e/x0490e07.htm.
"""

from __future__ import annotations

import numpy as np

from eechips_local.demo.painting.mercator import Floats

_ARID = 2.0
"""Kelvin by which the coldest hour is above the dew point in dry land."""
_LIGHTER = 0.622
"""Mass of a molecule of water for one of dry air."""


def saturation(celsius: Floats) -> Floats:
    """Return the pressure of water vapour in saturated air, kPa."""
    result: Floats = 0.6108 * np.exp(17.27 * celsius / (celsius + 237.3))
    return result


def deficit(celsius: Floats, span: Floats, wetness: Floats, extreme: int) -> Floats:
    """Return the vapour pressure deficit, kPa.

    Args:
        celsius: mean temperature of a day.
        span: kelvin between its coldest and its warmest hour.
        wetness: how wet the land is, 0 to 1.
        extreme: 1 of the warmest hour, -1 of the coldest, 0 of the mean of both.
    """
    coldest, warmest = saturation(celsius - 0.5 * span), saturation(celsius + 0.5 * span)
    held = warmest if extreme > 0 else coldest if extreme < 0 else 0.5 * (coldest + warmest)
    return held - vapour_pressure(celsius, span, wetness)


def vapour_pressure(celsius: Floats, span: Floats, wetness: Floats) -> Floats:
    """Return the pressure of the water vapour that the air holds, kPa; for the arguments see :func:`deficit`."""
    return saturation(celsius - 0.5 * span - _ARID * (1.0 - wetness))


def relative_humidity(celsius: Floats, span: Floats, wetness: Floats, extreme: int) -> Floats:
    """Return the share of the water that the air could hold which it does, at most 1.

    Args:
        celsius: mean temperature of a day.
        span: kelvin between its coldest and its warmest hour.
        wetness: how wet the land is, 0 to 1.
        extreme: 1 of the coldest hour, in which it is most, -1 of the warmest, 0 of the mean temperature.
    """
    held = saturation(celsius - 0.5 * extreme * span)
    return np.minimum(vapour_pressure(celsius, span, wetness) / held, 1.0)


def specific_humidity(vapour: Floats, height: Floats) -> Floats:
    """Return the share of water vapour in the mass of the air.

    Args:
        vapour: its pressure, kPa.
        height: metres above the sea, by which the pressure of the air falls.
    """
    cooler = 1.0 - height * (0.0065 / 293.0)
    pressure = 101.3 * np.exp(5.26 * np.log(cooler))
    result: Floats = _LIGHTER * vapour / (pressure - (1.0 - _LIGHTER) * vapour)
    return result
