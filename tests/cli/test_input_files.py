"""Files of the user that are wrong: refused before anything is started, or repaired."""

from __future__ import annotations

import gzip
import json
import logging
import os
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio.features
import shapely

import eechips
from eechips.builtin_recipes.samples.resolved_sample import resolve_sample
from eechips.builtin_recipes.samples.sample_options import SampleOptions
from eechips.errors import RegionError
from eechips.files.hashes import hash_file
from eechips.geo.vectors import read_vectors
from eechips.planning.areas.regions import parse_region
from eechips.planning.place_tables import read_places
from eechips.planning.sampling.cell_grids import parse_cells
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command

SQUARE = [[-105.1, 39.9], [-105.09, 39.9], [-105.09, 39.91], [-105.1, 39.91], [-105.1, 39.9]]
BOW = [[-105.12, 39.9], [-105.11, 39.91], [-105.11, 39.9], [-105.12, 39.91], [-105.12, 39.9]]
FLAT = [[-105.1, 39.9], [-105.0, 39.9], [-105.1, 39.9], [-105.1, 39.9]]
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
    "sample --dataset NAIP --points plots.csv --columns date=day --near 3d": "no column 'day'",
    "sample --dataset NAIP --points plots.csv --name {specis}": "no column 'specis'; did you mean 'species'?",
    "sample --dataset NAIP --total 1 --roi flat.geojson": "feature 2 (plot=B) cannot be repaired: it has no area",
    "images --dataset S2 --roi flat.geojson": "feature 2 (plot=B) cannot be repaired: it has no area",
    "composites --dataset S2 --roi flat.geojson": "feature 2 (plot=B) cannot be repaired: it has no area",
    "mosaic --dataset DEM --roi flat.geojson": "feature 2 (plot=B) cannot be repaired: it has no area",
    "points --dataset DEM --points none.csv": "there is no file none.csv",
    "points --dataset DEM --points folder": "folder is a folder: name a file in it",
    "sample --dataset NAIP --points folder": "folder is a folder: name a file in it",
    "points --dataset DEM --points pipe": "pipe is a pipe or a device, which is not read",
    "points --dataset DEM --points https://example.org/a.csv": "is an address, not a file or folder of this machine",
    "images --dataset S2 --regions folder": "folder is a folder: name a file in it",
    "images --dataset S2 --roi folder": "folder is a folder: name a file in it",
    "sample --dataset NAIP --total 1 --roi -": "'-' is not a file, and a region is W,S,E,N",
    "points --dataset DEM --points plots.csv.gz": "plots.csv.gz is compressed by gzip, which is not read",
    "sample --dataset NAIP --total 1 --roi good.geojson.gz": "good.geojson.gz is compressed by gzip",
    "points --dataset DEM --points plots.xlsx": "plots.xlsx is a spreadsheet, which is not read: save it as CSV",
    "timeseries --dataset MODIS_LST --regions plots.xlsx --columns id=a": "plots.xlsx is a spreadsheet",
    "points --dataset DEM --points flat.geojson": "row 2 cannot be repaired: it has no area",
    "points --dataset DEM --points plots.csv --columns id=plot": "no column 'plot'",
    "points --dataset DEM --points plots.csv --columns date=species --near 3d": "species is not a date",
    "points --dataset DEM --points faulty.csv --columns date=day --near 3d": "--columns date=day:%m/%d/%Y",
    "points --dataset DEM --points plots.csv --columns date=species --near 3d --dry-run": "species is not a date",
    "images --dataset S2 --regions good.geojson --columns id=fid": "Without --columns regions are numbered",
    "timeseries --dataset MODIS_LST --regions none.gpkg": "there is no file none.gpkg",
    "timeseries --dataset MODIS_LST --regions none.ndjson": "there is no file none.ndjson",
    "timeseries --dataset MODIS_LST --regions folder.gdb": "folder.gdb is a File Geodatabase, which is not read",
    "points --dataset DEM --points folder.gdb": "folder.gdb is a File Geodatabase, which is not read: export it to",
    "timeseries --dataset MODIS_LST --regions flat.geojson": "feature 2 (plot=B) cannot be repaired: it has no area",
    "timeseries --dataset MODIS_LST --regions flat.geojson --dry-run": "(plot=B) cannot be repaired: it has no area",
    "timeseries --dataset DEM --regions good.geojson": "is a single image: it has no time series",
    "composites --dataset DEM --roi good.geojson": "is a single image, not a collection",
    "images --dataset DEM --roi good.geojson": "is a single image, not a collection",
    "timeseries --dataset MODIS_LST --regions good.geojson --columns id=plots": "no field 'plots'; did you mean 'plot'",
}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "message"), WRONG.items())
def test_files_are_read_before_the_local_earth_engine_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "flat.geojson", SQUARE, FLAT)
    write(tmp_path / "good.geojson", SQUARE)
    Path("plots.csv").write_text("species,lon,lat\noak,-105.1,39.9\n")
    Path("plots.xlsx").write_bytes(b"PK\3\4")
    Path("folder").mkdir()
    Path("folder.gdb").mkdir()
    os.mkfifo("pipe")
    for name in "plots.csv", "good.geojson":
        Path(f"{name}.gz").write_bytes(gzip.compress(Path(name).read_bytes()))
    Path("faulty.csv").write_text("lon,lat,day\n-105.1,x,\n-105.1,39.9,06/07/2023\n-105.1,39.9,06/15/2023\n")
    found = run_command(*command.split(), "--local", "--out", "out", status=2)
    assert message in found.output
    assert "Starting" not in found.output
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["points", "plan", "run"])
@pytest.mark.parametrize("is_quiet", [False, True])
def test_decimal_commas_are_told_unless_the_run_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: CapturedLog, is_quiet: bool, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.WARNING, "eechips")
    Path("plots.csv").write_text("plot;lon;lat;day\n1;-105,1;39,9;yesterday\n")
    words = ["points", "--dataset", "S2", "--points", "plots.csv", "--columns", "date=day", "--near", "5d", "--local"]
    if command == "plan":
        words.insert(0, "plan")
    if command == "run":
        words = ["run", "run.toml"]
        keys = 'dataset = "S2"\npoints = "plots.csv"\ncolumns = "date=day"\nnear = "5d"\nlocal = true\n'
        Path("run.toml").write_text(f"[points]\n{keys}")
    assert "day is not a date" in run_command(*words, *["--quiet"] * is_quiet, status=2).output
    told = "plots.csv: decimal commas of lon and lat are read as decimal points"
    assert (told in caplog.text) is not is_quiet


@pytest.mark.slow
def test_repaired_polygons_are_reported_with_their_change_of_area(tmp_path: Path, caplog: CapturedLog) -> None:
    path = write(tmp_path / "bow.geojson", SQUARE, BOW)
    region = parse_region(path)
    assert region.parameters["roi_sha256"] == hash_file(path)
    assert (
        "repaired 1 of 2 polygons, whose area was counted as almost 0 before, because their outlines cross themselves:"
        " feature 2 (plot=B)"
    ) in caplog.text
    found = read_vectors(path)
    expected = gpd.read_file(path).geometry.make_valid()
    assert all(shapely.equals(left, right) for left, right in zip(found.geometries, expected, strict=True))
    assert shapely.area(found.geometries[1]) == pytest.approx(0.01 * 0.01 / 2)
    places = read_places(path)
    assert all(shapely.equals(places.geometries, found.geometries))


def test_lines_of_a_repaired_polygon_are_left_out(tmp_path: Path) -> None:
    found = read_vectors(write(tmp_path / "spike.geojson", SPIKED))
    assert "whose area is unchanged" in found.repaired
    assert [geometry.geom_type for geometry in found.geometries] == ["Polygon"]


def test_polygons_that_overlap_count_once(tmp_path: Path) -> None:
    path = write(tmp_path / "two.geojson", SQUARE)
    content = json.loads(path.read_text())
    content["features"][0]["geometry"] = {"type": "MultiPolygon", "coordinates": [[SQUARE], [BOW], [BOW], [SQUARE]]}
    path.write_text(json.dumps(content))
    assert shapely.area(read_vectors(path).geometries) == pytest.approx(0.01 * 0.01 * 1.5)


def test_a_polygon_that_repair_empties_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegionError, match=r"feature 1 \(plot=A\) cannot be repaired: it has no area"):
        read_vectors(write(tmp_path / "line.geojson", FLAT))


def test_valid_polygons_are_unchanged(tmp_path: Path) -> None:
    path = write(tmp_path / "good.geojson", SQUARE)
    assert read_vectors(path).repaired == ""


def test_a_repair_that_multiplies_the_area_is_told_in_words(tmp_path: Path) -> None:
    bow = [[-105.12, 39.9], [-105.11, 39.91], [-105.11, 39.9], [-105.12, 39.91000000001], [-105.12, 39.9]]
    found = read_vectors(write(tmp_path / "bow.geojson", bow))
    assert "e+" not in found.repaired
    assert "almost 0 before, because their outlines cross themselves" in found.repaired


@pytest.mark.slow
@pytest.mark.parametrize("option", ["cells", "points", "away_from"])
def test_a_sample_s_files_are_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bow.geojson", SQUARE, BOW)
    options: dict[str, Any] = {option: "bow.geojson"}
    more: dict[str, Any] = {"min_distance": "500m", "total": 2} if "away" in option else {}
    if "points" in option:  # their kind is told of before their validity
        with pytest.raises(RegionError, match="holds polygons: chips need points; for polygons, use `regions`"):
            resolve_sample(SampleOptions(dataset="NAIP", **options))
        return
    found = resolve_sample(SampleOptions(dataset="NAIP", **options, **more))
    places = found.away_from if "away" in option else found.cells.places  # type: ignore[union-attr]
    assert places is not None
    assert shapely.is_valid(places.geometries).all()


def test_points_for_cells_are_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "plots.csv").write_text("name,wkt\na,POINT(8 47)\n")
    with pytest.raises(RegionError, match="holds points: `cells` needs polygons; for points, use `points`"):
        parse_cells(tmp_path / "plots.csv")


WKT = "POLYGON((500000 4400000, 501000 4400000, 501000 4401000, 500000 4400000))"


@pytest.mark.parametrize("column", ["WKT", "geometry", "the_geom"])
def test_a_csv_with_wkt_is_in_longitude_and_latitude_unless_told(
    column: str, tmp_path: Path, caplog: CapturedLog
) -> None:
    path = tmp_path / "fields.csv"
    path.write_text(f'field,{column}\nnorth,"{shapely.Polygon(SQUARE).wkt}"\n')
    found = read_vectors(path)
    assert found.geometries[0].equals(shapely.Polygon(SQUARE))
    assert found.attributes.to_dict("list") == {"field": ["north"]}
    assert "its WKT is read as longitude and latitude (EPSG:4326); `input_crs` names another" in caplog.text
    assert read_places(path).kind == "polygons"
    caplog.clear()
    path.write_text(f'field,{column}\nnorth,"{WKT}"\n')
    assert shapely.total_bounds(read_vectors(path, crs="EPSG:32613").geometries) == pytest.approx(
        [-105.0, 39.7499, -104.9883, 39.7589], abs=1e-3
    )
    assert not caplog.text
    region = parse_region(path, crs="EPSG:32613")
    assert region.parameters["input_crs"] == "EPSG:32613"
    path.write_text(f'field,{column}\nnorth,"SRID=32613;{WKT}"\n')
    assert read_places(path).geometries[0].centroid.x == pytest.approx(-104.99, abs=0.01)
    with pytest.raises(RegionError, match="says that it is in WGS 84 / UTM zone 13N: leave `input_crs` out"):
        read_vectors(path, crs="EPSG:32612")


@pytest.mark.slow
def test_geojson_that_names_no_system_takes_that_of_the_option(tmp_path: Path) -> None:
    """GDAL says WGS84 for it, and the option was refused: "says that it is in WGS 84"."""
    ring = [[500000, 4400000], [501000, 4400000], [501000, 4401000], [500000, 4401000], [500000, 4400000]]
    feature = {"type": "Feature", "properties": {"name": "a"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    collection: dict[str, Any] = {"type": "FeatureCollection", "features": [feature]}
    path = tmp_path / "metres.geojson"
    path.write_text(json.dumps(collection))
    with pytest.raises(RegionError, match=r"look projected .* name their coordinate reference system with `input_crs`"):
        read_vectors(path)
    west, south, _, _ = shapely.total_bounds(read_vectors(path, crs="EPSG:32613").geometries)
    assert (west, south) == pytest.approx((-105.0, 39.7499), abs=1e-3)
    assert read_places(path, crs="EPSG:32613").geometries[0].bounds[0] == pytest.approx(-105.0, abs=1e-3)
    named = {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}
    path.write_text(json.dumps({**collection, **named}))
    with pytest.raises(RegionError, match="says that it is in WGS 84"):
        read_vectors(path, crs="EPSG:32613")


@pytest.mark.slow
def test_json_of_esri_keeps_its_own_system(tmp_path: Path) -> None:
    """It names it by another member than GeoJSON: the option moved its places by a zone."""
    ring = [[500000, 4400000], [500000, 4401000], [501000, 4401000], [501000, 4400000], [500000, 4400000]]
    feature = {"attributes": {"name": "a"}, "geometry": {"rings": [ring]}}
    fields = [{"name": "name", "type": "esriFieldTypeString"}]
    content = {"geometryType": "esriGeometryPolygon", "fields": fields, "features": [feature]}
    path = tmp_path / "esri.json"
    path.write_text(json.dumps({**content, "spatialReference": {"wkid": 32613}}))
    with pytest.raises(RegionError, match="says that it is in WGS 84 / UTM zone 13N: leave `input_crs` out"):
        read_vectors(path, crs="EPSG:32612")
    assert read_vectors(path).geometries[0].bounds[0] == pytest.approx(-105.0, abs=1e-3)


def test_topojson_takes_the_system_of_the_option(tmp_path: Path) -> None:
    arc = [[500000, 4400000], [501000, 4400000], [501000, 4401000], [500000, 4401000], [500000, 4400000]]
    field = {"type": "Polygon", "arcs": [[0]], "properties": {"name": "a"}}
    objects = {"fields": {"type": "GeometryCollection", "geometries": [field]}}
    path = tmp_path / "topology.json"
    path.write_text(json.dumps({"type": "Topology", "objects": objects, "arcs": [arc]}))
    assert read_vectors(path, crs="EPSG:32613").geometries[0].bounds[0] == pytest.approx(-105.0, abs=1e-3)


def test_columns_of_coordinates_may_be_projected(tmp_path: Path) -> None:
    (tmp_path / "plots.csv").write_text("name,x,y\na,500000,4400000\nb,,\n")
    found = read_places(tmp_path / "plots.csv", crs="EPSG:32613")
    assert (found.geometries[0].x, found.geometries[0].y) == pytest.approx((-105.0, 39.7499), abs=1e-3)
    assert found.geometries[1] is None
    assert found.reading == {"input_crs": "EPSG:32613"}


@pytest.mark.slow
def test_a_shapefile_without_crs_takes_the_option(tmp_path: Path) -> None:
    gpd.GeoDataFrame({"a": [1]}, geometry=[shapely.from_wkt(WKT)], crs="EPSG:32613").to_file(tmp_path / "a.shp")
    expected = read_vectors(tmp_path / "a.shp").geometries
    (tmp_path / "a.prj").unlink()
    assert shapely.equals_exact(read_vectors(tmp_path / "a.shp", crs="EPSG:32613").geometries, expected, 1e-9).all()


@pytest.mark.slow
def test_a_table_of_a_latin_1_shapefile_is_read_by_others(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "Müllers Äcker"
    gpd.GeoDataFrame({"name": [name]}, geometry=[shapely.Point(-105.1, 39.9)], crs="EPSG:4326").to_file(
        "plots.shp", encoding="ISO-8859-1"
    )
    Path("plots.cpg").unlink()
    usual: dict[str, Any] = {"endpoint": demo_server.url, "executor": "threads", "rate": None, "quiet": True}
    for suffix in ("parquet", "csv"):
        run = eechips.points("DEM", points="plots.shp", format=suffix, out=tmp_path / suffix, **usual)
        table = pd.read_parquet(run.assembled[0]) if suffix == "parquet" else pd.read_csv(run.assembled[0])
        assert table["name"].tolist() == [name]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_every_verb_takes_the_repaired_polygons(demo_server: Server, tmp_path: Path) -> None:
    path = str(write(tmp_path / "bow.geojson", SQUARE, BOW))
    usual: dict[str, Any] = {"endpoint": demo_server.url, "executor": "threads", "rate": None, "quiet": True}
    series = eechips.timeseries(
        "MODIS_LST", regions=path, columns="id=plot", start="2019-06-01", end="2019-06-20", out=tmp_path / "a", **usual
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
        shapes = [*read_vectors(Path(path)).geometries]
        inside = rasterio.features.rasterize(shapes, valid.shape, transform=file.transform, all_touched=True)
    assert valid.any()
    assert not (valid & ~inside.astype(np.bool_)).any()


@pytest.mark.slow
def test_a_command_names_its_table_and_the_ids_of_regions(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.geojson", SQUARE)
    usual = ["--endpoint", demo_server.url, "--executor", "threads", "--rate", "none"]
    found = run_command(
        *["points", "--dataset", "DEM", "--points", "good.geojson", "--format", "csv", "--out", "a"], *usual
    )
    assert "Made from all results: a/points.csv" in found.output
    days = "--start 2019-06-01 --end 2019-06-20"
    words = f"timeseries --dataset MODIS_LST --regions good.geojson {days} --output one --out b".split()
    found = run_command(*words, *usual)
    assert (
        "Regions are numbered from 1 in the file's order; --columns id=NAME takes ids of a column: plot" in found.output
    )
    assert "Made from all results: b/series.parquet" in found.output
