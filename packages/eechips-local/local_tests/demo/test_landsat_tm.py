"""Landsat 4, 5 and 7 on the demo planet: bands, calibration, flags, and the land that Landsat 8 sees."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

GRID = {
    "dimensions": {"width": 40, "height": 30}, "crsCode": "EPSG:32613",
    "affineTransform": {"scaleX": 30, "scaleY": -30, "translateX": 476_415, "translateY": 4_430_415},
}  # fmt: skip
SURFACE = [
    "SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7", "SR_ATMOS_OPACITY", "SR_CLOUD_QA", "ST_B6", "ST_ATRAN",
    "ST_CDIST", "ST_DRAD", "ST_EMIS", "ST_EMSD", "ST_QA", "ST_TRAD", "ST_URAD", "QA_PIXEL", "QA_RADSAT",
]  # fmt: skip
AFTER = ["QA_PIXEL", "QA_RADSAT", "SAA", "SZA", "VAA", "VZA"]


def pixels(ee: Any, image: Any, grid: Any = GRID) -> Any:
    return np.load(io.BytesIO(ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": grid})))


def scenes(ee: Any, product: str, year: int) -> Any:
    point = ee.Geometry.Point(-105.27, 40.02)
    return ee.ImageCollection(f"LANDSAT/{product}").filterBounds(point).filterDate(f"{year}-06-01", f"{year}-08-01")


@pytest.mark.parametrize(
    ("product", "year", "names", "dtype"),
    [
        ("LT05/C02/T1_L2", 2005, SURFACE, "u2"),
        ("LE07/C02/T1_L2", 2015, SURFACE, "u2"),
        ("LT04/C02/T1", 1990, [*(f"B{n}" for n in range(1, 8)), *AFTER], "u1"),
        (
            "LE07/C02/T1_TOA", 2015,
            ["B1", "B2", "B3", "B4", "B5", "B6_VCID_1", "B6_VCID_2", "B7", "B8", *AFTER], "f4",
        ),
    ],
)  # fmt: skip
def test_bands_and_types_are_those_of_the_catalogue(
    demo_ee: Any, product: str, year: int, names: list[str], dtype: str
) -> None:
    images = scenes(demo_ee, product, year)
    image = images.first()
    assert image.bandNames().getInfo() == names
    assert images.size().getInfo() >= 3
    assert pixels(demo_ee, image.select(names[0]))[names[0]].dtype.str[1:] == dtype


def test_landsat_5_and_8_see_the_same_land_on_the_same_scale(demo_ee: Any) -> None:
    ee = demo_ee
    old = scenes(ee, "LT05/C02/T1_L2", 2005).median()
    new = scenes(ee, "LC08/C02/T1_L2", 2020).median()
    index = [
        image.multiply(2.75e-5).add(-0.2).normalizedDifference(bands).rename("v")
        for image, bands in ((old, ["SR_B4", "SR_B3"]), (new, ["SR_B5", "SR_B4"]))
    ]
    before, after = (pixels(ee, image)["v"] for image in index)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.5
    assert abs(np.median(before) - np.median(after)) < 0.15


@pytest.mark.parametrize(
    ("craft", "bands"), [("LT05/C02", ["B1", "B4", "B6"]), ("LE07/C02", ["B3", "B6_VCID_1", "B8"])]
)
def test_reflectance_and_temperature_are_those_of_the_raw_scene(demo_ee: Any, craft: str, bands: list[str]) -> None:
    raw, toa = (scenes(demo_ee, f"{craft}/{level}", 2005).first() for level in ("T1", "T1_TOA"))
    found = pixels(demo_ee, demo_ee.Algorithms.Landsat.TOA(raw).select(bands))
    expected = pixels(demo_ee, toa.select(bands))
    for band in bands:
        assert np.allclose(found[band], expected[band], rtol=1e-4), band
    thermal = bands[1] if "VCID" in bands[1] else bands[2]
    assert 230 < np.median(found[thermal]) < 330


def test_flags_agree_and_none_is_of_cirrus(demo_ee: Any) -> None:
    ee = demo_ee
    stack = scenes(ee, "LT05/C02/T1_L2", 2006).map(lambda image: image.select(["QA_PIXEL", "SR_CLOUD_QA"])).toBands()
    wide = {
        **GRID, "affineTransform": {"scaleX": 600, "scaleY": -600, "translateX": 476_415, "translateY": 4_430_415},
    }  # fmt: skip
    found = pixels(ee, stack, wide)
    clouds = []
    for name in found.dtype.names:
        if name.endswith("QA_PIXEL"):
            quality, summary = found[name].astype(int), found[name.replace("QA_PIXEL", "SR_CLOUD_QA")].astype(int)
            assert not (quality & 0xC000).any()
            for bit, here in ((3, 1), (4, 2), (1, 3), (5, 4), (7, 5)):
                assert np.array_equal((quality >> bit) & 1, (summary >> here) & 1)
            clouds.append(((quality >> 3) & 1).mean())
    assert max(clouds) > 0.0
    assert min(clouds) < 1.0


@pytest.mark.parametrize(("craft", "brightest"), [("LT05", 0.306), ("LE07", 0.301)])
def test_clouds_saturate_the_blue_band_and_its_flag(demo_ee: Any, craft: str, brightest: float) -> None:
    """QA_RADSAT has bit 0 where band 1 is 255; scripts take only pixels where it is 0."""
    ee = demo_ee
    raw = scenes(ee, f"{craft}/C02/T1", 2005).sort("CLOUD_COVER", False).first()
    wide = {
        **GRID, "affineTransform": {"scaleX": 600, "scaleY": -600, "translateX": 476_415, "translateY": 4_430_415},
    }  # fmt: skip
    found = pixels(ee, raw.select(["B1", "B4", "QA_RADSAT"]), wide)
    flagged, full = found["QA_RADSAT"].astype(int) & 1 == 1, found["B1"] == 255
    assert flagged.any()
    # The band is read between cells, flags in one.
    assert np.mean(flagged == full) > 0.97
    assert raw.get("REFLECTANCE_MULT_BAND_1").getInfo() == pytest.approx(brightest / 255.0)
