"""Satellite Embeddings: images cut into files whose rows go from south to north, found in a table of all files."""

from __future__ import annotations

import io
import pickle
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from eechips_local.archives.archive_errors import ArchiveRefusedError, ArchiveUnreachedError
from eechips_local.archives.archive_list import AEF
from eechips_local.archives.archive_model import ArchiveDescription, ItemQuery
from eechips_local.archives.archive_opening import open_archive
from eechips_local.archives.items.embedding_files import COLLECTION, EmbeddingFiles
from eechips_local.archives.items.file_table import KeptTable
from eechips_local.archives.items.item_images import outline_of
from eechips_local.archives.items.item_search import open_search
from eechips_local.archives.items.system_index import rule_of
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow
from local_tests.support.local_earth_engine import Server, initialize, start_server, stop_server
from local_tests.support.range_server import Files, range_server
from local_tests.support.stopped_clock import StoppedClock

pytestmark = pytest.mark.integration

DATASET = "GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL"
IMAGE = "xdz8z3a9znk5b1j75"  # of 10N in 2018: file …-0000008192-0000008192 holds Monterey, 36.6 N, 121.9 W
OTHER = "xaspzf5khdg4c5pbs"  # of the same place in 2022
WEST, SOUTH, SIDE = 500_000.0, 24 * 163_840.0, 81_920.0
BANDS = 64
EDGE = 96  # pixels of a file, on each side of the middle of its image, that are not empty
QUARTERS = ((0, 0), (0, 8192), (8192, 8192))  # rows, columns; the file of the fourth is not there


def rows_of(image: str, year: int) -> list[dict[str, Any]]:
    """Rows of the table, in the form that Google documents for it."""
    found = []
    for down, right in [*QUARTERS, (8192, 0)]:
        west, south = WEST + right * 10.0, SOUTH + down * 10.0
        bounds = (west, south, west + SIDE, south + SIDE)
        degrees = transform_bounds("EPSG:32610", "EPSG:4326", *bounds)
        name = f"{image}-{down:010d}-{right:010d}.tiff"
        row: dict[str, Any] = {
            "fid": len(found),
            "path": f"s3://us-west-2.opendata.source.coop/tge-labs/aef/v1/annual/{year}/10N/{name}",
            "year": year,
            "crs": "EPSG:32610",
            "utm_zone": "10N",
        }
        row |= dict(zip(("utm_west", "utm_south", "utm_east", "utm_north"), bounds, strict=True))
        row |= dict(zip(("wgs84_west", "wgs84_south", "wgs84_east", "wgs84_north"), degrees, strict=True))
        found.append(row)
    return [row for row in found if not (year == 2018 and row["path"].endswith("8192-0000000000.tiff"))]


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_files(folder: Path) -> None:
    """Write the files of an image, each 8192 x 8192 pixels of which only those near its middle are there."""
    folder.mkdir(parents=True)
    numbers = np.random.default_rng(11)
    for down, right in QUARTERS:
        transform = Affine(10.0, 0.0, WEST + right * 10.0, 0.0, 10.0, SOUTH + down * 10.0)
        column, row = (0 if right else 8192 - EDGE), (0 if down else 8192 - EDGE)
        values = numbers.integers(-127, 128, (BANDS, EDGE, EDGE)).astype(np.int8)
        values[:, 10:20, 30:50] = -128
        with rasterio.open(
            folder / f"{IMAGE}-{down:010d}-{right:010d}.tiff", "w", driver="GTiff", width=8192, height=8192,
            count=BANDS, dtype="int8", crs="EPSG:32610", transform=transform, nodata=-128, tiled=True, blockxsize=512,
            blockysize=512, interleave="band", compress="deflate", sparse_ok=True,
        ) as file:  # fmt: skip
            file.write(values, window=Window(column, row, EDGE, EDGE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("embeddings")
    write_files(found / "2018" / "10N")
    write_table(found / "aef_index.parquet", [*rows_of(IMAGE, 2018), *rows_of(OTHER, 2022)])
    return found


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A local Earth Engine over a mirror of the archive."""
    with range_server(folder) as files, pytest.MonkeyPatch.context() as patch:
        host = files.url.removeprefix("http://").partition("/")[0]
        description = folder / "mirror.toml"
        index = f"{files.url}/aef_index.parquet"
        description.write_text(f'like = "aef"\nindex = "{index}"\nhosts = ["{host}"]\n', encoding="utf-8")
        patch.setenv("XDG_CACHE_HOME", str(folder / "caches"))
        started = start_server("--archive", str(description), "--no-demo", "--rate", "none", "--concurrency", "none")
        yield started
        stop_server(started)


def expected_pixels(folder: Path, band: int, transform: Affine, size: int) -> np.ndarray[Any, Any]:
    """Numbers of the files on a grid whose rows go from north to south, as GDAL puts them there; -128 for none."""
    found = np.full((size, size), -128, np.int8)
    for path in sorted((folder / "2018" / "10N").glob("*.tiff")):
        grid = {"crs": "EPSG:32610", "transform": transform, "width": size, "height": size, "nodata": -128}
        with rasterio.open(path) as file, WarpedVRT(file, **grid) as turned:
            own = turned.read(band)
        found = np.where(own != -128, own, found)
    return found


@pytest.mark.slow
def test_window_over_files_has_their_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows of the image go from south to north."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with range_server(folder) as files:
        host = files.url.removeprefix("http://")
        index = f"{files.url}/aef_index.parquet"
        mirror = ArchiveDescription(name="mirror", title="Mirror", index=index, hosts=(host,), like="aef")
        image = open_archive(mirror).get(f"{DATASET}/{IMAGE}")
        assert isinstance(image, ImageAsset)
        assert len(image.bands) == BANDS
        assert image.bands[0].grid.transform == Affine(10.0, 0.0, WEST, 0.0, 10.0, SOUTH)
        size = 2 * EDGE
        first = 8192 - EDGE
        values, valid = image.bands[0].source.read([0, 63], PixelWindow(first, first, size, size), 0)
    transform = Affine(10.0, 0.0, WEST + first * 10.0, 0.0, -10.0, SOUTH + (8192 + EDGE) * 10.0)
    for position, number in enumerate((1, 64)):
        raw = expected_pixels(folder, number, transform, size)[::-1]
        assert np.array_equal(valid[position], raw != -128)
        expected = ((raw / 127.5) ** 2) * np.sign(raw)  # as Google writes it in NumPy
        assert np.array_equal(values[position][valid[position]], expected[valid[position]])


@pytest.mark.slow
def test_pixels_are_earth_engines_numbers(server: Server, folder: Path) -> None:
    ee = initialize(server)
    place = ee.Geometry.Point(-121.45, 36.27)
    collection = ee.ImageCollection(DATASET).filterBounds(place).filterDate("2018-01-01", "2019-01-01")
    assert collection.aggregate_array("system:index").getInfo() == [IMAGE]
    image = collection.first()
    information = image.getInfo()
    assert [band["id"] for band in information["bands"]] == [f"A{n:02d}" for n in range(BANDS)]
    assert {(*band["dimensions"], band["crs"], *band["crs_transform"]) for band in information["bands"]} == {
        (16_384, 16_384, "EPSG:32610", 10, 0, WEST, 0, 10, SOUTH)
    }
    start = datetime(2018, 1, 1, tzinfo=timezone.utc).timestamp() * 1000
    assert information["properties"]["system:time_start"] == start
    assert information["properties"]["system:time_end"] == start + 365 * 86_400_000
    assert information["properties"]["UTM_ZONE"] == "10N"
    size = 2 * EDGE + 16
    transform = Affine(10.0, 0.0, WEST + SIDE - size * 5.0, 0.0, -10.0, SOUTH + SIDE + size * 5.0)
    grid = {
        "dimensions": {"width": size, "height": size},
        "affineTransform": {
            "scaleX": 10, "scaleY": -10, "translateX": transform.c, "translateY": transform.f,
        },
        "crsCode": "EPSG:32610",
    }  # fmt: skip
    wanted = image.select(["A00", "A63"]).unmask(-9, False)
    found = np.load(io.BytesIO(ee.data.computePixels({"expression": wanted, "fileFormat": "NPY", "grid": grid})))
    for band, number in (("A00", 1), ("A63", 64)):
        raw = expected_pixels(folder, number, transform, size)
        values = ((raw / 127.5) ** 2) * np.sign(raw)
        assert np.array_equal(found[band], np.where(raw == -128, -9.0, values))
        assert (raw != -128).sum() == len(QUARTERS) * (EDGE * EDGE - 200)


@pytest.mark.slow
def test_image_is_whole_however_it_is_found(server: Server) -> None:
    ee = initialize(server)
    named = ee.Image(f"{DATASET}/{OTHER}").getInfo()
    near = (
        ee.ImageCollection(DATASET).filterBounds(ee.Geometry.Point(-121.9, 36.6)).filterDate("2022-01-01", "2023-01-01")
    )
    assert near.size().getInfo() == 1
    assert near.first().getInfo() == named
    with pytest.raises(ee.EEException, match="No item of"):
        ee.Image(f"{DATASET}/x8qqwcsisbgygl2ry").getInfo()


def test_search_of_files(folder: Path) -> None:
    files = pickle.loads(pickle.dumps(EmbeddingFiles(folder / "aef_index.parquet", "https://files.example/annual")))
    assert files.collections().keys() == {COLLECTION}
    everything = list(files.items(COLLECTION, ItemQuery()))
    assert len(everything) == 7
    assert not list(files.items("other", ItemQuery()))
    hrefs = {item["assets"]["data"]["href"] for item in everything}
    assert f"https://files.example/annual/2018/10N/{IMAGE}-0000008192-0000008192.tiff" in hrefs
    spring = datetime(2022, 3, 1, tzinfo=timezone.utc).timestamp() * 1000.0
    dated = files.items(COLLECTION, ItemQuery(start=spring, end=spring + 1.0))
    assert {item["id"].partition("-")[0] for item in dated} == {OTHER}
    monterey = files.items(COLLECTION, ItemQuery(bounds=(-121.9, 36.6, -121.89, 36.61)))
    assert {item["id"] for item in monterey} == {f"{name}-0000008192-0000008192" for name in (IMAGE, OTHER)}
    search = rule_of("satellite-embedding").search(IMAGE, "")
    assert search is not None
    named = list(files.items(COLLECTION, ItemQuery(ids=search.ids)))
    assert {rule_of("satellite-embedding").index(item) for item in named} == {IMAGE}
    assert len(named) == 3
    outline = named[0]["geometry"]["coordinates"][0]
    assert len(outline) > 16  # its edges are curves
    assert not list(files.items(COLLECTION, ItemQuery(bounds=(10.0, 36.6, 11.0, 36.7))))


@pytest.mark.parametrize("box", [(179.2, -179.8), (-179.8, 179.2), (-180.0, 180.0)])
def test_file_across_180_degrees_lies_on_both_sides(box: tuple[float, float], tmp_path: Path) -> None:
    """Its square reaches into zone 60 of UTM; how the table writes boxes of such files is not documented."""
    (row, *_) = rows_of(IMAGE, 2020)
    west, south = 2 * 81_920.0, 24 * 163_840.0  # from 179.3 E to 179.8 W
    row |= {"crs": "EPSG:32601", "utm_west": west, "utm_east": west + SIDE, "wgs84_west": box[0], "wgs84_east": box[1]}
    write_table(tmp_path / "aef_index.parquet", [row])
    search = EmbeddingFiles(tmp_path / "aef_index.parquet", "https://files.example")
    to_degrees = Transformer.from_crs("EPSG:32601", "EPSG:4326", always_xy=True)
    for column in (0.05, 0.95):
        longitude, latitude = to_degrees.transform(west + column * SIDE, south + SIDE / 2)
        (item,) = search.items(COLLECTION, ItemQuery(bounds=(longitude, latitude, longitude, latitude)))
        assert outline_of(item).contains(shapely.Point(longitude, latitude))
        assert not outline_of(item).intersects(shapely.Point(0.0, latitude))


@pytest.mark.parametrize(
    "path",
    [
        "s3://bucket/annual/2018/10N/../../../secret.tiff",
        "https://elsewhere.example/file.tif?x=-0000000000-0000000000.tiff",
        f"gs://alphaearth_foundations/annual/2018/99Q/{IMAGE}-0000000000-0000000000.tiff",
        "",
    ],
)
def test_rows_of_other_files_are_left_out(tmp_path: Path, path: str) -> None:
    row = {**rows_of(IMAGE, 2018)[0], "path": path}
    write_table(tmp_path / "table.parquet", [row])
    assert not list(EmbeddingFiles(tmp_path / "table.parquet", "https://files.example").items(COLLECTION, ItemQuery()))


def test_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(ArchiveRefusedError, match="cannot be read as the table"):
        list(EmbeddingFiles(tmp_path / "table.parquet", "https://files.example").items(COLLECTION, ItemQuery()))


def test_own_copy_of_the_table_is_searched(folder: Path) -> None:
    description = ArchiveDescription(
        name="copy", title="Copy", file=str(folder / "aef_index.parquet"), index=AEF.index, hosts=AEF.hosts, like="aef"
    )
    found = list(open_search(description, None).items(COLLECTION, ItemQuery()))
    assert len(found) == 7
    base = AEF.index.rpartition("/")[0]
    assert all(item["assets"]["data"]["href"].startswith(f"{base}/20") for item in found)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Files, ArchiveDescription]]:
    (tmp_path / "served").mkdir()
    write_table(tmp_path / "served" / "aef_index.parquet", rows_of(IMAGE, 2018))
    with range_server(tmp_path / "served") as files:
        yield files, ArchiveDescription(name="mirror", title="Mirror", index=f"{files.url}/aef_index.parquet")


def count_of(description: ArchiveDescription, folder: Path, days: float = 0.0) -> int:
    """Number of the files that a new process finds after some days."""
    table = KeptTable(description, folder, StoppedClock(time.time() + days * 86_400.0))
    return len(list(table.items(COLLECTION, ItemQuery())))


def test_table_is_fetched_once_and_used_offline(mirror: tuple[Files, ArchiveDescription], tmp_path: Path) -> None:
    files, description = mirror
    assert count_of(description, tmp_path / "kept") == 3
    size = (tmp_path / "served" / "aef_index.parquet").stat().st_size
    sent = files.bytes["aef_index.parquet"]
    assert sent == 2 * size  # the first request tells the size
    assert count_of(description, tmp_path / "kept", days=29.0) == 3
    assert files.bytes["aef_index.parquet"] == sent
    assert count_of(description, tmp_path / "kept", days=31.0) == 3
    assert files.bytes["aef_index.parquet"] == sent + 1  # it has not changed
    files.status["aef_index.parquet"] = 404
    assert count_of(description, tmp_path / "kept", days=90.0) == 3
    with pytest.raises(ArchiveRefusedError, match="HTTP 404"):
        count_of(description, tmp_path / "other")
    assert not list((tmp_path / "other").rglob("draft-*"))


def test_changed_table_is_fetched_again(mirror: tuple[Files, ArchiveDescription], tmp_path: Path) -> None:
    _, description = mirror
    assert count_of(description, tmp_path / "kept") == 3
    write_table(tmp_path / "served" / "aef_index.parquet", [*rows_of(IMAGE, 2018), *rows_of(OTHER, 2022)])
    assert count_of(description, tmp_path / "kept", days=29.0) == 3
    assert count_of(description, tmp_path / "kept", days=31.0) == 7


def test_kept_table_that_is_damaged_is_fetched_again(mirror: tuple[Files, ArchiveDescription], tmp_path: Path) -> None:
    files, description = mirror
    assert count_of(description, tmp_path / "kept") == 3
    [table] = (tmp_path / "kept").rglob("table.parquet")
    whole = table.read_bytes()
    for damaged in (whole[:-100], b"", whole[:40] + bytes(4) + whole[44:]):
        table.write_bytes(damaged)
        assert count_of(description, tmp_path / "kept") == 3
        assert table.read_bytes() == whole
    sent = files.bytes["aef_index.parquet"]
    assert count_of(description, tmp_path / "kept") == 3
    assert files.bytes["aef_index.parquet"] == sent


@pytest.mark.slow
def test_table_that_was_never_reached_is_an_error_that_is_not_retried(tmp_path: Path) -> None:
    description = ArchiveDescription(name="away", title="Away", index="https://nothing.invalid/aef_index.parquet")
    with pytest.raises(ArchiveUnreachedError, match=r"since this server was started: .* is there a network") as caught:
        count_of(description, tmp_path / "kept")
    assert caught.value.code == 400
