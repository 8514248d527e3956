"""Fields of requests, as https://developers.google.com/earth-engine/reference/rest/v1 has them, taken and refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import requests

from eechips_local.protocol.messages import check
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.local_earth_engine import Server
from local_tests.support.stack_store import STACK, Stack

EXPRESSION = {"result": "0", "values": {"0": {"constantValue": 1}}}
ONE_FILE = [{"sources": [{"uris": ["gs://b/a.tif"]}]}]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("videoThumbnails", {"videoOptions": {"maxPixelsPerFrame": "10000000000"}}),
        ("map:export", {"tileOptions": {"endZoom": 3, "dimensions": {"width": 512, "height": 512}, "stride": 1}}),
        ("image:export", {"assetExportOptions": {"pyramidingPolicyOverrides": {"b_1": "MODE", "b_2": "MEDIAN"}}}),
        ("table:export", {"fileExportOptions": {"cloudStorageDestination": {"permissions": "PUBLIC"}}}),
    ],
)
def test_documented_fields_are_taken(kind: str, body: dict[str, Any]) -> None:
    body = {"expression": EXPRESSION, **body}
    assert check(kind, body) == body


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        # https://github.com/samapriya/geeup/issues/56 quotes the message.
        ("image:import", {"imageManifest": {"tilesets": ONE_FILE, "pyramidingPolicy": "'SAMPLE'"}},
         r"Invalid value at 'image_manifest.pyramiding_policy' \(.*\.PyramidingPolicy\), \"'SAMPLE'\""),
        ("image:import", {"imageManifest": {"tilesets": [{"dataType": "BYTE"}]}}, "Invalid value at 'image_manifest.t"),
        ("image:export", {"assetExportOptions": {"pyramidingPolicyOverrides": {"b": "mean"}}}, "Invalid value at 'ass"),
        ("table:export", {"fileExportOptions": {"cloudStorageDestination": {"permissions": "ALL"}}}, "Invalid value"),
        # They have no such fields: the workload tag of a result with a name is a parameter.
        ("thumbnails", {"workloadTag": "a"}, 'Unknown name "workloadTag"'),
        ("filmstripThumbnails", {"workloadTag": "a"}, 'Unknown name "workloadTag"'),
        ("videoThumbnails", {"workloadTag": "a"}, 'Unknown name "workloadTag"'),
        ("maps", {"workloadTag": "a"}, 'Unknown name "workloadTag"'),
        ("tables", {"workloadTag": "a"}, 'Unknown name "workloadTag"'),
        ("image:import", {"imageManifest": {}, "priority": 5}, 'Unknown name "priority"'),
        ("table:import", {"tableManifest": {}, "priority": 5}, 'Unknown name "priority"'),
    ],
)  # fmt: skip
def test_other_fields_and_values_are_refused(kind: str, body: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        check(kind, body if kind.endswith("import") else {"expression": EXPRESSION, **body})


def test_names_of_fields_may_be_those_of_the_protocol_buffer(stack_server: Server, stack: Stack) -> None:
    """https://protobuf.dev/programming-guides/json/: a parser accepts both names; names within are users' own."""
    url = f"{stack_server.url}/v1/projects/local"
    affine = {"scale_x": 10, "scale_y": -10, "translate_x": 500_100, "translate_y": 4_399_900}
    grid = {"crs_code": "EPSG:32613", "affine_transform": affine, "dimensions": {"width": 4, "height": 3}}
    image = f"{stack_server.url}/v1/projects/earthengine-legacy/assets/{STACK}/image_0:getPixels"
    answer = requests.post(image, json={"file_format": "NPY", "band_ids": ["nir"], "grid": grid})
    found: Any = np.frombuffer(answer.content[-24:], np.uint16).reshape(3, 4)
    np.testing.assert_array_equal(found, stack.pixels[0, 1, 10:13, 10:14])
    dictionary = {"values": {"a_b": {"constantValue": 1}}}
    body = {"expression": {"result": "r_1", "values": {"r_1": {"dictionaryValue": dictionary}}}, "workload_tag": "x"}
    assert requests.post(f"{url}/value:compute", json=body).json() == {"result": {"a_b": 1}}
