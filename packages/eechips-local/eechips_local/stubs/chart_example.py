"""Make the table that Google's guide to charts uses: three regions, and the climate of each of their months.

The guide says how it was made, from normals of PRISM:
https://developers.google.com/earth-engine/guides/charts_feature#example_data
"""

from __future__ import annotations

import math
from datetime import date
from functools import cache
from typing import Any

import shapely

from eechips_local.demo import demo_tables, era5
from eechips_local.demo.demo_tables import DemoTable, Rows
from eechips_local.demo.mercator import Rect, x_of, y_of
from eechips_local.evaluation.model import Bounds, FeatureRow

ID = "projects/google/charts_feature_example"
_REGIONS: tuple[tuple[str, Bounds], ...] = (
    ("Desert", (-109.21, 31.42, -108.3, 32.03)),
    ("Forest", (-122.73, 43.45, -122.28, 43.91)),
    ("Grassland", (-101.81, 41.7, -100.53, 42.51)),
)
_NORMALS = ("ppt", "tdmean", "tmax", "tmean", "tmin", "vpdmax", "vpdmin")
_BANDS = (
    "total_precipitation_sum",
    "dewpoint_temperature_2m",
    "temperature_2m_max",
    "temperature_2m",
    "temperature_2m_min",
)
_YEAR = 1995
"""In the middle of the normals, 1981 to 2010."""
_PITCH = 1 << 13
_KELVIN = 273.15


def table() -> DemoTable:
    """Return the table."""
    months = {f"{month:02}_{name}": "Float" for month in range(1, 13) for name in _NORMALS}
    columns = {**months, "label": "String", "value": "Integer", "warm": "Integer"}
    return DemoTable(ID, columns, _rows, "Example of the guide to charts of features")


@cache
def _rows() -> Rows:
    rows = []
    for number, (label, bounds) in enumerate(_REGIONS):
        known: dict[str, Any] = {}
        for month in range(1, 13):
            known |= {f"{month:02}_{name}": value for name, value in _normals(bounds, month).items()}
        known |= {"label": label, "value": number, "warm": int(known["01_tmean"] > 0)}
        rows.append(FeatureRow(demo_tables.index_of(number), shapely.box(*bounds), known))
    return tuple(rows)


def _normals(bounds: Bounds, month: int) -> dict[str, float]:
    """Return the demo planet's climate of a month: mm, degrees Celsius, hPa."""
    west, south, east, north = bounds
    left, top = int(x_of(west)) // _PITCH, int(y_of(north)) // _PITCH
    right, bottom = int(x_of(east)) // _PITCH, int(y_of(south)) // _PITCH
    rect = Rect(_PITCH, left, top, right - left + 1, bottom - top + 1)
    values, _ = era5.Month(date(_YEAR, month, 1)).paint(rect, [era5.BANDS.index(band) for band in _BANDS])
    rain, dew, warmest, mean, coldest = (round(float(band.mean()), 4) for band in values)
    dew, warmest, mean, coldest = (kelvin - _KELVIN for kelvin in (dew, warmest, mean, coldest))
    normals = {
        "ppt": 1000.0 * rain, "tdmean": dew, "tmax": warmest, "tmean": mean, "tmin": coldest,
        "vpdmax": _pressure(warmest) - _pressure(dew), "vpdmin": max(0.0, _pressure(coldest) - _pressure(dew)),
    }  # fmt: skip
    return {name: round(normals[name], 3) for name in _NORMALS}


def _pressure(celsius: float) -> float:
    """Return the saturation vapour pressure over water, hPa: the formula of Magnus, WMO-No. 8, annex 4.B."""
    return 6.112 * math.exp(17.62 * celsius / (243.12 + celsius))
