"""Recordings held against an archive: what ``eechips-local compare --archive`` finds equal, and what not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result

from eechips_local.cli import main
from local_tests.archives.sample_items import FOLDER_IMAGE, write_folder_archive
from local_tests.support.command_server import serving_command
from local_tests.support.local_earth_engine import initialize, start_server, stop_server

pytestmark = pytest.mark.slow

GRID = {
    "dimensions": {"width": 20, "height": 12},
    "affineTransform": {"scaleX": 10, "translateX": 600_100, "scaleY": -10, "translateY": 5_799_920},
    "crsCode": "EPSG:32632",
}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return write_folder_archive(tmp_path / "archive")


def record(archive: Path, recording: Path) -> np.ndarray[Any, Any]:
    """Record pixels and a mean of a service, and return the pixels."""
    service = start_server("--archive", str(archive), "--no-demo", "--rate", "none", "--concurrency", "none")
    try:
        with serving_command("record", recording, "--upstream", service.url) as recorder:
            ee = initialize(recorder)
            image = ee.Image(FOLDER_IMAGE).select("B4")
            mean = image.reduceRegion(ee.Reducer.mean(), ee.Geometry.Point(10.47, 52.34).buffer(100), 10)
            assert mean.getInfo()["B4"] > 0
            found = ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": GRID})
    finally:
        stop_server(service)
    return found["B4"]


def compare(recording: Path, archive: Path) -> Result:
    return CliRunner().invoke(main, ["compare", str(recording), "--archive", str(archive), "--json"])


@pytest.mark.exhaustive
def test_a_recording_of_the_same_pixels_is_equal_and_one_of_others_differs(archive: Path, tmp_path: Path) -> None:
    pixels = record(archive, tmp_path / "recording")
    file = archive.parent / "B04.tif"
    with rasterio.open(file) as source:
        assert np.array_equal(pixels, source.read(1)[10:22, 10:30])
    same = compare(tmp_path / "recording", archive)
    assert same.exit_code == 0, same.output
    assert json.loads(same.output)["compared"] >= 2
    shutil.rmtree(tmp_path / "caches")
    with rasterio.open(file, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as changed:
        values = changed.read()
        values[0, 15, 20] += 7
        changed.write(values)
    other = compare(tmp_path / "recording", archive)
    assert other.exit_code == 1, other.output
    differences = json.loads(other.output)["differences"]
    assert any("image-computePixels" in one["path"] for one in differences)
