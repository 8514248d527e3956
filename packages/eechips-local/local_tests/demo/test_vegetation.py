"""Vegetation of the demo planet follows rain, and its season in the tropics that of the rain."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.satellites.vegetation import Indices
from eechips_local.demo.weather import rain_limits

# Estimates of the mean NDVI of a year, as maps of GIMMS and MOD13 show it: Pinzon and Tucker (2014), Remote Sensing 6,
# 6929; Didan (2021), doi:10.5067/MODIS/MOD13A2.061.
PLACES = [
    ("Sahara", 10, 25, 0.05, 0.12),
    ("Rub al Khali", 50, 20, 0.05, 0.12),
    ("Atacama", -69, -24, 0.03, 0.12),
    ("Sahel", 0, 14.5, 0.18, 0.33),
    ("Alice Springs", 134, -24, 0.15, 0.30),
    ("Kyzylkum", 63, 42, 0.08, 0.20),
    ("Thar", 71, 27, 0.10, 0.22),
    ("Kazakh steppe", 71, 51, 0.20, 0.38),
    ("Congo", 22, 0, 0.65, 0.85),
    ("Amazon", -63, -4, 0.70, 0.88),
    ("Zambia", 28, -13, 0.45, 0.65),
    ("Iowa", -93, 42, 0.35, 0.55),
]
TOLERANCE = 0.08


def months(longitude: float, latitude: float) -> list[float]:
    place = Rect(4096, (int(mercator.x_of(longitude)) >> 12) - 4, (int(mercator.y_of(latitude)) >> 12) - 4, 8, 8)
    return [float(Indices(date(2019, month, 7)).paint(place, [0])[0].mean()) * 1e-4 for month in range(1, 13)]


@pytest.mark.parametrize(("name", "longitude", "latitude", "low", "high"), PLACES)
def test_a_year_is_as_green_as_on_published_maps(
    name: str, longitude: float, latitude: float, low: float, high: float
) -> None:
    assert low - TOLERANCE <= np.mean(months(longitude, latitude)) <= high + TOLERANCE, name


@pytest.mark.parametrize(
    ("longitude", "latitude", "green", "dry"), [(0.0, 14.5, 9, 3), (28.0, -13.0, 2, 9), (77.0, 23.0, 9, 5)]
)
def test_savannas_are_green_after_the_rain(longitude: float, latitude: float, green: int, dry: int) -> None:
    of_months = months(longitude, latitude)
    assert of_months[green - 1] > of_months[dry - 1] + 0.15


def test_rain_limits_plants_as_published() -> None:
    """1,000 mm are enough for grass, 650 mm for most trees, and less where it is cold; see ``rain_limits``."""
    rain = np.array([0.0, 100.0, 500.0, 1000.0, 2000.0])
    assert rain_limits.green_limit(rain).tolist() == [0.0, 0.1, 0.5, 1.0, 1.0]
    assert np.round(rain_limits.woody_limit(rain)[:3], 3).tolist() == [0.0, 0.0, 0.558]
    places = np.array([10.0, 10.0]), np.array([50.0, 50.0])
    cold, warm = rain_limits.useful_rain(*places, np.array([6.0, 24.0]))
    assert cold == 4.0 * warm
