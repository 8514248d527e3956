"""TFRecord files of images and tables that the real client exports, by a reader that is not ours."""

from __future__ import annotations

import gzip
import importlib.util
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.exports.tf_records import example
from local_tests.support.export_tasks import Folders, finished
from local_tests.support.stack_store import STACK, TRANSFORM, Stack

if importlib.util.find_spec("tfrecord") is None:  # importing it imports PyTorch, which takes seconds
    pytest.skip("tfrecord is not installed", allow_module_level=True)
crc32c = pytest.importorskip("crc32c")


def records(path: Path) -> list[Any]:
    """The examples of a file, whose checksums are compared."""
    from tfrecord import example_pb2, reader

    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    while content:
        (length,), rest = struct.unpack("<Q", content[:8]), content[12:]
        for text, found in ((content[:8], content[8:12]), (rest[:length], rest[length : length + 4])):
            crc = crc32c.crc32c(text)
            assert struct.unpack("<I", found)[0] == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        content = rest[length + 4 :]
    kind = "gzip" if path.suffix == ".gz" else None
    found = []
    for raw in reader.tfrecord_iterator(str(path), compression_type=kind):
        message = example_pb2.Example()
        message.ParseFromString(bytes(raw))
        found.append(message.features.feature)
    return found


def export(ee: Any, folders: Folders, image: Any, name: str, **options: Any) -> list[Path]:
    task = ee.batch.Export.image.toDrive(image, "x", name, "image", fileFormat="TFRecord", formatOptions=options)
    task.start()
    status = finished(task)
    assert status["state"] == "COMPLETED", status
    return sorted((folders.drive / name).iterdir())


@pytest.mark.slow
def test_patches_of_an_image(ee: Any, stack: Stack, folders: Folders, name: str) -> None:
    image = ee.Image(f"{STACK}/image_0")
    bands = [
        image.select("red").rename("int"), image.select("nir").toFloat().divide(3).toFloat().rename("float"),
        image.select("red").mod(256).toByte().rename("byte"),
    ]  # fmt: skip
    files = export(ee, folders, ee.Image.cat(bands), name, patchDimensions=[64, 32], compressed=True, defaultValue=7.5)
    assert [file.name for file in files] == ["image-00000.tfrecord.gz", "image-mixer.json"]
    assert json.loads(files[1].read_text()) == {
        "projection": {"crs": "EPSG:32613", "affine": {"doubleMatrix": list(TRANSFORM)[:6]}},
        "patchDimensions": [64, 32], "patchesPerRow": 4, "totalPatches": 24,
    }  # fmt: skip
    found = records(files[0])
    assert len(found) == 24  # 300 x 200 pixels: a row of patches and part of a column are left out
    masked = stack.pixels[0][0] == 0
    for index, features in enumerate(found):
        row, column = divmod(index, 4)
        place = (slice(row * 32, row * 32 + 32), slice(column * 64, column * 64 + 64))
        red, nir = (np.where(masked, 0, band)[place] for band in stack.pixels[0])
        hidden = masked[place]
        integers = np.array(features["int"].int64_list.value).reshape(32, 64)
        np.testing.assert_array_equal(integers, np.where(hidden, 7, red))
        floats = np.array(features["float"].float_list.value, np.float32).reshape(32, 64)
        np.testing.assert_allclose(floats, np.where(hidden, 7.5, nir / 3), rtol=1e-6)
        (text,) = features["byte"].bytes_list.value
        values = np.frombuffer(text, np.uint8).reshape(32, 64)
        np.testing.assert_array_equal(values, np.where(hidden, 7, red % 256))


@pytest.mark.slow
def test_patches_with_margins(ee: Any, stack: Stack, folders: Folders, name: str) -> None:
    image = ee.Image(f"{STACK}/image_0").select("red")
    files = export(ee, folders, image, name, patchDimensions=[100, 100], kernelSize=[20, 10])
    assert [file.name for file in files] == ["image-00000.tfrecord", "image-mixer.json"]
    padded = np.pad(stack.pixels[0][0], ((5, 5), (10, 10)))
    found = [np.array(features["red"].int64_list.value).reshape(110, 120) for features in records(files[0])]
    for index, patch in enumerate(found):
        row, column = divmod(index, 3)
        np.testing.assert_array_equal(patch, padded[row * 100 : row * 100 + 110, column * 100 : column * 100 + 120])
    assert len(found) == 6


@pytest.mark.slow
def test_files_have_a_greatest_size(ee: Any, stack: Stack, folders: Folders, name: str) -> None:
    image = ee.Image(f"{STACK}/image_0").toFloat()
    files = export(
        ee, folders, image, name, patchDimensions=[50, 50], maxFileSize=50_000, collapseBands=True,
        maskedThreshold=0.001,
    )  # fmt: skip
    assert [file.name for file in files] == [f"image-{index:05d}.tfrecord" for index in range(12)]
    assert all(file.stat().st_size <= 50_000 for file in files)
    found = [features for file in files for features in records(file)]
    assert len(found) == 23  # all but the first, in which 35 pixels are masked
    assert {tuple(features) for features in found} == {("red",)}
    stacked = np.array(found[0]["red"].float_list.value).reshape(2, 50, 50)
    np.testing.assert_array_equal(stacked, stack.pixels[0][:, :50, 50:100])


@pytest.mark.slow
def test_objects_of_patches_follow_their_prefix(ee: Any, folders: Folders, name: str) -> None:
    task = ee.batch.Export.image.toCloudStorage(
        ee.Image(f"{STACK}/image_0"), "x", "my-bucket", f"{name}/Image_pixel_demo_", fileFormat="TFRecord",
        formatOptions={"compressed": True, "patchDimensions": [64, 64]},
    )  # fmt: skip
    task.start()
    assert finished(task)["state"] == "COMPLETED"
    found = sorted(path.name for path in (folders.buckets / "my-bucket" / name).iterdir())
    assert found == ["Image_pixel_demo_00000.tfrecord.gz", "Image_pixel_demo_mixer.json"]


@pytest.mark.slow
def test_files_of_a_second_task_have_the_same_number(ee: Any, folders: Folders, name: str) -> None:
    image = ee.Image(f"{STACK}/image_0")
    for is_compressed in (False, True, True):
        export(ee, folders, image, name, compressed=is_compressed, patchDimensions=[64, 64])
    assert sorted(path.name for path in (folders.drive / name).iterdir()) == [
        "image-00000 (1).tfrecord.gz", "image-00000 (2).tfrecord.gz", "image-00000.tfrecord", "image-mixer (1).json",
        "image-mixer (2).json", "image-mixer.json",
    ]  # fmt: skip


@pytest.mark.slow
def test_patches_that_are_not_supported_fail(ee: Any, name: str) -> None:
    image = ee.Image(f"{STACK}/image_0")
    for message, options in {
        "smaller than one patch .400x400.": {"patchDimensions": [400, 400]},
        "does not export TFRecord images with sequenceData": {"sequenceData": True},
        "dimensions must be greater than zero": {"patchDimensions": [-1, 5]},
    }.items():
        task = ee.batch.Export.image.toDrive(image, name, fileFormat="TFRecord", formatOptions=options)
        task.start()
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(finished(task)["error_message"])


@pytest.mark.slow
def test_a_table_of_numbers_arrays_and_texts(ee: Any, folders: Folders, name: str) -> None:
    features = [
        ee.Feature(ee.Geometry.Point([1, 2]), {"n": 1, "x": 2.5, "array": ee.Array([[1, 2], [3, 4]]), "text": "ü"}),
        ee.Feature(None, {"n": 2, "list": [5, 6.5], "flag": True}),
    ]
    task = ee.batch.Export.table.toDrive(ee.FeatureCollection(features), "x", name, "table", fileFormat="TFRecord")
    task.start()
    assert finished(task)["state"] == "COMPLETED"
    (path,) = (folders.drive / name).iterdir()
    assert path.name == "table.tfrecord.gz"
    first, second = records(path)
    assert {k: list(first[k].float_list.value) for k in ("n", "x", "array")} == {
        "n": [1],
        "x": [2.5],
        "array": [1, 2, 3, 4],
    }
    assert list(first["text"].bytes_list.value) == ["ü".encode()]
    assert {k: list(second[k].float_list.value) for k in ("n", "list")} == {"n": [2], "list": [5, 6.5]}
    assert "x" not in second


@pytest.mark.slow
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.binary(max_size=300))
def test_examples_hold_what_was_put_into_them(integers: list[int], text: bytes) -> None:
    from tfrecord import example_pb2

    message = example_pb2.Example()
    message.ParseFromString(example({"b": text, "a": np.array(integers), "é": np.array([1.5, -2], np.float32)}))
    found = message.features.feature
    assert list(found["a"].int64_list.value) == integers
    assert list(found["b"].bytes_list.value) == [text]
    assert list(found["é"].float_list.value) == [1.5, -2]
