"""Functions that other packages add to the local Earth Engine, called by the real client."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_tests.support.local_earth_engine import initialize, start_server, stop_server

pytestmark = pytest.mark.slow

MODULE = """
import numpy as np

from eechips_local.functions.registration import function
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.pixels.pixelwise_rasters import mapped
from eechips_local.pixels.lazy_image import Image, Pixels


@function("S1.dB")
def decibels(image: Image) -> Image:
    def pixel(pixels):
        values = np.maximum(pixels[0].values.astype(np.float64), 1e-9)
        return Pixels(10 * np.log10(values), pixels[0].mask)

    return image.computed(mapped(image.bands, pixel, lambda kind: PixelType("double")))
"""


def install(folder: Path, module: str, value: str = "radar_functions") -> None:
    """Write a package as pip installs it: one module and its entry point."""
    (folder / "radar_functions.py").write_text(module)
    info = folder / "radar_functions-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: radar-functions\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[eechips_local.functions]\nradar = {value}\n")


@pytest.fixture
def radar_ee(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The real client, on a server with one more function."""
    install(tmp_path, MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    server = start_server("--rate", "none")
    yield initialize(server)
    stop_server(server)


def refuse(folder: Path) -> str:
    """Start a server that must refuse to serve; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "eechips_local.run_server", "--workers", "1"]
    ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stdout == ""
    return ended.stderr.splitlines()[-1]


def test_a_package_adds_a_function(radar_ee: Any) -> None:
    decibels = radar_ee.ApiFunction.call_("S1.dB", radar_ee.Image.constant([1, 100]).rename(["VV", "VH"]))
    point = radar_ee.Geometry.Point(0, 0)
    found = decibels.reduceRegion(radar_ee.Reducer.first(), point, 10).getInfo()
    assert found == {"VV": 0.0, "VH": 20.0}


def test_a_function_of_a_package_takes_part_in_expressions(radar_ee: Any) -> None:
    images = radar_ee.ImageCollection([radar_ee.Image(10), radar_ee.Image(1000)])
    mean = images.map(lambda image: radar_ee.ApiFunction.call_("S1.dB", image)).mean()
    assert mean.reduceRegion(radar_ee.Reducer.first(), radar_ee.Geometry.Point(0, 0), 10).getInfo() == {"constant": 20}


def test_a_package_replaces_no_function(tmp_path: Path) -> None:
    install(tmp_path, MODULE.replace("S1.dB", "Image.abs"))
    assert "the function Image.abs of radar_functions exists already, in eechips_local.functions.images.image_math" in (
        refuse(tmp_path)
    )


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    install(tmp_path, MODULE, "radar_functions.missing")
    assert "the functions of radar_functions.missing cannot be loaded" in refuse(tmp_path)
