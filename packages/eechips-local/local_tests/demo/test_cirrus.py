"""Thin cirrus of the demo planet: where it is, and that all bands of an image tell of the same."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from eechips_local.demo import DemoStore
from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.weather import cirrus
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query

STORE = DemoStore(date(2025, 1, 1))
DENVER = (-105.0, 39.5, -104.9, 39.6)


def share(latitudes: np.ndarray, days: int = 24) -> float:
    """Return the share of places all around the Earth that have cirrus."""
    found = []
    for number in range(days):
        when = date(2021, 1, 7) + timedelta(days=15 * number)
        for latitude in latitudes:
            rect = Rect(1 << 14, 0, int(mercator.y_of(latitude)) >> 14, 2048, 1)
            found.append(cirrus.reflectance(rect, when)[0, ::16] > cirrus.DETECTED)
    return float(np.mean(found))


def test_cirrus_is_as_frequent_as_from_space() -> None:
    """Sassen, Wang and Liu (2008), doi:10.1029/2008JD009972: 17%, most at the equator, least around 30 degrees."""
    everywhere = share(np.degrees(np.arcsin(np.linspace(-0.98, 0.98, 24))), 12)
    equator, dry, mild, polar = (share(np.array([-north, north])) for north in (3.0, 28.0, 50.0, 78.0))
    assert 0.13 < everywhere < 0.20
    assert 0.25 < equator < 0.42
    assert dry < mild < equator
    assert polar < mild


def of(collection: str, start: date, days: int) -> list[ImageAsset]:
    begin = (start - date(1970, 1, 1)) / timedelta(milliseconds=1)
    query = Query(bounds=DENVER, start=begin, end=begin + days * 86_400_000.0)
    return list(STORE.get(collection).images(query))  # type: ignore[union-attr]


def levels(image: ImageAsset, names: list[str], scale: int) -> list[np.ndarray]:
    """Return valid pixels of bands at the level whose pixels have some metres."""
    bands = {band.name: band for band in image.bands}
    found, masks = [], []
    for name in names:
        band = bands[name]
        level = band.source.levels.index(scale // round(band.grid.nominal_scale))
        side = 60 * 1920 // scale
        values, valid = band.source.read((band.index,), PixelWindow(0, 0, side, side), level)
        found.append(values[0])
        masks.append(valid[0])
    inside = np.logical_and.reduce(masks)
    return [values[inside] for values in found]


@pytest.mark.slow
def test_flags_of_landsat_tell_of_the_cirrus_that_its_band_sees() -> None:
    """QA_PIXEL of the format guide: bit 2, and bits 14 and 15, 11 for high and 01 for low confidence."""
    shares, kinds = [], set()
    for image in of("LANDSAT/LC08/C02/T1_TOA", date(2021, 6, 1), 60):
        band, quality = levels(image, ["B9", "QA_PIXEL"], 1920)
        flagged = (quality >> 2 & 1).astype(bool)
        assert np.array_equal(quality >> 14, np.where(flagged, 3, 1))
        # The band is read between cells, flags in one: nothing differs but at the edges.
        assert np.mean(flagged == (band > 0.012)) > 0.97
        shares.append(float(flagged.mean()))
        kinds |= set(np.unique(quality).tolist())
    assert min(shares) < 0.02
    assert max(shares) > 0.1
    assert {54596, 55052} <= kinds


@pytest.mark.slow
def test_bands_of_sentinel_2_tell_of_the_same_cirrus() -> None:
    seen = 0
    for surface, top in zip(
        of("COPERNICUS/S2_SR_HARMONIZED", date(2020, 6, 1), 21),
        of("COPERNICUS/S2_HARMONIZED", date(2020, 6, 1), 21),
        strict=True,
    ):
        (classes,) = levels(surface, ["SCL"], 640)
        thin = 100.0 * float(np.mean(classes == 10))
        assert abs(thin - surface.properties["THIN_CIRRUS_PERCENTAGE"]) < 8.0
        cloudy = 100.0 * float(np.mean(np.isin(classes, (8, 9, 10))))
        assert abs(cloudy - surface.properties["CLOUDY_PIXEL_PERCENTAGE"]) < 10.0
        band, flags = levels(top, ["B10", "QA60"], 1920)
        assert np.all(band[flags == 2048] > 80)
        if thin > 10.0:
            seen += 1
            assert np.median(band[flags == 2048]) > 2.0 * np.median(band[flags == 0])
    assert seen >= 1
