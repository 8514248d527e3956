"""Assets that are replaced while a server runs, by the real client over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eechips_local.assets import ingest
from local_tests.support.ingested_rasters import noise, raster
from local_tests.support.local_earth_engine import Server, initialize

ASSET = "users/someone/tiles/one"


@pytest.mark.slow
def test_a_replaced_image_has_its_new_version_and_pixels(tmp_path: Path, serve_briefly: Callable[..., Server]) -> None:
    place = tmp_path / "store"
    first, second = noise(1, 20, 20, seed=1), noise(1, 20, 20, seed=2)
    ingest(raster(tmp_path / "a.tif", first), place, ASSET, bands=["b"], clock=lambda: 1_600_000_000.0)
    server = serve_briefly("--assets", str(place), "--no-demo")
    ee = initialize(server)
    image = ee.Image(ASSET)
    total = image.reduceRegion(ee.Reducer.sum(), image.geometry(), 5, bestEffort=False)
    assert image.get("system:version").getInfo() == 1_600_000_000_000_000
    before = total.getInfo()["b"]
    ingest(raster(tmp_path / "b.tif", second), place, ASSET, bands=["b"], clock=lambda: 1_600_000_001.5)
    assert image.get("system:version").getInfo() == 1_600_000_001_500_000
    assert image.getInfo()["version"] == 1_600_000_001_500_000
    assert ee.data.getAsset(ASSET)["updateTime"] == "2020-09-13T12:26:41.500Z"
    assert round(total.getInfo()["b"] - before) == int(second.sum()) - int(first.sum())
