"""Folders, collections and properties that the real client makes, changes, copies, moves and removes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from local_tests.support.client_command import earthengine
from local_tests.support.export_tasks import Folders
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import CRS, SHAPE, STACK, TABLE, TRANSFORM, Stack

# The client's old functions are the ones that scripts and its own command line call.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")


def names(ee: Any, parent: str) -> list[str]:
    return [asset["name"] for asset in ee.data.listAssets(parent)["assets"]]


def red(ee: Any, image: str) -> Any:
    grid = {
        "dimensions": {"width": SHAPE[1], "height": SHAPE[0]}, "crsCode": CRS,
        "affineTransform": {"scaleX": 10, "scaleY": -10, "translateX": TRANSFORM.c, "translateY": TRANSFORM.f},
    }  # fmt: skip
    body = {"expression": ee.Image(image).select(0).unmask(0), "fileFormat": "NUMPY_NDARRAY", "grid": grid}
    return ee.data.computePixels(body)[ee.Image(image).bandNames().getInfo()[0]]


@pytest.mark.slow
def test_folders_and_collections_are_made_and_removed(ee: Any, home: str) -> None:
    made = ee.data.createAsset({"type": "ImageCollection", "title": "Frames"}, f"{home}/frames", {"n": 1, "t": "x"})
    assert (made["type"], made["name"], made["id"]) == ("IMAGE_COLLECTION", f"{home}/frames", f"{home}/frames")
    assert made["properties"] == {"n": 1, "t": "x", "title": "Frames"}
    assert ee.data.createFolder(f"{home}/more")["type"] == "FOLDER"
    ee.data.createFolder(f"{home}/more/still")
    assert names(ee, home) == [f"{home}/frames", f"{home}/more"]
    assert ee.data.getAsset(f"{home}/frames") == made
    assert ee.ImageCollection(f"{home}/frames").size().getInfo() == 0
    with pytest.raises(ee.EEException, match=f"Before trying to delete an asset, delete its children: '{home}/more'"):
        ee.data.deleteAsset(f"{home}/more")
    for asset in (f"{home}/more/still", f"{home}/more", f"{home}/frames", home):
        ee.data.deleteAsset(asset)
        with pytest.raises(ee.EEException, match=r"^Asset '.*' does not exist or doesn't allow this operation"):
            ee.data.getAsset(asset)
    assert home not in names(ee, "projects/some-project/assets")
    ee.data.createFolder(home)
    assert home in [asset["id"] for asset in ee.data.listBuckets("projects/some-project")["assets"]]


def test_an_id_is_taken_once(ee: Any, home: str) -> None:
    ee.data.createFolder(f"{home}/a")
    for kind in ("FOLDER", "IMAGE_COLLECTION"):
        with pytest.raises(ee.EEException, match=f"Cannot overwrite asset '{home}/a'"):
            ee.data.createAsset({"type": kind}, f"{home}/a")
    with pytest.raises(ee.EEException, match="Cannot overwrite asset"):
        ee.data.createFolder(STACK)  # of another folder that the server serves


def test_the_folder_above_must_be_there(ee: Any, home: str) -> None:
    with pytest.raises(ee.EEException, match=f"Asset '{home}/none' does not exist or doesn't allow this operation"):
        ee.data.createFolder(f"{home}/none/a")
    ee.data.createAsset({"type": "IMAGE_COLLECTION"}, f"{home}/images")
    with pytest.raises(ee.EEException, match="is a collection; operation not allowed"):
        ee.data.createFolder(f"{home}/images/a")
    ee.data.create_assets([f"{home}/x/y/z"], "FOLDER", True)
    assert names(ee, f"{home}/x/y") == [f"{home}/x/y/z"]


@pytest.mark.parametrize("name", ["a/../b", "a//b", "..", "a\\b", "x" * 300])
def test_ids_cannot_leave_the_folder(ee: Any, server: Server, folders: Folders, name: str) -> None:
    before = sorted(folders.root.rglob("*"))
    url = f"{server.url}/v1/projects/some-project/assets"
    response = requests.post(url, params={"assetId": name}, json={"type": "FOLDER"})
    assert response.status_code in (400, 404), response.text
    assert sorted(folders.root.rglob("*")) == before


def test_what_is_missing_and_what_is_served_elsewhere_is_not_changed(ee: Any, home: str) -> None:
    for asset in (f"{home}/none", f"{STACK}/image_0", TABLE, STACK):
        for change in (
            ee.data.deleteAsset,
            lambda asset: ee.data.updateAsset(asset, {"properties": {"a": 1}}, ["properties.a"]),
            lambda asset: ee.data.renameAsset(asset, f"{home}/moved"),
        ):
            with pytest.raises(ee.EEException, match="does not exist or doesn't allow this operation"):
                change(asset)
    assert names(ee, home) == []


def test_properties_are_set_replaced_and_removed(ee: Any, home: str) -> None:
    asset = f"{home}/image"
    ee.data.copyAsset(f"{STACK}/image_1", asset)
    assert ee.data.getAsset(asset)["properties"] == {"cloud": 10.5, "kind": "k1"}
    ee.data.setAssetProperties(asset, {"kind": None, "n": 3, "system:provider_url": "x"})
    assert ee.data.getAsset(asset)["properties"] == {"cloud": 10.5, "n": 3}
    assert ee.Image(asset).get("system:provider_url").getInfo() == "x"
    assert ee.Image(asset).get("n").getInfo() == 3
    assert ee.Image(asset).propertyNames().contains("kind").getInfo() is False
    ee.data.updateAsset(asset, {"properties": {"a": [1, 2]}}, ["properties"])
    found = ee.data.getAsset(asset)
    assert (found["properties"], found["startTime"]) == ({"a": [1, 2]}, "2020-02-15T00:00:00Z")
    times = {"start_time": "2021-03-04T05:06:07Z", "endTime": "2021-03-05T00:00:00.5Z"}
    ee.data.updateAsset(asset, {**times, "properties": {"a": 9}}, ["start_time", "end_time"])
    found = ee.data.getAsset(asset)
    assert (found["startTime"], found["endTime"]) == ("2021-03-04T05:06:07Z", "2021-03-05T00:00:00.500Z")
    assert found["properties"] == {"a": [1, 2]}
    start = datetime(2021, 3, 4, 5, 6, 7, tzinfo=timezone.utc).timestamp() * 1000
    assert ee.Image(asset).get("system:time_start").getInfo() == start
    ee.data.updateAsset(asset, {}, ["end_time"])
    assert "endTime" not in ee.data.getAsset(asset)
    ee.data.updateAsset(asset, {"properties": {"b": 1}}, [])
    found = ee.data.getAsset(asset)
    assert found["properties"] == {"b": 1}
    assert "startTime" not in found
    with pytest.raises(ee.EEException, match="cannot be updated"):
        ee.data.updateAsset(asset, {}, ["quota"])


@pytest.mark.parametrize(("character", "most"), [("A", 16_384), ("\u00e9", 8192), ("\U0001d11e", 4096)])
def test_a_property_has_at_most_16384_bytes(ee: Any, home: str, character: str, most: int) -> None:
    """openforis/sepal@7e954a39, ``assetPropertyLimits.mjs``: more is refused with the rest of the change."""
    asset = f"{home}/images"
    ee.data.createAsset({"type": "IMAGE_COLLECTION"}, asset)
    ee.data.setAssetProperties(asset, {"probe": character * most, "n": 42})
    assert ee.data.getAsset(asset)["properties"] == {"probe": character * most, "n": 42}
    with pytest.raises(ee.EEException, match="more than 16384 bytes"):
        ee.data.setAssetProperties(asset, {"probe": character * (most + 1), "n": 43})
    assert ee.data.getAsset(asset)["properties"]["n"] == 42


def test_bands_are_renamed(ee: Any, stack: Stack, home: str) -> None:
    asset = f"{home}/image"
    ee.data.copyAsset(f"{STACK}/image_0", asset)
    ee.data.updateAsset(asset, {"bands": [{"id": "r"}, {"id": "n"}]}, ["bands"])
    assert ee.Image(asset).bandNames().getInfo() == ["r", "n"]
    np.testing.assert_array_equal(red(ee, asset), stack.pixels[0][0])
    with pytest.raises(ee.EEException, match="Expected 2 different names of bands"):
        ee.data.updateAsset(asset, {"bands": [{"id": "r"}]}, ["bands"])
    with pytest.raises(ee.EEException, match='Band ID "a b" is invalid'):
        ee.data.updateAsset(asset, {"bands": [{"id": "r"}, {"id": "a b"}]}, ["bands"])


@pytest.mark.slow
def test_folders_collections_and_tables_have_properties(ee: Any, home: str) -> None:
    ee.data.createAsset({"type": "IMAGE_COLLECTION"}, f"{home}/images", {"a": 1})
    ee.data.copyAsset(TABLE, f"{home}/table")
    for asset in (home, f"{home}/images", f"{home}/table"):
        ee.data.setAssetProperties(asset, {"a": 2, "b": "x"})
        assert ee.data.getAsset(asset)["properties"] == {"a": 2, "b": "x"}
    assert ee.ImageCollection(f"{home}/images").get("b").getInfo() == "x"
    assert ee.FeatureCollection(f"{home}/table").aggregate_array("n").getInfo() == list(range(10))


def test_copies_are_independent(ee: Any, stack: Stack, home: str) -> None:
    ee.data.copyAsset(f"{STACK}/image_2", f"{home}/first")
    ee.data.copyAsset(f"{home}/first", f"{home}/second")
    with pytest.raises(ee.EEException, match=f"Cannot overwrite asset '{home}/second'"):
        ee.data.copyAsset(f"{STACK}/image_3", f"{home}/second")
    ee.data.deleteAsset(f"{home}/first")
    np.testing.assert_array_equal(red(ee, f"{home}/second"), stack.pixels[2][0])
    ee.data.copyAsset(f"{STACK}/image_3", f"{home}/second", allowOverwrite=True)
    np.testing.assert_array_equal(red(ee, f"{home}/second"), stack.pixels[3][0])
    np.testing.assert_array_equal(red(ee, f"{STACK}/image_2"), stack.pixels[2][0])
    with pytest.raises(ee.EEException, match="only images, tables and classifiers are copied"):
        ee.data.copyAsset(STACK, f"{home}/third")
    with pytest.raises(ee.EEException, match="does not exist"):
        ee.data.copyAsset(f"{home}/none", f"{home}/third")


def test_a_folder_keeps_its_type_when_it_gets_images(ee: Any, home: str) -> None:
    ee.data.copyAsset(f"{STACK}/image_2", f"{home}/image")
    ee.data.createAsset({"type": "IMAGE_COLLECTION"}, f"{home}/images")
    ee.data.copyAsset(f"{STACK}/image_2", f"{home}/images/a")
    ee.data.copyAsset(f"{STACK}/image_3", f"{home}/images/b")
    assert ee.data.getAsset(home)["type"] == "FOLDER"
    assert ee.data.getAsset("projects/some-project/assets")["type"] == "FOLDER"
    assert ee.ImageCollection(f"{home}/images").aggregate_array("system:index").getInfo() == ["a", "b"]
    ee.data.deleteAsset(f"{home}/images/a")
    assert ee.ImageCollection(f"{home}/images").aggregate_array("system:index").getInfo() == ["b"]


@pytest.mark.slow
def test_assets_are_moved_with_all_below(ee: Any, stack: Stack, folders: Folders, home: str) -> None:
    ee.data.createFolder(f"{home}/old")
    ee.data.createAsset({"type": "IMAGE_COLLECTION"}, f"{home}/old/images", {"a": 1})
    for index in (0, 1):
        ee.data.copyAsset(f"{STACK}/image_{index}", f"{home}/old/images/i{index}")
    ee.data.copyAsset(TABLE, f"{home}/old/table")
    ee.data.renameAsset(f"{home}/old", f"{home}/new")
    assert names(ee, home) == [f"{home}/new"]
    assert names(ee, f"{home}/new") == [f"{home}/new/images", f"{home}/new/table"]
    assert ee.data.getAsset(f"{home}/new/images")["properties"] == {"a": 1}
    assert ee.ImageCollection(f"{home}/new/images").aggregate_array("cloud").getInfo() == [0, 10.5]
    np.testing.assert_array_equal(red(ee, f"{home}/new/images/i1"), stack.pixels[1][0])
    assert ee.FeatureCollection(f"{home}/new/table").size().getInfo() == 10
    assert not (folders.assets / home / "old").exists()
    ee.data.renameAsset(f"{home}/new/images/i0", f"{home}/image")
    np.testing.assert_array_equal(red(ee, f"{home}/image"), stack.pixels[0][0])
    assert names(ee, f"{home}/new/images") == [f"{home}/new/images/i1"]
    with pytest.raises(ee.EEException, match="Cannot overwrite asset"):
        ee.data.renameAsset(f"{home}/image", f"{home}/new/images/i1")
    with pytest.raises(ee.EEException, match="cannot be moved"):
        ee.data.renameAsset(f"{home}/new", f"{home}/new/below")


@pytest.mark.slow
def test_changes_survive_a_restart(
    ee: Any, stack: Stack, folders: Folders, home: str, serve_briefly: Callable[..., Server]
) -> None:
    ee.data.createAsset({"type": "IMAGE_COLLECTION"}, f"{home}/images", {"a": 1})
    ee.data.copyAsset(f"{STACK}/image_0", f"{home}/images/i")
    ee.data.copyAsset(f"{STACK}/image_0", f"{home}/gone")
    ee.data.deleteAsset(f"{home}/gone")
    (folders.assets / ".index.sqlite").unlink()  # it is made from the documents again
    again = initialize(serve_briefly("--no-demo", "--assets", str(folders.assets)))
    assert names(again, home) == [f"{home}/images"]
    assert again.data.getAsset(f"{home}/images")["properties"] == {"a": 1}
    np.testing.assert_array_equal(red(again, f"{home}/images/i"), stack.pixels[0][0])
    with pytest.raises(again.EEException, match="start it with --export-assets DIR"):
        again.data.deleteAsset(f"{home}/images/i")


@pytest.mark.slow
def test_two_clients_change_at_once(ee: Any, home: str) -> None:
    """Each of 40 changes of one asset stays, and of several creations of one id one succeeds."""
    ee.data.copyAsset(TABLE, f"{home}/table")
    ready = threading.Barrier(4)

    def change(client: int) -> int:
        ready.wait()
        created = 0
        for step in range(10):
            ee.data.setAssetProperties(f"{home}/table", {f"p{client}_{step}": step})
            with contextlib.suppress(ee.EEException):
                ee.data.createFolder(f"{home}/folder{step}")
                created += 1
        return created

    with ThreadPoolExecutor(4) as pool:
        created = sum(pool.map(change, range(4)))
    assert created == 10
    expected = {f"p{client}_{step}": step for client in range(4) for step in range(10)}
    assert ee.data.getAsset(f"{home}/table")["properties"] == expected
    assert len(names(ee, home)) == 11


@pytest.mark.slow
def test_changes_are_seen_by_all_workers_at_once(ee: Any, home: str) -> None:
    """Two changes may have one time of their file, and documents of one size."""
    ee.data.createAsset({"type": "IMAGE_COLLECTION"}, f"{home}/images", {"a": 0})
    for value in range(1, 10):
        ee.data.setAssetProperties(f"{home}/images", {"a": value})
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: ee.data.getAsset(f"{home}/images")["properties"]["a"], range(4)))
        assert found == [value] * 4


@pytest.mark.slow
def test_the_command_line_of_the_client(ee: Any, home: str) -> None:
    earthengine("create", "folder", f"{home}/a")
    earthengine("create", "collection", f"{home}/a/images")
    earthengine("cp", f"{STACK}/image_0", f"{home}/a/images/i")
    earthengine("asset", "set", "--property", "(number)n=4", "--time_start", "2020-02-03", f"{home}/a/images/i")
    found = ee.data.getAsset(f"{home}/a/images/i")
    assert (found["properties"]["n"], found["startTime"]) == (4, "2020-02-03T00:00:00Z")
    earthengine("mv", f"{home}/a", f"{home}/b")
    earthengine("rm", "--recursive", f"{home}/b")
    assert names(ee, home) == []


@pytest.mark.slow
def test_limits_of_storage_need_the_folder() -> None:
    command = [sys.executable, "-m", "eechips_local.run_server", "--no-demo", "--asset-count", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--export-assets" in done.stderr


def test_assets_without_the_folder_are_not_changed(demo_ee: Any) -> None:
    for change in (
        lambda: demo_ee.data.createFolder("projects/p/assets/a"),
        lambda: demo_ee.data.deleteAsset("USGS/SRTMGL1_003"),
        lambda: demo_ee.data.copyAsset("USGS/SRTMGL1_003", "projects/p/assets/a"),
    ):
        with pytest.raises(demo_ee.EEException, match="start it with --export-assets DIR"):
            change()


def test_no_files_are_left_over(ee: Any, folders: Folders, home: str) -> None:
    ee.data.copyAsset(f"{STACK}/image_0", f"{home}/a")
    ee.data.renameAsset(f"{home}/a", f"{home}/b")
    ee.data.deleteAsset(f"{home}/b")
    ee.data.deleteAsset(home)
    assert not (folders.assets / home).exists()
    assert not list(Path(folders.assets).rglob(".eechips-local-*"))
