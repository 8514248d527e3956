"""Two scripts as people wrote them for Earth Engine, run unmodified over an open archive."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom

import eechips
from eechips_local.assets import ingest
from local_tests.archives.real_items import COG, Raster, write_cog
from tests.support.programs import run_program

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).resolve().parents[2] / "recipes" / "old"
DATES = ("2019001", "2019009", "2019017", "2019025", "2019033", "2019041", "2019049", "2019057")
KELVIN = "VNP21A1D.002_LST_1KM_A2024316_h09v05.tif"
PIXEL = 926.6254330558
QUAD = "m_4709963_se_14_1_20120731.tif"


def item(name: str, collection: str, raster: Raster, properties: Mapping[str, Any], asset: str, href: str) -> Any:
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection, **raster.footprint(),
        "properties": {**properties, **raster.projection()}, "links": [],
        "assets": {asset: {"href": href, "type": COG, "roles": ["data"]}},
    }  # fmt: skip


def write_archive(folder: Path, items: list[Any]) -> Path:
    """Write a list of items and a description in which they are those of the Planetary Computer."""
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
    text = 'like = "planetary-computer"\nfile = "items.json"\nhosts = []\nsigning = "none"\n'
    (folder / "archive.toml").write_text(text, encoding="utf-8")
    return folder / "archive.toml"


def run_script(name: str, archive: Path, cwd: Path, *options: str) -> eechips.Run:
    shutil.copy(SCRIPTS / name, cwd)
    words = [sys.executable, "-m", "eechips", "run", name, "--archive", str(archive), "--executor", "processes:2"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cwd / "caches")}
    run_program(*words, "--out", "run", *options, status=0, cwd=cwd, env=environment, timeout=150)
    run = eechips.open_run(cwd / "run")
    assert set(run.counts) == {"done"}
    assert run.verify() == []
    return run


@pytest.mark.exhaustive
def test_pictures_of_a_script_are_the_pixels_below_their_centres(real_data: Path, tmp_path: Path) -> None:
    """The region's bounds are degrees, in 64 columns and rows of which the picture is; 5 m pixels need no overview."""
    found = Raster.read(real_data / "naip" / QUAD)
    values = np.tile(found.values, (1, 3, 3))[:, :2000, :2000]
    raster = Raster(values, "EPSG:26913", Affine(5.0, 0.0, 473_500.0, 0.0, -5.0, 4_435_500.0))
    write_cog(raster, tmp_path / "quad.tif")
    properties = {"datetime": "2015-07-01T16:00:00Z", "naip:year": "2015", "naip:state": "co", "proj:epsg": 26913}
    quad = item("co_m_4010524_se_13_1_20150701", "naip", raster, properties, "image", "./quad.tif")
    run = run_script("naip.py", write_archive(tmp_path, [quad]), tmp_path)
    assert len(run.units) == 6
    to_file = pyproj.Transformer.from_crs("EPSG:4326", raster.crs, always_xy=True)
    for unit, file in zip(run.units["unit"], run.units["file"], strict=True):
        west, south, east, north = bounds_of(unit["value"]["arguments"][1]["coordinates"])
        with Image.open(tmp_path / "run" / file) as picture:
            shown = np.asarray(picture).astype(int)[..., :3]
        rows, columns = np.indices((64, 64)) + 0.5
        x, y = to_file.transform(west + columns / 64 * (east - west), north - rows / 64 * (north - south))
        column, row = ~raster.transform @ (x, y)
        clear = (np.abs(column - np.round(column)) > 0.02) & (np.abs(row - np.round(row)) > 0.02)
        expected = np.moveaxis(values[:3, row.astype(int), column.astype(int)], 0, -1)
        assert clear.sum() > 3000
        assert np.array_equal(shown[clear], expected[clear])


def bounds_of(point: list[float]) -> tuple[float, float, float, float]:
    """Return the bounds of 127 m about a point."""
    circle = pyproj.Geod(a=6_371_010.0, f=0.0)  # buffers are of S2's sphere: geodesic_buffer.py
    lon, lat = point
    north = circle.fwd(lon, lat, 0, 127)[1]
    return circle.fwd(lon, lat, 270, 127)[0], 2 * lat - north, circle.fwd(lon, lat, 90, 127)[0], north


@pytest.mark.exhaustive
def test_series_of_a_script_are_the_greatest_pixels_of_its_districts(real_data: Path, tmp_path: Path) -> None:
    """Each district's greatest temperature, on the grid of 1,000 m that the script asks for; districts are a table."""
    source = Raster.read(real_data / "lst" / KELVIN)
    days = {date: np.where(source.values > 0, source.values + 7 * n, 0) for n, date in enumerate(DATES)}
    raster = Raster(source.values, source.crs, Affine(PIXEL, 0, -10007554.677, 0, -PIXEL, 4447802.0785))
    # Images are listed by their tiles of Italy.
    elsewhere = Raster(source.values, source.crs, Affine(PIXEL, 0, 0, 0, -PIXEL, 5559752.598))
    items = []
    for date, values in days.items():
        for tile, grid in (("h09v05", raster), ("h18v04", elsewhere)):
            name = f"MOD11A2.A{date}.{tile}.061.2020001000000"
            day = datetime.strptime(date, "%Y%j")
            own = Raster(values.astype("uint16"), grid.crs, grid.transform)
            write_cog(own, tmp_path / f"{name}.tif", 0)
            properties = {
                "datetime": None, "start_datetime": f"{day:%Y-%m-%d}T00:00:00Z",
                "end_datetime": f"{day + timedelta(days=7):%Y-%m-%d}T23:59:59Z", "proj:epsg": None,
                "proj:wkt2": rasterio.crs.CRS.from_string(grid.crs).to_wkt(),
            }  # fmt: skip
            items.append(item(name, "modis-11A2-061", own, properties, "LST_Day_1km", f"./{name}.tif"))
    districts = json.loads((real_data / "vector" / "colorado-counties.geojson").read_text())
    for feature in districts["features"]:
        feature["properties"] = {"ADM2_CODE": int(feature["properties"]["countyfp"])}
    (tmp_path / "districts.geojson").write_text(json.dumps(districts))
    ingest(tmp_path / "districts.geojson", tmp_path / "assets", "FAO/GAUL_SIMPLIFIED_500m/2015/level2")
    run = run_script("modis_series.py", write_archive(tmp_path, items), tmp_path, f"--local={tmp_path / 'assets'}")
    outlines = {each["properties"]["ADM2_CODE"]: each["geometry"] for each in districts["features"]}
    coarse, column, row = coarse_grid(raster)
    files = sorted(run.units["file"].dropna())
    assert len(files) == 5
    for file in files:
        inside = ~geometry_mask(
            [transform_geom("EPSG:4326", raster.crs, outlines[int(Path(file).stem)])], column.shape, coarse
        )
        with (tmp_path / "run" / file).open() as table:
            rows = list(csv.DictReader(table))
        assert [each["date"] for each in rows] == [f"{datetime.strptime(date, '%Y%j'):%Y-%m-%d}" for date in DATES]
        for each, values in zip(rows, days.values(), strict=True):
            shown = np.where(row < 0, 0, values[0, np.maximum(row, 0), column])  # nothing is north of the tile
            greatest = shown[inside].max()
            assert each["lst"] == (str(round(float(greatest) * 0.02 - 273.15, 2)) if greatest else "")


def coarse_grid(raster: Raster) -> tuple[Affine, Any, Any]:
    """Return a part, over the eastern end of a tile, of the grid of 1,000 m, and the tile's pixels below its centres.

    The grid begins where that of the whole Earth does, which is the one of the images: a scale changes the size of
    the pixels of an image and not their origin.
    """
    transform = Affine(1000.0, 0, -20015109.354, 0, -1000.0, 10007554.677) @ Affine.translation(10_915, 5_557)
    rows, columns = np.indices((116, 202)) + 0.5
    column, row = ~raster.transform @ (transform @ (columns, rows))
    return transform, np.floor(column).astype(int), np.floor(row).astype(int)
