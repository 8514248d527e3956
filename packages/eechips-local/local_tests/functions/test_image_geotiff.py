"""GeoTIFFs of a folder of buckets, read by the real client from a server."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from local_tests.support.local_earth_engine import Host, Server, initialize

VALUES = np.random.default_rng(8).integers(1, 2000, (2, 40, 50)).astype(np.uint16)
CRS, ORIGIN = "EPSG:32613", (476_000.0, 4_430_000.0)


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "my-bucket" / "scenes").mkdir(parents=True)
    values = VALUES.copy()
    values[:, 5, 6] = 0
    with rasterio.open(
        folder / "my-bucket" / "scenes" / "a.tif", "w", driver="GTiff", count=2, height=40, width=50, dtype="uint16",
        crs=CRS, transform=from_origin(*ORIGIN, 30, 30), nodata=0,
    ) as file:  # fmt: skip
        file.write(values)
    (folder / "my-bucket" / "note.txt").write_text("Zürich", encoding="utf-8")
    (folder / "secret.txt").write_text("outside of every bucket")
    (folder / "my-bucket" / "link.txt").symlink_to(folder / "secret.txt")
    return folder


@pytest.fixture(scope="module")
def server(buckets: Path, host: Host) -> Iterator[Server]:
    running = host.start("--no-demo", "--buckets", str(buckets))
    yield running
    host.stop(running)


@pytest.fixture
def ee(server: Server) -> Any:
    return initialize(server)


def test_a_file_is_an_image_on_its_own_grid(ee: Any) -> None:
    image = ee.Image.loadGeoTIFF("gs://my-bucket/scenes/a.tif")
    info = image.getInfo()
    assert [band["id"] for band in info["bands"]] == ["B0", "B1"]
    assert info["bands"][0]["crs"] == CRS
    assert info["bands"][0]["crs_transform"] == [30, 0, ORIGIN[0], 0, -30, ORIGIN[1]]
    assert info["bands"][1]["dimensions"] == [50, 40]
    assert info["bands"][1]["data_type"] == {"type": "PixelType", "precision": "int", "min": 0, "max": 65535}
    grid = {
        "dimensions": {"width": 50, "height": 40}, "crsCode": CRS,
        "affineTransform": {"scaleX": 30, "scaleY": -30, "translateX": ORIGIN[0], "translateY": ORIGIN[1]},
    }  # fmt: skip
    request = {"expression": image.unmask(7), "fileFormat": "NPY", "grid": grid}
    found = np.load(io.BytesIO(ee.data.computePixels(request)))
    expected = VALUES.copy()
    expected[:, 5, 6] = 7
    assert np.array_equal(np.stack([found["B0"], found["B1"]]), expected)


def test_files_are_mapped_to_a_collection(ee: Any) -> None:
    """developers.google.com/earth-engine/guides/ic_creating: a list of URIs, mapped."""
    uris = ee.List(["gs://my-bucket/scenes/a.tif"] * 2)
    images = ee.ImageCollection(uris.map(lambda uri: ee.Image.loadGeoTIFF(uri)))
    assert images.size().getInfo() == 2


def test_blobs_are_read_from_the_folder(ee: Any) -> None:
    assert ee.Blob("gs://my-bucket/note.txt").string().getInfo() == "Zürich"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gs://my-bucket/scenes/b.tif", "object not found"),
        ("gs://other/scenes/a.tif", "object not found"),
        ("gs://my-bucket/../secret.txt", "is not the name of a file"),
        ("gs://../secret.txt", "Invalid Cloud Storage URI"),
        ("gs://my-bucket/link.txt", "object not found"),
        ("gs://my-bucket/note.txt", "cannot be read as a GeoTIFF"),
        ("/etc/passwd", "Invalid Cloud Storage URI"),
        ("gs://my-bucket", "Invalid Cloud Storage URI"),
    ],
)
def test_what_is_no_geotiff_of_a_bucket(ee: Any, uri: str, message: str) -> None:
    with pytest.raises(ee.EEException, match=rf"Image\.loadGeoTIFF: .*{message}"):
        ee.Image.loadGeoTIFF(uri).getInfo()


def test_a_server_without_buckets_says_what_to_do(serve: Callable[..., Server]) -> None:
    ee = initialize(serve("--no-demo"))
    with pytest.raises(ee.EEException, match=r"--buckets DIR, where DIR/bucket/object stands for it"):
        ee.Image.loadGeoTIFF("gs://my-bucket/scenes/a.tif").getInfo()
