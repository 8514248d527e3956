"""Every kind of export, to every destination, in every format: names as Earth Engine documents them, other readers.

Names of files: https://developers.google.com/earth-engine/guides/exporting_images#large_file_exports and
https://developers.google.com/earth-engine/guides/tfrecord. Formats: the pages of Export.image, Export.table,
Export.video and Export.map in https://developers.google.com/earth-engine/apidocs.
"""

from __future__ import annotations

import copy
import gzip
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from PIL import Image as Picture

from local_tests.support.export_tasks import Folders, finished
from local_tests.support.parameters import slow_except
from local_tests.support.stack_store import SHAPE, STACK, TABLE, TRANSFORM, Stack

BUCKET = "my-bucket"


def run(task: Any) -> dict[str, Any]:
    task.start()
    status = finished(task)
    assert status["state"] == "COMPLETED", status
    return status


def file_names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def records(path: Path) -> list[bytes]:
    """The records of a TFRecord file, read by its documented layout."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    found = []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(content[12 : 12 + length])
        content = content[16 + length :]
    return found


# Images: format, options, names after the prefix (and what separates them from it on Drive and in Cloud Storage).
PARTS = [f"{0:010d}-{column:010d}.tif" for column in (0, 256)]
IMAGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "GeoTIFF": ({}, [".tif"]),
    "GeoTIFF of the default format": ({"fileFormat": None}, [".tif"]),
    "cloud-optimised GeoTIFF": ({"formatOptions": {"cloudOptimized": True}}, [".tif"]),
    "several GeoTIFFs": ({"fileDimensions": 256}, PARTS),
    "shards": ({"fileDimensions": [256, 512], "shardSize": 128}, PARTS),
    "rows and columns": (
        {"fileDimensions": [160, 128], "shardSize": 32},
        [f"{row:010d}-{column:010d}.tif" for row in (0, 128) for column in (0, 160)],
    ),
    "TFRecord": (
        {"fileFormat": "TFRecord", "formatOptions": {"patchDimensions": [100, 100]}},
        ["00000.tfrecord", "mixer.json"],
    ),
    "compressed TFRecord": (
        {"fileFormat": "TFRecord", "formatOptions": {"patchDimensions": [100, 100], "compressed": True}},
        ["00000.tfrecord.gz", "mixer.json"],
    ),
    "TFRecord of several files": (
        {"fileFormat": "TFRecord", "formatOptions": {"patchDimensions": [100, 100], "maxFileSize": 30_000}},
        [*(f"{number:05d}.tfrecord" for number in range(6)), "mixer.json"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["drive", pytest.param("bucket", marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", slow_except(IMAGES, "GeoTIFF", "several GeoTIFFs", "TFRecord"))
def test_images(ee: Any, stack: Stack, folders: Folders, name: str, form: str, where: str) -> None:
    given, endings = IMAGES[form]
    options = copy.deepcopy(given)  # the client takes options out of it
    image = ee.Image(f"{STACK}/image_0").select("red")
    if where == "drive":
        run(ee.batch.Export.image.toDrive(image, "x", name, "image", **options))
        folder, separator = folders.drive / name, "-"
    else:
        run(ee.batch.Export.image.toCloudStorage(image, "x", BUCKET, f"{name}/deep/image", **options))
        folder, separator = folders.buckets / BUCKET / name / "deep", ""
    assert file_names(folder) == {f"image{'' if end.startswith('.') else separator}{end}" for end in endings}
    found = np.zeros(SHAPE, "uint16")
    for path in folder.glob("*.tif"):
        with rasterio.open(path) as file:
            column, row = (round(v) for v in ~TRANSFORM * (file.transform.c, file.transform.f))
            found[row : row + file.height, column : column + file.width] = file.read(1)
            assert file.descriptions == ("red",)
            assert (file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG") == ("optimised" in form)
            if len(endings) > 1:
                assert f"{row:010d}-{column:010d}" in path.name
    if endings[0].endswith(".tif"):
        np.testing.assert_array_equal(found, stack.pixels[0][0])
    else:
        files = sorted(path for path in folder.iterdir() if "tfrecord" in path.name)
        assert sum(len(records(path)) for path in files) == 6
        (mixer,) = folder.glob("*mixer.json")
        assert json.loads(mixer.read_text())["totalPatches"] == 6


@pytest.mark.slow
def test_the_prefix_is_the_description_unless_one_is_given(ee: Any, folders: Folders, name: str) -> None:
    image, table = ee.Image(f"{STACK}/image_0"), ee.FeatureCollection(TABLE)
    for task in (
        ee.batch.Export.image.toDrive(image, name),
        ee.batch.Export.image.toCloudStorage(image, name, BUCKET),
        ee.batch.Export.table.toDrive(table, name),
        ee.batch.Export.table.toCloudStorage(table, name, BUCKET),
    ):
        run(task)
    assert {f"{name}.tif", f"{name}.csv"} <= file_names(folders.drive)
    assert {f"{name}.tif", f"{name}.csv"} <= file_names(folders.buckets / BUCKET)


def squares(numbers: range) -> list[Any]:
    return [shapely.box(-105 + n, 40, -104.5 + n, 40.5) for n in numbers]


def read_csv(path: Path) -> Any:
    frame = pd.read_csv(path)
    return geopandas.GeoDataFrame(frame, geometry=shapely.from_geojson(frame[".geo"]), crs="EPSG:4326")


def read_kmz(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        (path.parent / "unpacked.kml").write_bytes(archive.read("doc.kml"))
    return geopandas.read_file(path.parent / "unpacked.kml")


TABLES: dict[str, tuple[set[str], Callable[[Path], Any]]] = {
    "CSV": ({".csv"}, read_csv),
    "GeoJSON": ({".geojson"}, geopandas.read_file),
    "KML": ({".kml"}, geopandas.read_file),
    "KMZ": ({".kmz"}, read_kmz),
    "SHP": ({".shp", ".shx", ".dbf", ".prj", ".cpg"}, geopandas.read_file),
}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["drive", pytest.param("bucket", marks=pytest.mark.slow)])
@pytest.mark.parametrize("selected", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", slow_except(TABLES, "CSV", "GeoJSON", "SHP"))
def test_tables(ee: Any, folders: Folders, name: str, form: str, selected: bool, where: str) -> None:
    endings, read = TABLES[form]
    table = ee.FeatureCollection(TABLE).filter(ee.Filter.gte("n", 4))
    options = {"fileFormat": form, **({"selectors": ["n", ".geo"]} if selected else {})}
    if where == "drive":
        run(ee.batch.Export.table.toDrive(table, "x", name, "table", **options))
        folder = folders.drive / name
    else:
        run(ee.batch.Export.table.toCloudStorage(table, "x", BUCKET, f"{name}/table", **options))
        folder = folders.buckets / BUCKET / name
    assert file_names(folder) == {f"table{ending}" for ending in endings}
    (path,) = (path for path in folder.iterdir() if path.suffix in (".csv", ".geojson", ".kml", ".kmz", ".shp"))
    frame = read(path)
    assert [int(n) for n in frame["n"]] == list(range(4, 10))
    assert ("crop" in frame.columns) == (not selected)
    assert all(found.equals(square) for found, square in zip(frame.geometry, squares(range(4, 10)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("where", ["drive", "bucket"])
def test_tables_of_records(ee: Any, folders: Folders, name: str, where: str) -> None:
    table = ee.FeatureCollection(TABLE)
    options = {"fileFormat": "TFRecord", "selectors": ["n", "crop"]}
    if where == "drive":
        run(ee.batch.Export.table.toDrive(table, "x", name, "table", **options))
        folder = folders.drive / name
    else:
        run(ee.batch.Export.table.toCloudStorage(table, "x", BUCKET, f"{name}/table", **options))
        folder = folders.buckets / BUCKET / name
    assert file_names(folder) == {"table.tfrecord.gz"}
    found = records(folder / "table.tfrecord.gz")
    assert [(b"rye" in record, b"oats" in record) for record in found] == [(True, False), (False, True)] * 5


VIDEO: dict[str, Any] = {"framesPerSecond": 4, "dimensions": 60}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["drive", "bucket"])
def test_videos(ee: Any, folders: Folders, name: str, where: str) -> None:
    av = pytest.importorskip("av")
    frames = (
        ee.ImageCollection(STACK).limit(3).map(lambda image: image.select(["red", "nir", "red"]).divide(40).toByte())
    )
    if where == "drive":
        status = run(ee.batch.Export.video.toDrive(frames, "x", name, "video", **VIDEO))
        folder = folders.drive / name
    else:
        status = run(ee.batch.Export.video.toCloudStorage(frames, "x", BUCKET, f"{name}/video", **VIDEO))
        folder = folders.buckets / BUCKET / name
    assert status["task_type"] == "EXPORT_VIDEO"
    assert file_names(folder) == {"video.mp4"}
    with av.open(str(folder / "video.mp4")) as file:
        assert (file.streams.video[0].frames, float(file.streams.video[0].average_rate)) == (3, 4.0)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "kinds"), [("png", {"PNG"}), ("jpg", {"JPEG"}), ("auto", {"PNG", "JPEG"})])
def test_maps(ee: Any, folders: Folders, name: str, form: str, kinds: set[str]) -> None:
    image = ee.Image(f"{STACK}/image_0").select("red").unmask(0).visualize(min=0, max=10_000)
    status = run(
        ee.batch.Export.map.toCloudStorage(image, "x", BUCKET, fileFormat=form, path=name, minZoom=13, maxZoom=15)
    )
    assert status["task_type"] == "EXPORT_TILES"
    folder = folders.buckets / BUCKET / name
    found = file_names(folder)
    assert all(len(tile.split("/")) == 3 and tile.replace("/", "").isdigit() for tile in found)
    assert {tile.split("/")[0] for tile in found} == {"13", "14", "15"}
    for tile in found:
        with Picture.open(folder / tile) as picture:
            assert picture.format in kinds
            assert picture.size == (256, 256)


@pytest.mark.slow
def test_assets(ee: Any, name: str) -> None:
    root = f"projects/some-project/assets/{name}"
    image = run(ee.batch.Export.image.toAsset(ee.Image(f"{STACK}/image_0"), "x", f"{root}/image"))
    table = run(ee.batch.Export.table.toAsset(ee.FeatureCollection(TABLE), "x", f"{root}/table"))
    assert (image["destination_uris"], table["destination_uris"]) == ([f"{root}/image"], [f"{root}/table"])
    assert ee.Image(f"{root}/image").bandNames().getInfo() == ["red", "nir"]
    assert ee.FeatureCollection(f"{root}/table").size().getInfo() == 10


@pytest.mark.slow
def test_files_are_whole_where_a_tile_would_be_empty(ee: Any, folders: Folders, name: str) -> None:
    image = ee.Image(f"{STACK}/image_0").select("red")
    half = image.updateMask(ee.Image.pixelCoordinates(image.projection()).select("x").lt(200))
    for skips in (False, True):
        options = {"fileDimensions": 256, "skipEmptyTiles": skips}
        run(ee.batch.Export.image.toDrive(half, "x", f"{name}{skips}", "image", **options))
    assert file_names(folders.drive / f"{name}False") == {f"image-{part}" for part in PARTS}
    assert file_names(folders.drive / f"{name}True") == {f"image-{PARTS[0]}"}


@pytest.mark.slow
def test_options_that_change_no_file_are_taken(ee: Any, folders: Folders, name: str) -> None:
    image = ee.Image(f"{STACK}/image_0")
    task = ee.batch.Export.image.toDrive(image, name, maxPixels=1e13, priority=9999)
    assert run(task)["priority"] == 9999
    task = ee.batch.Export.table.toDrive(ee.FeatureCollection(TABLE), name, priority=0, maxVertices=0)
    assert run(task)["priority"] == 0
    assert {f"{name}.tif", f"{name}.csv"} <= file_names(folders.drive)


@pytest.mark.slow
def test_the_life_of_a_task(ee: Any, name: str) -> None:
    status = run(ee.batch.Export.image.toDrive(ee.Image(f"{STACK}/image_0"), name))
    times = [status[f"{moment}_timestamp_ms"] for moment in ("creation", "start", "update")]
    assert times == sorted(times)
    (listed,) = (each for each in ee.data.listOperations() if each["metadata"]["description"] == name)
    metadata = listed["metadata"]
    assert (metadata["state"], metadata["type"], metadata["attempt"]) == ("SUCCEEDED", "EXPORT_IMAGE", 1)
    assert metadata["createTime"] <= metadata["startTime"] <= metadata["endTime"]
    assert metadata["endTime"] <= metadata["updateTime"]
    assert metadata["batchEecuUsageSeconds"] == status["batch_eecu_usage_seconds"] > 0
    assert [stage["displayName"] for stage in metadata["stages"]] == [
        "Create Local Files",
        "Write Files to Destination",
    ]
    assert metadata["progress"] == 1
    failed = ee.batch.Export.image.toDrive(ee.Image(1), f"{name}-failed")
    failed.start()
    found = finished(failed)
    assert (found["state"], found["error_message"]) == ("FAILED", "Unable to export unbounded image.")
    assert "destination_uris" not in found
