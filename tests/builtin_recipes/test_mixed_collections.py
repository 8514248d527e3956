"""Every command on a collection whose images have bands of several types."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine

import eechips
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.coded_store import write_geotiff

TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_400_000)
EDGE = 64
ROI = "-105.0,39.744,-104.995,39.748"
DATES = {"start": "2020-01-01", "end": "2020-04-01"}
TYPES, LATE = "users/someone/types", "users/someone/late"
GREAT = 40_000
"""No value of 16 bits with a sign."""
SURVEYED = 50
"""Images whose types are compared when a run is planned."""


def add(folder: Path, name: str, index: int, dtype: str, value: int) -> None:
    path = folder / f"{name.rpartition('/')[2]}_{index}.tif"
    write_geotiff(path, "EPSG:32613", TRANSFORM, np.full((1, EDGE, EDGE), value, dtype))
    day = dt.date(2020, 1, 1) + dt.timedelta(days=index)
    ingest(path, folder / "store", f"{name}/image_{index:02}", time_start=day.isoformat(), bands=["red"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    folder = tmp_path_factory.mktemp("mixed")
    for index, (dtype, value) in enumerate((("int16", 100), ("uint16", GREAT), ("int16", 300))):
        add(folder, TYPES, 30 * index, dtype, value)
    for index in range(SURVEYED):
        add(folder, LATE, index, "int16", 100)
    add(folder, LATE, SURVEYED, "uint16", GREAT)
    return serve("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    pd.DataFrame({"id": ["a"], "lon": [-104.9975], "lat": [39.746]}).to_csv(folder / "points.csv", index=False)
    box = shapely.box(-104.998, 39.7455, -104.997, 39.7465)
    gpd.GeoDataFrame({"id": ["x"]}, geometry=[box], crs="EPSG:4326").to_file(folder / "fields.geojson")
    return folder


Command = Callable[[str, Path, dict[str, Any]], Any]

COMMANDS: dict[str, Command] = {
    "sample": lambda d, p, o: eechips.sample(d, points=p / "points.csv", size=8, format="tif", **o),
    "sample, arrays": lambda d, p, o: eechips.sample(d, points=p / "points.csv", size=8, format="npy", **o),
    "sample, months": lambda d, p, o: eechips.sample(
        d, points=p / "points.csv", size=8, every="month", **DATES, **o),
    "sample, medians": lambda d, p, o: eechips.sample(
        d, points=p / "points.csv", size=8, every="3 months:median", **DATES, **o),
    "images": lambda d, p, o: eechips.images(d, roi=ROI, **o),
    "composites, mosaic": lambda d, p, o: eechips.composites(d, roi=ROI, every="year", reducer="mosaic", **o),
    "composites, max": lambda d, p, o: eechips.composites(d, roi=ROI, every="year", reducer="max", **o),
    "composites, best": lambda d, p, o: eechips.composites(d, roi=ROI, every="year", reducer="qualityMosaic:red", **o),
    "composites, median": lambda d, p, o: eechips.composites(d, roi=ROI, every="year", reducer="median", **o),
    "composites, count": lambda d, p, o: eechips.composites(d, roi=ROI, every="year", reducer="count", **o),
    "composites, p90": lambda d, p, o: eechips.composites(d, roi=ROI, every="year", reducer="p90", **o),
    "mosaic": lambda d, p, o: eechips.mosaic(d, roi=ROI, **o),
    "mosaic, first": lambda d, p, o: eechips.mosaic(d, roi=ROI, reducer="first", **o),
    "mosaic, median": lambda d, p, o: eechips.mosaic(d, roi=ROI, reducer="median", **o),
    "mosaic, sum": lambda d, p, o: eechips.mosaic(d, roi=ROI, reducer="sum", **o),
    "mosaic, int32": lambda d, p, o: eechips.mosaic(d, roi=ROI, dtype="int32", **o),
    "mosaic, float32": lambda d, p, o: eechips.mosaic(d, roi=ROI, dtype="float32", **o),
    "timeseries": lambda d, p, o: eechips.timeseries(
        d, regions=str(p / "fields.geojson"), columns="id=id", **DATES, **o),
    "timeseries, composites": lambda d, p, o: eechips.timeseries(
        d, regions=str(p / "fields.geojson"), columns="id=id", every="3 months", composite="mean", **DATES, **o),
    "points, latest": lambda d, p, o: eechips.points(d, p / "points.csv", **o),
    "points, median": lambda d, p, o: eechips.points(d, p / "points.csv", composite="median", **o),
    "points, each image": lambda d, p, o: eechips.points(d, p / "points.csv", each_image=True, **DATES, **o),
}  # fmt: skip


def run(name: str, dataset: str, server: Server, places: Path, out: Path, **options: Any) -> eechips.Run:
    options = {
        "out": out, "endpoint": server.url, "rate": None, "executor": "threads", "quiet": True, **options,
    }  # fmt: skip
    made = COMMANDS[name](dataset, places, options)
    assert isinstance(made, eechips.Run)
    return made


QUICK = ["sample", "images", "composites, median", "mosaic", "timeseries", "points, latest"]
"""Each verb."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", slow_except(COMMANDS, *QUICK))
def test_images_of_several_types(name: str, server: Server, places: Path, tmp_path: Path) -> None:
    assert run(name, TYPES, server, places, tmp_path / "out", bands="red").is_complete


@pytest.mark.slow
@pytest.mark.parametrize("name", ["composites, max", "mosaic", "points, latest"])
def test_what_no_survey_has_found_is_refused_in_one_sentence(
    name: str, server: Server, places: Path, tmp_path: Path
) -> None:
    """It names the image and both types; nothing is cut without a word, or asked again."""
    made = run(name, LATE, server, places, tmp_path / "out", bands="red")
    (failure,) = made.failures.to_dict("records")
    assert failure["attempts"] == 1
    assert failure["error_class"] == "PermanentError"
    for words in ("Mismatched type for band 'red'", "Expected type: Short.", "Actual type: Integer<0, 65535>"):
        assert words in failure["error"]
    assert f"image_{SURVEYED}" in failure["error"]


@pytest.mark.slow
def test_what_the_service_refuses_has_a_way_round(server: Server, places: Path, tmp_path: Path) -> None:
    """An expression gives floats, `dtype` of a mosaic the type of its images."""
    floats = run("composites, max", LATE, server, places, tmp_path / "max", index="red=red*1")
    (unit,) = floats.units.to_dict("records")
    typed = run("mosaic, int32", LATE, server, places, tmp_path / "int32", bands="red", reducer="max")
    for path, dtype in ((floats.path / unit["file"], "float32"), (typed.path / "mosaic.tif", "int32")):
        with rasterio.open(path) as file:
            assert file.dtypes == (dtype,)
            assert set(file.read(1, masked=True).compressed()) == {GREAT}
