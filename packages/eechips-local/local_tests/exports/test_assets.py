"""Images and tables that the real client exports as assets, and uses then."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from local_tests.support.export_tasks import Folders, finished
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import CRS, SHAPE, STACK, TABLE, TRANSFORM, Stack


@pytest.fixture
def asset() -> str:
    return f"projects/some-project/assets/exported/a{uuid.uuid4().hex}"


def pixels(ee: Any, image: Any) -> Any:
    """The pixels of the stored grid."""
    grid = {
        "dimensions": {"width": SHAPE[1], "height": SHAPE[0]}, "crsCode": CRS,
        "affineTransform": {"scaleX": 10, "scaleY": -10, "translateX": TRANSFORM.c, "translateY": TRANSFORM.f},
    }  # fmt: skip
    return ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})


def exported(ee: Any, image: Any, asset: str, **options: Any) -> dict[str, Any]:
    task = ee.batch.Export.image.toAsset(image, "x", asset, **options)
    task.start()
    return finished(task)


@pytest.mark.slow
def test_an_image_becomes_an_asset(ee: Any, stack: Stack, asset: str) -> None:
    stored = ee.Image(f"{STACK}/image_1")
    image = stored.select("nir").rename("near").addBands(stored.select("red").toFloat().divide(2).toFloat())
    image = image.updateMask(stored.select("red").mod(2)).set({"kind": "made", "n": [1, 2]})
    image = image.copyProperties(stored, ["system:time_start"])
    with pytest.raises(ee.EEException, match="not found"):
        ee.Image(asset).getInfo()
    status = exported(ee, ee.Image(image), asset, pyramidingPolicy={".default": "mode", "red": "sample"})
    assert status["state"] == "COMPLETED", status
    described = ee.Image(asset).getInfo()
    assert [band["id"] for band in described["bands"]] == ["near", "red"]
    assert [band["data_type"]["precision"] for band in described["bands"]] == ["int", "float"]
    assert described["bands"][0]["crs_transform"] == list(TRANSFORM)[:6]
    properties = described["properties"]
    assert (properties["kind"], properties["n"], properties["system:time_start"]) == ("made", [1, 2], 1581724800000)
    found = pixels(ee, ee.Image(asset).unmask(0))
    red, nir = stack.pixels[1]
    np.testing.assert_array_equal(found["near"], np.where(red % 2 == 1, nir, 0))
    np.testing.assert_array_equal(found["red"], np.where(red % 2 == 1, red / 2, 0).astype(np.float32))
    assert ee.data.getAsset(asset)["type"] == "IMAGE"
    folder = ee.data.listAssets("projects/some-project/assets/exported")
    assert asset in [child["name"] for child in folder["assets"]]


@pytest.mark.slow
def test_an_export_loses_properties_that_are_too_long(ee: Any, asset: str) -> None:
    """openforis/sepal@7e954a39, ``earthEngineAssetProperties.js``: it ends well, without them."""
    image = ee.Image(f"{STACK}/image_1").set({"kept": "A" * 16_384, "lost": "A" * 16_385, "kind": "made"})
    assert exported(ee, image, asset)["state"] == "COMPLETED"
    assert ee.data.getAsset(asset)["properties"] == {"cloud": 10.5, "kept": "A" * 16_384, "kind": "made"}


@pytest.mark.slow
def test_masks_of_bands_are_their_own(ee: Any, stack: Stack, asset: str) -> None:
    stored = ee.Image(f"{STACK}/image_2")
    image = stored.select("red").updateMask(stored.select("red").gt(5000)).addBands(stored.select("nir"))
    assert exported(ee, image, asset)["state"] == "COMPLETED"
    found = pixels(ee, ee.Image(asset).mask())
    red, nir = stack.pixels[2]
    np.testing.assert_array_equal(found["red"], red > 5000)
    np.testing.assert_array_equal(found["nir"], nir > 0)


@pytest.mark.slow
def test_assets_are_replaced_only_if_asked(ee: Any, stack: Stack, asset: str) -> None:
    first, second = (ee.Image(f"{STACK}/image_{index}") for index in (0, 1))
    assert exported(ee, first, asset)["state"] == "COMPLETED"
    np.testing.assert_array_equal(pixels(ee, ee.Image(asset).unmask(0))["red"], stack.pixels[0][0])
    status = exported(ee, second, asset)
    assert (status["state"], status["error_message"]) == ("FAILED", f"Cannot overwrite asset '{asset}'.")
    assert exported(ee, second, asset, overwrite=True)["state"] == "COMPLETED"
    np.testing.assert_array_equal(pixels(ee, ee.Image(asset).unmask(0))["red"], stack.pixels[1][0])


@pytest.mark.slow
def test_stored_assets_of_others_are_not_replaced(ee: Any) -> None:
    status = exported(ee, ee.Image(f"{STACK}/image_0"), f"{STACK}/image_3")
    assert status["error_message"] == f"Cannot overwrite asset 'projects/earthengine-legacy/assets/{STACK}/image_3'."


@pytest.mark.slow
def test_a_table_becomes_an_asset(ee: Any, asset: str) -> None:
    extra = {"n": 99, "crop": "none", "half": 1}
    collection = ee.FeatureCollection(TABLE).map(lambda f: f.set("half", ee.Number(f.get("n")).divide(2)))
    collection = collection.merge(ee.FeatureCollection([ee.Feature(ee.Geometry.Point([0, 0]), extra)]))
    task = ee.batch.Export.table.toAsset(collection, "x", asset)
    task.start()
    status = finished(task)
    assert status["state"] == "COMPLETED", status
    found = ee.FeatureCollection(asset)
    assert found.size().getInfo() == 11
    assert found.aggregate_array("n").getInfo() == [*range(10), 99]
    assert found.filter(ee.Filter.gt("half", 4)).first().get("crop").getInfo() == "oats"
    point = ee.Geometry.Point([-104.75, 40.25])
    assert found.filterBounds(point).aggregate_array("n").getInfo() == [0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../out", "is invalid. Each segment must"),
        ("projects/p/assets/../x", "is invalid. Each segment must"),
        ("", "it is empty"),
    ],
)
def test_assets_cannot_leave_their_folder(ee: Any, folders: Folders, server: Server, name: str, message: str) -> None:
    body = {
        "expression": ee.serializer.encode(ee.Image(f"{STACK}/image_0"), for_cloud_api=True),
        "assetExportOptions": {"earthEngineDestination": {"name": name}},
    }  # fmt: skip
    before = sorted(folders.root.rglob("*.json"))
    operation = requests.post(f"{server.url}/v1/projects/local/image:export", json=body).json()
    done = requests.post(f"{server.url}/v1/{operation['name']}:wait", json={"timeout": "60s"}).json()
    assert done["error"]["code"] == 3
    assert message in done["error"]["message"]
    assert sorted(folders.root.rglob("*.json")) == before


@pytest.mark.slow
def test_policies_that_are_not_supported_fail(ee: Any, asset: str) -> None:
    image = ee.Image(f"{STACK}/image_0")
    status = exported(ee, image, asset, pyramidingPolicy={"red": "max"})
    assert "has no pyramiding policy 'MAX' (band 'red')" in status["error_message"]
    status = exported(ee, image, asset, pyramidingPolicy={"blue": "mean"})
    assert "is of no band of the image" in status["error_message"]


def somewhere(ee: Any, properties: dict[str, Any]) -> Any:
    """A feature that has a geometry."""
    return ee.Feature(ee.Geometry.Point([0, 0]), properties)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda ee: ee.Image(1).rename("a.b"), 'Band ID "a.b" is invalid. Band IDs must start with a..z or A..Z'),
        (lambda ee: ee.Image(1).rename("a" * 101), f'Band ID "{"a" * 101}" is invalid.'),
        (lambda ee: [somewhere(ee, {f"p{n}": n for n in range(1001)})], "The table has 1001 properties"),
        (lambda ee: [somewhere(ee, {"t": "x" * 100_001})], "A text of the table has more than 100000 characters"),
        (lambda ee: [], "The table has no features"),
        (lambda ee: [somewhere(ee, {}), ee.Feature(None, {"n": 1})], "Unable to export features with null geometry."),
        (
            lambda ee: [somewhere(ee, {"histogram": ee.List([1, 1]).reduce(ee.Reducer.frequencyHistogram())})],
            "Unable to encode value 'histogram' of feature 0: invalid type Dictionary<",
        ),
    ],
)
def test_assets_have_the_limits_of_the_service(ee: Any, asset: str, make: Callable[[Any], Any], message: str) -> None:
    """https://github.com/eMapR/LT-GEE/issues/25 quotes the limits of names; the limits of tables are documented at
    https://developers.google.com/earth-engine/guides/exporting_tables. Codes 71654039283 and 58058703884 quote
    tasks that failed for a geometry that is null, and for a dictionary.
    """
    what = make(ee)
    if isinstance(what, list):
        task = ee.batch.Export.table.toAsset(ee.FeatureCollection(what), "x", asset)
    else:
        region = ee.Geometry.Rectangle([7, 46, 7.01, 46.01])
        task = ee.batch.Export.image.toAsset(what, "x", asset, region=region, scale=1000)
    task.start()
    assert finished(task)["error_message"].startswith(message)


@pytest.mark.slow
def test_bands_named_by_to_bands_are_exported(ee: Any, asset: str) -> None:
    image = ee.ImageCollection([ee.Image(1).rename("B4"), ee.Image(2).rename("B4")]).toBands()
    region = ee.Geometry.Rectangle([7, 46, 7.01, 46.01])
    task = ee.batch.Export.image.toAsset(image, "x", asset, region=region, scale=1000)
    task.start()
    assert finished(task)["state"] == "COMPLETED"
    assert ee.Image(asset).bandNames().getInfo() == ["0_B4", "1_B4"]


@pytest.mark.slow
def test_exported_assets_are_there_for_the_next_server(
    ee: Any, folders: Folders, asset: str, serve_briefly: Callable[..., Server]
) -> None:
    assert exported(ee, ee.Image(f"{STACK}/image_0"), asset)["state"] == "COMPLETED"
    other = serve_briefly("--no-demo", "--assets", str(folders.assets))
    assert initialize(other).Image(asset).bandNames().getInfo() == ["red", "nir"]


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        command = [sys.executable, "-m", "eechips_local.run_server", "--no-demo", "--export-assets", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert str(folder) in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda ee: ee.Image("NO/SUCH").add(1), "Image.load: Image asset 'NO/SUCH' not found"),
        (lambda ee: ee.Image(1).clip(ee.FeatureCollection("NO/SUCH")), "Collection.loadTable: Collection asset 'NO/S"),
        (
            lambda ee: ee.List([1]).map(lambda n: ee.Image("NO/SUCH").add(ee.Number(n))).get(0),
            "Image.load: Image asset",
        ),
    ],
)
def test_an_export_of_a_missing_asset_is_refused_when_it_starts(
    ee: Any, make: Callable[[Any], Any], message: str
) -> None:
    """The service does: https://github.com/JiaxuanYou/crop_yield_prediction/issues/10."""
    region = ee.Geometry.Rectangle([0, 0, 1, 1])
    before = len(ee.data.listOperations())
    task = ee.batch.Export.image.toDrive(ee.Image(make(ee)), "missing", region=region, scale=1000)
    with pytest.raises(ee.EEException, match=message):
        task.start()
    assert len(ee.data.listOperations()) == before


@pytest.mark.slow
def test_an_asset_of_one_case_of_a_condition_is_looked_up_in_the_task(ee: Any) -> None:
    image = ee.Image(ee.Algorithms.If(False, ee.Image("NO/SUCH"), ee.Image(1)))
    region = ee.Geometry.Rectangle([0, 0, 1, 1])
    task = ee.batch.Export.image.toDrive(image, "never", region=region, scale=100_000)
    task.start()
    assert finished(task)["state"] == "COMPLETED"


def test_an_asset_of_a_computed_id_is_looked_up_in_the_task(ee: Any) -> None:
    task = ee.batch.Export.image.toDrive(ee.Image(ee.String("NO/").cat("SUCH")), "computed")
    task.start()
    assert "Image asset 'NO/SUCH' not found" in finished(task)["error_message"]
