"""Rain of the demo planet: seasons and regions, and the same amounts in all datasets of it."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from eechips_local.demo import DemoStore
from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.weather import rainfall
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from eechips_local.pixels.grids.pixel_grid import transformer
from eechips_local.stubs.stub_store import StubStore, open_sources

PAINTED = DemoStore(date(2026, 1, 1))
STUBS = StubStore(open_sources(None), date(2026, 1, 1), frozenset)
JULY = (date(2016, 7, 1) - date(1970, 1, 1)) / timedelta(milliseconds=1)


def cell(longitude: float, latitude: float) -> Rect:
    return Rect(4096, int(mercator.x_of(longitude)) >> 12, int(mercator.y_of(latitude)) >> 12, 1, 1)


# Normals of gauges that the planet does not know, of the World Weather Information Service (worldweather.wmo.int):
# a wet month and a dry one, millimetres.
PLACES = [
    ("Mumbai", 72.8, 19.0, (7, 800), (1, 1)),
    ("Darwin", 130.9, -12.4, (1, 427), (7, 1)),
    ("London", -0.1, 51.5, (1, 55), (7, 45)),
    ("Antofagasta", -70.4, -23.6, (7, 1), (1, 0)),
    ("Cairo", 31.2, 30.0, (1, 5), (7, 0)),
    ("Manaus", -60.0, -3.1, (3, 315), (8, 60)),
    ("Seattle", -122.3, 47.6, (12, 150), (7, 15)),
    ("Delhi", 77.2, 28.6, (8, 250), (11, 5)),
    ("Tokyo", 139.7, 35.7, (9, 225), (1, 60)),
    ("Niamey", 2.1, 13.5, (8, 170), (1, 0)),
    ("Chicago", -87.7, 41.9, (7, 100), (1, 50)),
    ("Perth", 115.9, -32.0, (7, 150), (1, 15)),
    ("Rome", 12.5, 41.9, (11, 110), (7, 18)),
    ("Nairobi", 36.8, -1.3, (4, 160), (7, 15)),
]


@pytest.mark.parametrize(("name", "longitude", "latitude", "wet", "dry"), PLACES)
def test_months_are_as_wet_as_at_gauges(
    name: str, longitude: float, latitude: float, wet: tuple[int, float], dry: tuple[int, float]
) -> None:
    place, means = cell(longitude, latitude), []
    for month, normal in (wet, dry):
        years = range(2001, 2013)
        sums = [rainfall.total(place, date(y, month, 1), date(y + month // 12, month % 12 + 1, 1)) for y in years]
        means.append(float(np.mean(sums)))
        low, high = (normal - 10.0, normal + 10.0) if normal <= 10 else (normal * 0.5 - 12.0, normal * 1.8 + 30.0)
        assert low <= means[-1] <= high, (name, month, means[-1])
    assert means[0] >= means[1] or wet[1] < 60


def pixel(image: ImageAsset, band: str, place: tuple[float, float]) -> float:
    """Return the value of an image at a place."""
    info = {info.name: info for info in image.bands}[band]
    column, row = ~info.grid.transform * transformer("EPSG:4326", info.grid.crs).transform(*place)
    return float(info.source.read((info.index,), PixelWindow(int(column), int(row), 1, 1), 0)[0][0, 0, 0])


def series(collection: str, band: str, place: tuple[float, float], days: int = 31) -> np.ndarray:
    """Return the values of the images from the first of July 2016 on."""
    asset = PAINTED.get(collection) or STUBS.get(collection)
    query = Query(start=JULY, end=JULY + days * 86_400_000.0)
    return np.array([pixel(image, band, place) for image in asset.images(query)])  # type: ignore[union-attr]


PLACES_OF_RAIN = [
    pytest.param((-0.3, 51.53), marks=pytest.mark.slow),
    pytest.param((77.23, 28.63), marks=pytest.mark.slow),
    pytest.param((2.13, 13.53), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("place", PLACES_OF_RAIN)
def test_datasets_show_the_same_rain(place: tuple[float, float]) -> None:
    """Days, pentads and months of CHIRPS, ERA5-Land, IMERG, TRMM, TerraClimate and PERSIANN, and hours of GSMaP."""
    daily = series("UCSB-CHG/CHIRPS/DAILY", "precipitation", place)
    whole = float(daily.sum())
    assert len(daily) == 31
    assert 20.0 < whole < 500.0
    for collection, band, factor in (
        ("ECMWF/ERA5_LAND/MONTHLY_AGGR", "total_precipitation_sum", 1000.0),
        ("NASA/GPM_L3/IMERG_MONTHLY_V07", "precipitation", 31.0 * 24.0),
        ("TRMM/3B43V7", "precipitation", 31.0 * 24.0),
        ("IDAHO_EPSCOR/TERRACLIMATE", "pr", 1.0),
    ):
        (month,) = series(collection, band, place)
        assert month * factor == pytest.approx(whole, rel=0.3, abs=8.0), collection
    (pentad,) = series("UCSB-CHG/CHIRPS/PENTAD", "precipitation", place, 5)
    assert pentad == pytest.approx(daily[:5].sum(), rel=0.25, abs=4.0)
    persiann = series("NOAA/PERSIANN-CDR", "precipitation", place)
    assert np.corrcoef(daily, persiann)[0, 1] > 0.6
    hours = series("JAXA/GPM_L3/GSMaP/v8/operational", "hourlyPrecipRate", place, 2)
    assert hours.sum() == pytest.approx(daily[:2].sum(), rel=0.3, abs=4.0)


def test_days_without_rain_have_none() -> None:
    """Scripts count dry days by values of zero."""
    desert = (25.0, 24.0)  # in Libya
    assert not series("NOAA/PERSIANN-CDR", "precipitation", desert, 3).any()
    assert not series("ECMWF/ERA5_LAND/DAILY_AGGR", "total_precipitation_sum", desert, 3).any()


def test_two_halves_of_a_month_are_the_month() -> None:
    place = Rect(4096, int(mercator.x_of(100.0)) >> 12, int(mercator.y_of(15.0)) >> 12, 5, 4)
    parts = [rainfall.total(place, date(2020, 2, a), date(2020, 2, b)) for a, b in ((1, 12), (12, 29))]
    last = rainfall.daily(place, date(2020, 2, 29))
    assert np.allclose(parts[0] + parts[1] + last, rainfall.total(place, date(2020, 2, 1), date(2020, 3, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("coarse", [Rect(1 << 17, 0, 64, 256, 128), Rect(1 << 21, 0, 4, 16, 8)], ids=lambda r: r.pitch)
def test_pictures_of_the_globe_have_as_much_rain_as_close_ones(coarse: Rect) -> None:
    """All land and sea have some 980 mm a year: Adler et al. (2018), doi:10.3390/atmos9040138."""
    weights = np.broadcast_to(mercator.cosine_of(coarse.y)[:, None] ** 2, (coarse.height, coarse.width))
    year = sum(rainfall.total(coarse, date(2019, m, 1), date(2019 + m // 12, m % 12 + 1, 1)) for m in (1, 4, 7, 10))
    assert 650.0 < float(np.average(year, weights=weights)) * 3.0 < 1300.0
