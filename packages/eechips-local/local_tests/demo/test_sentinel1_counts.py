"""Numbers of scenes of Sentinel-1 are known without going through them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

import pytest

from eechips_local.demo.satellites import sentinel1
from eechips_local.demo.synthetic_label import midnight
from eechips_local.evaluation.asset_model import Query
from local_tests.support.call_counts import count_calls

SCENES = sentinel1.collections(date(2025, 1, 1))[0]
HOUR = 3_600_000
TURN_OF_THE_YEAR = Query(start=midnight(date(2015, 12, 31)) + 7 * HOUR, end=midnight(date(2016, 1, 1)) + 11 * HOUR)
"""Scenes of one band end in between."""


@cache
def properties() -> list[Any]:
    return [image.properties for image in SCENES.search(TURN_OF_THE_YEAR)]


@pytest.mark.parametrize(
    ("mode", "bands", "direction"),
    [
        (None, (), None),
        ("IW", (), None),
        ("IW", ("VV", "VH"), "ASCENDING"),
        ("EW", ("HV",), "DESCENDING"),
        (None, ("HH",), None),
    ],
)
def test_the_number_is_that_of_the_scenes(mode: str | None, bands: tuple[str, ...], direction: str | None) -> None:
    named = {"instrumentMode": mode, "orbitProperties_pass": direction}
    query = replace(
        TURN_OF_THE_YEAR,
        equals={name: value for name, value in named.items() if value is not None},
        holding=frozenset(("transmitterReceiverPolarisation", band) for band in bands),
    )
    expected = [
        scene
        for scene in properties()
        if mode in (None, scene["instrumentMode"])
        and direction in (None, scene["orbitProperties_pass"])
        and set(bands) <= set(scene["transmitterReceiverPolarisation"])
    ]
    assert SCENES.count(query) == len(expected) > 0


@pytest.mark.parametrize(
    ("name", "value"), [("resolution_meters", 40), ("resolution", "M"), ("transmitterReceiverPolarisation", "VV")]
)
def test_the_number_of_a_kind_is_that_of_its_scenes(name: str, value: Any) -> None:
    expected = [scene for scene in properties() if scene[name] == value]
    assert SCENES.count(replace(TURN_OF_THE_YEAR, equals={name: value})) == len(expected)


@pytest.mark.parametrize("bands", [["VV", "VH"], ["VV"], "VV"])
def test_scenes_of_given_polarisations_are_selected_of_before_their_place_is_named(demo_ee: Any, bands: Any) -> None:
    """Public scripts do so; one of them compares the list with a text, which no scene passes."""
    ee = demo_ee
    scenes = ee.ImageCollection("COPERNICUS/S1_GRD")
    polarised = scenes.filter(ee.Filter.eq("transmitterReceiverPolarisation", bands)).select("VV")
    near, month = ee.Filter.bounds(ee.Geometry.Point([15.39, 49.91])), ee.Filter.date("2015-04-01", "2015-05-01")
    held = scenes.filter(near).filter(month).aggregate_array("transmitterReceiverPolarisation").getInfo()
    assert polarised.filter(near).filter(month).size().getInfo() == held.count(bands)


def test_few_calls_count_years_of_scenes() -> None:
    with count_calls() as calls:
        assert SCENES.count(Query(equals={"instrumentMode": "IW"})) > 3_000_000
    assert sum(calls.values()) < 1_500_000


@pytest.mark.parametrize("name", ["orbitNumber_start", "orbitNumber_stop", "cycleNumber", "relativeOrbitNumber_stop"])
def test_a_search_by_numbers_of_orbits_makes_no_others(name: str) -> None:
    """Scenes of an orbit are among 300,000 of a year."""
    value = properties()[0][name]
    day = replace(TURN_OF_THE_YEAR, equals={name: value})
    expected = [scene["system:index"] for scene in properties() if scene[name] == value]
    assert [image.properties["system:index"] for image in SCENES.search(day)] == expected
    orbit = properties()[0]["orbitNumber_start"]
    year = replace(day, end=midnight(date(2016, 12, 31)), equals={"orbitNumber_start": orbit})
    with count_calls() as calls:
        assert {image.properties["orbitNumber_start"] for image in SCENES.search(year)} == {orbit}
    assert calls["_image"] < 200
    assert calls["_bands"] == 0
