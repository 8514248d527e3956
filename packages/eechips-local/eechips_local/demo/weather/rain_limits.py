"""Limit plants by the rain of a year: greenness, trees and fields are at most what water lets grow.

Greenness rises in proportion to rain up to some 1,000 mm a year, and no further: Nicholson, Davenport and Malo (1990),
Climatic Change 17, 209, of NDVI in the Sahel and East Africa. Woody cover is at most 0.14 R - 14.2 per cent at R mm a
year: Sankaran et al. (2005), Nature 438, 846, of African savannas. Rain alone feeds no fields below 300 mm: FAO (1989),
Arid zone forestry, chapter 1, https://www.fao.org/4/t0122e/t0122e03.htm.

All three are of land of about 24 °C. Where it is colder, less evaporates: in proportion to the mean temperature above
freezing, by Holdridge (1967), Life zone ecology.
"""

from __future__ import annotations

import numpy as np

from eechips_local.demo.painting.mercator import Floats
from eechips_local.demo.weather import rain_normals

_WARM = 24.0
"""Mean temperature of the land of which the limits were found, °C."""
_COLDEST, _HOTTEST = 3.0, 30.0
"""Mean temperatures between which demand for water grows."""
_SATURATED = 1000.0
_WOODY = (0.0014, -0.142)
_FIELDS = (200.0, 400.0)
"""Millimetres at which no land is tilled, and at which all of it may be."""


def useful_rain(longitude: Floats, latitude: Floats, celsius: Floats) -> Floats:
    """Return millimetres a year that would do as much on warm land.

    Args:
        longitude: degrees, shape (places,).
        latitude: degrees, shape (places,).
        celsius: mean temperature of the air.
    """
    rain = rain_normals.at_places(longitude, latitude).sum(axis=0)
    result: Floats = rain * (_WARM / np.clip(celsius, _COLDEST, _HOTTEST))
    return result


def green_limit(rain: Floats) -> Floats:
    """Return the most greenness of grass in summer, 0 to 1, by ``useful_rain``."""
    return np.minimum(rain * (1.0 / _SATURATED), 1.0)


def woody_limit(rain: Floats) -> Floats:
    """Return the largest share of trees and shrubs by ``useful_rain``."""
    return np.clip(_WOODY[0] * rain + _WOODY[1], 0.0, 1.0)


def tilled_share(rain: Floats) -> Floats:
    """Return how much of the land that could be tilled has the rain for it, by ``useful_rain``."""
    return np.clip((rain - _FIELDS[0]) * (1.0 / (_FIELDS[1] - _FIELDS[0])), 0.0, 1.0)
