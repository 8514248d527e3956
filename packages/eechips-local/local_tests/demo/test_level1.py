"""Raw scenes of Landsat on the demo planet: what Landsat's algorithms make of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

GRID = {
    "dimensions": {"width": 40, "height": 30}, "crsCode": "EPSG:32613",
    "affineTransform": {"scaleX": 30, "scaleY": -30, "translateX": 476_415, "translateY": 4_430_415},
}  # fmt: skip


def pixels(ee: Any, image: Any) -> Any:
    return np.load(io.BytesIO(ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": GRID})))


def scenes(ee: Any, kind: str) -> Any:
    point = ee.Geometry.Point(-105.27, 40.02)
    return ee.ImageCollection(f"LANDSAT/LC08/C02/{kind}").filterBounds(point).filterDate("2020-06-01", "2020-07-15")


@pytest.mark.slow
def test_reflectance_is_that_of_the_raw_scene(demo_ee: Any) -> None:
    raw, toa = scenes(demo_ee, "T1").first(), scenes(demo_ee, "T1_TOA").first()
    bands = ["B2", "B4", "B5", "B10", "QA_PIXEL"]
    found = pixels(demo_ee, demo_ee.Algorithms.Landsat.TOA(raw).select(bands))
    expected = pixels(demo_ee, toa.select(bands))
    for band in bands:
        assert np.allclose(found[band], expected[band], rtol=1e-5), band
    assert 230 < np.median(found["B10"]) < 330


@pytest.mark.slow
def test_bands_and_grids_are_those_of_the_catalogue(demo_ee: Any) -> None:
    info = scenes(demo_ee, "T1").first().getInfo()
    names = [band["id"] for band in info["bands"]]
    assert names == [*(f"B{n}" for n in range(1, 12)), "QA_PIXEL", "QA_RADSAT", "SAA", "SZA", "VAA", "VZA"]
    grids = {band["id"]: band for band in info["bands"]}
    assert grids["B8"]["crs_transform"][0] == 15
    assert grids["B8"]["dimensions"][0] == 2 * grids["B4"]["dimensions"][0] - 1
    assert info["properties"]["LANDSAT_PRODUCT_ID"].startswith("LC08_L1TP_")
    assert grids["B4"]["data_type"] == {"type": "PixelType", "precision": "int", "min": 0, "max": 65535}


@pytest.mark.parametrize("kind", ["LC08/C02/T1", "LC08/C02/T1_TOA", "LE07/C02/T1", "LE07/C02/T1_TOA"])
def test_collections_with_real_time_data_have_the_scenes_of_tier_1(demo_ee: Any, kind: str) -> None:
    ee, name = demo_ee, f"{kind[:4]}_034032_{'20200602' if kind.startswith('LC') else '20200610'}"
    both = [ee.Image(f"LANDSAT/{level}/{name}") for level in (kind, kind.replace("T1", "T1_RT"))]
    tier, real_time = (pixels(ee, image.select(["B4", "QA_PIXEL"])) for image in both)
    assert tier["B4"].max() > 0
    assert np.array_equal(tier, real_time)
    assert both[0].get("LANDSAT_SCENE_ID").getInfo() == both[1].get("LANDSAT_SCENE_ID").getInfo()


def test_the_atmosphere_adds_blue_light(demo_ee: Any) -> None:
    surface = scenes(demo_ee, "T1_L2").first().select(["SR_B2", "SR_B5"]).multiply(2.75e-5).add(-0.2)
    below = pixels(demo_ee, surface)
    above = pixels(demo_ee, scenes(demo_ee, "T1_TOA").first().select(["B2", "B5"]))
    blue, infrared = (np.median(above[a] - below[b]) for a, b in (("B2", "SR_B2"), ("B5", "SR_B5")))
    assert blue > 0.03
    assert abs(infrared) < 0.02


def test_cloud_scores_are_percentages(demo_ee: Any) -> None:
    overcast, cloudy = (demo_ee.Image(scenes(demo_ee, "T1_TOA").toList(1, n).get(0)) for n in (0, 1))
    score = demo_ee.Algorithms.Landsat.simpleCloudScore
    assert set(np.unique(pixels(demo_ee, score(overcast).select("cloud"))["cloud"])) == {100}
    found = pixels(demo_ee, score(cloudy).select("cloud"))["cloud"]
    assert (found.min(), found.max()) == (0, 100)
    assert len(np.unique(found)) > 10, "edges of clouds are between"


@pytest.mark.slow
def test_a_composite_has_fewer_clouds_than_its_scenes(demo_ee: Any) -> None:
    """As in developers.google.com/earth-engine/guides/landsat, of two scenes and the bands that are scored."""
    ee = demo_ee
    collection = (
        scenes(ee, "T1").filterDate("2020-06-01", "2020-06-20").select(["B2", "B3", "B4", "B5", "B6", "B7", "B10"])
    )
    assert collection.size().getInfo() == 2
    composite = ee.Algorithms.Landsat.simpleComposite(collection=collection, asFloat=True)
    brightest = collection.map(ee.Algorithms.Landsat.TOA).max()
    region = ee.Geometry.Point(-105.27, 40.02).buffer(1500).bounds()
    values = [image.select("B2").reduceRegion("mean", region, 120).get("B2") for image in (composite, brightest)]
    fewest, most = ee.List(values).getInfo()
    assert fewest < most


@pytest.mark.parametrize("kind", ["T1", "T1_TOA"])
def test_a_whole_scene_is_valid_within_its_outline(demo_ee: Any, kind: str) -> None:
    image = scenes(demo_ee, kind).first()
    found = image.select(["B2", "B8", "QA_PIXEL"]).reduceRegion("count", image.geometry().centroid(10).buffer(300), 60)
    counts = found.getInfo()
    assert len(counts) == 3
    assert min(counts.values()) > 50
