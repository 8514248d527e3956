"""Images that the real client ingests from the folder that stands for buckets, compared with rasterio."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.merge
import rasterio.shutil
import requests
from affine import Affine

from local_tests.support.export_tasks import Folders
from local_tests.support.local_earth_engine import Server, initialize, start_server, stop_server, wait_until

CRS = "EPSG:32613"
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_400_000)
Write = Callable[..., str]


@pytest.fixture
def write(folders: Folders) -> Write:
    """Return a function that writes a GeoTIFF into the bucket, and returns its URI."""

    def make(name: str, pixels: npt.NDArray[Any], transform: Affine = TRANSFORM, **options: Any) -> str:
        path = folders.buckets / "my-bucket" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        count, height, width = pixels.shape
        profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype}
        with rasterio.open(path, "w", crs=CRS, transform=transform, **profile, **options) as file:
            file.write(pixels)
        return f"gs://my-bucket/{name}"

    return make


def values(shape: tuple[int, int, int], dtype: str = "int16", seed: int = 0) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def ended(ee: Any, started: dict[str, Any]) -> dict[str, Any]:
    """Return the status of a task when it has ended."""
    found: list[dict[str, Any]] = []

    def is_done() -> bool:
        found[:] = [ee.data.getOperation(started["name"])]
        return bool(found[0].get("done"))

    wait_until(is_done)
    return found[0]


def ingested(ee: Any, manifest: dict[str, Any], **options: Any) -> str:
    """Ingest an image; return the message of its failure, or nothing."""
    done = ended(ee, ee.data.startIngestion(ee.data.newTaskId()[0], manifest, **options))
    return str(done.get("error", {}).get("message", ""))


def read(ee: Any, image: Any, shape: tuple[int, int], transform: Affine = TRANSFORM) -> Any:
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    grid = {
        "dimensions": {"width": shape[1], "height": shape[0]}, "crsCode": CRS,
        "affineTransform": dict(zip(names, list(transform)[:6], strict=True)),
    }  # fmt: skip
    return ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})


@pytest.mark.slow
def test_bands_properties_and_times_of_a_manifest(ee: Any, write: Write, home: str) -> None:
    pixels = values((3, 40, 50))
    write("a/three.tif", pixels)
    manifest = {
        "name": f"{home}/image", "uriPrefix": "gs://my-bucket/", "startTime": "2020-05-06T00:00:00Z",
        "end_time": {"seconds": 1588809600}, "properties": {"n": 1, "t": "x"}, "pyramidingPolicy": "MODE",
        "tilesets": [{"id": "t", "sources": [{"uris": ["a/three.tif"]}]}],
        "bands": [
            {"id": "last", "tilesetId": "t", "tilesetBandIndex": 2, "missingData": {"values": [7]}},
            {"id": "first", "tilesetId": "t", "tilesetBandIndex": 0, "pyramidingPolicy": "SAMPLE"},
        ],
    }  # fmt: skip
    started = ee.data.startIngestion("", manifest)
    assert started["started"] == "OK"
    done = ended(ee, started)["metadata"]
    assert (done["type"], done["state"]) == ("INGEST_IMAGE", "SUCCEEDED")
    assert done["description"] == f'Ingest image: "{home}/image"'
    assert started["name"] in [operation["name"] for operation in ee.data.listOperations()]
    found = ee.data.getAsset(f"{home}/image")
    assert found["properties"] == {"n": 1, "t": "x"}
    assert (found["startTime"], found["endTime"]) == ("2020-05-06T00:00:00Z", "2020-05-07T00:00:00Z")
    assert [band["id"] for band in found["bands"]] == ["last", "first"]
    shown = read(ee, ee.Image(f"{home}/image").unmask(-1), (40, 50))
    np.testing.assert_array_equal(shown["last"], np.where(pixels[2] == 7, -1, pixels[2]))
    np.testing.assert_array_equal(shown["first"], pixels[0])
    assert f"{home}/image" in [asset["name"] for asset in ee.data.listAssets(home)["assets"]]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_several_sources_are_a_mosaic(ee: Any, write: Write, folders: Folders, home: str) -> None:
    """Overlapping tiles, the later above the earlier; rasterio's merge is the oracle."""
    tiles = [(0, 0, (40, 50)), (45, 10, (60, 30)), (20, 35, (30, 40))]
    uris, paths = [], []
    for number, (column, row, shape) in enumerate(tiles):
        pixels = values((2, *shape), seed=number)
        pixels[:, 3:6, 4:8] = 0
        uris.append(write(f"m/{home[-6:]}{number}.tif", pixels, TRANSFORM * Affine.translation(column, row), nodata=0))
        paths.append(folders.buckets / uris[-1].removeprefix("gs://"))
    sources = [{"uris": [uri]} for uri in uris]
    assert ingested(ee, {"name": f"{home}/mosaic", "tilesets": [{"sources": sources}]}) == ""
    merged, transform = rasterio.merge.merge(paths, method="last")
    found = read(ee, ee.Image(f"{home}/mosaic").unmask(0), merged.shape[1:], transform)
    np.testing.assert_array_equal(found["b1"], merged[0])
    np.testing.assert_array_equal(found["b2"], merged[1])
    info = ee.Image(f"{home}/mosaic").getInfo()["bands"][0]
    assert info["dimensions"] == [merged.shape[2], merged.shape[1]]
    shifted = write("m/shifted.tif", values((2, 9, 9)), TRANSFORM * Affine.translation(3.5, 0))
    manifest = {"name": f"{home}/none", "tilesets": [{"sources": [*sources, {"uris": [shifted]}]}]}
    assert "does not lie on the pixel grid" in ingested(ee, manifest)


@pytest.mark.slow
def test_one_band_a_file_masks_and_types(ee: Any, write: Write, home: str) -> None:
    red, nir = values((1, 30, 20), "uint8"), values((2, 30, 20), "uint8", 1)
    nir[1] = nir[1] > 100
    decimals = np.where(red == 3, 0.1, red).astype("float32")
    manifest = {
        "name": f"{home}/image",
        "tilesets": [
            {"id": "r", "sources": [{"uris": [write("s/r.tif", red)]}], "dataType": "FLOAT"},
            {"id": "n", "sources": [{"uris": [write("s/n.tif", nir)]}]},
            {"id": "d", "sources": [{"uris": [write("s/d.tif", decimals)]}]},
        ],
        "bands": [
            {"id": "red", "tileset_id": "r"}, {"id": "nir", "tileset_id": "n", "tileset_band_index": 0},
            {"id": "decimals", "tileset_id": "d"},
        ],
        "maskBands": [{"tilesetId": "n", "bandIds": ["nir"]}], "missingData": {"values": [1, 2, 300, 0.1]},
    }  # fmt: skip
    assert ingested(ee, manifest) == ""
    types = [band["data_type"]["precision"] for band in ee.Image(f"{home}/image").getInfo()["bands"]]
    assert types == ["float", "int", "float"]
    found = read(ee, ee.Image(f"{home}/image").unmask(-1), (30, 20))
    np.testing.assert_array_equal(found["red"], np.where((red[0] == 1) | (red[0] == 2), -1.0, red[0]))
    np.testing.assert_array_equal(found["decimals"], np.where((red[0] >= 1) & (red[0] <= 3), -1.0, red[0]))
    is_missing = (nir[0] == 1) | (nir[0] == 2) | (nir[1] == 0)
    np.testing.assert_array_equal(found["nir"], np.where(is_missing, -1, nir[0].astype(int)))


@pytest.mark.slow
def test_masks_of_files(ee: Any, write: Write, folders: Folders, home: str) -> None:
    """A mask band replaces the mask of a file, which must not have missing data as well.

    See https://developers.google.com/earth-engine/docs/release-notes, February 26, 2025.
    """
    pixels, own, other = values((1, 12, 14)), values((1, 12, 14), seed=1)[0] > 100, values((1, 12, 14), "uint8", 2) > 50
    uris = [write("m/a.tif", pixels), write("m/b.tif", other.astype("uint8"))]
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(folders.buckets / "my-bucket/m/a.tif", "r+") as file:
        file.write_mask(own)
    tilesets = [{"id": name, "sources": [{"uris": [uri]}]} for name, uri in zip("ab", uris, strict=True)]
    bands = [{"id": "x", "tilesetId": "a"}]
    plain = {"name": f"{home}/plain", "tilesets": tilesets[:1], "bands": bands}
    masked = {"name": f"{home}/masked", "tilesets": tilesets, "bands": bands, "maskBands": [{"tilesetId": "b"}]}
    assert (ingested(ee, plain), ingested(ee, masked)) == ("", "")
    for name, mask in (("plain", own), ("masked", other[0])):
        found = read(ee, ee.Image(f"{home}/{name}").unmask(-1), (12, 14))["x"]
        np.testing.assert_array_equal(found, np.where(mask, pixels[0], -1))
    both = {**plain, "name": f"{home}/both", "missingData": {"values": [7]}}
    assert "a.tif has a mask of its own: leave out the missing data of 'x'" in ingested(ee, both)


@pytest.mark.slow
def test_a_source_has_another_transform(ee: Any, write: Write, home: str) -> None:
    pixels = values((1, 12, 14))
    transform = {"scaleX": 20, "scaleY": -20, "translateX": 600_000, "translateY": 4_300_000}
    source = {"uris": [write("t.tif", pixels)], "affineTransform": transform}
    assert ingested(ee, {"name": f"{home}/image", "tilesets": [{"sources": [source]}]}) == ""
    found = read(ee, ee.Image(f"{home}/image"), (12, 14), Affine(20, 0, 600_000, 0, -20, 4_300_000))
    np.testing.assert_array_equal(found["b1"], pixels[0])


@pytest.mark.slow
def test_assets_are_replaced_only_if_asked(ee: Any, write: Write, home: str) -> None:
    manifest = {"name": f"{home}/image", "tilesets": [{"sources": [{"uris": [write("r1.tif", values((1, 9, 9)))]}]}]}
    assert ingested(ee, manifest) == ""
    assert ingested(ee, manifest) == f"Cannot overwrite asset '{home}/image'."
    newer = values((1, 9, 9), seed=5)
    manifest["tilesets"] = [{"sources": [{"uris": [write("r2.tif", newer)]}]}]
    assert ingested(ee, manifest, allow_overwrite=True) == ""
    np.testing.assert_array_equal(read(ee, ee.Image(f"{home}/image"), (9, 9))["b1"], newer[0])


@pytest.mark.slow
@pytest.mark.parametrize("start", [1588723200000, "2020-05-06T00:00:00Z"])
def test_properties_of_manifests_may_have_times(ee: Any, write: Write, home: str, start: object) -> None:
    """The manifests of github.com/samapriya/geeup have them: ``manifest_lib.py``, and issue 4."""
    properties = {"system:time_start": start, "system:provider_url": "x", "n_1": 1}
    tilesets = [{"sources": [{"uris": [write("times.tif", values((1, 9, 9)))]}]}]
    manifest = {"name": f"{home}/image", "tilesets": tilesets, "properties": properties}
    assert ingested(ee, manifest) == ""
    found = ee.data.getAsset(f"{home}/image")
    assert (found["startTime"], found["properties"]["n_1"]) == ("2020-05-06T00:00:00Z", 1)
    late = {**manifest, "name": f"{home}/late", "endTime": "2020-05-05T00:00:00Z"}
    assert ingested(ee, late) == "The end time of the manifest is before its start time."


@pytest.mark.slow
def test_names_of_properties(ee: Any, home: str) -> None:
    folder = f"{home}/folder"
    with pytest.raises(ee.EEException, match='Property key "a:b" is invalid'):
        ee.data.createAsset({"type": "FOLDER", "properties": {"a:b": 1}}, folder)
    ee.data.createAsset({"type": "FOLDER", "properties": {"a_1": 1, "system:title": "t"}}, folder)
    with pytest.raises(ee.EEException, match='Property key "a b" is invalid'):
        ee.data.updateAsset(folder, {"properties": {"a b": 1}}, ["properties"])
    assert ee.data.getAsset(folder)["properties"] == {"a_1": 1}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_what_cannot_be_ingested(ee: Any, server: Server, folders: Folders, write: Write, home: str) -> None:
    write("ok.tif", values((1, 9, 9)))
    secret = folders.root / "secret.tif"
    (folders.buckets / "my-bucket" / "ok.tif").rename(secret)
    (folders.buckets / "my-bucket" / "link.tif").symlink_to(secret)
    (folders.buckets / "my-bucket" / "text.tif").write_text("no raster")
    reasons = {
        "gs://my-bucket/none.tif": "not found",
        "gs://my-bucket/link.tif": "object not found",
        "gs://my-bucket/../../secret.tif": "Invalid Cloud Storage URI",
        "gs://../secret.tif": "Invalid Cloud Storage URI",
        f"file://{secret}": "Invalid Cloud Storage URI",
        str(secret): "Invalid Cloud Storage URI",
        "gs://my-bucket/text.tif": "cannot be read as a raster",
    }
    for uri, reason in reasons.items():
        manifest = {"name": f"{home}/image", "tilesets": [{"sources": [{"uris": [uri]}]}]}
        assert reason in ingested(ee, manifest), uri
    good = [{"sources": [{"uris": [write("good.tif", values((1, 9, 9)))]}]}]
    cases = {
        "does not exist or doesn't allow": {"name": f"{home}/none/image", "tilesets": good},
        "needs tilesets": {"name": f"{home}/image"},
        "has no pyramiding policy 'MEDIAN'": {"name": f"{home}/image", "tilesets": good, "pyramidingPolicy": "MEDIAN"},
        "there are 1 bands": {
            "name": f"{home}/image", "tilesets": good, "bands": [{"id": "a", "tilesetBandIndex": 1}],
        },
        "is invalid. Each segment must contain only": {"name": f"{home}/../image", "tilesets": good},
        'te,Wellington" is invalid. Each segment': {"name": f"{home}/te,Wellington", "tilesets": good},
        'Band ID "a.b" is invalid. Band IDs must start': {
            "name": f"{home}/image", "tilesets": good, "bands": [{"id": "a.b"}],
        },
        'Property key "a:b" is invalid. Property keys must contain only letters, digits, and underscores.': {
            "name": f"{home}/image", "tilesets": good, "properties": {"a:b": 1},
        },
        "Earth Engine's own": {"name": f"{home}/image", "tilesets": good, "properties": {"system:index": "x"}},
    }  # fmt: skip
    for reason, manifest in cases.items():
        assert reason in ingested(ee, manifest), reason
    with pytest.raises(ee.EEException, match="Unknown name"):
        ee.data.startIngestion("", {"name": f"{home}/image", "tileset": []})
    response = requests.post(f"{server.url}/v1/projects/local/image:import", json={})
    assert "'image_manifest' is missing" in response.text
    assert ee.data.listAssets(home)["assets"] == []


@pytest.mark.slow
def test_an_external_image_is_not_copied(ee: Any, write: Write, folders: Folders, home: str) -> None:
    pixels = values((2, 600, 500), "uint16")
    plain = write("plain.tif", pixels)
    bucket = folders.buckets / "my-bucket"
    rasterio.shutil.copy(bucket / "plain.tif", bucket / "cog.tif", driver="COG")
    tilesets = [{"id": "0", "sources": [{"uris": ["gs://my-bucket/cog.tif"]}]}]
    manifest = {
        "name": f"{home}/external", "tilesets": tilesets, "startTime": "2021-01-01T00:00:00Z",
        "bands": [{"id": "second", "tilesetId": "0", "tilesetBandIndex": 1}],
    }  # fmt: skip
    assert ee.data.startExternalImageIngestion(manifest)["name"] == f"{home}/external"
    found = read(ee, ee.Image(f"{home}/external"), (600, 500))
    np.testing.assert_array_equal(found["second"], pixels[1])
    stored = list((folders.assets / home / "external").glob("*.tif"))
    assert [path.stat().st_ino for path in stored] == [(bucket / "cog.tif").stat().st_ino]
    with pytest.raises(ee.EEException, match="Cannot overwrite asset"):
        ee.data.startExternalImageIngestion(manifest)
    value = {"type": "IMAGE", "gcs_location": {"uris": ["gs://my-bucket/cog.tif"]}, "properties": {"a": 1}}
    assert ee.data.createAsset(value, f"{home}/created")["properties"] == {"a": 1}
    np.testing.assert_array_equal(read(ee, ee.Image(f"{home}/created"), (600, 500))["b1"], pixels[0])
    value["gcs_location"] = {"uris": [plain]}
    with pytest.raises(ee.EEException, match="not a Cloud Optimized GeoTIFF"):
        ee.data.createAsset(value, f"{home}/plain")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_server_that_is_killed_leaves_no_half_asset(tmp_path: Path) -> None:
    """The server dies while it writes; the asset is not there, or it is whole."""
    folders = Folders(tmp_path)
    (folders.buckets / "my-bucket").mkdir(parents=True)
    pixels = values((4, 3000, 3000), "uint16")
    profile = {"driver": "GTiff", "count": 4, "height": 3000, "width": 3000, "dtype": "uint16"}
    with rasterio.open(folders.buckets / "my-bucket" / "big.tif", "w", crs=CRS, transform=TRANSFORM, **profile) as file:
        file.write(pixels)
    options = ("--no-demo", "--buckets", str(folders.buckets), "--export-assets", str(folders.assets))
    asset = "projects/p/assets/big"
    manifest = {"name": asset, "tilesets": [{"sources": [{"uris": ["gs://my-bucket/big.tif"]}]}]}
    server = start_server(*options)
    with server.process:
        initialize(server).data.startIngestion("", manifest)
        wait_until(lambda: any(folders.assets.rglob("*.tif")))
        os.kill(server.process.pid, signal.SIGKILL)
    again = start_server(*options)
    try:
        ee = initialize(again)
        listed = ee.data.listBuckets("projects/p").get("assets", [])
        if not listed:
            with pytest.raises(ee.EEException, match="not found"):
                ee.data.getAsset(asset)
            assert ingested(ee, manifest) == ""
            assert not list(folders.assets.rglob(".eechips-local-*"))
        corner = ee.Image(asset).select("b4")
        np.testing.assert_array_equal(read(ee, corner, (500, 500))["b4"], pixels[3][:500, :500])
    finally:
        stop_server(again)
