"""Stubs by Earth Engine's own client, over HTTP."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from eechips import datasets
from eechips.client.error_classification import classify_response
from eechips.errors import PermanentError
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stac_collections import CLASSES, COLUMNS, write_collections

PLACE = [-105.0, 40.0]
FIRES = [-5.0, 13.0]  # in Mali, where savannas burn in November: Giglio et al. (2018), doi:10.1016/j.rse.2018.08.005


@pytest.fixture(scope="module")
def stub_server(serve: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = write_collections(tmp_path_factory.mktemp("stac"))
    return serve("--demo-datasets", str(folder), "--rate", "none", "--concurrency", "none")


@pytest.fixture
def ee(stub_server: Server) -> Any:
    return initialize(stub_server)


@pytest.mark.slow
def test_a_collection_of_continuous_values_end_to_end(ee: Any) -> None:
    point = ee.Geometry.Point(PLACE)
    rain = ee.ImageCollection("ACME/RAIN").filterBounds(point).filterDate("2020-01-01", "2021-01-01")
    assert rain.size().getInfo() == 45
    first = rain.first()
    assert first.get("eechips:synthetic").getInfo() == 1
    assert first.bandNames().getInfo() == ["rain", "error", "NDVI", "QA"]
    # 0.05 degrees, as of CHIRPS, whose record says 5566 m.
    assert first.select("rain").projection().nominalScale().getInfo() == pytest.approx(5565.974539663679, rel=1e-9)
    region = point.buffer(50_000)
    found = rain.select("rain").sum().reduceRegion(ee.Reducer.minMax(), region, 5566).getInfo()
    assert 0 < found["rain_min"] < found["rain_max"] < 45 * 350.5
    series = rain.select(["NDVI", "QA"]).getRegion(point, 250).getInfo()
    assert len(series) == 46
    values = [row[series[0].index("NDVI")] for row in series[1:]]
    assert -2000 <= min(values) < max(values) <= 10000
    url = (
        rain.select("rain")
        .mean()
        .getThumbURL({"region": region.bounds(), "dimensions": 64, "max": 350, "format": "png"})
    )
    with urlopen(url) as response:
        assert response.read(8) == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_an_image_of_classes_end_to_end(ee: Any) -> None:
    image = ee.Image("ACME/LAND/COVER_V1")
    grid = {
        "dimensions": {"width": 64, "height": 64},
        "affineTransform": {"scaleX": 30, "scaleY": -30, "translateX": 500_000, "translateY": 4_430_000},
        "crsCode": "EPSG:32613",
    }
    found = np.load(io.BytesIO(ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": grid})))
    assert found.dtype.names == ("class", "height")
    assert found["class"].dtype == np.uint8
    assert set(np.unique(found["class"]).tolist()) <= set(CLASSES)
    region = ee.Geometry.Point(PLACE).buffer(3000)
    counts = image.select("class").reduceRegion(ee.Reducer.frequencyHistogram(), region, 30).getInfo()["class"]
    assert {int(code) for code in counts} <= set(CLASSES)
    sample = image.sample(region, 30, numPixels=20, seed=1, geometries=True).getInfo()["features"]
    assert {feature["properties"]["class"] for feature in sample} <= set(CLASSES)
    info = ee.data.getAsset("ACME/LAND/COVER_V1")
    assert (info["type"], info["properties"]["eechips:synthetic"]) == ("IMAGE", 1)


@pytest.mark.slow
def test_a_table_end_to_end(ee: Any) -> None:
    stations = ee.FeatureCollection("ACME/STATIONS")
    near = stations.filterBounds(ee.Geometry.Point(PLACE).buffer(20_000))
    count = near.size().getInfo()
    assert 0 < count < stations.size().getInfo()
    first = near.first().getInfo()
    assert set(first["properties"]) == set(COLUMNS)
    assert first["geometry"]["type"] == "Point"
    heights = near.aggregate_array("height").getInfo()
    assert len(heights) == count
    srtm = ee.Image("USGS/SRTMGL1_003").reduceRegions(near, ee.Reducer.first(), 30).aggregate_array("first").getInfo()
    assert len(srtm) == count


def test_assets_are_listed(ee: Any) -> None:
    listed = ee.data.listAssets("projects/earthengine-public/assets/ACME")["assets"]
    assert {asset["id"]: asset["type"] for asset in listed} == {
        "ACME/RAIN": "IMAGE_COLLECTION",
        "ACME/LAND": "FOLDER",
        "ACME/STATIONS": "TABLE",
    }


SERVED = [
    dataset.id
    for dataset in datasets.list_datasets()
    if dataset.alias in {
        "L5", "L7", "L8_TOA", "MOD09GA", "MOD09A1", "MOD13A1", "MOD10A1", "MYD11A1", "MCD43A4", "MCD64A1", "MOD44B",
        "MCD15A3H", "MOD17A3HGF", "VNP09GA", "CORINE", "CGLS_LC100", "HANSEN", "S5P_NO2", "ERA5_LAND_DAILY", "GRIDMET",
        "TERRACLIMATE", "DAYMET", "PRISM", "SMAP", "GLDAS", "GPM", "GFS", "FIRMS", "WORLDPOP", "GHSL_POP", "SOIL_CLAY",
        "SOIL_TEXTURE", "GEDI_L4B", "AW3D30", "MERIT", "3DEP", "S2_CLOUD_PROBABILITY", "PALSAR_FNF", "OPEN_BUILDINGS",
        "GLOBCOVER", "MAPBIOMAS_BRAZIL", "NIGHT_LIGHTS_ANNUAL",
    }
]  # fmt: skip


@pytest.mark.exhaustive
def test_forty_datasets_are_sampled(ee: Any) -> None:
    assert len(SERVED) >= 40
    for served in SERVED:
        record = datasets.find_dataset(served)
        assert record is not None
        image = ee.Image(served) if record.kind == "image" else ee.ImageCollection(served).first()
        point = ee.Geometry.Point(PLACE)
        point = ee.Algorithms.If(image.geometry().contains(point, 1), point, image.geometry().centroid(1))
        if served in ("FIRMS", "MODIS/061/MCD64A1"):  # what does not burn is masked
            point = ee.Geometry.Point(FIRES).buffer(200_000)
        names = list(record.default_bands)
        found = image.select(names).reduceRegion(ee.Reducer.first(), ee.Geometry(point), record.pixel_size).getInfo()
        assert set(found) == set(names), served
        assert all(isinstance(value, int | float) for value in found.values()), served


def test_a_missing_asset_names_the_nearest_ids(ee: Any) -> None:
    with pytest.raises(ee.EEException) as caught:
        ee.ImageCollection("ACME/RAINS").size().getInfo()
    message = str(caught.value)
    start = "ImageCollection.load: ImageCollection asset 'ACME/RAINS' not found"
    assert message.startswith(f"{start} (does not exist or caller does not have access). ")
    assert "the nearest ids are ACME/RAIN" in message
    with pytest.raises(ee.EEException, match="The stub of ACME/RAIN has no '20200604': its images are its own"):
        ee.Image("ACME/RAIN/20200604").getInfo()


def test_the_hint_says_how_to_serve_a_stub(demo_ee: Any) -> None:
    for missing, expected in (
        (
            "MODIS/061/MOD09GA",
            '`eechips-local serve --demo-datasets all`, or `earth_engine_datasets = "all"` of pytest, serves a '
            "synthetic stub of it; `eechips-local assets ingest`",
        ),
        ("MODIS/061/MOD09GB", "adds stubs of more datasets such as MODIS/061/MOD09G"),
        ("NO/SUCH/THING/AT/ALL", "adds stubs of more datasets; `eechips-local assets ingest`"),
    ):
        with pytest.raises(demo_ee.EEException) as caught:
            demo_ee.Image(missing).getInfo()
        message = str(caught.value)
        start = f"Image.load: Image asset '{missing}' not found (does not exist or caller does not have access). "
        assert message.startswith(start)
        assert expected in message
        assert type(classify_response(400, message)) is PermanentError
