"""Tables that the real client exports, read by pandas and geopandas."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import pytest
import shapely

from local_tests.support.export_tasks import Folders, finished
from local_tests.support.stack_store import TABLE


def squares() -> list[Any]:
    return [shapely.box(x, 40, x + 0.5, 40.5) for x in range(-105, -95)]


def export(ee: Any, folders: Folders, collection: Any, name: str, **options: Any) -> list[Path]:
    task = ee.batch.Export.table.toDrive(collection, "x", name, "table", **options)
    task.start()
    status = finished(task)
    assert (status["state"], status["task_type"]) == ("COMPLETED", "EXPORT_FEATURES"), status
    return sorted((folders.drive / name).iterdir())


def test_csv(ee: Any, folders: Folders, name: str) -> None:
    (path,) = export(ee, folders, ee.FeatureCollection(TABLE), name)
    assert path.name == "table.csv"
    frame = pd.read_csv(path)
    assert list(frame.columns) == ["system:index", "crop", "n", ".geo"]
    assert (list(frame.n), list(frame.crop)) == (list(range(10)), ["rye", "oats"] * 5)
    for text, square in zip(frame[".geo"], squares(), strict=True):
        assert shapely.geometry.shape(json.loads(text)).equals(square)


def test_doubles_are_written_as_java_writes_them(ee: Any, folders: Folders, name: str) -> None:
    """Cells of a table that the service exported, where -1 stands for means that are missing.

    See github.com/kaust-halo/geeet, examples/data/ee_landsat_fc_reducer_demo.csv.
    """
    place, image = ee.Geometry.Point([0, 0]), ee.Image([169, 9.128382136897204e-4]).rename("path", "cloud")
    mean = image.reduceRegions([ee.Feature(place, {"missing": -1})], ee.Reducer.mean(), 30)
    (path,) = export(ee, folders, mean, name, selectors=["path", "cloud", "missing"])
    assert path.read_text() == "path,cloud,missing\n169.0,9.128382136897204E-4,-1\n"


@pytest.mark.slow
def test_selected_columns(ee: Any, folders: Folders, name: str) -> None:
    (path,) = export(ee, folders, ee.FeatureCollection(TABLE), name, selectors="n")
    assert path.read_text() == "n\n" + "".join(f"{n}\n" for n in range(10))


@pytest.mark.slow
def test_an_export_has_more_elements_than_a_response(ee: Any, folders: Folders, name: str) -> None:
    points = ee.FeatureCollection.randomPoints(ee.Geometry.Rectangle([0, 0, 1, 1]), 6000, 1)
    with pytest.raises(ee.EEException, match="accumulating over 5000 elements"):
        points.getInfo()
    (path,) = export(ee, folders, points, name)
    assert len(pd.read_csv(path)) == 6000


@pytest.mark.slow
@pytest.mark.parametrize(("form", "ending"), [("GeoJSON", "geojson"), ("KML", "kml")])
def test_files_with_geometries(ee: Any, folders: Folders, name: str, form: str, ending: str) -> None:
    (path,) = export(ee, folders, ee.FeatureCollection(TABLE), name, fileFormat=form)
    assert path.name == f"table.{ending}"
    frame = geopandas.read_file(path)
    assert all(a.equals(b) for a, b in zip(frame.geometry, squares(), strict=True))


@pytest.mark.slow
def test_kmz(ee: Any, folders: Folders, name: str) -> None:
    (path,) = export(ee, folders, ee.FeatureCollection(TABLE), name, fileFormat="KMZ")
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        assert archive.read("doc.kml").count(b"<Placemark>") == 10


@pytest.mark.slow
def test_shapefile(ee: Any, folders: Folders, name: str) -> None:
    collection = ee.FeatureCollection(TABLE).map(
        lambda f: f.set({"half": ee.Number(f.get("n")).divide(2), "a_long_column": ee.String("é").cat(f.get("crop"))})
    )
    files = export(ee, folders, collection, name, fileFormat="SHP")
    assert [file.name for file in files] == [f"table.{ending}" for ending in ("cpg", "dbf", "prj", "shp", "shx")]
    frame = geopandas.read_file(folders.drive / name / "table.shp")
    assert set(frame.columns) == {"a_long_col", "crop", "half", "n", "geometry"}
    assert frame.crs == "EPSG:4326"
    assert (list(frame.n), list(frame.half)) == (list(range(10)), [n / 2 for n in range(10)])
    assert list(frame.a_long_col) == ["érye", "éoats"] * 5
    assert all(a.equals(b) for a, b in zip(frame.geometry, squares(), strict=True))


@pytest.mark.slow
def test_objects_in_a_bucket(ee: Any, folders: Folders, name: str) -> None:
    task = ee.batch.Export.table.toCloudStorage(ee.FeatureCollection(TABLE), "x", "my-bucket", f"{name}/t")
    task.start()
    assert finished(task)["state"] == "COMPLETED"
    assert [path.name for path in (folders.buckets / "my-bucket" / name).iterdir()] == ["t.csv"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_tasks_fail_with_the_reason(ee: Any, name: str) -> None:
    point, line = ee.Geometry.Point([1, 2]), ee.Geometry.LineString([[0, 0], [1, 1]])
    of = ee.FeatureCollection
    for message, collection, options in (
        ("geometries of one type; found LineString, Point", of([ee.Feature(point), ee.Feature(line)]), {}),
        ("geometries of one type; found none", of([ee.Feature(None, {"n": 1})]), {}),
        ("must differ then", of([ee.Feature(point, {"a_long_name_1": 1, "a_long_name_2": 2})]), {}),
        ("'t' has 300", of([ee.Feature(point, {"t": "x" * 300})]), {}),
        ("more than 3 vertices", of(TABLE), {"fileFormat": "CSV", "maxVertices": 3}),
        ("Expected a FeatureCollection; the expression is of type Image", ee.Image(1), {"fileFormat": "CSV"}),
    ):
        task = ee.batch.Export.table.toDrive(collection, name, **{"fileFormat": "SHP", **options})
        task.start()
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(finished(task).get("error_message", "none"))


def test_destinations_that_are_not_supported_are_refused(ee: Any) -> None:
    table = ee.FeatureCollection(TABLE)
    with pytest.raises(ee.EEException, match="does not export to BigQuery"):
        ee.batch.Export.table.toBigQuery(table, "x", "project.dataset.table").start()
    with pytest.raises(ee.EEException, match="does not export as FeatureViews"):
        ee.batch.Export.table.toFeatureView(table, "x", "projects/p/assets/view").start()
