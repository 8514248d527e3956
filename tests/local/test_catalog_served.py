"""Catalogues that the local Earth Engine serves, asked by the real client."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from rasterio.warp import transform_bounds
from rasterio.windows import Window

import eechips
from eechips.archive.catalogs.layout import Layout, choose_grid
from eechips_local.catalogs.catalog_schema import PENDING
from local_tests.support.ingested_rasters import UTM, noise, raster
from local_tests.support.local_earth_engine import Server, initialize, start_server, stop_server
from local_tests.support.object_server import missing_packages, serving_objects
from local_tests.support.range_server import Files, range_server
from tests.local.test_catalog_store import COUNT, Scenes, scenes, start
from tests.support.catalog_items import item, put
from tests.support.commands import run_command

pytestmark = pytest.mark.slow

QUIET = ("--no-demo", "--rate", "none", "--concurrency", "none")
SIZE = 64


# What a query gives


@pytest.fixture(scope="module")
def world() -> Scenes:
    return Scenes(scenes(COUNT, "sentinel-2-l2a"))


@pytest.fixture(scope="module")
def scened(world: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "catalog"
    put(folder, world.items, layout=Layout(choose_grid("h3", 1, None, None)))
    return folder


@pytest.fixture(scope="module")
def server(scened: Path) -> Iterator[Server]:
    running = start_server("--catalog", str(scened), *QUIET, "--workers", "2")
    yield running
    stop_server(running)


def reads(server: Server) -> dict[str, int]:
    found: dict[str, int] = server.stats()["catalogs"]
    return found


@pytest.mark.exhaustive
def test_filters_agree_with_each_item(server: Server, world: Scenes) -> None:
    """Places, dates and properties, alone and together; the exact geometry counts, and not its box."""
    ee = initialize(server)
    chance = random.Random(3)
    shapes = {value["id"]: shapely.geometry.shape(value["geometry"]) for value in world.items}
    everything = ee.ImageCollection("sentinel-2-l2a")
    assert everything.size().getInfo() == COUNT
    for number in range(12):
        query, wanted = everything, dict.fromkeys(sorted(shapes))
        own = {value["id"]: value["properties"] for value in world.items}
        if number % 3 != 1:
            west, south = chance.uniform(170, 290), chance.uniform(40, 60)
            corners = [(west, south), (west + 9, south + 1), (west + 4, south + 5)]  # some across the antimeridian
            query = query.filterBounds(ee.Geometry.Polygon([corners], None, False))
            sides = shapely.union_all([shapely.Polygon([(x - turn, y) for x, y in corners]) for turn in (0, 360)])
            wanted = {name: None for name in wanted if shapes[name].intersects(sides)}
        if number % 3 != 2:
            month = chance.randrange(1, 6)
            query = query.filterDate(f"2020-0{month}-10", f"2020-0{month + 1}-05")
            starts = {value["id"]: value["properties"]["datetime"] for value in world.items}
            wanted = {n: None for n in wanted if f"2020-0{month}-10" <= starts[n] < f"2020-0{month + 1}-05"}
        if number % 2:
            query = query.filter(ee.Filter.lt("eo:cloud_cover", 20))
            wanted = {name: None for name in wanted if own[name].get("eo:cloud_cover", 99) < 20}
        if number % 4 == 3:
            query = query.filter("platform == 'sentinel-2a' && orbit >= 2")
            wanted = {n: None for n in wanted if own[n].get("platform") == "sentinel-2a" and own[n]["orbit"] >= 2}
        before = reads(server)
        assert query.aggregate_array("system:index").getInfo() == list(wanted)
        assert query.size().getInfo() == len(wanted)
        if number % 3 == 0:  # a place and a month
            assert reads(server)["partitions"] - before["partitions"] < 80
            assert reads(server)["rows"] - before["rows"] < COUNT / 5


def test_dates_of_every_form_filter_items(server: Server, world: Scenes) -> None:
    """As in the examples of developers.google.com/earth-engine/apidocs/ee-imagecollection-filterdate."""
    ee = initialize(server)
    everything = ee.ImageCollection("sentinel-2-l2a")
    starts = {value["id"]: value["properties"]["datetime"] for value in world.items}
    march = sorted(name for name in starts if "2020-03-01" <= starts[name] < "2020-04-01")
    assert march
    for dates in (
        ("2020-03", "2020-04"),
        (1583020800000, 1585699200000),
        (ee.Date("2020-03-01"), ee.Date("2020-03-01").advance(1, "month")),
        (ee.DateRange("2020-03-01", "2020-04-01"),),
        (ee.Date("2020-03-17").getRange("month"),),
    ):
        assert everything.filterDate(*dates).aggregate_array("system:index").getInfo() == march


def test_properties_of_images_are_those_of_items(server: Server, world: Scenes) -> None:
    ee = initialize(server)
    scene = world.items[0]
    image = ee.ImageCollection("sentinel-2-l2a").filter(ee.Filter.eq("system:index", scene["id"])).first()
    assert image.get("orbit").getInfo() == scene["properties"]["orbit"]
    assert image.date().millis().getInfo() == start(scene)
    assert image.id().getInfo() == scene["id"]
    outline = shapely.geometry.shape(image.geometry().getInfo())
    assert outline.equals(shapely.geometry.shape(scene["geometry"]))
    orbits = ee.ImageCollection("sentinel-2-l2a").filterDate("2020-03-01", "2020-03-03").aggregate_array("orbit")
    within = [v for v in world.items if "2020-03-01" <= v["properties"]["datetime"] < "2020-03-03"]
    assert orbits.getInfo() == [v["properties"]["orbit"] for v in sorted(within, key=lambda v: str(v["id"]))]


def test_catalogue_assets_are_listed(server: Server, world: Scenes) -> None:
    ee = initialize(server)
    assert [asset["id"] for asset in ee.data.listAssets("projects/earthengine-public/assets")["assets"]] == [
        "sentinel-2-l2a"
    ]
    ids = sorted(f"sentinel-2-l2a/{value['id']}" for value in world.items)
    found = ee.data.listAssets({"parent": "sentinel-2-l2a", "view": "BASIC"})["assets"]
    assert [asset["id"] for asset in found] == ids
    before = reads(server)
    page = ee.data.listAssets({"parent": "sentinel-2-l2a", "pageSize": 10, "pageToken": "1500", "view": "BASIC"})
    assert [asset["id"] for asset in page["assets"]] == ids[1500:1510]
    assert reads(server)["partitions"] - before["partitions"] <= 100
    clear = ee.data.listAssets(
        {"parent": "sentinel-2-l2a", "filter": 'properties.orbit = 3 AND startTime >= "2020-05-01T00:00:00Z"',
         "view": "BASIC"}
    )["assets"]  # fmt: skip
    wanted = [v for v in world.items if v["properties"]["orbit"] == 3 and v["properties"]["datetime"] >= "2020-05-01"]
    assert [asset["id"] for asset in clear] == sorted(f"sentinel-2-l2a/{v['id']}" for v in wanted)
    described = ee.data.getAsset("sentinel-2-l2a")
    assert described["type"] == "IMAGE_COLLECTION"
    # The bands of these images are in files that may not be read: lists do without them.
    whole = ee.data.listImages({"parent": "sentinel-2-l2a", "pageSize": 3})["images"]
    assert [(image["id"], image.get("bands", [])) for image in whole] == [(name, []) for name in ids[:3]]
    with pytest.raises(ee.EEException, match=r"refers to /data/s\d+\.tif, and this server reads files below"):
        ee.data.getAsset(ids[0])


@pytest.mark.exhaustive
@pytest.mark.slow
def test_responses_during_merges_come_from_one_version(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """Every item gets a new version in each merge: no answer has two, lacks one, or is to be asked for again."""

    def versions(version: int) -> list[dict[str, Any]]:
        stamp = f"2022-01-01T{version // 60:02}:{version % 60:02}:00Z"
        return [item(f"i{n}", (n, 0.0, n + 0.5, 1.0), updated=stamp, version=version) for n in range(60)]

    put(tmp_path / "catalog", versions(1))
    server = serve("--catalog", str(tmp_path / "catalog"), *QUIET, "--workers", "2")
    ee = initialize(server)
    enough = threading.Event()
    last = 1

    def merge() -> None:
        nonlocal last
        while not enough.is_set():
            last += 1
            put(tmp_path / "catalog", versions(last))

    merging = threading.Thread(target=merge, daemon=True)
    merging.start()
    query = ee.ImageCollection("test").filterBounds(ee.Geometry.Rectangle([-1, -1, 70, 2], None, False))
    twice = ee.List([query.aggregate_array("version"), ee.ImageCollection("test").aggregate_array("version")])
    seen = set()
    try:
        while len(seen) < 6:
            one, other = twice.getInfo()  # never HTTP 503: the client does not try again
            assert len(one) == 60
            assert set(one) == set(other)
            assert len(set(one)) == 1
            seen.add(one[0])
    finally:
        enough.set()
        merging.join()
    assert set(query.aggregate_array("version").getInfo()) == {last}
    assert set(server.stats()["answers"]["value:compute"]) == {"200"}


@pytest.mark.slow
def test_requests_with_a_short_deadline_fail_in_time_during_a_change(tmp_path: Path) -> None:
    put(tmp_path / "catalog", [item("a", (0.0, 0.0, 1.0, 1.0))])
    pending = tmp_path / "catalog" / PENDING
    pending.parent.mkdir()
    pending.write_text("{}")  # as a merge leaves it that was killed
    server = start_server("--catalog", str(tmp_path / "catalog"), *QUIET, "--seconds", "1")
    try:
        ee = initialize(server)
        with pytest.raises(ee.EEException, match="is being changed: retry the request") as caught:
            ee.ImageCollection("test").size().getInfo()
        assert caught.value.__context__.resp.status == 503
    finally:
        stop_server(server)


# Pixels


VALUES = {
    "red": noise(1, 512, 384, dtype="uint16", seed=1),
    "nir": noise(1, 512, 384, dtype="uint16", seed=2),
    "swir": noise(1, 256, 192, dtype="int16", seed=3),
    "scl": noise(1, 128, 96, dtype="uint8", seed=4),
    "rgb": noise(3, 512, 384, dtype="uint8", seed=5),
}


def scale_of(name: str) -> int:
    return 512 // VALUES[name].shape[1]


def geotiff(folder: Path, name: str, **options: Any) -> Path:
    """A band's file: those of half and a quarter of the pixels cover the same ground."""
    transform = UTM * Affine.scale(scale_of(name))
    draft = raster(folder / f"draft-{name}.tif", VALUES[name], transform=transform, **options)
    rasterio.shutil.copy(str(draft), str(folder / f"{name}.tif"), driver="COG", blocksize=128)
    draft.unlink()
    return folder / f"{name}.tif"


def described(name: str, href: str, **more: Any) -> dict[str, Any]:
    """An asset that tells all there is to know, as Earth Search has them."""
    _, height, width = VALUES[name].shape
    return {
        "href": href,
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data", "reflectance"],
        "proj:shape": [height, width],
        "proj:transform": list(UTM * Affine.scale(scale_of(name)))[:9],
        "raster:bands": [{"data_type": VALUES[name].dtype.name, "nodata": 0, "scale": 0.0001}],
        "eo:bands": [{"name": name, "common_name": name}],
        **more,
    }


def bare(href: str) -> dict[str, Any]:
    """An asset that tells nothing, but that it is a raster."""
    return {"href": href, "type": "image/tiff", "roles": ["data"]}


def box() -> list[float]:
    bounds = rasterio.transform.array_bounds(512, 384, UTM)
    return [round(float(number), 6) for number in transform_bounds("EPSG:26914", "EPSG:4326", *bounds)]


def scene(name: str, assets: dict[str, Any], **properties: Any) -> dict[str, Any]:
    return item(name, box(), collection="scenes", assets=assets, **{"proj:epsg": 26914, **properties})


def chip(ee: Any, image: Any, band: str, column: int, row: int, nodata: int = 0) -> np.ndarray:
    """A chip on a band's own pixels."""
    transform = UTM * Affine.scale(scale_of(band if band in VALUES else "rgb"))
    x, y = transform * (column, row)
    affine = {"scaleX": transform.a, "shearX": 0, "translateX": x, "shearY": 0, "scaleY": transform.e, "translateY": y}
    grid = {"dimensions": {"width": SIZE, "height": SIZE}, "affineTransform": affine, "crsCode": "EPSG:26914"}
    selected = image.select(band).unmask(nodata, False)
    found = ee.data.computePixels({"expression": selected, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    return np.asarray(found[band])


def window(path: Path, column: int, row: int, band: int = 1) -> np.ndarray:
    """What rasterio reads there."""
    with rasterio.open(path) as dataset:
        found: np.ndarray = dataset.read(band, window=Window(column, row, SIZE, SIZE))
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "files"
    folder.mkdir()
    for name in VALUES:
        geotiff(folder, name, nodata=0 if name != "swir" else None)
    return folder


@pytest.fixture(scope="module")
def local(files: Path) -> Path:
    """A catalogue beside the files, of items that tell much or little, or what is wrong."""
    told = {name: described(name, str(files / f"{name}.tif")) for name in ("red", "nir", "swir", "scl")}
    visual = {**bare(str(files / "rgb.tif")), "roles": ["visual"]}
    preview = {"href": str(files / "none.png"), "type": "image/png", "roles": ["thumbnail"]}
    link = files / "link.tif"
    link.symlink_to("/etc/hostname")
    wrong = described("red", str(files / "red.tif"))
    items = [
        scene("told", {**told, "visual": visual, "thumbnail": preview}),
        scene("bare", {name: bare(f"file://{files}/{name}.tif") for name in ("red", "swir", "rgb")}),
        # Types are not told, and the grid is the item's.
        scene(
            "item",
            {"red": {**bare(str(files / "red.tif")), "eo:bands": [{"name": "B04"}]}},
            **{"proj:shape": [512, 384], "proj:transform": list(UTM)[:6]},
        ),
        scene("moved", {"red": {**wrong, "proj:transform": [2.0, 0.0, 0.0, 0.0, -2.0, 0.0]}}),
        scene("smaller", {"red": {**wrong, "proj:shape": [100, 100]}}),
        scene("typed", {"red": {**wrong, "raster:bands": [{"data_type": "float32"}]}}),
        scene("gone", {"red": described("red", str(files / "gone.tif"))}),
        scene("leaving", {"red": described("red", str(link))}),
        scene("table", {"table": {"href": str(files / "t.parquet"), "roles": ["data"]}}),
    ]
    put(files.parent / "catalog", items)
    return files.parent / "catalog"


@pytest.fixture(scope="module")
def locally(local: Path, serve: Callable[..., Server]) -> Server:
    return serve("--catalog", str(local), *QUIET)


@pytest.mark.parametrize("name", ["red", "nir", "swir", "scl"])
def test_chips_are_the_files_pixels(locally: Server, files: Path, name: str) -> None:
    ee = initialize(locally)
    image = ee.Image("scenes/told")
    for column, row in ((0, 0), (17, 33), (VALUES[name].shape[2] - SIZE, VALUES[name].shape[1] - SIZE)):
        np.testing.assert_array_equal(chip(ee, image, name, column, row), window(files / f"{name}.tif", column, row))


def test_described_bands_are_known_without_reading_files(locally: Server) -> None:
    ee = initialize(locally)
    before = reads(locally)["headers"]
    found = ee.Image("scenes/told").getInfo()
    assert [band["id"] for band in found["bands"]] == ["red", "nir", "swir", "scl"]
    assert [band["dimensions"] for band in found["bands"]] == [[384, 512], [384, 512], [192, 256], [96, 128]]
    assert found["bands"][2]["crs"] == "EPSG:26914"
    assert found["bands"][2]["data_type"]["min"] == -32768
    assert "proj:epsg" not in found["properties"]
    assert reads(locally)["headers"] == before
    # A nodata value that only the item tells.
    assert ee.Image("scenes/told").select("swir").mask().reduceRegion(
        ee.Reducer.min(), maxPixels=1e9, scale=8, crs="EPSG:26914",
        geometry=ee.Image("scenes/told").geometry().buffer(-50),
    ).getInfo() == {"swir": 0}  # fmt: skip


def test_undescribed_bands_are_read_from_files(locally: Server, files: Path) -> None:
    ee = initialize(locally)
    before = reads(locally)["headers"]
    scenes_ = ee.ImageCollection("scenes")
    assert scenes_.filterBounds(ee.Geometry.Point(box()[:2]).buffer(1000)).size().getInfo() == 9
    assert reads(locally)["headers"] == before
    image = ee.Image("scenes/bare")
    assert image.bandNames().getInfo() == ["red", "swir", "rgb_1", "rgb_2", "rgb_3"]
    headers = reads(locally)["headers"]
    assert 1 <= headers - before <= 3  # one of them is that of another item, too
    np.testing.assert_array_equal(chip(ee, image, "red", 100, 200), window(files / "red.tif", 100, 200))
    np.testing.assert_array_equal(chip(ee, image, "rgb_2", 100, 200), window(files / "rgb.tif", 100, 200, band=2))
    np.testing.assert_array_equal(chip(ee, image, "swir", 30, 50, -1), window(files / "swir.tif", 30, 50))
    assert reads(locally)["headers"] == headers  # remembered
    assert ee.Image("scenes/item").bandNames().getInfo() == ["B04"]


def test_wide_views_are_read_from_overviews(locally: Server, files: Path) -> None:
    ee = initialize(locally)
    with rasterio.open(files / "red.tif", overview_level=0) as dataset:
        values = dataset.read(1)
    affine = {"scaleX": UTM.a * 2, "shearX": 0, "translateX": UTM.c, "shearY": 0, "scaleY": UTM.e * 2,
              "translateY": UTM.f}  # fmt: skip
    grid = {"dimensions": {"width": 192, "height": 256}, "affineTransform": affine, "crsCode": "EPSG:26914"}
    image = ee.Image("scenes/told").select("red").unmask(0, False)
    found = ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    np.testing.assert_array_equal(found["red"], values)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("moved", r"red\.tif is not where the item declares it: EPSG:26914 from .*, not EPSG:26914 from 0, 0"),
        ("smaller", r"has 384x512 pixels, but the item declares 100x100"),
        ("typed", r"holds uint16, but the item declares float32"),
        ("gone", r"gone\.tif cannot be read"),
        ("leaving", r"link\.tif, and this server reads files below .*--catalog-files"),
        ("table", r"has no GeoTIFF or JPEG 2000 file with data among its assets: table"),
    ],
)
def test_unusable_assets_are_reported(locally: Server, name: str, message: str) -> None:
    ee = initialize(locally)
    with pytest.raises(ee.EEException, match=message):
        chip(ee, ee.Image(f"scenes/{name}"), "red", 0, 0)


@pytest.mark.slow
def test_a_remote_catalogue_requires_a_folder_of_files(
    local: Path, files: Path, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    put(tmp_path / "far" / "catalog", [scene("told", {"red": described("red", str(files / "red.tif"))})])
    ee = initialize(serve("--catalog", str(tmp_path / "far/catalog"), *QUIET))
    with pytest.raises(ee.EEException, match="start it with --catalog-files"):
        chip(ee, ee.Image("scenes/told"), "red", 0, 0)
    ee = initialize(
        serve("--catalog", str(tmp_path / "far/catalog"), "--catalog-files", str(files), *QUIET, "--workers", "1")
    )
    np.testing.assert_array_equal(chip(ee, ee.Image("scenes/told"), "red", 8, 8), window(files / "red.tif", 8, 8))


@pytest.fixture(scope="module")
def web(files: Path) -> Iterator[Files]:
    with range_server(files) as found:
        yield found


@pytest.mark.slow
def test_files_on_web_servers_are_read(web: Files, files: Path, tmp_path: Path, serve: Callable[..., Server]) -> None:
    link = {"rel": "self", "href": f"{web.url}/items/item.json"}
    relative = {**scene("relative", {"red": bare("../red.tif")}), "links": [link]}
    assets = {name: described(name, f"{web.url}/{name}.tif?sig=secret") for name in ("red", "swir")}
    put(tmp_path / "catalog", [scene("far", assets), scene("bare", {"nir": bare(f"{web.url}/nir.tif")}), relative])
    refusing = initialize(serve("--catalog", str(tmp_path / "catalog"), *QUIET))
    assert refusing.Image("scenes/far").bandNames().getInfo() == ["red", "swir"]
    for name, band in (("far", "red"), ("bare", "nir")):
        with pytest.raises(refusing.EEException, match=r"\.tif, and this server .* --allow-remote") as caught:
            chip(refusing, refusing.Image(f"scenes/{name}"), band, 0, 0)
        assert "secret" not in str(caught.value)
    assert not web.bytes
    ee = initialize(serve("--catalog", str(tmp_path / "catalog"), "--allow-remote", *QUIET))
    for name, band in (("far", "red"), ("far", "swir"), ("bare", "nir"), ("relative", "red")):
        column = VALUES[band].shape[2] // 2
        found = chip(ee, ee.Image(f"scenes/{name}"), band, column, 16, -1 if band == "swir" else 0)
        expected = window(files / f"{band}.tif", column, 16)
        wanted = np.where(expected == 0, -1, expected) if band == "swir" else expected
        np.testing.assert_array_equal(found, wanted)
    web.status["scl.tif"] = 404
    put(tmp_path / "catalog", [scene("lost", {"scl": described("scl", f"{web.url}/scl.tif?sig=secret")})])
    with pytest.raises(ee.EEException, match=r"scl\.tif cannot be read: its server answers with HTTP 404") as caught:
        chip(ee, ee.Image("scenes/lost"), "scl", 0, 0)
    assert "secret" not in str(caught.value)


def test_local_and_remote_jpeg_2000_is_read(
    web: Files, files: Path, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    rasterio.shutil.copy(
        str(files / "red.tif"), str(files / "red.jp2"), driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES",
        BLOCKXSIZE=64, BLOCKYSIZE=64, RESOLUTIONS=3,
    )  # fmt: skip
    kind = {"type": "image/jp2", "roles": ["data"]}
    told = described("red", str(files / "red.jp2"), **kind)
    far = described("red", f"{web.url}/red.jp2", **kind)
    put(
        tmp_path / "catalog",
        [
            scene("told", {"red": told}),
            scene("bare", {"red": {**bare(str(files / "red.jp2")), **kind}}),
            scene("far", {"red": far}),
        ],
    )
    ee = initialize(
        serve("--catalog", str(tmp_path / "catalog"), "--catalog-files", str(files), "--allow-remote", *QUIET,
              "--workers", "1")
    )  # fmt: skip
    web.bytes.clear()
    for name in ("told", "bare", "far"):
        image = ee.Image(f"scenes/{name}")
        assert image.bandNames().getInfo() == ["red"]
        found = chip(ee, image, "red", 150, 300)
        np.testing.assert_array_equal(found, window(files / "red.tif", 150, 300))
    assert web.bytes["red.jp2"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_urls_signed_by_gdal_are_read(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with range_server(files) as web:
        web.signature = "sig=secret"
        put(tmp_path / "catalog", [scene("signed", {"red": described("red", f"{web.url}/red.tif")})])
        refused = r"red\.tif cannot be read: its server answers with HTTP 403"
        for signing in ("NO", "YES"):
            monkeypatch.setenv("VSICURL_PC_URL_SIGNING", signing)
            monkeypatch.setenv("VSICURL_PC_SAS_SIGN_HREF_URL", f"{web.url}/sign?href=")
            server = start_server("--catalog", str(tmp_path / "catalog"), "--allow-remote", *QUIET)
            try:
                ee = initialize(server)
                if signing == "NO":
                    with pytest.raises(ee.EEException, match=refused):
                        chip(ee, ee.Image("scenes/signed"), "red", 40, 50)
                    continue
                found = chip(ee, ee.Image("scenes/signed"), "red", 40, 50)
                web.status["nir.tif"] = 404
                put(tmp_path / "catalog", [scene("gone", {"nir": described("nir", f"{web.url}/nir.tif")})])
                with pytest.raises(ee.EEException, match=r"nir\.tif cannot be read") as caught:
                    chip(ee, ee.Image("scenes/gone"), "nir", 0, 0)
            finally:
                stop_server(server)
    np.testing.assert_array_equal(found, window(files / "red.tif", 40, 50))
    assert "secret" not in str(caught.value)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_files_in_an_object_store_are_read(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = missing_packages("s3")
    if reason is not None:
        pytest.skip(reason)
    import fsspec

    with serving_objects("archive") as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_S3_ENDPOINT", urlsplit(store.url).netloc)
        monkeypatch.setenv("AWS_HTTPS", "NO")
        monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
        with fsspec.open(f"{store.bucket}/a/red.tif", "wb") as file:
            file.write((files / "red.tif").read_bytes())
        put(tmp_path / "catalog", [scene("stored", {"red": bare(f"{store.bucket}/a/red.tif")})])
        server = start_server("--catalog", str(tmp_path / "catalog"), "--allow-remote", *QUIET)
        try:
            ee = initialize(server)
            found = chip(ee, ee.Image("scenes/stored"), "red", 40, 50)
        finally:
            stop_server(server)
    np.testing.assert_array_equal(found, window(files / "red.tif", 40, 50))


@pytest.mark.slow
def test_real_files_of_several_resolutions_are_served(
    real_data: Path, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    """An item of Sentinel-2 of 10, 20 and 60 m, which tells nothing of them."""
    paths = {size: real_data / f"optical/s2_l1c_va_eastern_shore_{size}m.tif" for size in (10, 20, 60)}
    with rasterio.open(paths[10]) as dataset:
        bounds = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    assets = {f"B{size}": bare(str(path)) for size, path in paths.items()}
    put(tmp_path / "catalog", [item("S2_1", bounds, collection="sentinel-2-l1c", assets=assets)])
    ee = initialize(
        serve("--catalog", str(tmp_path / "catalog"), "--catalog-files", str(real_data), *QUIET, "--workers", "1")
    )
    image = ee.ImageCollection("sentinel-2-l1c").filterBounds(ee.Geometry.Point(bounds[:2]).buffer(3000)).first()
    bands = image.getInfo()["bands"]
    for path in paths.values():
        with rasterio.open(path) as dataset:
            own = [band for band in bands if band["crs_transform"][0] == pytest.approx(dataset.transform.a)]
            assert len(own) == dataset.count
            values = dataset.read(dataset.count, window=Window(5, 7, 20, 20))
            x, y = dataset.transform * (5, 7)
        affine = {"scaleX": own[-1]["crs_transform"][0], "shearX": 0, "translateX": x, "shearY": 0,
                  "scaleY": own[-1]["crs_transform"][4], "translateY": y}  # fmt: skip
        grid = {"dimensions": {"width": 20, "height": 20}, "affineTransform": affine, "crsCode": own[-1]["crs"]}
        selected = image.select(own[-1]["id"]).unmask(0, False)
        found = ee.data.computePixels({"expression": selected, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
        np.testing.assert_array_equal(found[own[-1]["id"]], values)


# A run, its catalogue, and chips of its chips


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_s_chips_are_a_collection(tmp_path: Path) -> None:
    run = eechips.sample(
        "S2", total=4, size=32, bands="B4,B8", format="tif", roi="-105.3,39.9,-105.2,40.0", start="2020-06-01",
        end="2020-07-01", local=True, quiet=True, out=tmp_path / "chips",
    )  # fmt: skip
    run_command("catalog", tmp_path / "chips", status=0)
    taken = eechips.images(
        "chips", roi="-105.3,39.9,-105.2,40.0", bands="B4,B8",
        local=tmp_path / "chips" / "catalog", quiet=True, out=tmp_path / "taken",
    )  # fmt: skip
    assert len(taken.units) == 4
    ours = {unit.id[:16]: unit.file for unit in run.units.itertuples()}
    for unit in taken.units.itertuples():
        own = next(file for name, file in ours.items() if name in str(unit.sources))
        with rasterio.open(tmp_path / "chips" / own) as one, rasterio.open(tmp_path / "taken" / unit.file) as other:
            rows, columns = rasterio.transform.rowcol(one.transform, *(other.transform * (0.5, 0.5)))
            window_ = Window(columns, rows, other.width, other.height)
            assert one.crs == other.crs
            np.testing.assert_array_equal(one.read(window=window_, boundless=True), other.read())


@pytest.mark.exhaustive
@pytest.mark.slow
def test_runs_read_files_on_web_servers_where_they_may(web: Files, files: Path, tmp_path: Path) -> None:
    put(tmp_path / "catalog", [scene("far", {"red": described("red", f"{web.url}/red.tif")})])
    west, south, east, north = box()
    middle = ",".join(f"{number:.6f}" for number in ((west + east) / 2, (south + north) / 2))
    options: dict[str, Any] = {
        "roi": f"{middle},{east:.6f},{north:.6f}", "quiet": True, "executor": "processes:1",
    }  # fmt: skip
    refused = eechips.images("scenes", bands="red", out=tmp_path / "refused", local=tmp_path / "catalog", **options)
    assert list(refused.units.state) == ["failed_permanent"]
    assert "eechips-local serve with --allow-remote" in refused.units.error.item()
    with eechips.local_earth_engine(tmp_path / "catalog", allow_remote=True) as server:
        options |= {"endpoint": server.url, "project": "local"}
        taken = eechips.images("scenes", bands="red", out=tmp_path / "taken", **options)
    with rasterio.open(tmp_path / "taken" / taken.units.file.item()) as chip_, rasterio.open(files / "red.tif") as own:
        row, column = rasterio.transform.rowcol(own.transform, *(chip_.transform * (0.5, 0.5)))
        expected = own.read(window=Window(column, row, chip_.width, chip_.height), boundless=True)
        np.testing.assert_array_equal(chip_.read(), expected)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_command_serves_catalogues_beside_assets_and_the_demo(scened: Path, tmp_path: Path) -> None:
    refused = run_command("serve", "--catalog", tmp_path, status=2)
    assert "is not a catalogue, it has no _schema.json" in refused.output
    process = subprocess.Popen(
        [sys.executable, "-c", "from eechips.cli import main\nif __name__ == '__main__': main()",
         "serve", "--catalog", str(scened), "--demo", "--port", "0", "--workers", "1"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        ee = initialize(Server(url))
        assert ee.ImageCollection("sentinel-2-l2a").size().getInfo() == COUNT
        assert ee.Image("USGS/SRTMGL1_003").bandNames().getInfo() == ["elevation"]
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
