"""Versions of assets, from the local Earth Engine by the real client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eechips.planning.asset_metadata import fetch_versions
from eechips_local.assets import ingest
from local_tests.support.ingested_rasters import noise, raster
from local_tests.support.local_earth_engine import Server, initialize


@pytest.mark.slow
def test_versions_of_images_are_those_of_their_ingestion_and_missing_ones_are_left_out(
    tmp_path: Path, serve_briefly: Callable[..., Server]
) -> None:
    file = raster(tmp_path / "a.tif", noise(1, 8, 8))
    times = {f"users/someone/tiles/t{number}": 1_500_000_000 + 1000 * number for number in range(30)}
    times["users/someone/alone"] = 1_600_000_000
    for name, time in times.items():
        ingest(file, tmp_path / "store", name, clock=lambda time=time: time)  # type: ignore[misc]
    server = serve_briefly("--assets", str(tmp_path / "store"), "--no-demo")
    initialize(server)
    asked = [*times, "users/someone/tiles/none", "users/someone/tiles", "not an id"]
    random = np.random.default_rng(1)
    found = fetch_versions([asked[number] for number in random.permutation(len(asked))])
    assert {name: version.version for name, version in found.items() if version.version is not None} == {
        name: time * 1_000_000 for name, time in times.items()
    }
    assert found.keys() - times.keys() == {"users/someone/tiles"}  # which has a time, as a collection, and no version
    before = server.requests()["value:compute"]
    assert len(fetch_versions(times)) == 31
    assert server.requests()["value:compute"] == before + 1
