"""State what Sentinel-2's products say of themselves beside clouds and orbits: quality, irradiances, angles of view,
percentages of ``SCL`` classes.

Names are those that Earth Engine's images have: https://github.com/gee-community/geetools,
tests/test_Image/test_remove_properties.yml, and Google's catalogue, COPERNICUS/S2_SR and COPERNICUS/S2. The
irradiances are of Sentinel-2A, and the angles of one of its images: the demo planet has the same angles everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np

from eechips_local.demo.painting.painted_source import PaintedSource
from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.evaluation.lazy_values import Later

_IRRADIANCES = {
    "B1": 1913.57, "B2": 1941.63, "B3": 1822.61, "B4": 1512.79, "B5": 1425.56, "B6": 1288.32, "B7": 1163.19,
    "B8": 1036.39, "B8A": 955.19, "B9": 813.04, "B10": 367.15, "B11": 245.59, "B12": 85.25,
}  # fmt: skip
"""Watts per square metre and micrometre."""

_AZIMUTH, _ZENITH = 101.5, 7.8
_CHECKS = ("FORMAT_CORRECTNESS", "GENERAL_QUALITY", "GEOMETRIC_QUALITY", "RADIOMETRIC_QUALITY", "SENSOR_QUALITY")


_CLOUDS = {"MEDIUM_PROBA_CLOUDS": 8, "HIGH_PROBA_CLOUDS": 9, "THIN_CIRRUS": 10}
_GROUND = {
    "SATURATED_DEFECTIVE_PIXEL": 1, "DARK_FEATURES": 2, "CLOUD_SHADOW": 3, "VEGETATION": 4, "NOT_VEGETATED": 5,
    "WATER": 6, "UNCLASSIFIED": 7, "SNOW_ICE": 11,
}  # fmt: skip
"""Values of the band SCL."""

_LEVEL = 6  # 86 by 86 pixels
_ACCURACIES = ("AOT_RETRIEVAL_ACCURACY", "RADIATIVE_TRANSFER_ACCURACY", "WATER_VAPOUR_RETRIEVAL_ACCURACY")


def classified(classes: Callable[[], PaintedSource], cloudy: Callable[[], float]) -> Mapping[str, Later]:
    """Return the percentages of what a product of level 2A is classified as; together they are 100.

    They are counted in a coarse level of the band SCL. What is cloudy there is scaled to the percentage of clouds.

    Args:
        classes: returns the band SCL.
        cloudy: returns the percentage of clouds.
    """

    @cache
    def percentages() -> Mapping[str, float]:
        source = classes()
        side = math.ceil(source.grid.width / source.levels[_LEVEL])
        values, seen = source.read((0,), PixelWindow(0, 0, side, side), _LEVEL)
        counts = np.bincount(values[seen], minlength=12)
        clouds = cloudy()
        known = {}
        # Where a level so coarse shows no cloud, or nothing else, there is a little of it all the same.
        for kind, whole, usual in ((_CLOUDS, clouds, "THIN_CIRRUS"), (_GROUND, 100.0 - clouds, "CLOUD_SHADOW")):
            total = int(counts[list(kind.values())].sum())
            for name, value in kind.items():
                known[name] = whole * (float(counts[value]) / total if total else float(name == usual))
        return known

    def percentage(name: str) -> float:
        return round(percentages()[name], 6)

    return {f"{name}_PERCENTAGE": Later(partial(percentage, name)) for name in (*_CLOUDS, *_GROUND)}


@lru_cache(maxsize=1024)
def properties(at_top: bool, when: date, offset: int) -> Mapping[str, Any]:
    """Return properties that all images of a day have.

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
    known |= dict.fromkeys(_CHECKS, "PASSED")
    return known if at_top else known | dict.fromkeys(_ACCURACIES, 0.0)


def _conversion(when: date) -> float:
    """Return U of the products: 1 / (1 - e cos(M))², by the day of the year since the perihelion.

    https://sentiwiki.copernicus.eu/web/s2-processing#S2Processing-TOAReflectanceComputation
    """
    days = when.timetuple().tm_yday - 4
    return 1.0 / (1.0 - 0.01673 * math.cos(0.0172 * days)) ** 2
