"""Collections of the demo planet: what a query finds, in which order, and that nothing is lost."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime, timezone
from itertools import islice
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from eechips_local.demo import DemoStore
from eechips_local.demo.satellites import mgrs, wrs
from eechips_local.demo.weather import climate, cloud_cover
from eechips_local.evaluation.asset_model import (
    Counted,
    Dated,
    FolderAsset,
    ImageAsset,
    PixelType,
    PixelWindow,
    Query,
    Range,
)
from eechips_local.pixels.grids.pixel_grid import transformer
from eechips_local.stores import StoreError, demo_end
from local_tests.support.call_counts import count_calls
from local_tests.support.demo_store import STORE, american, found, millis
from local_tests.support.parameters import slow_except

COLLECTIONS = (
    "COPERNICUS/DEM/GLO30",
    "COPERNICUS/DEM/GLO30_2024_1",
    "COPERNICUS/S1_GRD",
    "COPERNICUS/S1_GRD_FLOAT",
    "COPERNICUS/S2",
    "COPERNICUS/S2_CLOUD_PROBABILITY",
    "COPERNICUS/S2_HARMONIZED",
    "COPERNICUS/S2_SR",
    "COPERNICUS/S2_SR_HARMONIZED",
    "ECMWF/ERA5_LAND/MONTHLY_AGGR",
    "ESA/WorldCover/v100",
    "ESA/WorldCover/v200",
    "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED",
    "GOOGLE/DYNAMICWORLD/V1",
    "GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL",
    "LANDSAT/LC08/C02/T1",
    "LANDSAT/LC08/C02/T1_L2",
    "LANDSAT/LC08/C02/T1_RT",
    "LANDSAT/LC08/C02/T1_RT_TOA",
    "LANDSAT/LC08/C02/T1_TOA",
    "LANDSAT/LC09/C02/T1",
    "LANDSAT/LC09/C02/T1_L2",
    "LANDSAT/LC09/C02/T1_TOA",
    *(f"LANDSAT/{craft}/C02/{level}" for craft in ("LE07", "LT04", "LT05") for level in ("T1", "T1_L2", "T1_TOA")),
    "LANDSAT/LE07/C02/T1_RT",
    "LANDSAT/LE07/C02/T1_RT_TOA",
    "MODIS/006/MCD12Q1",
    "MODIS/051/MCD12Q1",
    "MODIS/006/MOD11A1",
    "MODIS/006/MOD11A2",
    "MODIS/006/MOD13A2",
    "MODIS/006/MOD13Q1",
    "MODIS/061/MCD12Q1",
    "MODIS/061/MOD11A1",
    "MODIS/061/MOD11A2",
    "MODIS/061/MOD13A2",
    "MODIS/061/MOD13Q1",
    "NASA/HLS/HLSL30/v002",
    "NASA/HLS/HLSS30/v002",
    "NOAA/VIIRS/DNB/MONTHLY_V1/VCMSLCFG",
    "UCSB-CHG/CHIRPS/DAILY",
    "USDA/NAIP/DOQQ",
    "USDA/NASS/CDL",
    "USGS/NLCD_RELEASES/2019_REL/NLCD",
    "USGS/NLCD_RELEASES/2021_REL/NLCD",
)
SIBLINGS = tuple(
    name
    for name in COLLECTIONS
    if name.startswith(("MODIS/006/", "LANDSAT/LC09/", "LANDSAT/LT04/")) or re.search("/L[ET]0[57]/.*_(L2|TOA)$", name)
)
"""Collections whose images lie and are dated as those of another: a later version, level or craft."""
QUICK = (
    "COPERNICUS/S1_GRD",
    "COPERNICUS/S2_SR_HARMONIZED",
    "ESA/WorldCover/v200",
    "GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL",
    "LANDSAT/LC08/C02/T1_L2",
    "MODIS/061/MOD11A2",
    "NASA/HLS/HLSL30/v002",
    "USDA/NAIP/DOQQ",
)
"""Collections that are tested by default; each is laid out in its own way."""
OWN = ("EECHIPS/DEMO/MIXED",)  # which Earth Engine does not have
IMAGES = ("CGIAR/SRTM90_V4", "JRC/GSW1_4/GlobalSurfaceWater", "NASA/NASADEM_HGT/001", "USGS/SRTMGL1_003")
TABLES = (
    "FAO/GAUL/2015/level0",
    "FAO/GAUL/2015/level1",
    "FAO/GAUL/2015/level2",
    "FAO/GAUL_SIMPLIFIED_500m/2015/level0",
    "FAO/GAUL_SIMPLIFIED_500m/2015/level1",
    "FAO/GAUL_SIMPLIFIED_500m/2015/level2",
    "RESOLVE/ECOREGIONS/2017",
    "TIGER/2016/Counties",
    "TIGER/2016/States",
    "TIGER/2018/Counties",
    "TIGER/2018/States",
    "USDOS/LSIB/2017",
    "USDOS/LSIB_SIMPLE/2017",
)


def test_everything_is_reached_from_the_root() -> None:
    seen: list[str] = []
    folders = [""]
    while folders:
        for child in STORE.children(folders.pop()):
            if isinstance(STORE.get(child), FolderAsset):
                folders.append(child)
            else:
                seen.append(child)
    assert sorted(seen) == sorted(COLLECTIONS + OWN + IMAGES + TABLES)
    assert list(STORE.describe()["assets"]) == sorted(seen)
    assert STORE.describe()["synthetic"] is True


@pytest.mark.parametrize(
    "name", ["", "USDA/NAIP/DOQ", "nothing/at/all", "USDA/NAIP/DOQQ/", "../x", "FAO/GAUL/2015/level1/x"]
)
def test_unknown_ids_are_not_found(name: str) -> None:
    assert STORE.get(name) is None


def test_an_id_from_before_folders_is_found() -> None:
    asset, image = STORE.get("srtm90_v4"), STORE.get("CGIAR/SRTM90_V4")
    assert isinstance(asset, ImageAsset)
    assert asset.id == "srtm90_v4"
    assert replace(asset, id="CGIAR/SRTM90_V4") == image


@pytest.mark.parametrize("name", slow_except(COLLECTIONS, *COLLECTIONS[::4]))
def test_images_say_what_they_are(name: str) -> None:
    year = YEARS.get(name, 2021)
    query = Query(bounds=(-105.2, 39.4, -105.0, 39.6), start=millis(year, 1, 1), end=millis(year + 1, 1, 1))
    seen = list(islice(STORE.get(name).images(query), 3))  # type: ignore[union-attr]
    assert seen
    for image in seen:
        index = image.properties["system:index"]
        assert image.id == f"{name}/{index}"
        assert STORE.get(image.id) == image
        assert image.properties["eechips:synthetic"] == 1
        assert "not an observation" in image.properties["description"]
        assert image.properties["system:time_start"] <= image.properties["system:time_end"]
        assert image.footprint.is_valid
        assert image.footprint.intersects(shapely.box(-105.2, 39.4, -105.0, 39.6))
        assert len({band.name for band in image.bands}) == len(image.bands)
        assert image.version == STORE.describe()["version"]
    assert STORE.get(f"{name}/nothing_of_the_kind") is None


def test_images_of_the_own_collection_differ_in_everything() -> None:
    images = found("EECHIPS/DEMO/MIXED", Query(bounds=(-104.61, 40.39, -104.59, 40.41)))
    assert [image.id for image in images] == sorted(image.id for image in images)
    assert all(STORE.get(image.id) == image for image in images)
    assert len({tuple(band.name for band in image.bands) for image in images}) == 4
    assert {image.bands[0].pixel_type for image in images} == {
        PixelType("int", 0, 255), PixelType("int", 0, 65535), PixelType("float"),
    }  # fmt: skip
    assert {(image.bands[0].grid.crs, image.bands[0].grid.transform.a) for image in images} == {
        ("EPSG:32613", 10.0), ("EPSG:32612", 20.0),
    }  # fmt: skip
    assert [i.properties["system:index"] for i in images if "system:time_start" not in i.properties] == ["h_undated"]
    assert [i.properties["system:index"] for i in images if i.is_composite] == ["i_no_outline"]
    assert not found("EECHIPS/DEMO/MIXED", Query(bounds=(10.0, 40.0, 11.0, 41.0)))[1:]


YEARS = {
    **{f"MODIS/{version}/MCD12Q1": 2013 for version in ("006", "051")},
    **{f"LANDSAT/LT04/C02/{level}": 1990 for level in ("T1", "T1_L2", "T1_TOA")},
    **{f"LANDSAT/LT05/C02/{level}": 2005 for level in ("T1", "T1_L2", "T1_TOA")},
    "COPERNICUS/DEM/GLO30": 2010,
    "COPERNICUS/DEM/GLO30_2024_1": 2010,
    "ESA/WorldCover/v100": 2020,
    "USGS/NLCD_RELEASES/2019_REL/NLCD": 2019,
}
SPAN = {
    "USGS": 1500,
    "LANDSAT": 120,
    "COPERNICUS": 40,
    "GOOGLE": 40,
    "MODIS": 40,
    "NASA": 40,
    "NOAA": 100,
    "UCSB-CHG": 40,
    "ECMWF": 400,
    "ESA": 800,
    "USDA": 1500,
}
PLACE = (-109.0, 36.9, -107.2, 38.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_except(COLLECTIONS, *QUICK))
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_queries_lose_nothing_that_matches(name: str, data: st.DataObject) -> None:
    """Against all images of a larger area and time, each looked at by itself."""
    days = SPAN[name.partition("/")[0]]
    first = data.draw(st.integers(17_200, 19_000), label="first day") * 86_400_000.0
    whole = found(name, Query(bounds=PLACE, start=first, end=first + days * 86_400_000.0))
    assert [i.id for i in whole] == sorted(i.id for i in whole)
    west, east = sorted(data.draw(st.tuples(st.floats(-109.0, -107.2), st.floats(-109.0, -107.2)), label="x"))
    south, north = sorted(data.draw(st.tuples(st.floats(36.9, 38.3), st.floats(36.9, 38.3)), label="y"))
    start = first + data.draw(st.integers(0, days * 24), label="hours") * 3_600_000.0
    end = start + data.draw(st.integers(1, days * 24), label="length") * 3_600_000.0
    end = min(end, first + days * 86_400_000.0)
    narrowed = {i.id for i in found(name, Query(bounds=(west, south, east, north), start=start, end=end))}
    box = shapely.box(west, south, east, north).buffer(1e-9)
    expected = {i.id for i in whole if start <= i.properties["system:time_start"] < end and i.footprint.intersects(box)}
    assert expected <= narrowed
    # More than matches would only cost time, but for times there is no excuse.
    assert narrowed <= {i.id for i in whole if start <= i.properties["system:time_start"] < end}


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_except(COLLECTIONS, *QUICK))
def test_numbers_and_times_of_images_are_known_without_making_them(name: str) -> None:
    hours = Query(start=millis(2018, 7, 3, 9), end=millis(2018, 7, 3, 10))
    collection = STORE.get(name)
    if isinstance(collection, Counted):
        assert collection.count(hours) in (None, len(found(name, hours)))
        assert collection.count(replace(hours, bounds=(7.0, 46.0, 8.0, 47.0))) is None
    if isinstance(collection, Dated):
        place = Query(bounds=(-104.6, 40.1, -104.4, 40.3))
        starts = {image.properties["system:time_start"] for image in found(name, place)}
        assert starts
        assert starts <= set(collection.times(place))
        assert list(collection.times(Query())) == sorted(set(collection.times(Query())))


@pytest.mark.parametrize("name", slow_except(COLLECTIONS, *QUICK))
def test_few_calls_find_an_index(name: str) -> None:
    year = YEARS.get(name, 2021)
    query = Query(bounds=(-105.0, 39.5, -105.0, 39.5), start=millis(year, 1, 1), end=millis(year + 1, 1, 1))
    image = found(name, query)[0]
    with count_calls() as calls:
        again = found(name, Query(equals={"system:index": image.properties["system:index"]}))
    assert [i.id for i in again] == [image.id]
    assert sum(calls.values()) < 200_000, "as many as for all images"
    assert found(name, Query(equals={"system:index": "no such"})) == []
    listed = Query(indices=frozenset({image.properties["system:index"], "no such"}))
    assert [i.id for i in found(name, listed)] == [image.id]


@pytest.mark.slow
@pytest.mark.parametrize("name", COLLECTIONS)
def test_the_first_images_of_a_collection_do_not_wait_for_all(name: str) -> None:
    with count_calls() as calls:
        firsts = list(islice(STORE.children(name), 3))
    assert firsts == sorted(firsts)
    assert all(child.startswith(f"{name}/") for child in firsts)
    assert sum(calls.values()) < 5_000_000, "as many as for all images"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("COPERNICUS/S2_HARMONIZED", "CLOUDY_PIXEL_PERCENTAGE"),
        ("LANDSAT/LC09/C02/T1_L2", "CLOUD_COVER"),
        ("LANDSAT/LC08/C02/T1_TOA", "CLOUD_COVER"),
        ("LANDSAT/LE07/C02/T1_L2", "CLOUD_COVER"),
    ],
)
def test_clouds_are_counted_where_someone_asks(name: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[object] = []
    counts = cloud_cover.cover_percent.__wrapped__

    def counting(*square: object, **regime: object) -> object:
        counted.append(square)
        return counts(*square, **regime)

    monkeypatch.setattr(cloud_cover, "cover_percent", counting)
    query = Query(bounds=(7.3, 46.2, 7.3, 46.2), start=millis(2022, 4, 3), end=millis(2022, 5, 3))
    images = found(name, query)
    assert images
    assert all(key in image.properties and image.properties["system:time_start"] for image in images)
    assert not counted
    assert 0.0 <= images[0].properties[key] <= 100.0
    assert images[0].properties[key] == dict(images[0].properties)[key]
    assert counted


@pytest.mark.slow
@pytest.mark.parametrize("until", [date(2025, 1, 1), date(2026, 11, 21), date(2031, 3, 1)])
def test_continuing_collections_end_shortly_before_the_day(until: date) -> None:
    store, end = DemoStore(until), millis(until.year, until.month, until.day)
    longest = {
        "USDA/NAIP/DOQQ": 820,
        "USDA/NASS/CDL": 800,
        "ECMWF/ERA5_LAND/MONTHLY_AGGR": 62,
        "GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL": 800,
        "MODIS/061/MCD12Q1": 800,
        "NOAA/VIIRS/DNB/MONTHLY_V1/VCMSLCFG": 62,
    }
    ended = ("COPERNICUS/DEM/", "ESA/", "LANDSAT/LE07/", "LANDSAT/LT", "MODIS/006/", "MODIS/051/", "USGS/")
    for name in COLLECTIONS:
        if name.startswith(ended):
            continue
        days = longest.get(name, 35)
        query = Query(bounds=(-105.2, 39.4, -105.0, 39.6), start=end - days * 86_400_000.0)
        dates = [image.properties["system:time_start"] for image in store.get(name).images(query)]  # type: ignore[union-attr]
        assert dates, name
        assert max(dates) < end, name


def test_the_day_comes_from_the_environment_or_the_clock() -> None:
    assert demo_end({"EECHIPS_DEMO_UNTIL": "2024-02-29"}) == date(2024, 2, 29)
    before = datetime.now(timezone.utc).date()
    assert before <= demo_end({}) <= datetime.now(timezone.utc).date()
    with pytest.raises(StoreError, match="must be a date like 2025-01-31, not 'soon'"):
        demo_end({"EECHIPS_DEMO_UNTIL": "soon"})


@pytest.mark.parametrize(
    ("name", "zone", "southern", "corner"),
    [
        # Of Copernicus' grid; geetools recorded two in the south (tests/test_ImageCollection/test_aggregate_array.yml).
        ("13SDD", 13, False, (399960.0, 4400040.0)),
        ("33UUU", 33, False, (300000.0, 5900040.0)),
        ("31TCJ", 31, False, (300000.0, 4900020.0)),
        ("56HLH", 56, True, (300000.0, 6300040.0)),
        ("18MYC", 18, True, (699960.0, 9800020.0)),
        ("18MYD", 18, True, (699960.0, 9900040.0)),
    ],
)
def test_tiles_of_sentinel_2(name: str, zone: int, southern: bool, corner: tuple[float, float]) -> None:
    tile = mgrs.named(name)
    assert tile is not None
    assert tile.name == name
    assert (tile.zone, tile.southern) == (zone, southern)
    assert tile.corner == corner
    assert tile.grid(10).shape == (10980, 10980)
    assert tile.grid(60).bounds == tile.grid(10).bounds


@given(st.sampled_from(sorted({"13SDD", "31TCJ", "10TEM", "56HLH", "36MZE", "60VWL"})))
def test_tile_names_are_read_back(name: str) -> None:
    tile = mgrs.named(name)
    assert tile is None or mgrs.named(tile.name) == tile


@given(st.floats(-124.0, -68.0), st.floats(26.0, 49.0))
def test_land_is_seen_by_satellites(longitude: float, latitude: float) -> None:
    if not american(longitude, latitude):
        return
    at = (longitude, latitude, longitude, latitude)
    assert any(mgrs.outline(t).intersects(shapely.Point(longitude, latitude)) for t in mgrs.tiles(at))
    assert any(wrs.outline(s, wrs.OLI).intersects(shapely.Point(longitude, latitude)) for s in wrs.scenes(at, wrs.OLI))


def test_landsat_passes_on_the_published_days() -> None:
    """LC08_044034_20140318 and LC08_041027_20150604 exist, sixteen days apart from the next."""
    assert STORE.get("LANDSAT/LC08/C02/T1_L2/LC08_044034_20140318") is not None
    assert STORE.get("LANDSAT/LC08/C02/T1_L2/LC08_041027_20150604") is not None
    assert STORE.get("LANDSAT/LC08/C02/T1_L2/LC08_044034_20140403") is not None
    passes = STORE.get("LANDSAT/LC08/C02/T1_L2").images(Query(equals={"WRS_PATH": 44, "WRS_ROW": 34}))
    assert [image.properties["system:index"] for image in islice(passes, 3, 5)] == [
        "LC08_044034_20130518", "LC08_044034_20130603",
    ]  # fmt: skip
    assert STORE.get("LANDSAT/LC09/C02/T1_L2/LC09_044034_20140326") is None  # before its launch
    near = Query(ranges={"WRS_PATH": Range(44, 45), "WRS_ROW": Range(34, 34)})
    some = islice(STORE.get("LANDSAT/LC08/C02/T1_L2").images(near), 1000)
    assert {image.properties["system:index"][5:11] for image in some} == {"044034", "045034"}


def test_sentinel_2_is_found_by_the_names_of_real_images() -> None:
    """The images of geedim's tests, over South Africa."""
    for name, day in (
        ("S2_SR_HARMONIZED/20191229T081239_20191229T083040_T34HEJ", "2019-12-29"),
        ("S2_HARMONIZED/20210216T081011_20210216T083703_T34HEJ", "2021-02-16"),
    ):
        image = STORE.get(f"COPERNICUS/{name}")
        assert isinstance(image, ImageAsset)
        assert image.properties["MGRS_TILE"] == "34HEJ"
        moment = datetime.fromtimestamp(image.properties["system:time_start"] / 1000, tz=timezone.utc)
        assert f"{moment:%Y-%m-%d}" == day
        assert image.footprint.contains(shapely.Point(21.64, -33.45))
    assert STORE.get("COPERNICUS/S2_SR_HARMONIZED/20191329T081239_20191229T083040_T34HEJ") is None
    assert STORE.get("COPERNICUS/S2_SR_HARMONIZED/20101229T081239_20101229T083040_T34HEJ") is None


def test_sentinel_2_states_its_quality_and_geometry() -> None:
    """As geetools recorded (tests/test_Image/test_remove_properties.yml)."""
    name = "COPERNICUS/S2_SR_HARMONIZED"
    day = datetime(2022, 6, 1, tzinfo=timezone.utc).timestamp() * 1000.0
    query = Query(bounds=(-105.1, 39.9, -105.0, 40.0), start=day, end=day + 30 * 86_400_000.0)
    known = next(iter(STORE.get(name).images(query))).properties  # type: ignore[union-attr]
    assert known["GENERAL_QUALITY"] == "PASSED"
    assert known["BOA_ADD_OFFSET_B8A"] == -1000
    assert known["SOLAR_IRRADIANCE_B10"] == 367.15
    # The Earth is farthest from the sun in July.
    assert 0.96 < known["REFLECTANCE_CONVERSION_CORRECTION"] < 0.98
    assert 0.0 < known["MEAN_INCIDENCE_ZENITH_ANGLE_B4"] < 12.0


def test_sentinel_2_states_what_it_shows_as_its_classification_does() -> None:
    """See Google's catalogue, COPERNICUS/S2_SR; products of level 1C have no classes."""
    day = datetime(2021, 1, 1, tzinfo=timezone.utc).timestamp() * 1000.0
    query = Query(bounds=(-105.05, 39.95, -105.04, 39.96), start=day, end=day + 30 * 86_400_000.0)
    names = {
        "DARK_FEATURES": 2, "CLOUD_SHADOW": 3, "VEGETATION": 4, "NOT_VEGETATED": 5, "WATER": 6, "UNCLASSIFIED": 7,
        "MEDIUM_PROBA_CLOUDS": 8, "HIGH_PROBA_CLOUDS": 9, "THIN_CIRRUS": 10, "SNOW_ICE": 11,
    }  # fmt: skip
    images = list(STORE.get("COPERNICUS/S2_SR_HARMONIZED").images(query))  # type: ignore[union-attr]
    assert len(images) >= 5
    for image in images[:3]:
        band = next(band for band in image.bands if band.name == "SCL")
        values, seen = band.source.read((band.index,), PixelWindow(0, 0, 172, 172), 5)  # each 32nd pixel
        shown = values[seen]
        assert abs(image.properties["NODATA_PIXEL_PERCENTAGE"] - 100.0 * np.mean(~seen)) < 1.0
        known = {name: image.properties[f"{name}_PERCENTAGE"] for name in names}
        assert sum(known.values()) == pytest.approx(100.0, abs=0.001)
        clouds = sum(known[name] for name in ("MEDIUM_PROBA_CLOUDS", "HIGH_PROBA_CLOUDS", "THIN_CIRRUS"))
        assert clouds == pytest.approx(image.properties["CLOUDY_PIXEL_PERCENTAGE"], abs=0.001)
        for name, value in names.items():
            assert abs(known[name] - 100.0 * np.mean(shown == value)) < 8.0, name
    top = next(iter(STORE.get("COPERNICUS/S2_HARMONIZED").images(query)))  # type: ignore[union-attr]
    assert "SNOW_ICE_PERCENTAGE" not in top.properties


@pytest.mark.parametrize(
    "name",
    [
        "LC08/C02/T1_L2/LC08_173083_20180217",  # of geedim's tests, in South Africa
        "LC09/C02/T1_L2/LC09_043034_20211116",  # of Xee's, before the satellite had reached its orbit
        "LT04/C02/T1_L2/LT04_173083_19880310",
        "LT05/C02/T1_TOA/LT05_031034_20110619",
        "LE07/C02/T1/LE07_173083_20220119",  # after it had left its orbit
        "LC09/C02/T1_L2/LC09_173083_20220308",
        "LC09/C02/T1_L2/LC09_173083_20221205",
        "LC09/C02/T1_L2/LC09_173083_20230106",
        "LC08/C02/T1_L2/LC08_090084_20160121",  # in Australia, minutes before midnight in Greenwich
    ],
)
def test_landsat_s_days_are_the_real_ones_on_other_continents(name: str) -> None:
    image = STORE.get(f"LANDSAT/{name}")
    assert isinstance(image, ImageAsset)
    assert image.properties["DATE_ACQUIRED"].replace("-", "") == name[-8:]
    moment = datetime.fromtimestamp(image.properties["system:time_start"] / 1000, tz=timezone.utc)
    assert f"{moment:%Y%m%d}" == name[-8:]


@pytest.mark.slow
def test_modis_grid_and_dates_are_those_of_the_catalogue() -> None:
    composites = found("MODIS/061/MOD11A2", Query())
    assert composites[0].properties["system:index"] == "2000_02_18"
    assert STORE.get("MODIS/061/MOD11A2/2003_01_01") is not None
    assert all(
        i.properties["system:index"].endswith("_01_01") for i in composites if "_01_0" in i.id and "_01_09" not in i.id
    )
    grid = composites[0].bands[0].grid
    assert grid.crs == "SR-ORG:6974"
    assert grid.transform[:6] == (926.625433056, 0.0, -20015109.354, 0.0, -926.625433055, 10007554.677)
    oracle = Transformer.from_crs("EPSG:4326", "+proj=sinu +R=6371007.181 +units=m", always_xy=True)
    x, y = oracle.transform(-105.0, 39.5)
    column, row = ~grid.transform * (x, y)
    values, valid = composites[-20].bands[0].source.read([0], _around(column, row), 0)
    assert valid.any()
    celsius = values[valid] * 0.02 - 273.15
    assert -40.0 < celsius.min() <= celsius.max() < 70.0


def _around(column: float, row: float):  # type: ignore[no-untyped-def]
    return PixelWindow(int(column) - 5, int(row) - 5, 10, 10)


@pytest.mark.parametrize(
    "name", ["MODIS/061/MOD11A1", "MODIS/061/MOD13Q1", "UCSB-CHG/CHIRPS/DAILY", "ECMWF/ERA5_LAND/MONTHLY_AGGR"]
)
def test_datasets_of_the_land_draw_no_weather_at_sea(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mosaic reads hundreds of such images where none has a pixel."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("weather is drawn where nothing shows it")

    monkeypatch.setattr(climate, "weather", refuse)
    monkeypatch.setattr(climate, "cloudiness", refuse)
    monkeypatch.setattr(climate, "mean_temperature", refuse)
    collection: Any = STORE.get(name)
    band = next(iter(collection.images(Query()))).bands[0]
    x, y = transformer("EPSG:4326", band.grid.crs).transform(-140.0, 0.0)
    column, row = (int(part) for part in ~band.grid.transform * (x, y))
    assert not band.source.read([0], PixelWindow(column, row, 32, 32), 0)[1].any()
