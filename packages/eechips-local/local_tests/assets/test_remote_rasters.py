"""Images whose files are on a web server, asked of servers that may read them and of one that may not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from eechips_local.assets import UnreadableFileError, ingest
from local_tests.support.function_server import serve_function
from local_tests.support.ingested_rasters import UTM, noise, raster
from local_tests.support.local_earth_engine import Server, ServerProcess, initialize, stop_server
from local_tests.support.range_server import Files, range_server

VALUES = noise(1, 1536, 1280, dtype="uint16", seed=5)
SIZE = 128


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    """A web server with GeoTIFFs that are the same."""
    folder = tmp_path_factory.mktemp("web")
    draft = raster(tmp_path_factory.mktemp("draft") / "a.tif", VALUES, nodata=3)
    rasterio.shutil.copy(str(draft), str(folder / "good.tif"), driver="COG", blocksize=SIZE)
    for name in ("gone", "broken", "cut", "trap"):
        shutil.copy(folder / "good.tif", folder / f"{name}.tif")
    with range_server(folder) as files:
        yield files


@pytest.fixture(scope="module")
def store(web: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that refers to all of them, of which some are no longer what they were."""
    folder = tmp_path_factory.mktemp("remote")
    for path in sorted(web.folder.glob("*.tif")):
        asset = {"href": f"{web.url}/{path.name}?sig=secret", "type": "image/tiff", "roles": ["data"]}
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": path.stem, "geometry": None, "links": [],
            "properties": {"datetime": "2020-06-01T10:00:00Z"}, "assets": {"b1": asset},
        }  # fmt: skip
        (folder / f"{path.stem}.json").write_text(json.dumps(item))
    documents = sorted(folder.glob("*.json"))
    ingest(documents, folder / "store", "far", remote=True, by_reference=True)
    web.status |= {"gone.tif": 404, "broken.tif": 503}
    web.short.add("cut.tif")
    rasterio.shutil.copy(str(web.folder / "good.tif"), str(web.folder / "trap.vrt"), driver="VRT")
    (web.folder / "trap.vrt").replace(web.folder / "trap.tif")
    web.bytes.clear()
    return folder / "store"


def start(store: Path, remote: bool) -> ServerProcess:
    """A server of the store, in a process of its own."""
    program = (
        "import sys; from pathlib import Path;"
        "from eechips_local.server import ServerConfig, serve, wait_for_parent;"
        "from eechips_local.stores import StoreConfig;"
        "serve(ServerConfig(store=StoreConfig((Path(sys.argv[1]),), False, sys.argv[2] == 'True'), workers=1),"
        "wait_for_end=wait_for_parent)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(store), str(remote)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return ServerProcess(json.loads(process.stdout.readline())["url"], process)


@pytest.fixture(scope="module")
def allowed(store: Path) -> Iterator[Server]:
    server = start(store, True)
    yield server
    stop_server(server)


@pytest.fixture(scope="module")
def refusing(store: Path) -> Iterator[Server]:
    server = start(store, False)
    yield server
    stop_server(server)


def chip(ee: Any, name: str, column: int, row: int) -> np.ndarray:
    """A chip on the file's own pixels."""
    x, y = UTM * (column, row)
    affine = {"scaleX": UTM.a, "shearX": 0, "translateX": x, "shearY": 0, "scaleY": UTM.e, "translateY": y}
    grid = {"dimensions": {"width": SIZE, "height": SIZE}, "affineTransform": affine, "crsCode": "EPSG:26914"}
    image = ee.Image(f"far/{name}").unmask(3)
    found = ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    return np.asarray(found["b1"])


@pytest.mark.slow
def test_only_the_blocks_that_are_needed_are_read(web: Files, allowed: Server) -> None:
    ee = initialize(allowed)
    np.testing.assert_array_equal(chip(ee, "good", 640, 512), VALUES[0, 512:640, 640:768])
    first = web.bytes["good.tif"]
    assert 0 < first < (web.folder / "good.tif").stat().st_size / 4
    np.testing.assert_array_equal(chip(ee, "good", 640, 512), VALUES[0, 512:640, 640:768])
    assert web.bytes["good.tif"] == first  # from memory


@pytest.mark.slow
def test_a_server_that_may_not_read_them_says_so(web: Files, refusing: Server) -> None:
    ee = initialize(refusing)
    before = dict(web.bytes)
    image = ee.Image("far/good")
    assert image.bandNames().getInfo() == ["b1"]  # what the store knows, it tells
    with pytest.raises(ee.EEException, match=r"'far/good' refers to .*/good\.tif, .* --allow-remote") as caught:
        chip(ee, "good", 0, 0)
    assert "secret" not in str(caught.value)
    assert web.bytes == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("gone", 400, r"gone\.tif cannot be read: its server answers with HTTP 404"),
        ("broken", 503, r"broken\.tif cannot be read"),
        ("cut", 503, r"cut\.tif cannot be read"),
        ("trap", 503, r"trap\.tif cannot be read"),
    ],
)
def test_files_that_cannot_be_read(allowed: Server, name: str, status: int, message: str) -> None:
    ee = initialize(allowed)
    with pytest.raises(ee.EEException, match=message) as caught:
        chip(ee, name, 640, 512)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__.resp.status == status
    np.testing.assert_array_equal(chip(ee, "good", 0, 0), VALUES[0, :SIZE, :SIZE])  # the worker goes on


def test_a_server_without_ranges_is_named_as_the_cause(tmp_path: Path) -> None:
    content = raster(tmp_path / "a.tif", VALUES).read_bytes()
    with serve_function(lambda path, headers, body: (200, {}, content)) as url:
        asset = {"href": f"{url}/a.tif", "type": "image/tiff", "roles": ["data"]}
        item = {"type": "Feature", "stac_version": "1.0.0", "id": "a", "properties": {}, "assets": {"b1": asset}}
        (tmp_path / "item.json").write_text(json.dumps(item))
        with pytest.raises(UnreadableFileError, match=r"no ranges of files, download it, and ingest the copy\.$"):
            ingest(tmp_path / "item.json", tmp_path / "store", "far/a", remote=True)
