"""Places in memory: what commands of Python take for files, and what they keep of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

import eechips
from eechips.errors import RegionError, UsageError
from local_tests.support.captured_log import CapturedLog

AREAS = [shapely.box(-105.10, 39.90, -105.09, 39.91), shapely.box(-105.08, 39.90, -105.07, 39.91)]
POINTS = [shapely.Point(-105.1, 39.9), shapely.Point(-105.0, 39.95)]
FIELDS = geopandas.GeoDataFrame({"code": ["a", "b"]}, geometry=AREAS, crs=4326).to_crs(32613)
SLOW = pytest.mark.slow


def planned(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return function(*arguments, dry_run=True, quiet=True, **options)


@pytest.mark.parametrize(
    "points",
    [
        pd.DataFrame({"lon": [-105.1, -105.0], "lat": [39.9, 39.95]}, index=["x", "y"]),
        geopandas.GeoDataFrame({"plot": [7, 8]}, geometry=POINTS, crs=4326).to_crs(32613),
        *(pytest.param(each, marks=SLOW) for each in (geopandas.GeoSeries(POINTS, crs=4326), POINTS, np.array(POINTS))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_points_in_memory_are_sampled(points: Any, demo_server: Any, tmp_path: Path) -> None:
    estimate = planned(eechips.sample, "SRTM", points=points, endpoint=demo_server.url, out=tmp_path / "out")
    assert estimate.units == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("function", "regions"),
    [
        (partial(eechips.timeseries, "MODIS_LST", start="2019-01-01", end="2019-02-01"), FIELDS),
        *(
            pytest.param(*each, marks=SLOW)
            for each in (
                (partial(eechips.images, "S2", start="2020-06-01", end="2020-06-06"), FIELDS.geometry),
                (partial(eechips.composites, "S2", start="2020-06-01", end="2020-07-01", every="1 month"), AREAS),
                (partial(eechips.mosaic, "SRTM"), FIELDS),
                (partial(eechips.sample, "SRTM"), FIELDS.geometry),
            )
        ),
    ],
    ids=lambda value: value.func.__name__ if isinstance(value, partial) else type(value).__name__,
)
def test_regions_in_memory(function: Any, regions: Any, demo_server: Any, tmp_path: Path) -> None:
    """Each kind of places becomes a file before any command sees it, so each command has one kind."""
    assert planned(function, endpoint=demo_server.url, out=tmp_path / "out", regions=regions).units >= 2


@pytest.mark.slow
def test_cells_and_other_places_in_memory(demo_server: Any, tmp_path: Path) -> None:
    options: Mapping[str, Any] = {"cells": FIELDS, "away_from": AREAS[:1], "min_distance": "10m"}
    assert planned(eechips.sample, "SRTM", endpoint=demo_server.url, out=tmp_path / "out", **options).units == 1


@pytest.mark.slow
def test_places_are_kept_in_the_folder_and_the_same_call_continues(demo_server: Any, tmp_path: Path) -> None:
    options: Mapping[str, Any] = {"out": tmp_path / "out", "endpoint": demo_server.url, "executor": "threads"}
    for _ in range(2):
        run = eechips.sample("SRTM", regions=FIELDS, columns="id=code", roi=None, quiet=True, **options)
        assert run.failures.empty
        assert sorted(unit["region"] for unit in run.units["unit"]) == ["a", "b"]
    (path,) = (tmp_path / "out").glob("input-regions-*.parquet")
    kept = geopandas.read_parquet(path)
    assert kept.crs == FIELDS.crs
    assert shapely.equals(kept.geometry.to_numpy(), FIELDS.geometry.to_numpy()).all()
    info = json.loads((tmp_path / "out" / "run.json").read_text())
    assert info["parameters"]["regions"] == str(path)
    content = path.read_bytes()
    with pytest.raises(UsageError, match="another run"):
        eechips.sample("SRTM", regions=FIELDS[:1], columns="id=code", roi=None, quiet=True, **options)
    assert path.read_bytes() == content


@pytest.mark.parametrize("is_dry", [pytest.param(False, marks=SLOW), True])
def test_places_in_memory_are_warned_of_once(
    demo_server: Any, tmp_path: Path, caplog: CapturedLog, *, is_dry: bool
) -> None:
    bowtie = shapely.Polygon([(-105.1, 39.9), (-105.09, 39.91), (-105.09, 39.9), (-105.1, 39.91)])
    options: Mapping[str, Any] = {"out": tmp_path / "out", "endpoint": demo_server.url, "executor": "threads"}
    eechips.sample("SRTM", regions=[bowtie], roi=None, quiet=True, dry_run=is_dry, **options)
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert "repair" in warning.getMessage()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("points", pd.DataFrame({"lon": [0.0, 1.0], "lat": [1.0, 95.0]}), "`points`: row 2: the latitude 95"),
        ("points", geopandas.GeoDataFrame(geometry=POINTS), "`points`: the GeoDataFrame does not say what"),
        ("points", pd.DataFrame({"lon": [0.0], "lat": [1.0], "x": [shapely]}), "`points`: Parquet cannot store"),
        ("points", pd.DataFrame({"a": [0.0]}), r"no longitude column in `points` \(a\)"),
        ("regions", pd.DataFrame({"lon": [0.0], "lat": [1.0]}), "`regions` needs polygons: a GeoDataFrame"),
        ("roi", POINTS[0], "`roi`: feature 1 is a Point, not a polygon"),
    ],
)
def test_messages_name_the_option(option: str, value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises((RegionError, UsageError), match=message):
        eechips.sample(
            "SRTM", out=tmp_path / "out", quiet=True, **{"total": 1 if option == "roi" else None, option: value}
        )
    assert not (tmp_path / "out").exists()
