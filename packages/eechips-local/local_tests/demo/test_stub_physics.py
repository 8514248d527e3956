"""Stubs of weather, evaporation, emissivity and fires have the ranges and seasons of the Earth's."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest

from eechips_local.evaluation.asset_model import ImageAsset
from local_tests.demo.test_seasons import STUBS, around, images

KANSAS, NEVADA, SAVANNA, SAHARA = (-99.0, 38.5), (-117.0, 39.5), (20.0, 8.0), (10.0, 25.0)


def mean(collection: str, name: str, place: tuple[float, float], start: date, half: int = 4) -> float:
    values, valid = around(images(collection, start, 8)[0], name, place, half)
    return float(values[valid].mean())


@pytest.mark.parametrize("place", [KANSAS, NEVADA])
@pytest.mark.parametrize("month", [1, 7])
def test_days_are_warmer_than_nights(place: tuple[float, float], month: int) -> None:
    """Some 8 to 18 K in the United States: Sun et al. (2006), doi:10.1029/2005JD006780."""
    least, most = (mean("IDAHO_EPSCOR/GRIDMET", name, place, date(2019, month, 1)) for name in ("tmmn", "tmmx"))
    assert 7.0 <= most - least <= 19.0


def test_air_is_drier_in_summer() -> None:
    winter, summer = (mean("IDAHO_EPSCOR/GRIDMET", "vpd", KANSAS, date(2019, month, 1)) for month in (1, 7))
    assert winter < 0.7 < 1.2 < summer < 4.0
    least, most = (mean("OREGONSTATE/PRISM/ANd", name, KANSAS, date(2019, 7, 1)) for name in ("vpdmin", "vpdmax"))
    assert least < 10.0 * summer < most


@pytest.mark.parametrize("place", [KANSAS, NEVADA])
@pytest.mark.parametrize("month", [1, 7])
def test_relative_humidity_fits_temperature_and_dryness(place: tuple[float, float], month: int) -> None:
    """FAO Irrigation and Drainage Paper 56, equations 11, 12 and 17."""
    names = ("tmmn", "tmmx", "rmin", "rmax", "vpd")
    coldest, warmest, least, most, deficit = (
        mean("IDAHO_EPSCOR/GRIDMET", name, place, date(2019, month, 1)) for name in names
    )
    assert 5.0 < least < most <= 100.0
    night, day = (0.6108 * math.exp(17.27 * (k - 273.15) / (k - 35.85)) for k in (coldest, warmest))
    assert (night + day) / 2.0 - (night * most + day * least) / 200.0 == pytest.approx(deficit, rel=0.35, abs=0.05)


@pytest.mark.parametrize("place", [KANSAS, NEVADA])
def test_more_evaporates_from_alfalfa_than_from_grass(place: tuple[float, float]) -> None:
    """Of GRIDMET 1.3 to 1.5 times: github.com/Open-ET/openet-core, test_interpolate.py and test_interpolate2.py."""
    for month in (1, 4, 7, 10):
        grass, alfalfa = (mean("IDAHO_EPSCOR/GRIDMET", name, place, date(2019, month, 1)) for name in ("eto", "etr"))
        assert 1.05 * grass < alfalfa < 1.5 * grass


@pytest.mark.parametrize("collection", ["OREGONSTATE/PRISM/ANm", "OREGONSTATE/PRISM/AN81m"])
def test_bands_whose_last_words_name_a_temperature_have_it(collection: str) -> None:
    """In Kansas -1 and 26 Celsius, by the normals of NOAA (doi:10.25921/w112-jn77)."""
    for month, low, high in ((1, -8.0, 6.0), (7, 20.0, 32.0)):
        least, usual, most = (
            mean(collection, name, KANSAS, date(2012, month, 1)) for name in ("tmin", "tmean", "tmax")
        )
        assert low < usual < high
        assert least < usual < most


def test_journeys_to_cities_are_not_longest_where_people_live() -> None:
    journeys = STUBS.get("Oxford/MAP/accessibility_to_cities_2015_v1_0")
    assert isinstance(journeys, ImageAsset)
    places = [(lon, lat) for lon in np.arange(-99.5, -95.5, 0.5) for lat in np.arange(39.5, 42.0, 0.5)]
    minutes = [around(journeys, "accessibility", place)[0].mean() for place in places]
    density = "CIESIN/GPWv411/GPW_Population_Density", "population_density"
    people = [mean(*density, place, date(2015, 1, 1)) for place in places]
    assert np.corrcoef(minutes, people)[0, 1] < 0.3


def test_air_holds_more_water_in_summer() -> None:
    """Some 2 to 4 g/kg in Kansas in January, 12 to 16 in July: Willett et al. (2008), doi:10.1175/2008JCLI2274.1."""
    hourly = "NASA/NLDAS/FORA0125_H002", "NOAA/NWS/RTMA"
    for collection, name in zip(hourly, ("specific_humidity", "SPFH"), strict=True):
        winter, summer = (mean(collection, name, KANSAS, date(2019, month, 1)) for month in (1, 7))
        assert 0.001 < winter < 0.006 < 0.008 < summer < 0.02
    of_a_day = mean("IDAHO_EPSCOR/GRIDMET", "sph", KANSAS, date(2019, 7, 1))
    assert of_a_day == pytest.approx(summer, rel=0.3)


def test_more_could_evaporate_in_the_desert_than_does() -> None:
    """Some 1,500 to 2,500 mm a year in the Sahara, most in summer: Mu, Zhao and Running (2011), MOD16."""
    of_months = [mean("MODIS/061/MOD16A2", "PET", SAHARA, date(2019, month, 2)) * 0.1 / 8.0 for month in range(1, 13)]
    assert 1_200.0 < np.mean(of_months) * 365.0 < 2_800.0
    assert of_months[6] > 1.5 * of_months[0]


@pytest.mark.parametrize("place", [KANSAS, NEVADA, SAHARA])
def test_ground_gives_off_most_of_what_a_black_body_does(place: tuple[float, float]) -> None:
    image = STUBS.get("NASA/ASTER_GED/AG100_003")
    assert isinstance(image, ImageAsset)
    values, _ = around(image, "emissivity_band13", place)
    assert 0.90 <= float(values.min()) * 0.001 <= float(values.max()) * 0.001 <= 1.0


def test_masks_of_fires_have_the_season_of_burned_areas() -> None:
    shares = []
    for month in (1, 8):
        found = [
            around(image, "FireMask", SAVANNA, 60)[0] for image in images("MODIS/061/MOD14A1", date(2019, month, 1), 8)
        ]
        shares.append(float(np.mean([(values >= 7).mean() for values in found])))
        assert {5} <= {int(code) for values in found for code in np.unique(values)} <= {3, 4, 5, 7, 8, 9}
    assert shares[0] > 1e-4
    assert shares[0] > 5.0 * shares[1]


@pytest.mark.parametrize("place", [(-62.0, -10.0), (-60.0, -8.0), (-85.0, 47.0), (25.0, 0.0)])
def test_regions_do_not_lose_all_of_their_forest(place: tuple[float, float]) -> None:
    """The world lost 2.3 million square kilometres in twelve years: Hansen et al. 2013, doi:10.1126/science.1244693."""
    changes = STUBS.get("UMD/hansen/global_forest_change_2023_v1_11")
    assert isinstance(changes, ImageAsset)
    loss, _ = around(changes, "loss", place, 900)
    years, _ = around(changes, "lossyear", place, 900)
    assert 0.0 < (loss == 1).mean() < 0.5
    assert ((loss == 1) == (years > 0)).all()
    assert years.max() > 10


def test_climate_zones_are_masked_at_sea() -> None:
    """As test_lcz_seamask_fix of https://github.com/vergauwenthomas/MetObs_toolkit expects off the Belgian coast."""
    (zones,) = images("RUB/RUBCLIM/LCZ/global_lcz_map/latest", date(2018, 1, 1), 365)
    assert not around(zones, "LCZ", (3.009151, 51.361852), 0)[1].any()
    assert around(zones, "LCZ", (3.72, 51.05))[1].all()
