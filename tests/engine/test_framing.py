"""Runs through a front that frames responses in every legal and illegal way: each file has its own unit's values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import rasterio

from local_tests.support.local_earth_engine import Server
from tests.support.engine_recipes import run_script
from tests.support.framing_front import framing_front

NUMBERS = """
import ee
from eechips.geo.grid import Grid
from eechips.recipe import Chip, Table


def get_requests(count):
    planned = ee.List.sequence(1, int(count)).getInfo()
    return [{"number": int(number)} for number in planned]


def get_result(index, unit, format):
    number = unit["number"]
    if format == "csv":
        rows = ee.FeatureCollection([ee.Feature(None, {"number": number})] * 3)
        return Table(rows, columns=("number",))
    grid = Grid("EPSG:32613", (1.0, 0.0, 500000.0 + 64 * number, 0.0, -1.0, 4000000.0), 24, 24)
    return Chip(ee.Image(number).toUint16() if format != "png" else ee.Image(number).toByte(), grid=grid, format=format)
"""


def _values(file: Path) -> set[int]:
    if file.suffix == ".csv":
        return {int(value) for value in pd.read_csv(file)["number"]}
    if file.suffix == ".npy":
        pixels: Any = np.load(file)
        return {int(value) for value in np.unique(pixels[pixels.dtype.names[0]] if pixels.dtype.names else pixels)}
    if file.suffix == ".png":
        with PIL.Image.open(file) as picture:
            return {int(value) for value in np.unique(np.asarray(picture)[..., 0])}
    with rasterio.open(file) as raster:
        return {int(value) for value in np.unique(raster.read(1))}


def _run(folder: Path, server: Server, seed: int, count: int, format: str, **options: Any) -> None:
    with framing_front(server.url, seed) as front:
        run = run_script(
            folder,
            NUMBERS,
            front.url,
            parameters={"count": count, "format": format},
            **{"retries": 30, "method": "pixels", "retry_delay": 0.05, **options},
        )
        assert front.exchanges > count
    units = run.units
    assert len(units) == count
    assert list(units["state"].unique()) == ["done"]
    for number, file in enumerate(units.sort_values("position")["file"], start=1):
        assert _values(run.path / file) == {number}


@pytest.mark.slow
def test_each_file_has_the_values_of_its_unit(demo_server: Server, tmp_path: Path) -> None:
    _run(tmp_path, demo_server, seed=1, count=40, format="npy", executor="threads")


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "format"),
    [("processes", "png"), ("processes", "tif"), ("threads", "csv"), ("dask", "npy"), ("beam", "npy"), ("beam", "csv")],
)
def test_each_file_has_the_values_of_its_unit_by_every_executor(
    demo_server: Server, tmp_path: Path, executor: str, format: str
) -> None:
    _run(tmp_path, demo_server, seed=len(executor + format), count=60, format=format, executor=executor)
