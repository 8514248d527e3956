"""Exports that mean no good are refused, or fail with the reason; the server does not call them its own error."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from local_tests.support.export_tasks import Folders
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import STACK, TABLE

DRIVE: dict[str, Any] = {"driveDestination": {"filenamePrefix": "hostile"}}
BUCKET: dict[str, Any] = {"cloudStorageDestination": {"bucket": "hostile", "filenamePrefix": "x"}}
ASSET: dict[str, Any] = {"earthEngineDestination": {"name": "projects/p/assets/x"}}


@pytest.fixture(scope="module")
def expressions(server: Server) -> dict[str, Any]:
    ee = initialize(server)
    stored = ee.Image(f"{STACK}/image_0")
    values = {
        "image": stored, "float": stored.toFloat(), "table": ee.FeatureCollection(TABLE),
        "pictures": ee.ImageCollection(STACK), "one": ee.Number(1),
    }  # fmt: skip
    return {name: ee.serializer.encode(value, for_cloud_api=True) for name, value in values.items()}


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("image", "image", {}),
    ("image", "image", {"fileExportOptions": {}}),
    ("image", "image", {"fileExportOptions": DRIVE, "assetExportOptions": ASSET}),
    ("image", "image", {"fileExportOptions": {**DRIVE, "fileFormat": "BMP"}}),
    ("image", "image", {"fileExportOptions": {"driveDestination": "here"}}),
    ("image", "image", {"fileExportOptions": {"driveDestination": {"filenamePrefix": "x" * 500}}}),
    ("image", "image", {"fileExportOptions": {"cloudStorageDestination": {"bucket": "UPPER"}}}),
    ("image", "image", {"fileExportOptions": DRIVE, "maxPixels": "many"}),
    ("image", "image", {"fileExportOptions": DRIVE, "maxPixels": {"value": 10**400}}),
    ("image", "image", {"fileExportOptions": DRIVE, "priority": True}),
    ("image", "image", {"fileExportOptions": DRIVE, "requestId": 7}),
    ("image", "image", {"fileExportOptions": DRIVE, "description": ["a"]}),
    ("image", "image", {"fileExportOptions": DRIVE, "workloadTag": "Not A Tag"}),
    ("image", "image", {"fileExportOptions": {**DRIVE, "geoTiffOptions": {"cloudOptimized": "yes"}}}),
    ("image", "image", {"fileExportOptions": {**DRIVE, "geoTiffOptions": {"tileDimensions": {"width": 2**40}}}}),
    ("image", "image", {"assetExportOptions": {**ASSET, "pyramidingPolicy": "GUESS"}}),
    ("image", "image", {"assetExportOptions": {**ASSET, "pyramidingPolicyOverrides": {"red": ["MEAN"]}}}),
    ("table", "table", {"fileExportOptions": {**DRIVE, "fileFormat": "XLSX"}}),
    ("table", "table", {"fileExportOptions": DRIVE, "selectors": "n"}),
    ("map", "image", {"tileExportOptions": BUCKET, "tileOptions": {"endZoom": 1.5}}),
    ("video", "pictures", {"fileExportOptions": {**DRIVE, "fileFormat": "AVI"}}),
]

FAILED: list[tuple[str, str, dict[str, Any]]] = [
    ("image", "one", {"fileExportOptions": DRIVE}),
    ("image", "table", {"fileExportOptions": DRIVE}),
    ("image", "image", {"fileExportOptions": {**DRIVE, "fileFormat": "PNG"}}),
    ("image", "image", {"fileExportOptions": DRIVE, "maxPixels": -1}),
    ("image", "image", {"fileExportOptions": DRIVE, "grid": {"dimensions": {"width": -5, "height": 5}}}),
    ("image", "image", {"fileExportOptions": DRIVE, "grid": {"dimensions": {"width": 2**31 - 1, "height": 2**31 - 1}}}),
    ("image", "image", {"fileExportOptions": DRIVE, "grid": {"crsCode": "EPSG:0"}}),
    ("image", "image", {"fileExportOptions": {**DRIVE, "geoTiffOptions": {"tileSize": -256}}}),
    ("image", "image", {"fileExportOptions": {**DRIVE, "geoTiffOptions": {"tileSize": {"value": 0}}}}),
    ("image", "image", {"fileExportOptions": {**DRIVE, "geoTiffOptions": {"noData": {"floatValue": 0.5}}}}),
    ("image", "float", {"fileExportOptions": {**DRIVE, "geoTiffOptions": {"noData": {"floatValue": 1e100}}}}),
    ("image", "image", {"fileExportOptions": {
        **DRIVE, "fileFormat": "TF_RECORD_IMAGE",
        "tfRecordOptions": {"marginDimensions": {"width": 2**31 - 1, "height": 2**31 - 1}},
    }}),
    ("image", "image", {"fileExportOptions": {
        **DRIVE, "fileFormat": "TF_RECORD_IMAGE", "tfRecordOptions": {"tileDimensions": {"width": 2**31 - 1}},
    }}),
    ("image", "image", {"assetExportOptions": {**ASSET, "pyramidingPolicy": "MEDIAN"}}),
    ("image", "image", {"assetExportOptions": {"earthEngineDestination": {"name": STACK}}}),
    ("table", "image", {"fileExportOptions": DRIVE}),
    ("map", "image", {"tileExportOptions": BUCKET, "tileOptions": {"scale": 1e-300}}),
    ("map", "image", {"tileExportOptions": BUCKET, "tileOptions": {"startZoom": -1, "endZoom": 1}}),
    ("map", "image", {"tileExportOptions": {**BUCKET, "fileFormat": "GEO_TIFF"}, "tileOptions": {"endZoom": 1}}),
    ("video", "table", {"fileExportOptions": DRIVE}),
    ("video", "pictures", {"fileExportOptions": {**DRIVE, "fileFormat": "VP9"}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "body"), REFUSED)
def test_malformed_exports_are_refused(
    server: Server, expressions: dict[str, Any], kind: str, value: str, body: dict[str, Any]
) -> None:
    response = requests.post(
        f"{server.url}/v1/projects/local/{kind}:export", json={"expression": expressions[value], **body}
    )
    assert response.status_code == 400, response.text
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "value", "body"),
    [case if number % 7 == 0 else pytest.param(*case, marks=pytest.mark.slow) for number, case in enumerate(FAILED)],
)
def test_impossible_exports_fail_with_a_reason(
    server: Server, folders: Folders, expressions: dict[str, Any], kind: str, value: str, body: dict[str, Any]
) -> None:
    operation = requests.post(
        f"{server.url}/v1/projects/local/{kind}:export", json={"expression": expressions[value], **body}
    ).json()
    done = requests.post(f"{server.url}/v1/{operation['name']}:wait", json={"timeout": "120s"}).json()
    assert done["metadata"]["state"] == "FAILED", done
    assert done["error"]["code"] == 3, done["error"]
    found = [path for path in folders.root.rglob("*") if path.suffix in (".tif", ".csv", ".tfrecord", ".mp4")]
    assert found == []
