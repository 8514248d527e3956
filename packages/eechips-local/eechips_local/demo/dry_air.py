"""How much more water the air could hold.

Allen, Pereira, Raes and Smith (1998): Crop evapotranspiration. FAO Irrigation and Drainage Paper 56, equations 11, 12
and 48, https://www.fao.org/4/x0490e/x0490e07.htm.
"""

from __future__ import annotations

import numpy as np

from eechips_local.demo.mercator import Floats

_ARID = 2.0
"""Kelvin by which the coldest hour is above the dew point in dry land."""


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
    actual = saturation(celsius - 0.5 * span - _ARID * (1.0 - wetness))
    held = warmest if extreme > 0 else coldest if extreme < 0 else 0.5 * (coldest + warmest)
    return held - actual
