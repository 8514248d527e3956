"""Images that the real client exports: files by rasterio, their names, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from local_tests.support.export_tasks import Folders, finished
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import CRS, SHAPE, STACK, TRANSFORM, Stack


def own_grid() -> dict[str, Any]:
    """The grid of the stored images, as the client takes it."""
    height, width = SHAPE
    return {"crs": CRS, "crsTransform": list(TRANSFORM)[:6], "dimensions": f"{width}x{height}"}


def read(path: Path) -> Any:
    with rasterio.open(path) as file:
        return file.read()


def is_big(path: Path) -> bool:
    """Whether a file is a BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html."""
    return path.read_bytes()[:4] == b"II\x2b\x00"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_image_is_exported_to_drive(ee: Any, stack: Stack, folders: Folders, name: str) -> None:
    image = ee.Image(f"{STACK}/image_0")
    task = ee.batch.Export.image.toDrive(image, "to-drive", folder="some folder", fileNamePrefix=name)
    assert task.status() == {"state": "UNSUBMITTED"}
    task.start()
    status = finished(task)
    assert status["state"] == "COMPLETED", status
    assert names(folders.drive / "some folder") == [f"{name}.tif"]
    assert is_big(folders.drive / "some folder" / f"{name}.tif")
    with rasterio.open(folders.drive / "some folder" / f"{name}.tif") as file:
        assert (file.crs, file.transform, file.shape) == (CRS, TRANSFORM, SHAPE)
        assert (file.descriptions, file.dtypes, file.nodata) == (("red", "nir"), ("uint16",) * 2, 0)
        np.testing.assert_array_equal(file.read(), stack.pixels[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_finished_task_says_what_it_did(ee: Any, folders: Folders, name: str) -> None:
    task = ee.batch.Export.image.toDrive(ee.Image(f"{STACK}/image_0"), name, priority=300)
    task.start()
    status = finished(task)
    assert status.pop("destination_uris") == [folders.drive.as_uri()]
    assert status.pop("batch_eecu_usage_seconds") > 0
    times = [status.pop(f"{moment}_timestamp_ms") for moment in ("creation", "start", "update")]
    assert times == sorted(times)
    assert status == {
        "state": "COMPLETED", "attempt": 1, "description": name, "task_type": "EXPORT_IMAGE", "priority": 300,
        "id": task.id, "name": f"projects/local/operations/{task.id}",
    }  # fmt: skip
    operation = ee.data.getOperation(task.name)
    assert operation["done"] is True
    assert operation["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    metadata = operation["metadata"]
    assert metadata["progress"] == 1
    assert [(stage["displayName"], stage["completeWorkUnits"]) for stage in metadata["stages"]] == [
        ("Create Local Files", 1), ("Write Files to Destination", 1),
    ]  # fmt: skip
    assert ee.data.getTaskStatus(task.id)[0]["state"] == "COMPLETED"
    assert task.id in [listed["id"] for listed in ee.data.getTaskList()]
    assert task.id in [listed.id for listed in ee.batch.Task.list()]


@pytest.mark.slow
def test_an_image_is_exported_to_a_bucket(ee: Any, stack: Stack, folders: Folders, name: str) -> None:
    image = ee.Image(f"{STACK}/image_1")
    task = ee.batch.Export.image.toCloudStorage(image, "x", bucket="my-bucket", fileNamePrefix=f"deep/er/{name}")
    task.start()
    assert finished(task)["state"] == "COMPLETED"
    assert names(folders.buckets / "my-bucket" / "deep" / "er") == [f"{name}.tif"]
    np.testing.assert_array_equal(read(folders.buckets / "my-bucket" / "deep" / "er" / f"{name}.tif"), stack.pixels[1])


@pytest.mark.slow
@pytest.mark.parametrize("is_drive", [True, False])
def test_large_images_are_divided_into_files(
    ee: Any, stack: Stack, folders: Folders, name: str, is_drive: bool
) -> None:
    image = ee.Image(f"{STACK}/image_0")
    options = {"fileNamePrefix": name, "shardSize": 32, "fileDimensions": (128, 96)}
    if is_drive:
        task = ee.batch.Export.image.toDrive(image, "x", folder=name, **options)
        folder, separator = folders.drive / name, "-"
    else:
        task = ee.batch.Export.image.toCloudStorage(image, "x", bucket=name.replace("_", "-"), **options)
        folder, separator = folders.buckets / name.replace("_", "-"), ""
    task.start()
    assert finished(task)["state"] == "COMPLETED"
    corners = [(row, column) for row in (0, 96, 192) for column in (0, 128, 256)]
    assert names(folder) == [f"{name}{separator}{row:010d}-{column:010d}.tif" for row, column in corners]
    for row, column in corners:
        with rasterio.open(folder / f"{name}{separator}{row:010d}-{column:010d}.tif") as file:
            assert file.transform == TRANSFORM * TRANSFORM.translation(column, row)
            expected = stack.pixels[0][:, row : row + 96, column : column + 128]
            np.testing.assert_array_equal(file.read(), expected)


@pytest.mark.slow
def test_files_without_pixels_are_skipped_if_asked(ee: Any, folders: Folders, name: str) -> None:
    image = ee.Image(f"{STACK}/image_0")
    image = image.updateMask(image.select(0).gt(0).And(ee.Image.pixelCoordinates(CRS).select("x").gte(501_280)))
    for skip in (True, False):
        task = ee.batch.Export.image.toDrive(
            image, "x", f"{name}{skip}", name, **own_grid(), fileDimensions=128, shardSize=128, skipEmptyTiles=skip
        )
        task.start()
        assert finished(task)["state"] == "COMPLETED"
    every = [f"{name}-{row:010d}-{column:010d}.tif" for row in (0, 128) for column in (0, 128, 256)]
    assert names(folders.drive / f"{name}False") == every
    assert names(folders.drive / f"{name}True") == [file for file in every if not file.endswith("-0000000000.tif")]


@pytest.mark.slow
@pytest.mark.parametrize("skip", [True, False])
def test_an_image_without_pixels_fails_if_its_files_are_skipped(
    ee: Any, folders: Folders, name: str, skip: bool
) -> None:
    """https://github.com/allenai/rslearn, ``data_sources/google_earth_engine.py``."""
    image = ee.Image(f"{STACK}/image_0").updateMask(0)
    task = ee.batch.Export.image.toDrive(image, "x", f"{name}{skip}", name, **own_grid(), skipEmptyTiles=skip)
    task.start()
    status = finished(task)
    if skip:
        assert (status["state"], status["error_message"]) == (
            "FAILED", "No valid (un-masked) pixels in export region.",
        )  # fmt: skip
    else:
        assert status["state"] == "COMPLETED"


@pytest.mark.slow
def test_cloud_optimized_files_and_masked_pixels(ee: Any, stack: Stack, folders: Folders, name: str) -> None:
    image = ee.Image(f"{STACK}/image_0").toInt32()
    task = ee.batch.Export.image.toDrive(
        image, name, scale=2.5, formatOptions={"cloudOptimized": True, "noData": -9, "metadataKeys": ["kind"]}
    )
    task.start()
    assert finished(task)["state"] == "COMPLETED"
    assert is_big(folders.drive / f"{name}.tif")
    with rasterio.open(folders.drive / f"{name}.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1)
        assert (file.nodata, file.dtypes[0], file.shape) == (-9, "int32", (800, 1200))
        assert file.tags()["kind"] == "k0"
        values = file.read()
    expected = np.where(stack.pixels[0] == 0, -9, stack.pixels[0].astype(np.int32))
    np.testing.assert_array_equal(values, expected.repeat(4, axis=1).repeat(4, axis=2))


@pytest.mark.slow
def test_drive_keeps_files_of_the_same_name_and_buckets_replace_them(ee: Any, folders: Folders, name: str) -> None:
    for index in (0, 1):
        image = ee.Image(f"{STACK}/image_0").select(index)
        tasks = [
            ee.batch.Export.image.toDrive(image, "x", name, "same"),
            ee.batch.Export.image.toCloudStorage(image, "x", "same-names", name),
        ]
        for task in tasks:
            task.start()
            assert finished(task)["state"] == "COMPLETED"
    assert names(folders.drive / name) == ["same (1).tif", "same.tif"]
    red, nir = (read(folders.drive / name / file) for file in ("same.tif", "same (1).tif"))
    assert not np.array_equal(red, nir)
    np.testing.assert_array_equal(read(folders.buckets / "same-names" / f"{name}.tif"), nir)


def failures(ee: Any) -> dict[str, Callable[[str], Any]]:
    drive = ee.batch.Export.image.toDrive
    image = ee.Image(f"{STACK}/image_0")
    return {
        r"Export too large: specified 60000 pixels \(max: 59999\). Specify higher maxPixels value if you intend to "
        "export a large area.": lambda name: drive(image, name, maxPixels=59_999),
        "Unable to export unbounded image.": lambda name: drive(ee.Image(1), name),
        "found inconsistent types: UInt16 and Float32.": lambda name: drive(
            image.select("red").addBands(image.select("nir").toFloat()), name
        ),
        "must be positive multiples of shardSize": lambda name: drive(image, name, fileDimensions=100),
        "the total file size requested is 68719476736 bytes before compression .4 bytes per pixel.": lambda name: drive(
            image, name, fileDimensions=131_072
        ),
        "is not a value of the bands' type, UInt16": lambda name: drive(image, name, formatOptions={"noData": -1}),
        "Bands with array pixels cannot be written": lambda name: drive(image.toArray(), name),
    }  # fmt: skip


@pytest.mark.slow
def test_tasks_fail_with_the_message_of_earth_engine(ee: Any, folders: Folders, name: str) -> None:
    for message, attempt in failures(ee).items():
        task = attempt(name)
        task.start()
        status = finished(task)
        assert status["state"] == "FAILED"
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(status["error_message"])
        assert "destination_uris" not in status
    assert not list(folders.drive.glob(f"{name}*"))


@pytest.mark.parametrize("prefix", ["../out", "a/../../out", "a//b", "/etc/passwd", ".hidden/x", "a\nb", "x" * 300])
def test_objects_cannot_leave_their_bucket(ee: Any, folders: Folders, prefix: str) -> None:
    before = sorted(folders.root.rglob("*"))
    image = ee.Image(f"{STACK}/image_0")
    with pytest.raises(ee.EEException, match="Invalid object name prefix"):
        ee.batch.Export.image.toCloudStorage(image, "x", "my-bucket", prefix).start()
    with pytest.raises(ee.EEException, match="Invalid bucket name"):
        ee.batch.Export.image.toCloudStorage(image, "x", f"../{prefix}", "x").start()
    assert sorted(folders.root.rglob("*")) == before


@pytest.mark.slow
def test_names_on_drive_are_literal(ee: Any, folders: Folders) -> None:
    task = ee.batch.Export.image.toDrive(ee.Image(f"{STACK}/image_0"), "x", "../path/to", "../../file")
    task.start()
    assert finished(task)["state"] == "COMPLETED"
    assert names(folders.drive / "_._path_to") == ["_._.._file.tif"]


@pytest.mark.slow
def test_a_link_does_not_lead_out(ee: Any, folders: Folders, tmp_path: Path, name: str) -> None:
    folders.drive.mkdir(exist_ok=True)
    (folders.drive / name).symlink_to(tmp_path)
    task = ee.batch.Export.image.toDrive(ee.Image(f"{STACK}/image_0"), "x", name)
    task.start()
    assert "a link leads out" in finished(task)["error_message"]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_without_folders_exports_are_refused(stack_server: Server) -> None:
    ee = initialize(stack_server)
    image = ee.Image(f"{STACK}/image_0")
    with pytest.raises(ee.EEException, match="no folder for Google Drive: start it with --drive DIR"):
        ee.batch.Export.image.toDrive(image, "x").start()
    with pytest.raises(ee.EEException, match="no folder for Cloud Storage: start it with --buckets DIR"):
        ee.batch.Export.image.toCloudStorage(image, "x", "my-bucket").start()
    assert ee.data.listOperations() == []
