"""Sensors of the demo planet by Earth Engine's own client, over HTTP."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

FARM = (-104.6, 40.4)
SIZE = 64


def pixels(ee: Any, image: Any, bands: list[str], scale: float, crs: str = "EPSG:32613") -> np.ndarray:
    """Return pixels of an image around the farm."""
    x, y = {"EPSG:32613": (533_900.0, 4_472_600.0), "EPSG:4326": FARM}[crs]
    grid = {
        "dimensions": {"width": SIZE, "height": SIZE},
        "affineTransform": {"scaleX": scale, "scaleY": -scale, "translateX": x, "translateY": y},
        "crsCode": crs,
    }
    found = ee.data.computePixels({"expression": image.select(bands), "fileFormat": "NPY", "grid": grid})
    return np.load(io.BytesIO(found))


def at_farm(ee: Any, collection: str, start: str, end: str) -> Any:
    return ee.ImageCollection(collection).filterBounds(ee.Geometry.Point(FARM)).filterDate(start, end)


@pytest.mark.slow
def test_radar_is_filtered_as_in_its_documentation(demo_ee: Any) -> None:
    """See https://developers.google.com/earth-engine/guides/sentinel1."""
    ee = demo_ee
    passes = (
        at_farm(ee, "COPERNICUS/S1_GRD", "2021-07-01", "2021-08-01")
        .filter(ee.Filter.listContains("transmitterReceiverPolarisation", "VV"))
        .filter(ee.Filter.listContains("transmitterReceiverPolarisation", "VH"))
        .filter(ee.Filter.eq("instrumentMode", "IW"))
        .filter(ee.Filter.eq("resolution_meters", 10))
    )
    directions = passes.aggregate_histogram("orbitProperties_pass").getInfo()
    assert set(directions) == {"ASCENDING", "DESCENDING"}
    one = passes.filter(ee.Filter.eq("orbitProperties_pass", "ASCENDING"))
    found = pixels(ee, one.mean(), ["VV", "VH", "angle"], 10)
    assert found["VV"].dtype == np.float64
    assert -30.0 < np.median(found["VH"]) < np.median(found["VV"]) < -5.0
    assert 29.0 < found["angle"].min() <= found["angle"].max() < 47.0


@pytest.mark.slow
def test_embeddings_compare_by_their_dot_product(demo_ee: Any) -> None:
    ee = demo_ee
    first, second = (
        at_farm(ee, "GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL", f"{year}-01-01", f"{year + 1}-01-01").mosaic()
        for year in (2020, 2021)
    )
    length = first.multiply(first).reduce(ee.Reducer.sum()).rename("length")
    likeness = first.multiply(second).reduce(ee.Reducer.sum()).rename("likeness")
    found = pixels(ee, length.addBands(likeness), ["length", "likeness"], 10)
    np.testing.assert_allclose(found["length"], 1.0, atol=1e-6)
    assert 0.0 < found["likeness"].min() < found["likeness"].max() <= 1.0 + 1e-6


@pytest.mark.parametrize(
    ("collection", "band", "scale", "crs"),
    [
        ("COPERNICUS/S1_GRD_FLOAT", "VV", 10, "EPSG:32613"),
        ("NASA/HLS/HLSL30/v002", "B4", 30, "EPSG:32613"),
        ("NASA/HLS/HLSS30/v002", "Fmask", 30, "EPSG:32613"),
        ("UCSB-CHG/CHIRPS/DAILY", "precipitation", 0.05, "EPSG:4326"),
        ("COPERNICUS/DEM/GLO30_2024_1", "DEM", 30, "EPSG:32613"),
        ("NOAA/VIIRS/DNB/MONTHLY_V1/VCMSLCFG", "avg_rad", 1 / 240, "EPSG:4326"),
        ("MODIS/061/MCD12Q1", "LC_Type1", 500, "EPSG:32613"),
    ],
)
def test_pixels_are_those_of_the_store(demo_ee: Any, collection: str, band: str, scale: float, crs: str) -> None:
    ee = demo_ee
    start, end = ("2010-01-01", "2012-01-01") if "DEM" in collection else ("2020-01-01", "2021-01-01")
    image = at_farm(ee, collection, start, end).first()
    assert image.get("eechips:synthetic").getInfo() == 1
    found = pixels(ee, image, [band], scale, crs)[band]
    assert np.isfinite(found).all()
    assert found.shape == (SIZE, SIZE)


def test_water_is_masked_beside_lakes(demo_ee: Any) -> None:
    ee = demo_ee
    image = ee.Image("JRC/GSW1_4/GlobalSurfaceWater")
    area = ee.Geometry.Point((-104.54, 40.42)).buffer(3000)
    stats = image.select("occurrence").reduceRegion(ee.Reducer.count().combine(ee.Reducer.max(), "", True), area, 30)
    known = stats.getInfo()
    assert known["occurrence_max"] == 100
    assert 0 < known["occurrence_count"] < 3.2e7 / 900.0


def test_a_median_at_the_edge_of_a_scene_is_the_same_in_every_window(demo_ee: Any) -> None:
    """The corner of the chip has pixels of a scene whose footprint ends short of it."""
    ee = demo_ee
    box = ee.Geometry.Point([-105.0469, 39.6285]).buffer(3000).bounds()
    images = ee.ImageCollection("LANDSAT/LC08/C02/T1_L2").filterDate("2020-01-01", "2020-02-01").filterBounds(box)
    median = images.select("SR_B4").map(lambda image: image.updateMask(image.gt(0))).median()

    def read(width: int, height: int) -> npt.NDArray[Any]:
        transform = {"scaleX": 30, "shearX": 0, "translateX": 495015, "scaleY": -30, "shearY": 0, "translateY": 4387485}
        grid = {"dimensions": {"width": width, "height": height}, "affineTransform": transform, "crsCode": "EPSG:32613"}
        found = ee.data.computePixels({"expression": median, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
        pixels: npt.NDArray[Any] = found["SR_B4"]
        return pixels

    np.testing.assert_array_equal(read(64, 64), read(97, 95)[:64, :64])


def test_masks_of_clouds_have_the_dates_of_the_catalogue(demo_ee: Any) -> None:
    """https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED, QA60 and MSK_CLASSI."""
    ee = demo_ee
    names = ["MSK_CLASSI_OPAQUE", "MSK_CLASSI_CIRRUS", "MSK_CLASSI_SNOW_ICE"]
    # After June 2024, as some images of the months before have no QA60.
    years = {
        year: at_farm(ee, "COPERNICUS/S2_SR_HARMONIZED", f"{year}-11-01", f"{year}-12-01") for year in range(2021, 2025)
    }
    images = {year: ee.Image(found.sort("CLOUDY_PIXEL_PERCENTAGE", False).first()) for year, found in years.items()}
    middle = ee.Geometry.Point(FARM).buffer(3000)
    counted = {year: image.select(["QA60", *names]).reduceRegion("count", middle, 60) for year, image in images.items()}
    kinds = {year: image.select(names[0]).projection() for year, image in images.items()}
    found = ee.Dictionary({str(year): ee.List([counted[year], kinds[year]]) for year in images}).getInfo()
    there = {year: {name for name, number in counts.items() if number} for year, (counts, _) in found.items()}
    assert there == {"2021": {"QA60"}, "2022": set(), "2023": set(), "2024": {"QA60", *names}}
    assert {year: (kind["crs"], kind["transform"][0]) for year, (_, kind) in found.items()} == {
        "2021": ("EPSG:4326", 1), "2022": ("EPSG:4326", 1), "2023": ("EPSG:4326", 1), "2024": ("EPSG:32613", 60),
    }  # fmt: skip
    late = pixels(ee, images[2024], ["QA60", *names, "MSK_SNWPRB"], 60)
    assert np.array_equal(late["QA60"] == 1024, late["MSK_CLASSI_OPAQUE"] == 1)
    assert np.array_equal(late["QA60"] == 2048, late["MSK_CLASSI_CIRRUS"] == 1)
    assert not (late["MSK_CLASSI_SNOW_ICE"].astype(bool) & (late["MSK_SNWPRB"] < 40)).any()


def test_an_image_tells_its_bands_as_a_property(demo_ee: Any) -> None:
    """As geetools recorded (tests/test_ImageCollection/test_aggregate_array.yml)."""
    tile = (
        demo_ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED")
        .filterBounds(demo_ee.Geometry.Point([-72.6, -2.2]))
        .filterDate("2021-01-01", "2021-02-01")
        .filter(demo_ee.Filter.eq("MGRS_TILE", "18MYC"))
    )
    bands, names = tile.first().get("system:bands"), tile.first().propertyNames()
    assert names.slice(-2).getInfo() == ["system:bands", "system:band_names"]
    assert demo_ee.Dictionary(bands).select(["B1", "SCL"]).getInfo() == {
        "B1": {
            "crs": "EPSG:32718", "crs_transform": [60, 0, 699960, 0, -60, 9800020], "dimensions": [1830, 1830],
            "data_type": {"type": "PixelType", "precision": "int", "min": 0, "max": 65535},
        },
        "SCL": {
            "crs": "EPSG:32718", "crs_transform": [20, 0, 699960, 0, -20, 9800020], "dimensions": [5490, 5490],
            "data_type": {"type": "PixelType", "precision": "int", "min": 0, "max": 255},
        },
    }  # fmt: skip
