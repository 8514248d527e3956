"""Rasters of strangers whose content, or that of a mask beside them, is a list of other files."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from eechips.archive.windows import describe, plan_windows, read_window
from eechips.archive.windows.locations import RasterLocation
from eechips.client.retry import RetryPolicy
from eechips.errors import EechipsError, UsageError
from eechips_local.assets import ingest
from eechips_local.assets.asset_errors import UnreadableFileError
from eechips_local.assets.ingestion.raster_files import RasterFiles
from local_tests.support.loopback import LoopbackServer
from local_tests.support.parameters import slow_except
from tests.support.raster_server import Bucket
from tests.support.watched_folder import watch_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")

ONCE = RetryPolicy(retries=0)
SOURCE = "<SourceFilename relativeToVRT='0'>{path}</SourceFilename>"
HEAD = (
    "<VRTDataset rasterXSize='16' rasterYSize='16'><SRS>EPSG:32610</SRS>"
    "<GeoTransform>500000,10,0,4000000,0,-10</GeoTransform>{}</VRTDataset>"
)
BAND = "<VRTRasterBand dataType='Byte' band='1'{}</VRTRasterBand>"
SIMPLE = f"><SimpleSource>{SOURCE}<SourceBand>1</SourceBand></SimpleSource>"
CONTENT = {
    "raster": HEAD.format(BAND.format(SIMPLE)),
    "bytes of a file": HEAD.format(BAND.format(f" subClass='VRTRawRasterBand'>{SOURCE}<LineOffset>16</LineOffset>")),
    "server": "<GDAL_WMS><Service name='TMS'><ServerUrl>file://{path}</ServerUrl></Service></GDAL_WMS>",
}
FLAGS = "<Metadata><MDI key='INTERNAL_MASK_FLAGS_1'>2</MDI></Metadata>"


def write(path: Path) -> Path:
    place = rasterio.transform.from_origin(500_000, 4_000_000, 10, 10)
    profile = {"driver": "GTiff", "width": 16, "height": 16, "count": 1, "dtype": "uint8", "crs": "EPSG:32610"}
    with rasterio.open(path, "w", **profile, transform=place) as file:
        file.write(np.full((1, 16, 16), 7, np.uint8))
    return path


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    return write(tmp_path / "outside" / "canary.tif")


@pytest.mark.parametrize("where", slow_except(["file", "s3", "http"], "http"))
@pytest.mark.parametrize("kind", CONTENT)
def test_the_content_of_a_named_format_leads_to_no_other_file(
    bucket: Bucket, canary: Path, kind: str, where: str
) -> None:
    for name in ("scene.tif", "scene.img", *(("scene",) if where != "file" else ())):
        (bucket.folder / name).write_text(CONTENT[kind].format(path=canary))
        base = {"file": str(bucket.folder), "s3": "s3://bucket"}.get(
            where, f"{bucket.environment['AWS_ENDPOINT_URL']}/bucket"
        )
        with watch_folder(canary.parent) as watched:
            with pytest.raises(EechipsError, match="supported file format"):
                describe(f"{base}/{name}", policy=ONCE)
            assert watched.touched() == []


def address_of(bucket: Bucket, name: str, where: str) -> str:
    web = f"{bucket.environment['AWS_ENDPOINT_URL']}/bucket"
    return f"{ {'file': bucket.folder, 's3': 's3://bucket', 'http': web}[where] }/{name}"


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    """Another process: GDAL blocks the threads of this one, which serve, while it reads files beside a raster."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def elsewhere(process: ProcessPoolExecutor, bucket: Bucket, function: Callable[..., Any], *values: Any) -> Any:
    return process.submit(_with_environment, bucket.environment, function, *values).result(60)


def _with_environment(environment: dict[str, str], function: Callable[..., Any], *values: Any) -> Any:
    os.environ.update(environment)
    return function(*values)


def planned(address: str) -> Any:
    return list(plan_windows(address))


def refusals(address: str, unit: Any) -> list[str]:
    found = []
    for read in (lambda: describe(address, policy=ONCE), lambda: read_window(unit, policy=ONCE)):
        try:
            read()
        except EechipsError as error:
            found.append(str(error))
    return found


def masked(address: str) -> int:
    (unit,) = planned(address)
    return count_masked(unit)


def outcome(address: str) -> str:
    try:
        return str(masked(address))
    except EechipsError as error:
        return str(error)


def count_masked(unit: Any) -> int:
    return int(np.ma.getmaskarray(read_window(unit, policy=ONCE)).sum())


def write_described(folder: Path) -> Path:
    """Write a raster and the file of its further metadata."""
    (folder / "scene.tif.aux.xml").write_text("<PAMDataset/>")
    return write(folder / "scene.tif")


def write_mask(folder: Path, canary: Path, kind: str, suffix: str) -> None:
    """Write a mask beside a raster that leads to another file."""
    (folder / "inner.tif").write_text(CONTENT["raster"].format(path=canary))
    target = folder / "inner.tif" if kind == "nested" else canary
    text = CONTENT["raster" if kind == "nested" else kind].format(path=target)
    (folder / f"scene.tif{suffix}").write_text(text.replace("<SRS>", f"{FLAGS}<SRS>"))


@pytest.mark.parametrize("suffix", slow_except([".msk", ".MSK"], ".msk"))
@pytest.mark.parametrize("kind", ["raster", "nested", "bytes of a file"])
@pytest.mark.parametrize("where", slow_except(["file", "s3", "http"], "file"))
def test_a_mask_beside_a_raster_leads_to_no_other_file(
    bucket: Bucket, canary: Path, process: ProcessPoolExecutor, where: str, kind: str, suffix: str
) -> None:
    write_described(bucket.folder)
    address = address_of(bucket, "scene.tif", where)
    (unit,) = elsewhere(process, bucket, planned, address)
    write_mask(bucket.folder, canary, kind, suffix)
    with watch_folder(canary.parent) as watched:
        found = elsewhere(process, bucket, refusals, address, unit)
        if where == "file":
            assert [f"scene.tif{suffix} is no GeoTIFF, or damaged: remove it" in text for text in found] == [True, True]
        else:
            (text,) = found
            assert f"has a mask beside it, scene.tif{suffix}, which is not read from afar" in text
        assert watched.touched() == []


@pytest.mark.parametrize("suffix", [".msk", ".MSK"])
@pytest.mark.parametrize("kind", ["raster", "nested", "bytes of a file"])
def test_a_mask_beside_a_raster_leads_an_ingestion_to_no_other_file(
    tmp_path: Path, canary: Path, kind: str, suffix: str
) -> None:
    path = write_described(tmp_path)
    write_mask(tmp_path, canary, kind, suffix)
    with watch_folder(canary.parent) as watched:
        with RasterFiles() as every, RasterFiles(("GTiff",)) as some:
            for rasters in (every, some):
                with pytest.raises(UnreadableFileError, match="is no GeoTIFF, or damaged: remove it"):
                    rasters.open(str(path))
        with pytest.raises(UnreadableFileError, match="is no GeoTIFF, or damaged: remove it"):
            ingest([path], tmp_path / "assets", "scene")
        assert watched.touched() == []


@pytest.mark.parametrize("where", ["file", "s3", "http"])
def test_a_mask_that_is_a_geotiff_is_applied_or_refused(
    bucket: Bucket, process: ProcessPoolExecutor, where: str
) -> None:
    path = write(bucket.folder / "scene.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(np.eye(16, dtype=bool))
    assert (bucket.folder / "scene.tif.msk").exists()
    found = elsewhere(process, bucket, outcome, address_of(bucket, "scene.tif", where))
    assert found == "240" if where == "file" else "has a mask beside it, scene.tif.msk" in found


@pytest.mark.parametrize("name", ["scene.tif.msk", "scene.tif.MSK"])
def test_units_of_earlier_versions_with_a_mask_are_refused_at_once(bucket: Bucket, name: str) -> None:
    write(bucket.folder / "scene.tif")
    address = address_of(bucket, "scene.tif", "s3")
    (unit,) = planned(address)
    with pytest.raises(UsageError, match=f"{address} has a mask beside it, {name}, which is not read from afar"):
        read_window({**unit, "others": [name]})


def test_other_spellings_of_a_name_are_no_way_out(
    bucket: Bucket, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bucket.folder)
    for name in ("scene.tif", "ab:c.tif"):
        (bucket.folder / name).write_text(CONTENT["raster"].format(path=canary))
    web = [
        address_of(bucket, name, "http") for name in ("scene.tif?v=1", "scene.tif#x", "scene%2etif", "scene%2Etif?a")
    ]
    with watch_folder(canary.parent) as watched:
        for address in (*web, "ab:c.tif"):
            with pytest.raises(EechipsError, match=r"supported file format|does not exist"):
                describe(address, policy=ONCE)
        for name in ("ab:c.tif", *(f"/vsicurl/{address}" for address in web)):
            with RasterFiles() as rasters, pytest.raises(UnreadableFileError):
                rasters.open(name)
        assert watched.touched() == []


@pytest.mark.parametrize("name", ["LC08_B4.TIF", "./LC08_B4.TIF", "{folder}//LC08_B4.TIF"])
def test_metadata_beside_a_raster_are_no_reason_to_refuse_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "LC08_B4.TIF")
    (tmp_path / "LC08_MTL.txt").write_text("GROUP = L1_METADATA_FILE\nEND_GROUP = L1_METADATA_FILE\nEND\n")
    path = name.format(folder=tmp_path)
    assert describe(path).dtypes == ("uint8",)
    with RasterFiles() as rasters:
        assert any(other.endswith("LC08_MTL.txt") for other in rasters.open(path).files)


def test_a_page_for_every_name_is_no_mask(tmp_path: Path) -> None:
    write(tmp_path / "good.tif")
    with serving_pages(tmp_path, _Pages) as url:
        raster = describe(f"{url}/good.tif", policy=ONCE)
    assert (raster.dtypes, raster.others) == (("uint8",), ())


@contextmanager
def serving_pages(folder: Path, handler: Callable[..., Any]) -> Iterator[str]:
    with LoopbackServer(("127.0.0.1", 0), partial(handler, folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Pages(BaseHTTPRequestHandler):
    """Answers with a page for every name but those of its files."""

    def __init__(self, folder: Path, *values: object) -> None:
        self._folder = folder
        super().__init__(*values)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _content(self) -> tuple[bytes, str] | None:
        path = self._folder / self.path.lstrip("/")
        return (path.read_bytes(), "image/tiff") if path.is_file() else (b"<html></html>", "text/html; charset=a")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        content = self._content()
        if content is None:
            self.send_error(404)
            return
        data, kind = content
        size, found = len(data), re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found:
            data = data[int(found[1]) : int(found[2] or size) + 1]
        self.send_response(206 if found else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if found:
            self.send_header("Content-Range", f"bytes {found[1]}-{int(found[1]) + len(data) - 1}/{size}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


def test_refusals_say_how_to_name_a_raster_of_another_format(bucket: Bucket) -> None:
    grid = "ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2\n3 4\n"
    (bucket.folder / "grid").write_text(grid)
    with pytest.raises(EechipsError, match=r"must be named by it, such as \.vrt or \.nc"):
        describe(address_of(bucket, "grid", "http"), policy=ONCE)
    (bucket.folder / "list.tif").write_text(CONTENT["raster"].format(path="x.tif"))
    with pytest.raises(UnreadableFileError, match=r"neither .* not recognized .* must be named \.vrt"):
        ingest([bucket.folder / "list.tif"], bucket.folder.parent / "assets", "scene")


def test_formats_of_some_names_are_free() -> None:
    assert RasterLocation.of("/vsimem/x.tif").drivers is None
    assert RasterLocation.of("GTIFF_DIR:1:x.tif").drivers is None
    assert RasterLocation.of("https://host/x.vrt?v=1").drivers is None
    assert "Zarr" in (RasterLocation.of("s3://bucket/cube").drivers or ())


@pytest.mark.slow
def test_a_virtual_raster_that_is_named_as_one_is_read(tmp_path: Path, canary: Path) -> None:
    (tmp_path / "mosaic.vrt").write_text(CONTENT["raster"].format(path=canary))
    assert describe(str(tmp_path / "mosaic.vrt")).dtypes == ("uint8",)
