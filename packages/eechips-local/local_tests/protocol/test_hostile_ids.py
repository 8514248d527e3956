"""Ids that would like to be paths, URLs or commands: the server knows no such asset, and goes on."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.parameters import slow_except
from local_tests.support.stack_store import STACK, Stack

IDS = [
    "..",
    "../image_0.tif",
    "../../image_0",
    "users/someone/../../../image_0.tif",
    f"{STACK}/../stack/image_0",
    f"{STACK}/./image_0",
    f"{STACK}//image_0",
    f"{STACK}/image_0/item.json",
    "catalog.json",
    ".index.sqlite",
    ".lock",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1:1/a.tif",
    "https://example.com/a.tif",
    "/vsicurl/http://127.0.0.1:1/a.tif",
    "/vsizip//etc/a.zip",
    "gs://bucket/a.tif",
    "~root/a",
    "C:\\windows\\a",
    "..\\..\\a",
    "a\0b",
    "a\nb",
    "%2e%2e/image_0",
    "users/someone/stack%2fimage_0",
    "' OR 1=1 --",
    'users"; DROP TABLE asset; --',
    "users/%",
    "x" * 5000,
    "\u202ea",
    "\ud800",
]


def get(server: Server, path: str) -> tuple[int, dict[str, Any]]:
    """Asks for a path as it is: nothing is normalised on the way."""
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = json.loads(answer.read())
    finally:
        connection.close()
    return answer.status, body


@pytest.mark.parametrize("asset_id", slow_except(IDS, *IDS[::4]), ids=range(len(IDS)))
def test_no_asset_has_such_an_id(stack: Stack, stack_server: Server, asset_id: str) -> None:
    assert (stack.path.parent / "image_0.tif").is_file()  # what "../image_0.tif" would lead to
    escaped = quote(asset_id.encode("utf-8", "surrogatepass"), safe="/.")
    for safe in {escaped, escaped.replace("/", "%2F"), escaped.replace("..", "%2e%2e")}:
        for project in ("earthengine-public", "earthengine-legacy", "local"):
            for method in ("", ":listAssets", ":listImages", ":listFeatures"):
                status, body = get(stack_server, f"/v1/projects/{project}/assets/{safe}{method}")
                assert status in (400, 404), (safe, method, body)
                assert "root:" not in json.dumps(body)


# What the client can send: JSON has no lone surrogates in UTF-8.
@pytest.mark.slow
@pytest.mark.parametrize("asset_id", IDS[:-1], ids=range(len(IDS) - 1))
def test_nor_do_expressions_reach_it(stack_server: Server, asset_id: str) -> None:
    ee = initialize(stack_server)
    for made in (ee.Image(asset_id), ee.ImageCollection(asset_id), ee.FeatureCollection(asset_id)):
        with pytest.raises(ee.EEException, match="not found") as caught:
            made.getInfo()
        assert caught.value.__context__.resp.status == 400
    assert ee.Image(f"{STACK}/image_0").bandNames().getInfo() == ["red", "nir"]
