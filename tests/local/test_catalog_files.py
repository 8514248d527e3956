"""Files of served catalogues: chips are their pixels, on local disks, web servers and object stores."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.warp import transform_bounds
from rasterio.windows import Window

import eechips
from local_tests.support.ingested_rasters import UTM, noise, raster
from local_tests.support.local_earth_engine import Server, initialize, start_server, stop_server
from local_tests.support.object_server import missing_packages, serving_objects
from local_tests.support.range_server import Files, range_server
from tests.support.catalog_items import item, put
from tests.support.catalog_scenes import reads
from tests.support.commands import run_command

pytestmark = pytest.mark.slow

QUIET = ("--no-demo", "--rate", "none", "--concurrency", "none")
SIZE = 64

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
    unsigned = raster(files / "unsigned.tif", VALUES["red"].astype("uint64"), transform=UTM)
    points = [GroundControlPoint(row, column, column - 99, 47 - row) for row, column in ((0, 0), (0, 9), (9, 0))]
    swath = raster(files / "swath.tif", VALUES["red"], crs="EPSG:4326", transform=None, gcps=points)
    masked = raster(files / "masked.tif", VALUES["red"])
    (files / "masked.tif.msk").write_bytes(b"not opened")
    upper = raster(files / "upper.tif", VALUES["red"])
    (files / "upper.tif.MSK").write_bytes(b"not opened")
    opacity = np.where(VALUES["nir"] > 99, 255, 0).astype("uint8")
    rgba = bare(
        str(raster(files / "rgba.tif", np.concatenate([VALUES["rgb"], opacity]), photometric="RGB", alpha="YES"))
    )
    names = [{"name": name} for name in ("Red", "Green", "Blue", "Alpha")]
    shutil.copy(files / "rgba.tif", files / "rgb n.tif")
    items = [
        scene("naip", {"image": {**rgba, "href": f"{files}/rgb%20n.tif", "eo:bands": [*names[:3], {"name": "NIR"}]}}),
        scene("rgba", {"told": {**rgba, "eo:bands": names}, "plain": rgba}),
        scene("masked", {"red": {**wrong, "href": str(masked)}}),
        scene("upper", {"red": {**wrong, "href": str(upper)}}),
        scene("swath", {"red": {**wrong, "href": str(swath)}}),
        scene("told", {**told, "visual": visual, "thumbnail": preview}),
        scene("bare", {name: bare(f"file://{files}/{name}.tif") for name in ("red", "swir", "rgb")}),
        # Types are not told, and the grid is the item's.
        scene(
            "item",
            {"red": {**bare(str(files / "red.tif")), "eo:bands": [{"name": "B04"}]}},
            **{"proj:shape": [512, 384], "proj:transform": list(UTM)[:6]},
        ),
        scene("shared", {"swir": {**bare(str(files / "swir.tif")), "nodata": 0}}),
        scene("default", {"swir": bare(str(files / "swir.tif"))}, nodata=0),
        scene("heights", {"red": wrong}, **{"proj:code": "EPSG:26914+5703"}),
        scene("moved", {"red": {**wrong, "proj:transform": [2.0, 0.0, 0.0, 0.0, -2.0, 0.0]}}),
        scene("smaller", {"red": {**wrong, "proj:shape": [100, 100]}}),
        scene("typed", {"red": {**wrong, "raster:bands": [{"data_type": "float32"}]}}),
        scene("unsigned", {"red": bare(str(unsigned))}),
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


def test_an_item_may_declare_heights_that_its_file_does_not(locally: Server, files: Path) -> None:
    """As items of 3DEP in the Planetary Computer do, EPSG:5498 for files in EPSG:4269. Its projection has none."""
    ee = initialize(locally)
    image = ee.Image("scenes/heights")
    np.testing.assert_array_equal(chip(ee, image, "red", 17, 33), window(files / "red.tif", 17, 33))
    assert image.projection().crs().getInfo() == "EPSG:26914"


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
    assert scenes_.filterBounds(ee.Geometry.Point(box()[:2]).buffer(1000)).size().getInfo() == 18
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
    swir = window(files / "swir.tif", 30, 50)  # its asset or its item states nodata, its bands do not
    for name in ("shared", "default"):
        np.testing.assert_array_equal(
            chip(ee, ee.Image(f"scenes/{name}"), "swir", 30, 50, -1), np.where(swir, swir, -1)
        )
    assert not swir.all()


def test_an_alpha_band_that_an_item_names_is_a_band(locally: Server, files: Path) -> None:
    """As of Planet's ``visual``, in optional-epsg.json of https://github.com/stac-utils/pystac."""
    ee = initialize(locally)
    image = ee.Image("scenes/rgba")
    told = ["Red", "Green", "Blue", "Alpha"]
    assert image.bandNames().getInfo() == [*told, "plain_1", "plain_2", "plain_3"]
    alpha = window(files / "rgba.tif", 30, 50, band=4)
    assert set(alpha.flat) == {0, 255}
    np.testing.assert_array_equal(chip(ee, image, "Alpha", 30, 50), alpha)
    green = np.where(alpha, window(files / "rgba.tif", 30, 50, band=2), 251)
    for name in ("Green", "plain_2"):
        np.testing.assert_array_equal(chip(ee, image, name, 30, 50, nodata=251), green)
    for band, name in ((2, "Green"), (4, "NIR")):  # many files of NAIP call near infrared alpha
        stored = window(files / "rgba.tif", 30, 50, band=band)
        np.testing.assert_array_equal(chip(ee, ee.Image("scenes/naip"), name, 30, 50, nodata=251), stored)


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
        ("masked", r"masked\.tif has a mask in .*masked\.tif\.msk, which is not read"),
        ("upper", r"upper\.tif has a mask in .*upper\.tif\.(MSK|msk), which is not read"),
        ("swath", r"swath\.tif is placed by ground control points, not by a grid: warp it first"),
        ("unsigned", r"unsigned\.tif has unsigned numbers of 64 bits, which no image holds"),
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
        found, expected = chip(ee, image, "red", 150, 300, nodata=7), window(files / "red.tif", 150, 300)
        assert not expected.all()
        # GDAL writes the nodata value of JPEG 2000 to a file beside it.
        np.testing.assert_array_equal(found, np.where(expected == 0, 7, expected))
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
