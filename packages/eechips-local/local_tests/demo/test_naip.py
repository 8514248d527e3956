"""NAIP of the demo planet: where and when it was flown, on which film, and the names of its quarter quads."""

from __future__ import annotations

import re

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.demo.satellites.naip_quarters import Quarter
from eechips_local.evaluation.asset_model import Query
from local_tests.support.call_counts import count_calls
from local_tests.support.demo_store import STORE, american, found, millis

CONUS_PLACES = st.tuples(st.floats(-123.5, -70.0), st.floats(26.0, 48.9))


@given(place=CONUS_PLACES, size=st.sampled_from([130.0]))
def test_every_place_is_photographed_every_other_year(place: tuple[float, float], size: float) -> None:
    """With valid pixels all around, so that a chip has no empty corner."""
    if not american(*place):
        return
    half = size / 111_000.0
    reach = half / np.cos(np.radians(place[1]))
    seen: dict[int, shapely.Geometry] = {}
    bounds = (place[0] - reach, place[1] - half, place[0] + reach, place[1] + half)
    for image in found("USDA/NAIP/DOQQ", Query(bounds=bounds)):
        year = int(image.properties["system:index"][-8:-4])
        if year < 2010:
            continue
        seen[year] = image.footprint if year not in seen else seen[year].union(image.footprint)
    even, odd = list(range(2010, 2025, 2)), list(range(2011, 2025, 2))
    # On a border both.
    assert sorted(seen) in (even, odd, sorted(even + odd))
    # Footprints have straight sides in degrees, the sides of grids are curved by less than 0.00002 degrees.
    assert all(shape.buffer(0.00002).contains(shapely.box(*bounds)) for shape in seen.values())


def test_quads_are_named_and_placed_as_in_reality() -> None:
    """As published: m_4709963_se_14_1_20090818, m_3008501_ne_16_1_20110815, m_3610332_se_13_060_20200903."""
    published = {
        (47, 99, 63, "se"): (14, (-99.1875, 47.0, -99.125, 47.0625)),
        (30, 85, 1, "ne"): (16, (-85.9375, 30.9375, -85.875, 31.0)),
        (36, 103, 32, "se"): (13, (-103.0625, 36.5, -103.0, 36.5625)),
    }
    for key, (zone, bounds) in published.items():
        quarter = Quarter(*key)
        assert quarter.bounds == bounds
        assert quarter.zone == zone
    collection = STORE.get("USDA/NAIP/DOQQ")
    for name in ("n_4010064_se_14_2_20070725", "m_3712213_sw_10_1_20140613"):
        image = collection.image(name)  # type: ignore[union-attr]
        assert image.id == f"USDA/NAIP/DOQQ/{name}"
    for name in ("m_3712213_sw_10_1_20140631", "m_3712213_sw_11_1_20140613", "m_3712213_sw_10_1_20290613"):
        assert collection.image(name) is None  # type: ignore[union-attr]
    pattern = re.compile(r"[mn]_\d{7}_(ne|nw|se|sw)_\d{2}_(1|060)_20\d{6}")
    for image in found("USDA/NAIP/DOQQ", Query(bounds=(-105.1, 39.0, -105.0, 39.1))):
        grid = image.bands[0].grid
        assert pattern.fullmatch(image.properties["system:index"])
        assert grid.crs == "EPSG:26913"
        layout = image.properties["system:index"][0]
        assert [b.name for b in image.bands] == {"m": ["R", "G", "B", "N"], "n": ["R", "G", "B"]}[layout]
        size = 0.6 if "_060_" in image.id else 1.0
        assert grid.transform.a == -grid.transform.e == size
        assert (grid.transform.c / size) == pytest.approx(round(grid.transform.c / size), abs=1e-6)


@pytest.mark.parametrize(
    ("place", "films"),
    [
        # An id as published: n_4010064_se_14_2_20070725.
        ((-100.45, 41.25), {2007: ("n", 2.0), 2008: ("m", 1.0), 2010: ("m", 1.0), 2018: ("m", 0.6)}),
        ((-88.31, 40.01), {2003: ("n", 1.0), 2008: ("c", 1.0), 2011: ("m", 1.0), 2019: ("m", 0.6)}),
    ],
)
def test_older_photographs_have_other_films_and_pixels(
    place: tuple[float, float], films: dict[int, tuple[str, float]]
) -> None:
    seen = {}
    photographs = found("USDA/NAIP/DOQQ", Query(bounds=(*place, *place), end=millis(2020, 1, 1)))
    assert [image.id for image in photographs] == sorted(image.id for image in photographs)
    for image in photographs:
        index = str(image.properties["system:index"])
        assert STORE.get(image.id) == image
        assert {"n": "RGB", "c": "NRG", "m": "RGBN"}[index[0]] == "".join(band.name for band in image.bands)
        seen[int(index[-8:-4])] = (index[0], image.bands[0].grid.transform.a)
    assert {year: seen[year] for year in films} == films
    without = found("USDA/NAIP/DOQQ", Query(bounds=(*place, *place), lacking=frozenset("N")))
    assert {image.properties["system:index"][0] for image in without} == {"n"}


def test_a_state_is_flown_on_one_day() -> None:
    photographs = found("USDA/NAIP/DOQQ", Query(bounds=(-106.5, 38.2, -105.6, 38.9), start=millis(2017, 1, 1)))
    days = {i.properties["system:time_start"] for i in photographs}
    assert len(days) == len((2017, 2019, 2021, 2023))


def test_few_calls_find_a_small_area() -> None:
    query = Query(bounds=(-105.1, 39.0, -105.0, 39.1))
    list(STORE.get("USDA/NAIP/DOQQ").images(query))  # type: ignore[union-attr]
    with count_calls() as calls:
        count = len(found("USDA/NAIP/DOQQ", query))
    assert count >= 28
    assert sum(calls.values()) < 200 * count
