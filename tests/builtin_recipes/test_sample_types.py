"""Chips of bands of several types: a GeoTIFF has one, which holds them all, as the service demands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import eechips
from local_tests.support.local_earth_engine import Server


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"grid": "native"}, "uint16"),
        ({"crs": "utm", "scale": 20, "mask": "scl:cloud"}, "uint16"),
        ({"grid": "native", "method": "url"}, "uint16"),
        ({"grid": "native", "index": "NDVI"}, "float32"),
    ],
)
def test_a_geotiff_has_the_type_that_holds_all_bands(
    demo_server: Server, tmp_path: Path, options: dict[str, Any], dtype: str
) -> None:
    points = tmp_path / "points.csv"
    points.write_text("lon,lat\n-105.2,39.9\n")
    common = {
        "bands": "B4,SCL", "points": points, "size": 32, "start": "2024-07-01", "end": "2024-07-20", "quiet": True,
        "endpoint": demo_server.url, "project": "local", "executor": "threads", "format": "tif",
    }  # fmt: skip
    run = eechips.sample("S2", out=tmp_path / "out", **common, **options)
    assert list(run.units["state"]) == ["done"]
    with rasterio.open(run.path / run.units["file"][0]) as chip:
        assert chip.dtypes == (dtype,) * chip.count
        classes = chip.read(chip.descriptions.index("SCL") + 1)
        assert set(np.unique(classes)) <= set(range(12))
