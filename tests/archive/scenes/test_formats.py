"""Scenes in formats other than GeoTIFF, or unlike their description: files and assets."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

import eechips
from local_tests.support.function_server import serve_function
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command
from tests.support.scene_runs import EDGE, TIFF, assert_same, catalogue, chips_are_windows, items, steps, write
from tests.support.scene_servers import FileServer, item, multihash

pytest.importorskip("pystac_client")

LOSSLESS = {"driver": "JP2OpenJPEG", "tiled": False, "QUALITY": "100", "REVERSIBLE": "YES"}


def command(stac: Path, folder: Path, *more: str) -> tuple[int, str]:
    """Status and output of a command that puts scenes into a store."""
    words = ["scenes", "--stac", str(stac), "--out", str(folder / "out"), "--ingest", str(folder / "assets"), *more]
    done = run_command(*words)
    return done.exit_code, done.output


def ingested(out: Path) -> list[dict[str, Any]]:
    """Return the lines of the log about scenes that become assets."""
    lines = map(json.loads, (out / "run.log").read_text().splitlines())
    return [line for line in lines if line["event"] == "scene" and line["step"] == "ingest"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_jpeg2000_scenes_become_chips(serve: Callable[..., Server], tmp_path: Path) -> None:
    """As Copernicus has Sentinel-2: bands of two resolutions, and a picture of three bands."""
    files = tmp_path / "files"
    bands = {"red": 10, "nir": 10, "swir": 20}
    for number, (name, size) in enumerate(bands.items()):
        write(files / f"{name}.jp2", number, transform=from_origin(500_000, 4_430_000, size, size), **LOSSLESS)
    write(files / "visual.jp2", 9, count=3, transform=from_origin(500_000, 4_430_000, 10, 10), **LOSSLESS)
    with rasterio.open(files / "nir.jp2") as source:
        west, south, east, north = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
    with FileServer(files) as server:
        assets: dict[str, Any] = {}
        for path in sorted(files.glob("*.jp2")):
            asset = {"href": f"{server.url}/{path.name}", "type": "image/jp2", "roles": ["data"]}
            told = {"proj:code": "EPSG:32613", "proj:shape": [256, 256], "file:size": path.stat().st_size}
            assets[path.stem] = {**asset, **told, "file:checksum": multihash(path.read_bytes())}
        stac = catalogue(tmp_path, [item("T13TDE", assets, box=(west, south, east, north))])
        status, output = command(stac, tmp_path, "--asset-id", "archive/S2")
    assert status == 0, output
    run = eechips.open_run(tmp_path / "out")
    assert all(Path(run.path / file).suffix == ".jp2" for file in run.units["file"])
    # By a second name: neither room nor time is needed.
    assert sorted(path.stat().st_nlink for path in (tmp_path / "assets").rglob("*.jp2")) == [2, 2, 2, 2]
    service = serve("--assets", str(tmp_path / "assets"), "--no-demo", "--rate", "none", "--concurrency", "none")
    dx, dy = (east - west) / 4, (north - south) / 4
    roi = f"{west + dx},{south + dy},{east - dx},{north - dy}"
    for names, source in (["red"], "red"), (["swir"], "swir"), (["visual_1", "visual_2", "visual_3"], "visual"):
        chips = eechips.sample(
            "archive/S2", bands=names, total=3, size=16, format="tif", roi=roi,
            endpoint=service.url, provenance=True, out=tmp_path / source, quiet=True, executor="threads",
        )  # fmt: skip
        assert chips_are_windows(chips, {"T13TDE": files / f"{source}.jp2"}, bands=len(names)) == 3


@pytest.mark.slow
def test_files_that_are_no_images_stay_files(tmp_path: Path) -> None:
    """A zipped product, netCDF and HDF4 come whole, and it is said that they become no assets."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("S2A.SAFE/manifest.safe", "<xml/>")
    bodies = {"S2A.SAFE.zip": written.getvalue(), "grid.nc": b"CDF\x01" + bytes(100), "x.hdf": b"\x0e\x03\x13\x01"}
    types = {"S2A.SAFE.zip": "application/zip", "grid.nc": "application/netcdf", "x.hdf": "application/octet-stream"}
    with serve_function(lambda path, headers, body: (200, {}, bodies[path[1:]])) as url:
        found = [
            item(name, {"product": {"href": f"{url}/{name}", "type": types[name], "roles": ["data"]}})
            for name in bodies
        ]
        status, output = command(catalogue(tmp_path, found), tmp_path)
    assert status == 0, output
    assert "3 scenes have neither GeoTIFF nor JPEG 2000" in output
    run = eechips.open_run(tmp_path / "out")
    assert [(run.path / file).read_bytes() for file in run.units["file"]] == list(bodies.values())
    assert len(ingested(run.path)) == 3


@pytest.mark.slow
def test_metadata_beside_an_image_stays_a_file(tmp_path: Path) -> None:
    data = write(tmp_path / "a.tif", 1).read_bytes()
    bodies = {"/a.tif": data, "/a.xml": b"<xml/>"}
    with serve_function(lambda path, headers, body: (200, {}, bodies[path])) as url:
        assets = {"red": {"href": f"{url}/a.tif", "type": TIFF}, "about": {"href": f"{url}/a.xml", "type": "text/xml"}}
        status, output = command(catalogue(tmp_path, [item("a", assets)]), tmp_path, "--assets", "red,about")
    assert status == 0, output
    assert eechips.open_run(tmp_path / "out").counts == {"done": 2}
    assert [line.get("asset") for line in ingested(tmp_path / "out")] == ["scenes/demo/a"]


@pytest.mark.exhaustive
def test_a_scene_that_cannot_become_an_asset_fails_alone(tmp_path: Path) -> None:
    """Its files are good: the run is whole. The same command tries again, as the fault may be the store's."""
    good, bad = write(tmp_path / "a.tif", 1).read_bytes(), write(tmp_path / "b.tif", 2, crs=None).read_bytes()
    bodies = {"/a.tif": good, "/b.tif": bad}
    with serve_function(lambda path, headers, body: (200, {}, bodies[path])) as url:
        found = [item(name, {"red": {"href": f"{url}/{name}.tif", "type": TIFF}}) for name in ("b", "a")]
        stac = catalogue(tmp_path, found)
        status, output = command(stac, tmp_path)
    assert status == 1, output
    assert "1 of 2 scenes is an asset" in output
    assert "1 scene could not become assets" in output
    run = eechips.open_run(tmp_path / "out")
    assert (run.counts, (run.path / "manifest.parquet").exists()) == ({"done": 2}, True)
    bodies.clear()
    status, output = command(stac, tmp_path)
    assert status == 1, output
    assert len(ingested(run.path)) == 4


def test_a_folder_of_zarr_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    asset = {"href": str(tmp_path / "a.zarr"), "type": "application/vnd+zarr", "roles": ["data"]}
    run = eechips.scenes(str(catalogue(tmp_path, [item("a", {"data": asset})])), out=tmp_path / "out", quiet=True)
    assert "is a folder, as of Zarr, and only files are downloaded" in run.failures.iloc[0]["error"]


def test_rasters_that_have_their_checksum_are_kept_however_they_are_described(
    server: FileServer, tmp_path: Path
) -> None:
    """As Earth Search describes AOT and WVP; the header says what a file is, and the checksum that it is the one."""
    stac = catalogue(tmp_path, items(server, **{"proj:shape": [7, 9], "proj:code": "EPSG:4326"}))
    status, output = command(stac, tmp_path)
    assert status == 0, output
    assert output.count("is not as the catalogue describes it, but has the stated checksum, and is kept") == 1
    run = eechips.open_run(tmp_path / "out")
    assert_same(run, server.folder)
    assert set(server.requests.values()) == {1}
    assert set(zip(run.units["width"], run.units["height"], run.units["crs"], strict=True)) == {
        (EDGE, EDGE, "EPSG:32613")
    }
    checks = steps(run.path, "check")
    assert {line["differs"] for line in checks} == {f"the raster has {EDGE}x{EDGE} pixels instead of 9x7"}
    assert not any("header" in line["by"] for line in checks)
    assert len(ingested(run.path)) == len(checks) == 6
