"""Windows of a raster in object storage: planned, read, computed and assembled."""

from __future__ import annotations

import gzip
import shutil
import sys
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.env import get_gdal_config
from rasterio.errors import NotGeoreferencedWarning

import eechips
from eechips.archive.windows import plan_windows, read_window
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, PermanentError, RecipeError, TransientError, UsageError
from tests.support.commands import run_command
from tests.support.programs import run_program
from tests.support.raster_server import Bucket
from tests.support.raw_server import raw_server
from tests.support.scene_runs import write

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "recipes" / "cog_ndvi.py"
AT_ONCE = RetryPolicy(retries=2, delay=0.01)
MEMORY = "150MB"  # little, for several windows


def write_scene(path: Path, width: int = 900, height: int = 700, driver: str = "COG") -> Path:
    """Four bands of noise, with a corner of zeros (no index) and one without data."""
    pixels = np.random.default_rng(8).integers(1, 60_000, (4, height, width), dtype=np.uint16)
    pixels[:, :50, :60] = 0
    pixels[:, -40:, -30:] = 65_535
    location = rasterio.Affine(10.0, 0.0, 5e5, 0.0, -10.0, 44e5)
    with rasterio.open(
        path, "w", driver=driver, width=width, height=height, count=4, dtype="uint16", crs="EPSG:32613",
        transform=location, nodata=65_535, blocksize=128, compress="deflate",
    ) as target:  # fmt: skip
        target.write(pixels)
    return path


def index_of(path: Path) -> np.ma.MaskedArray[Any, Any]:
    """NDVI, computed directly."""
    with rasterio.open(path) as source:
        red, nir = source.read([1, 4], masked=True).astype("float32")
    return (nir - red) / (nir + red)


@pytest.fixture
def bucket(bucket: Bucket) -> Bucket:
    write_scene(bucket.folder / "scene.tif")
    return bucket


def compute(out: Path, href: str, **options: Any) -> eechips.Run:
    parameters = {"href": href, "red": 1, "nir": 4, "max_memory": MEMORY}
    return eechips.run(RECIPE, parameters, out=out, quiet=True, **{"executor": "threads", **options})


def check(made: eechips.Run, scene: Path) -> None:
    expected = index_of(scene)
    with rasterio.open(made.path / "ndvi.tif") as found, rasterio.open(scene) as source:
        assert found.transform == source.transform
        assert found.crs == source.crs
        assert found.descriptions == ("ndvi",)
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        pixels = found.read(1, masked=True)
    assert np.array_equal(np.ma.getmaskarray(pixels), np.ma.getmaskarray(expected))
    assert np.array_equal(pixels.filled(0), expected.filled(0))


def test_ndvi_is_that_of_the_whole_and_every_block_is_asked_for_once(bucket: Bucket, tmp_path: Path) -> None:
    made = compute(tmp_path / "out", "s3://bucket/scene.tif")
    assert made.is_complete
    assert len(made.units) > 3
    check(made, bucket.folder / "scene.tif")
    assert Counter(bucket.times_asked("scene.tif")) == {1: 48}
    listed = pq.read_table(made.path / "ndvi.windows.parquet").to_pydict()
    assert sum(w * h for w, h in zip(listed["width"], listed["height"], strict=True)) == 900 * 700
    unit = made.units["unit"].iloc[0]
    assert {"kind", "href", "col_off", "row_off", "width", "height", "bands"} < unit.keys()
    assert made.info["endpoint"] == made.info["project"] == ""

    before = len(bucket.ranges)
    assert compute(tmp_path / "out", "s3://bucket/scene.tif").is_complete  # there is nothing left to do
    assert len(bucket.ranges) == before


@pytest.mark.slow
def test_processes_make_the_same_raster(bucket: Bucket, tmp_path: Path) -> None:
    made = compute(tmp_path / "out", "s3://bucket/scene.tif", executor="processes:2")
    check(made, bucket.folder / "scene.tif")
    assert set(bucket.times_asked("scene.tif")) == {1}


def test_local_files_work_and_strips_are_read_whole(tmp_path: Path) -> None:
    scene = tmp_path / "strips.tif"
    shutil.copy(write_scene(tmp_path / "cog.tif"), scene)
    with rasterio.open(tmp_path / "cog.tif") as source:
        profile = {**source.profile, "driver": "GTiff", "tiled": False, "interleave": "band", "blockysize": 7}
        del profile["blockxsize"]
        with rasterio.open(scene, "w", **profile) as target:
            target.write(source.read())
    units = list(plan_windows(str(scene), bands=(1, 4), max_memory=MEMORY))
    assert {unit["width"] for unit in units} == {900}
    check(compute(tmp_path / "out", str(scene)), scene)


def test_settings_of_gdal_hold_for_one_opening(bucket: Bucket) -> None:
    names = ("GDAL_CACHEMAX", "GDAL_DISABLE_READDIR_ON_OPEN", "AWS_S3_ENDPOINT", "GDAL_HTTP_MAX_RETRY")
    before = [get_gdal_config(name) for name in names]
    unit = next(plan_windows("s3://bucket/scene.tif", max_memory=MEMORY))
    read_window(unit)
    assert [get_gdal_config(name) for name in names] == before
    assert {name for name, _, _ in bucket.ranges} == {"scene.tif"}  # no folder was listed, no sidecar looked for


def test_rejected_store_requests_are_retried(bucket: Bucket) -> None:
    unit = next(plan_windows("s3://bucket/scene.tif", max_memory=MEMORY))
    expected = read_window(unit)
    bucket.refusals[:] = [503, 500]
    assert np.array_equal(read_window(unit, policy=AT_ONCE), expected)
    assert bucket.refused == 2
    bucket.refusals[:] = [503] * 50
    with pytest.raises(TransientError, match=r"scene\.tif") as failed:
        read_window(unit, policy=AT_ONCE)
    assert failed.value.status == 503


def test_missing_rasters_fail_permanently(bucket: Bucket) -> None:
    with pytest.raises(UsageError, match=r"cannot be read: s3://bucket/none\.tif"):
        next(plan_windows("s3://bucket/none.tif"))
    unit = next(plan_windows("s3://bucket/scene.tif", max_memory=MEMORY))
    (bucket.folder / "scene.tif").unlink()
    with pytest.raises(PermanentError, match=r"scene\.tif"):
        read_window(unit)


def test_impossible_plans_are_refused(bucket: Bucket) -> None:
    with pytest.raises(UsageError, match="has no band 5: it has 4"):
        next(plan_windows("s3://bucket/scene.tif", bands=(1, 5)))
    with pytest.raises(UsageError, match=r"too little for one block of s3://bucket/scene\.tif, 128x128 pixels"):
        next(plan_windows("s3://bucket/scene.tif", max_memory="100MB"))


@pytest.mark.parametrize("kind", ["s3", "http"])
@pytest.mark.parametrize("sends_parts", [True, False])
def test_a_store_without_range_requests_is_reported_at_once(bucket: Bucket, kind: str, sends_parts: bool) -> None:
    """As ``rclone serve s3`` (a part, with HTTP 200), and as servers that do not know ``Range``."""
    bucket.part_status, bucket.sends_parts = 200, sends_parts
    endpoint = bucket.environment["AWS_ENDPOINT_URL"]
    href = "s3://bucket/scene.tif" if kind == "s3" else f"{endpoint}/bucket/scene.tif"
    if kind == "http" and sends_parts:  # which GDAL understands
        window = read_window(next(plan_windows(href, max_memory=MEMORY)))
        with rasterio.open(bucket.folder / "scene.tif") as source:
            assert (window.data == source.read()[:, : window.shape[1], : window.shape[2]]).all()
        return
    with pytest.raises(UsageError, match=r"scene\.tif: .*range requests") as told:
        next(plan_windows(href, max_memory=MEMORY))
    assert "\n" not in str(told.value)
    assert len(bucket.ranges) <= 3


ANSWERS = {
    "chunked": (200, "Transfer-Encoding: chunked", lambda data: b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)),
    "gzip": (200, "Content-Encoding: gzip", gzip.compress),
    "multipart": (206, "Content-Type: multipart/byteranges; boundary=B", lambda data: b"--B\r\n\r\n%s\r\n--B--" % data),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_a_web_server_lacks_for_windows_is_named(kind: str, tmp_path: Path) -> None:
    """GDAL says of each only that this is no raster."""
    status, header, encode = ANSWERS[kind]
    data = write(tmp_path / "scene.tif", 1).read_bytes()
    answer = f"HTTP/1.1 {status} OK\r\n{header}\r\nConnection: close\r\n\r\n".encode() + encode(data)
    with raw_server() as server:
        server.answers = defaultdict(lambda: lambda *_: b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
        server.answers["/scene.tif"] = lambda *_: answer
        with pytest.raises(
            (UsageError, PermanentError), match=r"scene\.tif: the server (does not|sends another range)"
        ):
            next(plan_windows(f"{server.url}/scene.tif", policy=AT_ONCE))


def test_an_unreachable_store_is_reported_before_planning() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read now"):
        next(plan_windows("http://127.0.0.1:1/scene.tif", policy=AT_ONCE))


def test_three_windows_are_tried_without_an_account(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EECHIPS_PROJECT", raising=False)
    parameters = {"href": "s3://bucket/scene.tif", "max_memory": MEMORY}
    tried = eechips.run(RECIPE, parameters, check=True, executor="threads")
    assert (len(tried.tried), tried.failed) == (3, 0)


def test_pixels_with_a_zero_denominator_are_masked(tmp_path: Path) -> None:
    """Stored integers whose sum overflows, an offset, negative values, and no data."""
    red = np.array([[65_000, 1000, 0, 900, 1200, 7]], dtype="uint16")
    nir = np.array([[65_000, 1000, 0, 1100, 1300, 9]], dtype="uint16")
    pixels = np.broadcast_to(np.stack([red, nir]), (2, 40, 6))
    scene = tmp_path / "scene.tif"
    with rasterio.open(
        scene, "w", driver="GTiff", width=6, height=40, count=2, dtype="uint16", crs="EPSG:32613", nodata=7,
        transform=rasterio.Affine(10.0, 0.0, 5e5, 0.0, -10.0, 44e5),
    ) as target:  # fmt: skip
        target.write(pixels)
    parameters = {"href": str(scene), "nir": 2, "offset": -1000.0, "max_memory": MEMORY}
    made = eechips.run(RECIPE, parameters, out=tmp_path / "out", executor="threads", quiet=True)
    with rasterio.open(made.path / "ndvi.tif") as source:
        found = source.read(1, masked=True)
    assert found.dtype == np.float32
    # 64000 and 64000; 0 and 0; -1000 and -1000; -100 and 100; 200 and 300; no data
    assert np.ma.getmaskarray(found)[0].tolist() == [False, True, True, True, False, True]
    assert np.allclose(found[0].compressed(), [0.0, 0.2])


def test_windows_that_are_not_alike_are_not_put_together(tmp_path: Path) -> None:
    recipe = tmp_path / "uneven.py"
    recipe.write_text(
        RECIPE.read_text().replace(
            '"float32"), bands=["ndvi"]', '"float32" if index % 2 else "float64"), bands=["ndvi"]'
        )
    )
    scene = write_scene(tmp_path / "scene.tif")
    with pytest.raises(
        RecipeError, match="the windows differ: the one at column 0, row 0 has ndvi of float64, and the one at"
    ):
        eechips.run(
            recipe, {"href": str(scene), "nir": 4, "max_memory": MEMORY}, out=tmp_path / "out", executor="threads"
        )


RESULTS = {
    "bool": "pixels > 0",
    "int64": "pixels.astype('int64') * 2**40",
    "uint64": "abs(pixels.astype('int64')).astype('uint64')",
    "complex64": "(pixels * np.complex64(1j)).astype('complex64')",
    "int8": "(pixels % 100).astype('int8')",
    "float64": "np.ma.concatenate([pixels / 3] * 5)",
}


@pytest.mark.parametrize(
    ("made", "location"),
    [
        *((name, rasterio.Affine(10.0, 0.0, 5e5, 0.0, -10.0, 44e5)) for name in RESULTS),
        ("int8", rasterio.Affine(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)),  # which is also what a file without a place has
        ("int8", rasterio.Affine(10.0, 0.0, 5e5, 0.0, 10.0, 44e5)),  # the south is up
        ("int8", rasterio.Affine(8.0, 6.0, 5e5, 6.0, -8.0, 44e5)),  # rotated
    ],
)
def test_results_have_their_own_type_and_bands(tmp_path: Path, made: str, location: rasterio.Affine) -> None:
    scene, recipe = tmp_path / "scene.tif", tmp_path / "recipe.py"
    pixels = np.random.default_rng(9).integers(-30_000, 30_000, (2, 300, 401), dtype=np.int16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # rasterio takes one of them for none
        with rasterio.open(
            scene, "w", driver="GTiff", width=401, height=300, count=2, dtype="int16", crs="EPSG:32613",
            transform=location, nodata=-1, tiled=True, blockxsize=64, blockysize=64,
        ) as target:  # fmt: skip
            target.write(pixels)
    recipe.write_text(
        "import numpy as np\nfrom eechips.archive.windows import *\nNEEDS_SERVICE = False\n"
        f"def get_requests(href): return plan_windows(href, max_memory={MEMORY!r})\n"
        f"def get_result(index, unit):\n    pixels = read_window(unit)\n    return window_file(unit, {RESULTS[made]})\n"
        "def assemble(results): join_windows(results, 'made.tif')\n"
    )
    run = eechips.run(recipe, {"href": str(scene)}, out=tmp_path / "out", executor="threads", quiet=True)
    assert run.is_complete
    with rasterio.open(scene) as source:
        expected = eval(RESULTS[made], {"np": np, "pixels": source.read(masked=True)})
    with rasterio.open(run.path / "made.tif") as source:
        found, dtypes, transform = source.read(masked=True), set(source.dtypes), source.transform
    assert dtypes == {"uint8" if made == "bool" else made}
    assert transform == location
    absent = np.ma.getmaskarray(expected).any(axis=0)
    assert (np.ma.getmaskarray(found) == absent).all()
    assert np.array_equal(np.ma.getdata(found)[:, ~absent], np.ma.getdata(expected)[:, ~absent])


def test_a_worker_of_a_queue_loads_nothing_that_windows_do_not_need(tmp_path: Path) -> None:
    """A function has as much memory as its windows were planned for, and no room for pandas and the like."""
    scene = write_scene(tmp_path / "scene.tif")
    plan = run_command("plan", "run", RECIPE, "-p", f"href={scene}", "--max-memory", MEMORY)
    words = [sys.executable, "-X", "importtime", "-m", "eechips", "work", "--units", "-", "--executor", "threads", "-q"]
    lines = "\n".join(plan.stdout.splitlines()[:2])
    done = run_program(*words, "--out", tmp_path / "out", status=0, input=lines, timeout=120)
    assert len(list((tmp_path / "out").rglob("*.tif"))) == 2
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"numpy", "rasterio"} <= loaded
    assert not loaded & {"pandas", "geopandas", "pyarrow", "ee", "pyproj"}


def test_memory_is_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    monkeypatch.chdir(tmp_path)
    words = ["plan", "run", str(RECIPE), "-p", f"href={scene}", "--max-memory"]
    few, many = (run_command(*words, memory).stdout.splitlines() for memory in ("256MB", MEMORY))
    assert 0 < len(few) < len(many)
    other = ["run", str(ROOT / "recipes/naip_chips.py"), "--local", "--max-memory", "1GB"]
    done = run_command(*other, status=2)
    assert "has no parameter '--max-memory'" in done.stderr
