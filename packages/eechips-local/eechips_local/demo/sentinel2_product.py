"""State what Sentinel-2's products say of themselves beside clouds and orbits: quality, irradiances, angles of view.

Names are those that Earth Engine's images have: https://github.com/gee-community/geetools,
tests/test_Image/test_remove_properties.yml, and Google's catalogue, COPERNICUS/S2_SR. Irradiances are those of
Sentinel-2A, and the angles those of one of its images: the demo planet is seen alike everywhere.
"""

from __future__ import annotations

import math
from datetime import date
from typing import Any

_IRRADIANCES = {
    "B1": 1913.57, "B2": 1941.63, "B3": 1822.61, "B4": 1512.79, "B5": 1425.56, "B6": 1288.32, "B7": 1163.19,
    "B8": 1036.39, "B8A": 955.19, "B9": 813.04, "B10": 367.15, "B11": 245.59, "B12": 85.25,
}  # fmt: skip
"""Watts per square metre and micrometre."""

_AZIMUTH, _ZENITH = 101.5, 7.8
_CHECKS = ("FORMAT_CORRECTNESS", "GENERAL_QUALITY", "GEOMETRIC_QUALITY", "RADIOMETRIC_QUALITY", "SENSOR_QUALITY")


def properties(at_top: bool, when: date, offset: int) -> dict[str, Any]:
    """Return properties of an image.

    Args:
        at_top: whether it is a product of level 1C.
        when: its day.
        offset: what its product has added to reflectances.
    """
    known: dict[str, Any] = {
        "DATATAKE_TYPE": "INS-NOBS",
        "DEGRADED_MSI_DATA_PERCENTAGE": 0,
        "REFLECTANCE_CONVERSION_CORRECTION": round(_conversion(when), 9),
    }
    for band, irradiance in _IRRADIANCES.items():
        known[f"MEAN_INCIDENCE_AZIMUTH_ANGLE_{band}"] = _AZIMUTH
        known[f"MEAN_INCIDENCE_ZENITH_ANGLE_{band}"] = _ZENITH
        known[f"SOLAR_IRRADIANCE_{band}"] = irradiance
        if offset and not at_top:
            known[f"BOA_ADD_OFFSET_{band}"] = -offset
    return known | dict.fromkeys(_CHECKS, "PASSED") | ({} if at_top else {"SATURATED_DEFECTIVE_PIXEL_PERCENTAGE": 0})


def _conversion(when: date) -> float:
    """Return U of the products: 1 / (1 - e cos(M))², by the day of the year since the perihelion.

    https://sentiwiki.copernicus.eu/web/s2-processing#S2Processing-TOAReflectanceComputation
    """
    days = when.timetuple().tm_yday - 4
    return 1.0 / (1.0 - 0.01673 * math.cos(0.0172 * days)) ** 2
