"""Each command of eechips, small, in each format and by each method: with ``--live`` from the service."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from eechips.builtin_recipes.rasters import composites, images, mosaic
from eechips.builtin_recipes.samples import chips
from eechips.builtin_recipes.tables import points, timeseries
from eechips.client.access.endpoint import HIGH_VOLUME_ENDPOINT
from eechips.manifest.run import Run
from local_tests.support.local_earth_engine import Server

Command = Callable[..., Any]

BOX = "-105.11,39.90,-105.108,39.902"  # some 200 m a side
POINTS = pd.DataFrame([(-105.1, 39.9), (-105.12, 39.92)], columns=["lon", "lat"])
BUDGET = {"requests": 60, "eecu_hours": 0.01}
NAIP = {"start": "2019-01-01", "end": "2020-01-01"}
S2 = {"start": "2020-06-01", "end": "2020-06-21"}
SHORT_S2 = {"start": "2020-06-01", "end": "2020-06-06"}

CASES: dict[str, tuple[Command, str, dict[str, Any]]] = {
    **{
        f"sample-{form}-{method}": (chips.sample, "NAIP", {"format": form, "method": method, **NAIP})
        for form, method in (("png", "url"), ("png", "pixels"), ("jpg", "url"), ("tif", "url"), ("tif", "pixels"),
                             ("npy", "pixels"), ("npy", "url"))
    },
    "sample-ecoregions": (chips.sample, "NAIP", {
        "per_ecoregion": 2, "roi": "-105.3,39.8,-104.9,40.1", "limit": 2, "format": "tif", **NAIP}),
    "sample-index": (chips.sample, "NAIP", {"index": "NDVI", "format": "tif", **NAIP}),
    "sample-bands": (chips.sample, "NAIP", {"bands": "N,R,G", "format": "png", **NAIP}),
    "sample-thumb": (chips.sample, "NAIP", {"grid": "thumb", "format": "png", **NAIP}),
    "sample-degrees": (chips.sample, "NAIP", {"crs": "EPSG:4326", "scale": 1.0, "format": "tif", **NAIP}),
    "sample-mixed-bands": (chips.sample, "S2", {"bands": "B4,B8,SCL", "format": "npy", **S2}),
    "sample-masked": (chips.sample, "S2", {"bands": "B4,B8", "mask": "scl", "format": "tif", **S2}),
    "sample-every": (chips.sample, "S2", {"bands": "B4,B8", "every": "10 days:median", "format": "tif", **S2}),
    "sample-frames": (chips.sample, "S2", {"bands": "B4", "frames": 2, "format": "tif", **S2}),
    "sample-s1": (chips.sample, "S1", {"bands": "VV,VH", "format": "tif", **S2}),
    "images": (images.images, "S2", {"roi": BOX, "bands": "B4,B8", "limit": 2, "format": "tif", **SHORT_S2}),
    "images-url": (images.images, "S2", {
        "roi": BOX, "bands": "B4,B8", "limit": 2, "format": "tif", "method": "url", **SHORT_S2}),
    "images-png": (images.images, "S2", {"roi": BOX, "limit": 2, "format": "png", **SHORT_S2}),
    "composites": (composites.composites, "S2", {
        "roi": BOX, "bands": "B4,B8", "every": "10 days", "format": "tif", **S2}),
    "composites-url": (composites.composites, "S2", {
        "roi": BOX, "bands": "B4,B8", "every": "10 days", "format": "tif", "method": "url", **S2}),
    "composites-masked": (composites.composites, "S2", {
        "roi": BOX, "bands": "B4,B8", "mask": "scl", "every": "10 days", "format": "tif", **S2}),
    "mosaic-naip": (mosaic.mosaic, "NAIP", {"roi": BOX, **NAIP}),
    "mosaic-s2": (mosaic.mosaic, "S2", {"roi": BOX, "bands": "B4,B8", **SHORT_S2}),
    "mosaic-median": (mosaic.mosaic, "S2", {"roi": BOX, "bands": "B4,B8", "reducer": "median", **S2}),
    "mosaic-worldcover": (mosaic.mosaic, "WORLDCOVER", {"roi": BOX}),
    "timeseries": (timeseries.timeseries, "MODIS/061/MOD11A2", {
        "reducer": "max", "start": "2019-01-01", "end": "2019-03-01", "multiply": 0.02, "add": -273.15}),
    "timeseries-masked": (timeseries.timeseries, "S2", {"index": "NDVI", "mask": "scl", "every": "10 days", **S2}),
    "points": (points.points, "SRTM", {"format": "csv"}),
    "points-each": (points.points, "MODIS/061/MOD13Q1", {
        "each_image": True, "bands": "NDVI", "start": "2019-06-01", "end": "2019-08-01", "format": "csv"}),
}  # fmt: skip
"""Command, data set and options, by name."""


def run(case: str, folder: Path, **service: Any) -> Run:
    """Run a command on a few chips, within a budget."""
    command, dataset, options = CASES[case]
    arguments: list[Any] = [dataset]
    if command is points.points:
        arguments.append(POINTS)
    elif command is timeseries.timeseries:
        regions = folder / "regions.geojson"
        west, south, east, north = BOX.split(",")
        ring = f"[[{west},{south}],[{east},{south}],[{east},{north}],[{west},{north}],[{west},{south}]]"
        regions.write_text(
            '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"name":"box"},"geometry":'
            f'{{"type":"Polygon","coordinates":[{ring}]}}}}]}}'
        )
        options = {"regions": str(regions), "columns": "id=name", **options}
    elif command is chips.sample:
        options = {"size": 32, **options}
        if "roi" not in options:
            POINTS.to_csv(folder / "points.csv", index=False)
            options["points"] = str(folder / "points.csv")
    result: Run = command(
        *arguments, out=folder / "run", executor="threads", in_flight=4, rate=None, quiet=True, profile_every=1,
        retries=2, budget=BUDGET, **service, **options,
    )  # fmt: skip
    return result


@pytest.mark.live
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", CASES)
def test_a_command_fetches_all_of_its_units_from_the_service(
    case: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if not request.config.getoption("--live"):
        pytest.skip("a recording has other requests")
    found = run(case, tmp_path, endpoint=HIGH_VOLUME_ENDPOINT, project=os.environ.get("EECHIPS_PROJECT"))
    assert found.is_complete, found.failures


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_a_command_fetches_all_of_its_units_from_the_local_earth_engine(
    case: str, demo_server: Server, tmp_path: Path
) -> None:
    found = run(case, tmp_path, endpoint=demo_server.url, project="my-project")
    assert found.is_complete, found.failures
