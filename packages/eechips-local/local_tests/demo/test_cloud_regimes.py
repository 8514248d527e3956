"""Scenes are clear, overcast or partly cloudy everywhere where the server's configuration says so."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from eechips_local.demo import DemoStore
from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.satellites import hls
from eechips_local.demo.weather import cloud_cover
from eechips_local.demo.weather.cloud_regime import CLOUD_REGIMES, CloudRegime
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query

END = date(2025, 1, 1)
# Of Sentinel-2, Landsat 8 and 5: a band, metres of its pixels, and the property of the share of clouds.
SCENES = (
    ("COPERNICUS/S2_SR_HARMONIZED/20200929T080731_20200929T083634_T34HEJ", "SCL", 20, "CLOUDY_PIXEL_PERCENTAGE"),
    ("LANDSAT/LC08/C02/T1_L2/LC08_173083_20180217", "QA_PIXEL", 30, "CLOUD_COVER"),
    ("LANDSAT/LT05/C02/T1_TOA/LT05_173083_20051112", "QA_PIXEL", 30, "CLOUD_COVER"),
)


def image_of(asset_id: str, regime: CloudRegime) -> ImageAsset:
    """Return an image of the demo planet under a sky."""
    asset = DemoStore(END, regime).get(asset_id)
    assert isinstance(asset, ImageAsset)
    return asset


def window(image: ImageAsset, name: str, start: tuple[int, int], size: int) -> npt.NDArray[Any]:
    """Return pixels of a band, shape (size, size), from a column and a row on."""
    band = next(band for band in image.bands if band.name == name)
    values, _ = band.source.read([band.index], PixelWindow(*start, size, size), 0)
    return np.asarray(values[0])


def is_cloudy(image: ImageAsset, name: str, start: tuple[int, int], size: int) -> npt.NDArray[np.bool_]:
    """Return which pixels of a band count as clouds: classes 8 and 9 of SCL, bit 3 of QA_PIXEL."""
    values = window(image, name, start, size).astype(int)
    return np.isin(values, (8, 9)) if name == "SCL" else (values & 8) > 0


@pytest.mark.parametrize(("asset_id", "band", "pixel", "cover"), SCENES)
@pytest.mark.parametrize(("regime", "share"), [("clear", 0.0), ("overcast", 1.0)])
def test_all_of_a_scene_is_clear_or_overcast(
    asset_id: str, band: str, pixel: int, cover: str, regime: CloudRegime, share: float
) -> None:
    image = image_of(asset_id, regime)
    assert DemoStore(END, regime).describe()["clouds"] == regime
    assert image.properties[cover] == share * 100.0
    for start in ((2000, 2000), (3000, 3500)):
        assert is_cloudy(image, band, start, 1920 // pixel).mean() == share


@pytest.mark.parametrize(("asset_id", "band", "pixel", "cover"), SCENES)
def test_places_of_some_kilometres_have_clouds_and_clear_ground(
    asset_id: str, band: str, pixel: int, cover: str
) -> None:
    image = image_of(asset_id, "scattered")
    assert image.properties[cover] == pytest.approx(37.5, abs=8.0)
    starts = ((2000, 2000), (2000, 3000), (3000, 2000), (3000, 3500))
    shares = [is_cloudy(image, band, start, 2400 // pixel).mean() for start in starts]
    assert min(shares) > 0.05
    assert max(shares) < 0.8
    assert np.mean(shares) == pytest.approx(0.375, abs=0.12)


@pytest.mark.parametrize("pitch", [64, 512, 4096, 1 << 16])
def test_rough_views_are_as_cloudy_as_fine_ones(pitch: int) -> None:
    x, y = (int(place) // pitch for place in (mercator.x_of(21.6), mercator.y_of(-33.4)))
    sky = cloud_cover.sky(Rect(pitch, x, y, 160, 160), date(2022, 12, 5), -33.0, "scattered")
    assert (sky.cloud > cloud_cover.CLOUDY).mean() == pytest.approx(0.36, abs=0.06)
    assert sky.shadow.max() > 0.45


def test_the_climate_is_usual() -> None:
    place = Rect(32, 1_200_000, 1_300_000, 40, 40)
    usual = cloud_cover.sky(place, date(2022, 12, 5), -33.0)
    assert np.array_equal(usual.cloud, cloud_cover.sky(place, date(2022, 12, 5), -33.0, "climate").cloud)
    assert DemoStore(END) == DemoStore(END, "climate")
    assert CLOUD_REGIMES[0] == "climate"


def test_products_of_one_pass_have_the_same_clouds() -> None:
    index = "20200929T080731_20200929T083634_T34HEJ"
    mask = window(image_of(f"COPERNICUS/S2_SR_HARMONIZED/{index}", "scattered"), "MSK_CLDPRB", (1000, 1000), 100)
    score = image_of(f"GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED/{index}", "scattered")
    clear = window(score, "cs", (2000, 2000), 200)[::2, ::2]
    assert np.corrcoef(np.asarray(mask, float).ravel(), np.asarray(clear, float).ravel())[0, 1] < -0.8


def test_hls_has_the_sky_of_its_satellites() -> None:
    query = Query(bounds=(21.5, -33.5, 21.7, -33.4), start=1_577_836_800_000.0, end=1_579_132_800_000.0)
    for collection in hls.collections(END, "overcast"):
        covers = [image.properties["CLOUD_COVERAGE"] for image in collection.images(query)]
        assert covers
        assert set(covers) == {100.0}
