"""Snow, heat and fires of the demo planet have the seasons and regions of the Earth's."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from pyproj import Transformer

from eechips_local.demo import DemoStore
from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.weather import sunlight, wildfires
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from eechips_local.pixels.grids.pixel_grid import parse_crs
from eechips_local.stubs.stub_store import StubStore, open_sources

PAINTED = DemoStore(date(2026, 1, 1))
STUBS = StubStore(open_sources(None), date(2026, 1, 1), frozenset)
LAPLAND, MANAUS, YAKUTIA, GREENLAND = (26.0, 66.5), (-60.5, -3.0), (120.0, 62.0), (-42.0, 72.0)


def images(collection: str, start: date, days: int) -> list[ImageAsset]:
    begin = (start - date(1970, 1, 1)) / timedelta(milliseconds=1)
    asset = PAINTED.get(collection) or STUBS.get(collection)
    return list(asset.images(Query(start=begin, end=begin + days * 86_400_000.0)))  # type: ignore[union-attr]


def around(image: ImageAsset, name: str, place: tuple[float, float], half: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return values and mask of a square of pixels around a place."""
    band = {band.name: band for band in image.bands}[name]
    crs = parse_crs(band.grid.crs)
    column, row = ~band.grid.transform * Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(*place)
    window = PixelWindow(int(column) - half, int(row) - half, 2 * half + 1, 2 * half + 1)
    values, valid = band.source.read((band.index,), window, 0)
    return values[0], valid[0]


@pytest.mark.parametrize(
    ("place", "month", "low", "high"),
    [(LAPLAND, 2, 60, 100), (LAPLAND, 7, 0, 0), (MANAUS, 1, 0, 0), (YAKUTIA, 1, 60, 100), (GREENLAND, 7, 60, 100)],
)
def test_snow_lies_where_and_when_it_is_cold(place: tuple[float, float], month: int, low: int, high: int) -> None:
    """Snow lasts from October to May in Lapland, and never falls at the Amazon: MOD10A1 of any year."""
    values, valid = around(images("MODIS/061/MOD10A1", date(2019, month, 15), 1)[0], "NDSI_Snow_Cover", place)
    assert low <= values[valid].mean() <= high


def test_ice_is_no_warmer_than_it_melts() -> None:
    """The inland ice of Greenland has the temperature 0 degrees at most: Hall et al. (2013), doi:10.1002/grl.50240."""
    found = [around(image, "LST_Day_1km", GREENLAND) for image in images("MODIS/061/MOD11A2", date(2019, 7, 1), 31)]
    warmest = max(float(values[valid].max()) * 0.02 for values, valid in found if valid.any())
    assert warmest < 276.0


def share(place: tuple[float, float], month: int) -> float:
    column, row = int(mercator.x_of(place[0])) >> 10, int(mercator.y_of(place[1])) >> 10
    return float(wildfires.burning(Rect(1024, column - 100, row - 100, 200, 200), date(2019, month, 1), 30).mean())


@pytest.mark.parametrize(
    ("name", "place", "season", "other"),
    [("Zambia", (28.0, -14.5), 7, 1), ("the north of Australia", (132.0, -14.0), 8, 2), ("Mali", (-5.0, 13.0), 1, 8)],
)
def test_savannas_burn_in_their_dry_season(name: str, place: tuple[float, float], season: int, other: int) -> None:
    """Peaks of burned area: Giglio et al. (2018), doi:10.1016/j.rse.2018.08.005."""
    assert share(place, season) > 0.01, name
    assert share(place, season) > 10.0 * share(place, other), name


def test_deserts_rain_forests_and_ice_hardly_burn() -> None:
    assert max(share(place, month) for place in ((10.0, 25.0), MANAUS, GREENLAND) for month in (2, 6)) < 0.002


def test_pixels_without_a_fire_are_masked() -> None:
    """FIRMS has fires, and nothing else: developers.google.com/earth-engine/datasets/catalog/FIRMS."""
    image = images("FIRMS", date(2019, 7, 15), 1)[0]
    zambia, ice = (around(image, "T21", place, 60)[1] for place in ((28.0, -14.5), GREENLAND))
    assert 0.0001 < zambia.mean() < 0.01
    assert not ice.any()


@pytest.mark.parametrize(
    ("collection", "band"),
    [
        ("ECMWF/ERA5_LAND/DAILY_AGGR", "temperature_2m"),
        ("NASA/NLDAS/FORA0125_H002", "temperature"),
        ("MODIS/061/MCD15A3H", "Lai"),
        ("MODIS/061/MCD15A3H", "FparLai_QC"),
    ],
)
def test_datasets_of_land_are_masked_at_sea(collection: str, band: str) -> None:
    """As openet/core/tests/test_a_utils.py of Open-ET/openet-core finds NLDAS east of Cape Hatteras."""
    image = images(collection, date(2019, 7, 1), 5)[0]
    land, sea = (around(image, band, place)[1] for place in ((-98.0, 40.0), (-69.0, 35.0)))
    assert land.all()
    assert not sea.any()


def test_datasets_of_era5_land_end_at_the_same_shore() -> None:
    masks = [
        around(images(f"ECMWF/ERA5_LAND/{kind}", date(2019, 7, 1), 20)[0], "temperature_2m", (0.0, 50.7), 12)[1]
        for kind in ("MONTHLY_AGGR", "DAILY_AGGR", "HOURLY")
    ]
    assert 0.1 < masks[0].mean() < 0.9
    assert all(np.array_equal(masks[0], mask) for mask in masks)


@pytest.mark.parametrize(("latitude", "day", "megajoules"), [(-20.0, 246, 32.2), (80.0, 1, 0.0)])
def test_sunlight_is_that_of_the_handbook(latitude: float, day: int, megajoules: float) -> None:
    """Example 8 of FAO Irrigation and Drainage Paper 56, and the polar night."""
    watts = sunlight.above_atmosphere(np.array([latitude]), day)
    assert float(watts[0]) * 0.0864 == pytest.approx(megajoules, abs=0.1)


def mean(collection: str, band: str, place: tuple[float, float], month: int) -> float:
    values, _ = around(images(collection, date(2019, month, 1), 2)[0], band, place)
    return float(values.mean())


@pytest.mark.parametrize("place", [(-108.6, 39.1), (-121.5, 38.7), (-122.0, 47.0), (-81.0, 27.0)])
def test_water_evaporates_in_summer(place: tuple[float, float]) -> None:
    """Of GRIDMET, eto at (-108.6, 39.1) is 8 in July 2017, and etr is more: openet/core/tests/test_interpolate.py."""
    summer, winter = (mean("IDAHO_EPSCOR/GRIDMET", "eto", place, month) for month in (7, 1))
    assert 3.0 < summer < 11.0
    assert summer > 1.5 * winter
    assert mean("IDAHO_EPSCOR/GRIDMET", "etr", place, 7) > summer
    sun = [mean("IDAHO_EPSCOR/GRIDMET", "srad", place, month) for month in (7, 1)]
    assert 230.0 < sun[0] < 370.0
    assert sun[0] > 1.4 * sun[1]
    month = mean("IDAHO_EPSCOR/TERRACLIMATE", "pet", place, 7) * 0.1
    assert month == pytest.approx(31.0 * summer, rel=0.35)
