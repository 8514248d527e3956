"""Files of the user that are wrong: refused before anything is started, or repaired."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio.features
import shapely
from click.testing import CliRunner

import eechips
from eechips.cli import main
from eechips.errors import RegionError
from eechips.geo.vectors import read_vectors
from eechips.planning.places import read_places
from eechips.planning.regions import parse_region
from tests.support.local_earth_engine import Server

SQUARE = [[-105.1, 39.9], [-105.09, 39.9], [-105.09, 39.91], [-105.1, 39.91], [-105.1, 39.9]]
BOW = [[-105.12, 39.9], [-105.11, 39.91], [-105.11, 39.9], [-105.12, 39.91], [-105.12, 39.9]]
SPIKED = [[-105.1, 39.9], [-105.09, 39.9], [-105.08, 39.9], [-105.09, 39.9], [-105.09, 39.91], [-105.1, 39.9]]


def write(path: Path, *rings: list[list[float]]) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"plot": "AB"[number]},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        for number, ring in enumerate(rings)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


WRONG = {
    "sample --dataset NAIP --points none.csv": "there is no file none.csv",
    "sample --dataset NAIP --points plots.csv --date-field day --window 3d": "no column 'day'",
    "sample --dataset NAIP --points plots.csv --name {specis}": "no column 'specis'; did you mean 'species'?",
    "sample --dataset NAIP --total 1 --roi bow.geojson": "feature 2 (plot=B) is not a valid polygon",
    "images --dataset S2 --roi bow.geojson": "feature 2 (plot=B) is not a valid polygon",
    "composites --dataset S2 --roi bow.geojson": "feature 2 (plot=B) is not a valid polygon",
    "mosaic --dataset DEM --roi bow.geojson": "feature 2 (plot=B) is not a valid polygon",
    "points --dataset DEM --points none.csv": "there is no file none.csv",
    "points --dataset DEM --points bow.geojson": "row 2: the polygon is invalid",
    "points --dataset DEM --points plots.csv --id-field plot": "no column 'plot'",
    "points --dataset DEM --points plots.csv --date-field species --window 3d": "species is not a date",
    "points --dataset DEM --points plots.csv --date-field species --window 3d --dry-run": "species is not a date",
    "timeseries --dataset MODIS_LST --regions none.gpkg": "there is no file none.gpkg",
    "timeseries --dataset MODIS_LST --regions bow.geojson": "feature 2 (plot=B) is not a valid polygon",
    "timeseries --dataset MODIS_LST --regions bow.geojson --dry-run": "feature 2 (plot=B) is not a valid polygon",
    "timeseries --dataset DEM --regions good.geojson": "is a single image: it has no time series",
    "composites --dataset DEM --roi good.geojson": "is a single image, not a collection",
    "images --dataset DEM --roi good.geojson": "is a single image, not a collection",
    "timeseries --dataset MODIS_LST --regions good.geojson --id-field plots": "no field 'plots'; did you mean 'plot'?",
}


@pytest.mark.parametrize(("command", "message"), WRONG.items())
def test_files_are_read_before_the_local_earth_engine_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bow.geojson", SQUARE, BOW)
    write(tmp_path / "good.geojson", SQUARE)
    Path("plots.csv").write_text("species,lon,lat\noak,-105.1,39.9\n")
    found = CliRunner().invoke(main, [*command.split(), "--local", "--out", "out"])
    assert found.exit_code == 2
    assert message in found.output
    assert "Starting" not in found.output
    assert not Path("out").exists()


def test_repaired_polygons_are_reported_with_their_change_of_area(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "bow.geojson", SQUARE, BOW)
    region = parse_region(path, repairs=True)
    assert region.parameters["repair"] is True
    assert "repaired 1 of 2 polygons, whose area was 0 before: feature 2 (plot=B)" in caplog.text
    found = read_vectors(path, repairs=True)
    expected = gpd.read_file(path).geometry.make_valid()
    assert all(shapely.equals(left, right) for left, right in zip(found.geometries, expected, strict=True))
    assert shapely.area(found.geometries[1]) == pytest.approx(0.01 * 0.01 / 2)
    places = read_places(path, repairs=True)
    assert all(shapely.equals(places.geometries, found.geometries))


def test_lines_of_a_repaired_polygon_are_left_out(tmp_path: Path) -> None:
    found = read_vectors(write(tmp_path / "spike.geojson", SPIKED), repairs=True)
    assert "whose area changed by +0%" in found.repaired
    assert [geometry.geom_type for geometry in found.geometries] == ["Polygon"]


def test_a_polygon_that_repair_empties_is_refused(tmp_path: Path) -> None:
    line = [[-105.1, 39.9], [-105.0, 39.9], [-105.1, 39.9], [-105.1, 39.9]]
    with pytest.raises(RegionError, match=r"feature 1 \(plot=A\) cannot be repaired: it has no area"):
        read_vectors(write(tmp_path / "line.geojson", line), repairs=True)


def test_valid_polygons_are_unchanged(tmp_path: Path) -> None:
    path = write(tmp_path / "good.geojson", SQUARE)
    assert read_vectors(path, repairs=True).repaired == ""
    assert parse_region(path, repairs=True).parameters == parse_region(path).parameters


def test_every_verb_takes_the_repaired_polygons(demo_server: Server, tmp_path: Path) -> None:
    path = str(write(tmp_path / "bow.geojson", SQUARE, BOW))
    usual: dict[str, Any] = {
        "endpoint": demo_server.url,
        "processes": 1,
        "executor": "threads",
        "rate": None,
        "quiet": True,
        "repair": True,
    }
    series = eechips.timeseries(
        "MODIS_LST", regions=path, id_field="plot", start="2019-06-01", end="2019-06-20", out=tmp_path / "a", **usual
    )
    values = eechips.points("DEM", points=path, out=tmp_path / "b", **usual)
    mosaic = eechips.mosaic("DEM", roi=path, clip=True, out=tmp_path / "c", **usual)
    chips = eechips.sample("NAIP", roi=path, total=2, size=16, out=tmp_path / "d", **usual)
    images = eechips.images(
        "S2", roi=path, clip=True, bands="B4", start="2020-06-01", end="2020-06-10", out=tmp_path / "e", **usual
    )
    for run in (series, values, mosaic, chips, images):
        assert run.is_complete
    with rasterio.open(mosaic.assembled[0]) as file:
        valid = file.dataset_mask() != 0
        shapes = [*read_vectors(Path(path), repairs=True).geometries]
        inside = rasterio.features.rasterize(shapes, valid.shape, transform=file.transform, all_touched=True)
    assert valid.any()
    assert not (valid & ~inside.astype(np.bool_)).any()


def test_a_command_names_its_table_and_the_ids_of_regions(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.geojson", SQUARE)
    usual = ["--endpoint", demo_server.url, "--executor", "threads", "--rate", "none", "--no-report"]
    found = CliRunner().invoke(
        main, [*["points", "--dataset", "DEM", "--points", "good.geojson", "--format", "csv", "--out", "a"], *usual]
    )
    assert "Made from all results: a/points.csv" in found.output
    days = "--start 2019-06-01 --end 2019-06-20"
    words = f"timeseries --dataset MODIS_LST --regions good.geojson {days} --output one --out b".split()
    found = CliRunner().invoke(main, [*words, *usual])
    assert "Regions are numbered from 1 in the file's order; --id-field names a column with ids: plot" in found.output
    assert "Made from all results: b/series.parquet" in found.output
