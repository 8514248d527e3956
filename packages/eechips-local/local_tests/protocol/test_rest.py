"""The resources of the service through the real client: assets, listings, maps, names, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import requests
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.warp import Resampling, reproject

from local_tests.support import stack_store
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import DATES, SHAPE, STACK, TABLE, Stack

FOUR_MILLION = 4_400_000


@pytest.fixture(scope="module")
def server(stack_server: Server) -> Server:
    return stack_server


@pytest.fixture(scope="module")
def ee(server: Server) -> Any:
    return initialize(server)


def names(listed: dict[str, Any], key: str = "assets") -> list[str]:
    return [asset["id"].rpartition("/")[2] for asset in listed.get(key, [])]


# Assets


def test_an_image_asset(ee: Any) -> None:
    """Zeros are left out, as of the band in https://developers.google.com/earth-engine/reference/Quickstart."""
    asset = ee.data.getAsset(f"{STACK}/image_1")
    assert asset["type"] == "IMAGE"
    assert asset["name"] == f"projects/earthengine-legacy/assets/{STACK}/image_1"
    assert asset["id"] == f"{STACK}/image_1"
    assert asset["startTime"] == f"{DATES[1]}T00:00:00Z"
    assert asset["properties"] == {"cloud": 10.5, "kind": "k1"}
    assert asset["geometry"]["type"] == "Polygon"
    band = asset["bands"][0]
    assert (band["id"], band["dataType"]) == ("red", {"precision": "INT", "range": {"max": 65535}})
    assert band["grid"] == {
        "crsCode": "EPSG:32613",
        "dimensions": {"width": SHAPE[1], "height": SHAPE[0]},
        "affineTransform": {"scaleX": 10, "translateX": 500_000, "scaleY": -10, "translateY": FOUR_MILLION},
    }


def test_other_assets(ee: Any) -> None:
    kinds = {name: ee.data.getAsset(name)["type"] for name in (STACK, TABLE, "users/someone")}
    assert kinds == {STACK: "IMAGE_COLLECTION", TABLE: "TABLE", "users/someone": "FOLDER"}


@pytest.mark.filterwarnings("ignore:getInfo:DeprecationWarning")
def test_an_asset_that_is_not_there(ee: Any) -> None:
    assert ee.data.getInfo(f"{STACK}/none") is None
    with pytest.raises(ee.EEException, match=f'^Asset "projects/earthengine-legacy/assets/{STACK}/none" not found'):
        ee.data.getAsset(f"{STACK}/none")


def test_a_folder_is_listed(ee: Any) -> None:
    assert names(ee.data.listAssets("users/someone")) == ["fields", "stack"]
    assert [asset["type"] for asset in ee.data.listAssets("users/someone")["assets"]] == ["TABLE", "IMAGE_COLLECTION"]
    shown = ee.data.listAssets({"parent": "users/someone", "view": "FULL"})["assets"]
    assert [asset.keys() for asset in shown] == [{"type", "name", "id"}] * 2  # whatever the view
    assert ee.data.listAssets("projects/some-project/assets")["assets"] == []
    assert ee.data.getAssetRoots() == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [0, 1, 2, 3]),
        ({"startTime": "2020-02-15T00:00:00.000Z"}, [1, 2, 3]),
        ({"endTime": "2020-02-15T00:00:00.000Z"}, [0]),
        ({"properties": ["cloud>=10.5", "kind=k1"]}, [1, 3]),
        ({"filter": "properties.cloud < 5 OR properties.cloud > 30"}, [0, 3]),
        ({"region": {"type": "Point", "coordinates": [-104.99, 39.74]}}, [0, 1, 2, 3]),
        ({"region": "POINT (-100 39)"}, []),
        ({"filter": 'start_time >= "2020-02-15T00:00:00+00:00"'}, [1, 2, 3]),
        ({"filter": 'update_time < "2000-01-01T00:00:00Z"'}, []),
        ({"filter": "properties.kind = k0", "startTime": "2020-02-01T00:00:00Z"}, [2]),
    ],
)
def test_images_are_listed_by_time_region_and_properties(ee: Any, wanted: dict[str, Any], found: list[int]) -> None:
    listed = ee.data.listImages({"parent": STACK, **wanted})
    assert names(listed, "images") == [f"image_{index}" for index in found]


def test_listings_come_in_pages(ee: Any) -> None:
    first = ee.data.listImages({"parent": STACK, "pageSize": 3, "view": "BASIC"})
    assert names(first, "images") == ["image_0", "image_1", "image_2"]
    assert first["images"][0].keys() == {"type", "name", "id"}
    rest = ee.data.listImages({"parent": STACK, "pageSize": 3, "pageToken": first["nextPageToken"]})
    assert names(rest, "images") == ["image_3"]
    assert "nextPageToken" not in rest
    assert len(ee.data.listImages({"parent": STACK, "pageSize": 0})["images"]) == 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_old_listing(ee: Any) -> None:
    found = ee.data.getList({"id": STACK, "starttime": 1_580_000_000_000, "num": 2})
    assert found == [
        {"type": "Image", "id": f"projects/earthengine-legacy/assets/{STACK}/image_{index}"} for index in (1, 2)
    ]


def test_rows_of_a_table_are_listed(ee: Any) -> None:
    region = '{"type": "Point", "coordinates": [-102.75, 40.25]}'
    found = ee.data.listFeatures({"assetId": TABLE, "region": region})
    assert [feature["properties"] for feature in found["features"]] == [{"n": 2, "crop": "rye"}]
    frame = ee.data.listFeatures(
        {"assetId": TABLE, "filter": "properties.crop = oats", "pageSize": 2, "fileFormat": "PANDAS_DATAFRAME"}
    )
    assert list(frame.n) == [1, 3, 5, 7, 9]
    named = ee.data.listFeatures(
        {"assetId": TABLE, "filter": "n >= 8"}
    )  # as Google's tutorial data-converters names it
    assert [feature["properties"]["n"] for feature in named["features"]] == [8, 9]
    corners = [[-103 + n / 1000, 40.0] for n in range(200)]  # the client sends long parameters in the body of a POST
    outline = {"type": "Polygon", "coordinates": [[*corners, [-102.7, 40.5], [-103, 40.5], corners[0]]]}
    assert ee.data.listFeatures({"assetId": TABLE, "region": json.dumps(outline)})["features"]
    assert ee.data.listFeatures({"assetId": TABLE, "region": {**outline, "geodesic": False}})[
        "features"
    ]  # a dictionary


def test_parameters_in_the_body_of_a_post_are_bounded(server: Server) -> None:
    path = f"{server.url}/v1/projects/earthengine-legacy/assets/{TABLE}:listFeatures"
    folded = {"x-http-method-override": "GET", "content-type": "application/x-www-form-urlencoded"}
    answer = requests.post(path, data="pageSize=2", headers=folded)
    assert len(answer.json()["features"]) == 2
    assert requests.post(path, data="pageSize=x", headers=folded).status_code == 400
    assert requests.post(path, data="a" * (2 << 20), headers=folded).status_code == 400
    assert requests.post(path, data="pageSize=2").status_code == 404


@pytest.mark.parametrize(
    "query",
    ["pageSize=-2", "pageSize=x", "pageToken=x", "view=ALL", "filter=(", "startTime=never", "region={}", "pageToken=-1",
     "pageSize=" + "9" * 5000, "pageToken=" + "9" * 5000],
)  # fmt: skip
def test_malformed_listings_are_refused(server: Server, query: str) -> None:
    path = f"{server.url}/v1/projects/earthengine-legacy/assets/{STACK}"
    for method in ("listAssets", "listImages"):
        response = requests.get(f"{path}:{method}?{query}")
        assert response.status_code == 400
        assert response.json()["error"]["status"] == "INVALID_ARGUMENT"


# Maps


def tile_of(longitude: float, latitude: float, zoom: int) -> tuple[int, int]:
    """The slippy-map tile of a place: https://wiki.openstreetmap.org/wiki/Slippy_map_tilenames."""
    x = (longitude + 180) / 360 * 2**zoom
    y = (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2 * 2**zoom
    return int(x), int(y)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_tiles_lie_where_maps_expect_them(ee: Any, stack: Stack) -> None:
    zoom = 14
    x, y = tile_of(-104.985, 39.742, zoom)
    shown = {"bands": ["red"], "min": 0, "max": 255, "format": "png"}
    fetcher = ee.Image(f"{STACK}/image_0").getMapId(shown)["tile_fetcher"]
    content = fetcher.fetch_tile(x, y, zoom)
    assert requests.get(fetcher.format_tile_url(x, y, zoom)).content == content
    with MemoryFile(content) as memory, memory.open() as file:
        assert (file.driver, file.width, file.height) == ("PNG", 256, 256)
        found = file.read()
    size = 2 * math.pi * 6_378_137 / 2**zoom
    corner = Affine(size / 256, 0, x * size - math.pi * 6_378_137, 0, -size / 256, math.pi * 6_378_137 - y * size)
    expected = np.zeros((256, 256), np.uint16)
    reproject(
        stack.pixels[0, 0], expected, src_transform=stack_store.TRANSFORM, src_crs=stack_store.CRS, src_nodata=0,
        dst_transform=corner, dst_crs="EPSG:3857", dst_nodata=0, resampling=Resampling.nearest,
    )  # fmt: skip
    agreed = (found[-1] > 0) == (expected > 0)
    assert agreed.mean() > 0.995
    inside = (found[-1] > 0) & (expected > 0)
    assert inside.sum() > 10_000
    # GDAL's warper takes the nearest pixel of an approximated place: a few differ by one pixel.
    assert (found[0] == np.minimum(expected, 255))[inside].mean() > 0.99


def test_places_of_tiles_that_are_no_numbers_are_listed(ee: Any) -> None:
    """As in https://github.com/gee-community/qgis-earthengine-plugin/issues/364."""
    url = ee.Image(1).getMapId()["tile_fetcher"].format_tile_url(0, 0, 0).removesuffix("0/0/0")
    response = requests.get(url + "{z}/{x}/{y}&zmax=12&minzoom=5&cache=1")
    texts = {"x": "{x}", "y": "{y}&zmax=12&minzoom=5&cache=1", "zoom": "{z}"}
    wrong = {name: f"Invalid value at '{name}' (TYPE_INT32), \"{text}\"" for name, text in texts.items()}
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "\n".join(wrong.values())
    fields = [{"field": name, "description": text} for name, text in wrong.items()]
    assert response.json()["error"]["details"][0]["fieldViolations"] == fields


def test_tiles_without_transparency_are_jpegs(ee: Any) -> None:
    image = ee.Image.constant([10, 20, 30]).byte()
    assert image.getMapId()["tile_fetcher"].fetch_tile(0, 0, 0).startswith(b"\xff\xd8")


@pytest.mark.parametrize("tile", ["0/0/1", "1/2/0", "31/0/0", "x/0/0", "0/0/-1", "0/0", f"1/{'9' * 4000}/0"])
def test_tiles_outside_the_world_are_refused(ee: Any, server: Server, tile: str) -> None:
    name = ee.Image(1).getMapId()["mapid"]
    response = requests.get(f"{server.url}/v1/{name}/tiles/{tile}")
    assert response.status_code in (400, 404)
    assert response.json()["error"]["message"]


def test_a_map_of_nothing_is_refused_at_once(ee: Any) -> None:
    with pytest.raises(ee.EEException, match="not found"):
        ee.Image("no/such/image").getMapId()


# Names


def test_only_the_fields_asked_for(server: Server) -> None:
    body: dict[str, Any] = {"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}, "fileFormat": "PNG"}
    body["grid"] = {"dimensions": {"width": 1, "height": 1}}
    url = f"{server.url}/v1/projects/local/thumbnails"
    assert requests.post(url, json=body, params={"fields": "name"}).json().keys() == {"name"}
    assert requests.post(url, json=body).json().keys() == {"name", "expression", "fileFormat", "grid"}
    assert requests.post(url, json=body, params={"fields": "name("}).status_code == 400
    asset = f"{server.url}/v1/projects/earthengine-legacy/assets/{STACK}/image_0"
    found = requests.get(asset, params={"fields": "bands(id,grid/crsCode)"}).json()
    assert found == {"bands": [{"id": band, "grid": {"crsCode": "EPSG:32613"}} for band in ("red", "nir")]}


def test_workload_tags(ee: Any, server: Server) -> None:
    with ee.data.workloadTagContext("chips-2020"):
        assert ee.Number(1).add(1).getInfo() == 2
        assert ee.Image(1).getMapId()["mapid"]
        assert ee.data.computePixels({"expression": ee.Image(f"{STACK}/image_0"), "fileFormat": "NPY"})
    body = {"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}}
    for tag, status in (("good", 200), ("Not-good", 400), ("a" * 64, 400)):
        urls = {f"{server.url}/v1/projects/local/value:compute": {"json": {**body, "workloadTag": tag}}}
        urls[f"{server.url}/v1/projects/local/thumbnails"] = {
            "json": {**body, "grid": {"dimensions": {"width": 1, "height": 1}}},
            "params": {"workloadTag": tag},
        }
        for url, options in urls.items():
            assert requests.post(url, **options).status_code == status


def test_names_cannot_be_guessed_or_used_for_other_things(ee: Any, server: Server) -> None:
    name = ee.Image(1).getMapId()["mapid"]
    assert len(name.rpartition("/")[2]) > 60
    guessed = name[:-1] + ("1" if name.endswith("0") else "0")
    for other in (guessed, name.replace("maps", "thumbnails")):
        response = requests.get(f"{server.url}/v1/{other}/tiles/0/0/0")
        assert response.status_code == 404
        assert response.json()["error"]["status"] == "NOT_FOUND"


# What the project is, and what is refused


def test_the_project_s_configuration(ee: Any) -> None:
    assert ee.data.getProjectConfig()["name"] == "projects/local/config"
    assert ee.data.listOperations() == []


def refusals(ee: Any) -> dict[str, Callable[[], Any]]:
    return {
        "no folder for Google Drive": lambda: ee.batch.Export.table.toDrive(ee.FeatureCollection([]), "x").start(),
        "no folder for assets of clients": lambda: ee.data.createFolder("projects/some-project/assets/new"),
        "start it with --export-assets DIR": lambda: ee.data.deleteAsset(STACK),
        "has no folder for assets": lambda: ee.data.copyAsset(f"{STACK}/image_0", f"{STACK}/image_9"),
        "--export-assets": lambda: ee.data.updateAsset(STACK, {"properties": {}}, ["properties"]),
        "configuration of projects": lambda: ee.data.updateProjectConfig(
            {"maxConcurrentExports": 3}, ["max_concurrent_exports"]
        ),
        "folder for assets of clients: start": lambda: ee.data.startIngestion("id", {"name": "projects/p/assets/new"}),
        "Operation not found": lambda: ee.data.cancelOperation("projects/local/operations/X"),
    }


def test_unsupported_requests_are_refused_with_the_reason(ee: Any) -> None:
    for reason, attempt in refusals(ee).items():
        with pytest.raises(ee.EEException, match=reason):
            attempt()


@pytest.mark.parametrize("path", ["assets/a:link", "featureView", "featureViews", "videoMap:export"])
def test_methods_that_are_not_offered_say_so(server: Server, path: str) -> None:
    """The names are those of the client for browsers (github.com/google/earthengine-api, ``ee_api_js_debug.js``)."""
    response = requests.post(f"{server.url}/v1/projects/p/{path}", json={})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("The local Earth Engine does not ")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "v1/projects/p/nothing"), ("GET", "v2/projects/p/algorithms"), ("PUT", "v1/projects/p/value:compute"),
     ("GET", "v1/projects/p/value:compute"), ("POST", "v1/projects/p/value:guess"), ("GET", ""), ("GET", "%2e%2e/etc")],
)  # fmt: skip
def test_unknown_methods_are_refused_in_earth_engine_s_shape(server: Server, method: str, path: str) -> None:
    response = requests.request(method, f"{server.url}/{path}")
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["status"]) == (404, "NOT_FOUND")


def test_one_protocol_under_all_its_versions(server: Server) -> None:
    body = {"expression": {"result": "0", "values": {"0": {"constantValue": 5}}}}
    for version in ("v1", "v1alpha", "v1beta"):
        response = requests.post(f"{server.url}/{version}/projects/any/value:compute", json=body)
        assert response.json() == {"result": 5}
