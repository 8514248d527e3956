"""One raster of many windows: what comes out, and what happens if something is missing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import ee
import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from rio_cogeo import cog_validate

import eechips
from eechips.errors import EechipsError, RegionError, RunMismatchError, StorageError, UnknownDatasetError, UsageError
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server, wait_until
from local_tests.support.stack_store import CRS, SHAPE, STACK, TRANSFORM, Stack
from tests.support.commands import run_command
from tests.support.programs import EECHIPS, run_program

IMAGE = f"{STACK}/image_0"
WHOLE = "-105.001,39.72,-104.96,39.751"  # holds all images
LARGE = "users/someone/large"


def make(server: Server, out: Path, dataset: str = IMAGE, **options: Any) -> eechips.Run:
    settings: dict[str, Any] = {"executor": "threads", "quiet": True, "rate": None, "window": 128, **options}
    run = eechips.mosaic(dataset, out=out, endpoint=server.url, **settings)
    assert isinstance(run, eechips.Run)
    return run


def read(run: eechips.Run) -> tuple[np.ndarray, np.ndarray, Affine]:
    """Pixels, mask and transform of a mosaic, which is valid."""
    path = run.path / "mosaic.tif"
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as file:
        return file.read(), file.dataset_mask() != 0, file.transform


def placed(stack: np.ndarray, transform: Affine, shape: tuple[int, int], filler: Any = 0) -> np.ndarray:
    """Return an array of the stack's grid in another window, with the filler outside."""
    column, row = (round(value) for value in ~TRANSFORM * (transform.c, transform.f))
    found = np.full((*stack.shape[:-2], *shape), filler, stack.dtype)
    rows = slice(max(0, -row), min(shape[0], SHAPE[0] - row))
    columns = slice(max(0, -column), min(shape[1], SHAPE[1] - column))
    found[..., rows, columns] = stack[
        ..., rows.start + row : rows.stop + row, columns.start + column : columns.stop + column
    ]
    return found


@pytest.mark.slow
def test_a_whole_image_equals_its_source(stack: Stack, stack_server: Server, tmp_path: Path) -> None:
    run = make(stack_server, tmp_path / "out")
    pixels, mask, transform = read(run)
    assert np.array_equal(pixels, stack.pixels[0])
    assert np.array_equal(mask, stack.pixels[0].all(axis=0))
    assert transform == TRANSFORM
    assert run.counts == {"done": 6}
    assert run.verify() == []
    assert [path.name for path in run.assembled] == ["mosaic.tif", "mosaic.windows.parquet"]
    assert sorted(path.name for path in run.path.glob("windows/*"))[:3] == ["0-0.tif", "0-128.tif", "0-256.tif"]
    listed = pq.read_table(run.assembled[1])
    assert listed.column("file").to_pylist() == run.units["file"].tolist()
    assert listed.column("sha256").to_pylist() == run.units["sha256"].tolist()
    said = json.loads(listed.schema.metadata[b"eechips"])
    assert said["grid"] == {"crs": CRS, "transform": list(TRANSFORM)[:6], "width": 300, "height": 200}
    with rasterio.open(run.assembled[0]) as file:
        assert (file.descriptions, file.tags()["dataset"]) == (("red", "nir"), IMAGE)


@pytest.mark.slow
def test_a_window_of_an_image_on_its_own_pixels(stack: Stack, stack_server: Server, tmp_path: Path) -> None:
    run = make(stack_server, tmp_path / "out", roi="-104.99,39.735,-104.98,39.742", bands="nir", window=32)
    pixels, mask, transform = read(run)
    assert pixels.shape[1] > 70
    assert np.array_equal(pixels, placed(stack.pixels[0, 1:], transform, pixels.shape[1:]))
    assert mask.all()
    beyond = make(stack_server, tmp_path / "beyond", roi=WHOLE)
    assert np.array_equal(read(beyond)[0], stack.pixels[0])  # never more than there is


REDUCED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "mosaic": (lambda s: s[-1], "uint16"),
    "first": (lambda s: s[0], "uint16"),
    "median": (lambda s: np.ma.median(s, axis=0), "float32"),
    "mean": (lambda s: s.mean(axis=0), "float32"),
    "max": (lambda s: s.max(axis=0), "uint16"),
    "sum": (lambda s: s.sum(axis=0, dtype="float64"), "float64"),
    "count": (lambda s: np.ma.masked_array(s.count(axis=0)), "int32"),  # of none it is 0, which is a value
}


@pytest.mark.slow
@pytest.mark.parametrize("reducer", REDUCED)
def test_composites_are_those_of_numpy(stack: Stack, stack_server: Server, tmp_path: Path, reducer: str) -> None:
    run = make(stack_server, tmp_path / "out", STACK, roi=WHOLE, reducer=reducer)
    pixels, mask, transform = read(run)
    function, dtype = REDUCED[reducer]
    whole = np.stack([placed(image, transform, pixels.shape[1:]) for image in stack.pixels])
    expected = np.ma.masked_array(function(np.ma.masked_equal(whole, 0))).astype(dtype)
    assert pixels.dtype == dtype
    assert np.array_equal(mask, ~np.ma.getmaskarray(expected)[0])
    np.testing.assert_allclose(pixels, expected.filled(0), rtol=1e-7 if reducer == "mean" else 0)
    with rasterio.open(run.assembled[0]) as file:
        assert file.tags()["reducer"] == reducer


@pytest.mark.slow
def test_dates_and_conditions_choose_images(stack: Stack, stack_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"roi": WHOLE, "start": "2020-02-01", "where": ["kind = k0", "cloud < 30"]}
    run = make(stack_server, tmp_path / "out", STACK, **options)
    pixels, _, transform = read(run)
    assert np.array_equal(pixels, placed(stack.pixels[2], transform, pixels.shape[1:]))
    with pytest.raises(UsageError, match="no image there has a property 'cluod'; did you mean 'cloud'"):
        make(stack_server, tmp_path / "wrong", STACK, roi=WHOLE, where=["cluod < 3"])


@pytest.mark.slow
def test_nodata_replaces_the_mask(stack: Stack, stack_server: Server, tmp_path: Path) -> None:
    run = make(stack_server, tmp_path / "out", nodata=-1, dtype="int32", compress="zstd")
    pixels, mask, _ = read(run)
    assert np.array_equal(pixels, np.where(stack.pixels[0] == 0, -1, stack.pixels[0].astype("int32")))
    assert np.array_equal(mask, stack.pixels[0].all(axis=0))
    with rasterio.open(run.assembled[0]) as file:
        assert (file.nodata, file.profile["compress"]) == (-1, "zstd")


@pytest.mark.slow
def test_pixels_outside_a_polygon_are_masked(stack: Stack, stack_server: Server, tmp_path: Path) -> None:
    centre = TRANSFORM * (150, 100)
    star = shapely.Polygon(
        [(centre[0] + r * np.sin(a), centre[1] + r * np.cos(a)) for a, r in zip(
            np.linspace(0, 2 * np.pi, 10, endpoint=False), [950, 300] * 5, strict=True
        )]
    )  # fmt: skip
    zone = gpd.GeoDataFrame(geometry=[star], crs=CRS).to_crs("EPSG:4326")
    zone.to_file(tmp_path / "star.gpkg")
    run = make(stack_server, tmp_path / "out", roi=str(tmp_path / "star.gpkg"), clip=True, window=16)
    pixels, mask, transform = read(run)
    inside = rasterio.features.geometry_mask(zone.to_crs(CRS).geometry, mask.shape, transform, invert=True)
    # A centre so near to the edge that it is on either side, as projections are rounded.
    assert (mask != inside).sum() <= 3
    assert np.array_equal(pixels[:, mask], placed(stack.pixels[0], transform, mask.shape)[:, mask])
    whole = -(-mask.shape[0] // 16) * -(-mask.shape[1] // 16)
    assert sum(run.counts.values()) < 0.7 * whole  # windows outside are not asked for
    assert sum("clip" in unit for unit in run.units["unit"]) < len(run.units)


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["EPSG:4326", "utm"])
def test_a_mosaic_crosses_the_antimeridian(demo_ee: Any, demo_server: Server, tmp_path: Path, crs: str) -> None:
    options = {"roi": "179.9,68.0,-179.9,68.1", "crs": crs, "scale": 100.0, "reducer": "mosaic"}
    run = make(demo_server, tmp_path / "out", "ESA/WorldCover/v200", **options)
    pixels, mask, transform = read(run)
    assert mask.all()
    assert len(np.unique(pixels)) > 1
    with rasterio.open(run.assembled[0]) as file:
        assert file.bounds.right > 180.0
        wkt = file.crs.to_string()
    # The oracle asks for the eastern half alone, where it is on the Earth.
    half = pixels.shape[2] // 2
    east = transform * Affine.translation(half, 0)
    shift = 360.0 if crs == "EPSG:4326" else 0.0
    grid = {
        "dimensions": {"width": pixels.shape[2] - half, "height": pixels.shape[1]},
        "affineTransform": {
            "scaleX": east.a, "shearX": 0, "translateX": east.c - shift,
            "shearY": 0, "scaleY": east.e, "translateY": east.f,
        },
        "crsCode": wkt,
    }  # fmt: skip
    image = ee.ImageCollection("ESA/WorldCover/v200").mosaic().select("Map")
    found = ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    assert np.array_equal(found["Map"], pixels[0, :, half:])


def test_a_dry_run_estimates_the_requests(stack_server: Server, tmp_path: Path) -> None:
    before = stack_server.requests().get("image:computePixels", 0)
    words = ["--dataset", IMAGE, "--window", "64", "--endpoint", stack_server.url, "--out", str(tmp_path / "o")]
    done = run_command("mosaic", "--dry-run", *words, status=0)
    assert "units     20" in done.output
    assert "requests  20" in done.output
    assert "Mosaic: 300x200 pixels, 2 x uint16, EPSG:32613" in done.output
    assert "Windows: 20 of 64x64 pixels at most" in done.output
    assert "Disk: about " in done.output
    assert not (tmp_path / "o").exists()
    assert stack_server.requests().get("image:computePixels", 0) == before


@pytest.mark.slow
def test_the_same_command_does_nothing_and_makes_again_what_is_gone_or_changed(
    stack_server: Server, tmp_path: Path
) -> None:
    (made, listed) = make(stack_server, tmp_path / "out").assembled
    content, moment = made.read_bytes(), made.stat().st_mtime_ns
    before = stack_server.requests()
    make(stack_server, tmp_path / "out")
    assert made.stat().st_mtime_ns == moment
    made.unlink()
    make(stack_server, tmp_path / "out")
    assert made.read_bytes() == content
    assert stack_server.requests() == before
    listed.unlink()
    window = tmp_path / "out" / "windows" / "0-0.tif"
    data = bytearray(window.read_bytes())
    data[-1] ^= 255
    window.write_bytes(data)
    assert make(stack_server, tmp_path / "out").verify() == []
    assert stack_server.requests()["image:computePixels"] == before["image:computePixels"] + 1
    assert made.read_bytes() == content


@pytest.mark.slow
def test_the_mosaic_is_made_in_another_way_of_the_same_windows(
    stack: Stack, stack_server: Server, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="`nodata` 7 is also the value of valid pixels, in 0-0"):
        make(stack_server, tmp_path / "out", nodata=7)
    make(stack_server, tmp_path / "out", nodata=0)
    before = stack_server.requests()
    run = make(stack_server, tmp_path / "out", compress="lzw", overview_resampling="mode")
    assert stack_server.requests() == before
    assert np.array_equal(read(run)[0], stack.pixels[0])
    assert run.info["assembly"] == {"nodata": None, "compress": "lzw", "overview_resampling": "mode"}
    assert run.verify() == []
    with rasterio.open(run.assembled[0]) as file:
        assert (file.nodata, file.profile["compress"]) == (None, "lzw")
    with pytest.raises(UsageError, match="`nodata` -7 is no uint16"):
        make(stack_server, tmp_path / "out", nodata=-7)
    with pytest.raises(RunMismatchError, match="window: 128 there, 64 here"):
        make(stack_server, tmp_path / "out", window=64)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_without_a_window_there_is_no_mosaic(stack: Stack, serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("--assets", str(stack.path), "--no-demo", "--rate", "none")
    fault = {"type": "status", "status": 400, "times": 1, "on": "image:computePixels", "after": 2}
    fault["message"] = "Image.load: Image asset 'x' not found."  # neither repeated nor divided
    body = json.dumps({"seed": 1, "faults": [fault]}).encode()
    with urlopen(Request(f"{server.url}/_faults", body, {"Content-Type": "application/json"})):
        pass
    out = tmp_path / "out"
    words = ["mosaic", "--dataset", IMAGE, "--window", "128", "--endpoint", server.url, "--out", str(out)]
    done = typed(*words)
    assert "No mosaic: 1 of 6 windows failed" in done.stderr
    for again in (done, typed(*words)):  # what failed for good is not tried again by itself
        assert again.returncode == 1
        assert f"To retry: eechips retry {out}" in again.stderr
        assert eechips.open_run(out).assembled == []
        assert not (out / "mosaic.tif").exists()
    done = typed("retry", str(out))
    assert done.returncode == 0, done.stderr
    assert "mosaic.tif: 300x200 pixels, red, nir of uint16" in done.stderr
    run = eechips.open_run(out)
    assert np.array_equal(read(run)[0], stack.pixels[0])


@pytest.mark.exhaustive
def test_windows_without_data_may_have_no_file(stack: Stack, stack_server: Server, tmp_path: Path) -> None:
    run = make(stack_server, tmp_path / "out", STACK, roi=WHOLE, window=32, on_empty="skip")
    pixels, mask, transform = read(run)
    assert run.counts["empty"] > 5
    assert np.array_equal(pixels, placed(stack.pixels[-1], transform, mask.shape))
    assert np.array_equal(mask, pixels.all(axis=0))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A store with an image whose mosaic takes a while to be written."""
    folder = tmp_path_factory.mktemp("large")
    pixels = np.random.default_rng(3).integers(1, 60_000, (2, 1700, 1600), "uint16")
    profile = {"driver": "GTiff", "width": 1600, "height": 1700, "count": 2, "dtype": "uint16", "tiled": True}
    with rasterio.open(folder / "large.tif", "w", crs=CRS, transform=TRANSFORM, **profile) as file:
        file.write(pixels)
    ingest(folder / "large.tif", folder / "store", LARGE, bands=["a", "b"])
    return folder / "store", pixels


def test_north_is_at_the_top_whatever_the_order_of_rows(tmp_path: Path, serve: Callable[..., Server]) -> None:
    pixels = np.arange(1, 1201, dtype=np.uint16).reshape(1, 30, 40)
    transform = Affine(10, 0, 500_000, 0, 10, 4_399_700)  # the first row is the southernmost
    profile = {"driver": "GTiff", "width": 40, "height": 30, "count": 1, "dtype": "uint16"}
    with rasterio.open(tmp_path / "a.tif", "w", crs=CRS, transform=transform, **profile) as file:
        file.write(pixels)
    ingest(tmp_path / "a.tif", tmp_path / "store", "users/someone/a")
    server = serve("--assets", str(tmp_path / "store"), "--no-demo", "--rate", "none")
    for grid in (None, "users/someone/a"):
        found, valid, placed_at = read(make(server, tmp_path / str(grid), "users/someone/a", grid=grid))
        row, column = np.argwhere(valid)[0].tolist()  # another grid has some pixels without data around the image
        assert placed_at * (column, row) == (500_000, 4_400_000)
        assert (placed_at.a, placed_at.e, valid.sum()) == (10, -10, pixels.size)
        np.testing.assert_array_equal(found[:, row : row + 30, column : column + 40], pixels[:, ::-1])


@pytest.fixture(scope="module")
def large_server(large: tuple[Path, np.ndarray], serve: Callable[..., Server]) -> Server:
    return serve("--assets", str(large[0]), "--no-demo", "--rate", "none")


def typed(*words: str) -> subprocess.CompletedProcess[str]:
    """A command."""
    return run_program(*EECHIPS, *words, timeout=60)


def start(server: Server, out: Path) -> subprocess.Popen[str]:
    words = [
        "--dataset",
        LARGE,
        "--window",
        "256",
        "--endpoint",
        server.url,
        "--out",
        str(out),
        "--executor",
        "processes:2",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "eechips", "mosaic", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def settled(out: Path) -> int:
    """Windows that the ledger has."""
    with contextlib.suppress(UsageError):  # no plan yet
        return eechips.open_run(out).counts.get("done", 0)
    return 0


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "number"), [("windows", signal.SIGKILL), ("mosaic", signal.SIGKILL), ("mosaic", signal.SIGINT)]
)
def test_a_killed_mosaic_resumes(
    large: tuple[Path, np.ndarray], large_server: Server, tmp_path: Path, phase: str, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = start(large_server, out)
    if phase == "windows":
        wait_until(lambda: settled(out) >= 5, process)
    else:
        wait_until(lambda: any(path.stat().st_size > 0 for path in out.glob(".mosaic.tif.*.part")), process)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert not (out / "mosaic.tif").exists()
    if number == signal.SIGINT:
        assert "the same command resumes" in said
        assert not list(out.glob(".*.part"))
    before = large_server.requests()["image:computePixels"]
    process = start(large_server, out)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    sent = large_server.requests()["image:computePixels"] - before
    assert sent == 0 if phase == "mosaic" else 0 < sent <= 49 - 5
    run = eechips.open_run(out)
    assert np.array_equal(read(run)[0], large[1])
    assert run.verify() == []
    assert [path.name for path in out.iterdir() if path.name.startswith((".scratch", ".mosaic"))] == []


@pytest.mark.parametrize(
    ("dataset", "options", "kind", "said"),
    [
        (STACK, {}, UsageError, "is a collection: give `roi`"),
        (IMAGE, {"reducer": "median"}, UsageError, "is a single image: there is nothing to make a median of"),
        (IMAGE, {"start": "2020-01-01"}, UsageError, "single image: `start` is for collections"),
        (IMAGE, {"where": ["a = 1"]}, UsageError, "single image: `where` is for collections"),
        (IMAGE, {"roi": "10,50,10.1,50.1"}, RegionError, "the region does not meet users/someone/stack/image_0"),
        (IMAGE, {"bands": "rde"}, UnknownDatasetError, "no band 'rde'; did you mean 'red'"),
        (f"{STACK}/image_9", {}, UnknownDatasetError, "there is no dataset"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (IMAGE, {"nodata": -1.0}, UsageError, "`nodata` -1 is no uint16, which holds whole numbers 0 to 65535"),
                (IMAGE, {"compress": "deflat"}, UsageError, "`compress` deflat: did you mean 'deflate'"),
                (IMAGE, {"reducer": "medain"}, UsageError, "`reducer` medain: did you mean 'median' or 'mean'"),
                (IMAGE, {"dtype": "float16"}, UsageError, "`dtype` float16: did you mean"),
                (IMAGE, {"window": 8}, UsageError, "`window` must be at least 16 pixels, not 8"),
                (IMAGE, {"clip": True}, UsageError, "`clip` needs a region"),
            )
        ),
        (IMAGE, {"mask": "auto"}, UsageError, "no mask is known for"),
        (IMAGE, {"bands": "red,red"}, UsageError, "a band is asked for twice"),
        (
            STACK,
            {"roi": WHOLE, "where": ["cloud > 90"]},
            UsageError,
            "has no image with cloud > 90 that meets the region",
        ),
        (STACK, {"roi": WHOLE, "end": "2019-01-01"}, UsageError, "has no image between the beginning and 2019-01-01"),
    ],
)
def test_impossible_options_are_refused_with_the_reason(
    stack_server: Server, tmp_path: Path, dataset: str, options: dict[str, Any], kind: type[EechipsError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        make(stack_server, tmp_path / "out", dataset, **options)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(
    stack_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: small)
    before = stack_server.requests().get("image:computePixels", 0)
    with pytest.raises(StorageError, match=r"has 100\.0 kB free, and this takes about \d+\.\d kB: choose another"):
        make(stack_server, tmp_path / "out")
    assert stack_server.requests().get("image:computePixels", 0) == before


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
