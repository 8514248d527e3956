"""GeoTIFFs as raster sources, against rasterio itself."""

from __future__ import annotations

import math
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window as RasterioWindow

from eechips_local.evaluation.asset_model import PixelWindow, RasterSource
from eechips_local.pixels.file_source import DatasetPool, FileSource, HandlePool, RasterReadError

TRANSFORM = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 4200000.0)
WIDTH, HEIGHT = 723, 601


def write(path: Path, values: np.ndarray, *, mask: np.ndarray | None = None, **options: object) -> Path:
    """A cloud-optimised GeoTIFF of values with shape (bands, rows, columns)."""
    profile = {"count": values.shape[0], "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    colours = options.pop("colorinterp", None)
    draft = path.with_suffix(".draft.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(
            draft, "w", driver="GTiff", crs="EPSG:32613", transform=TRANSFORM, photometric="MINISBLACK",
            alpha="NO", **profile, **options,
        ) as dataset:  # fmt: skip
            dataset.write(values)
            if mask is not None:
                dataset.write_mask(mask)
            if colours is not None:
                dataset.colorinterp = colours
        with rasterio.open(draft, "r+") as dataset:
            dataset.build_overviews([2, 4, 8], Resampling.average)
        rasterio.shutil.copy(draft, path, driver="COG", blocksize=128, overviews="FORCE_USE_EXISTING")
    return path


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4000, (3, HEIGHT, WIDTH)).astype("uint16")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> Path:
    return write(tmp_path_factory.mktemp("plain") / "plain.tif", values, nodata=7)


def size_of(factor: int) -> tuple[int, int]:
    """Columns and rows of a level."""
    return math.ceil(WIDTH / factor), math.ceil(HEIGHT / factor)


def read_whole(source: FileSource, bands: list[int], level: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return source.read(bands, PixelWindow(0, 0, *size_of(source.levels[level])), level)


def test_is_a_raster_source(plain: Path) -> None:
    source: RasterSource = FileSource.open(plain)
    assert source.levels == (1, 2, 4, 8)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_window_of_any_level_is_what_rasterio_reads(plain: Path, data: st.DataObject) -> None:
    source = FileSource.open(plain)
    level = data.draw(st.integers(0, len(source.levels) - 1))
    columns, rows = size_of(source.levels[level])
    column, row = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    width, height = data.draw(st.integers(1, columns - column)), data.draw(st.integers(1, rows - row))
    bands = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=4))
    got, valid = source.read(bands, PixelWindow(column, row, width, height), level)
    options = {"overview_level": level - 1} if level else {}
    with rasterio.open(plain, **options) as dataset:
        assert (dataset.width, dataset.height) == (columns, rows)
        area = RasterioWindow(column, row, width, height)
        indexes = [band + 1 for band in bands]
        np.testing.assert_array_equal(got, dataset.read(indexes, window=area))
        np.testing.assert_array_equal(valid, dataset.read_masks(indexes, window=area) != 0)
    assert got.dtype == np.uint16
    assert valid.dtype == bool


def test_overviews_are_those_of_the_file(plain: Path) -> None:
    got, _ = read_whole(FileSource.open(plain), [0], level=1)
    # The second image of the file is its first overview: GDAL opens it by its number.
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(f"GTIFF_DIR:2:{plain}") as overview:
        np.testing.assert_array_equal(got, overview.read([1]))


INTEGERS = ["uint8", "int16", "uint16", "int32"]
FLOATS = ["float32", "float64"]
CASES = [
    *[(dtype, nodata) for dtype in INTEGERS for nodata in (None, 0, 7)],
    *[(dtype, -3) for dtype in INTEGERS if dtype.startswith("int")],
    *[(dtype, nodata) for dtype in FLOATS for nodata in (None, 0, -3, math.nan, -3.4028234663852886e38)],
]


@pytest.mark.parametrize(("dtype", "nodata"), CASES)
def test_nodata_masks_like_rasterio(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    kind = np.dtype(dtype)
    values = np.random.default_rng(2).integers(0, 9, (2, 40, 50)).astype(kind)
    if kind.kind == "f":
        values[0, :5] = np.nan
    if nodata is not None:
        values[1, 10:20] = nodata
    path = write(tmp_path / "a.tif", values, nodata=nodata)
    got, valid = FileSource.open(path).read([0, 1], PixelWindow(0, 0, 50, 40), 0)
    with rasterio.open(path) as dataset:
        assert got.tobytes() == dataset.read().tobytes() == values.tobytes()
        np.testing.assert_array_equal(valid, dataset.read_masks() != 0)


def test_internal_mask_at_every_level(tmp_path: Path, values: np.ndarray) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[100:400, 200:600] = True
    path = write(tmp_path / "masked.tif", values, mask=mask)
    source = FileSource.open(path)
    got, valid = read_whole(source, [2, 0])
    np.testing.assert_array_equal(got, values[[2, 0]])
    np.testing.assert_array_equal(valid, np.broadcast_to(mask, (2, HEIGHT, WIDTH)))
    _, coarse = read_whole(source, [1], level=2)
    assert coarse[0, 26:99, 51:149].all()
    assert not coarse[0, :24].any()


def test_alpha_band_masks_the_others(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 255, (4, 60, 60)).astype("uint8")
    values[3] = np.where(np.arange(60) < 20, 0, 255)
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    path = write(tmp_path / "alpha.tif", values, colorinterp=colours)
    _, valid = FileSource.open(path).read([0, 2], PixelWindow(10, 0, 50, 60), 0)
    np.testing.assert_array_equal(valid, np.broadcast_to(values[3, :, 10:] > 0, (2, 60, 50)))


@pytest.mark.parametrize(
    "window", [PixelWindow(-1, 0, 5, 5), PixelWindow(0, HEIGHT - 3, 5, 5), PixelWindow(WIDTH, 0, 1, 1)]
)
def test_windows_outside_are_refused(plain: Path, window: PixelWindow) -> None:
    with pytest.raises(ValueError, match="reaches outside"):
        FileSource.open(plain).read([0], window, 0)


def test_overviews_rounded_down_are_left_out(tmp_path: Path, values: np.ndarray, plain: Path) -> None:
    path = tmp_path / "down.tif"  # as GDAL's COG driver makes them by itself
    rasterio.shutil.copy(plain, path, driver="COG", blocksize=128, overviews="IGNORE_EXISTING")
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [2, 4, 8]
    assert FileSource.open(path).levels == (1,)


def test_pickles_and_reads_again(plain: Path) -> None:
    source = FileSource.open(plain, DatasetPool(limit=3))
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert copy.pool.limit == 3
    np.testing.assert_array_equal(read_whole(copy, [1])[0], read_whole(source, [1])[0])


def test_small_rasters_are_kept_decoded(tmp_path: Path) -> None:
    pool = DatasetPool(limit=2)
    small = np.random.default_rng(5).integers(0, 9, (20, 2, 47, 42)).astype("uint16")
    sources = []
    for number, values in enumerate(small):
        path = tmp_path / f"{number}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=2, height=47, width=42, dtype="uint16", transform=TRANSFORM, nodata=3
        ) as dataset:
            dataset.write(values)
        sources.append(FileSource.open(path, pool))
    for source, values in zip(sources * 2, [*small, *small], strict=True):
        got, valid = source.read([1, 0], PixelWindow(5, 6, 30, 31), 0)
        np.testing.assert_array_equal(got, values[::-1, 6:37, 5:35])
        np.testing.assert_array_equal(valid, got != 3)
        got[:] = 0  # the caller's own
        valid[:] = False
    assert len(pool) == 20  # and none of them is a file that is open


def test_many_threads_read_the_same_file(plain: Path, values: np.ndarray) -> None:
    source = FileSource.open(plain, DatasetPool(limit=4))

    def check(seed: int) -> bool:
        random = np.random.default_rng(seed)
        column, row = random.integers(0, WIDTH - 64), random.integers(0, HEIGHT - 64)
        got, _ = source.read([0, 1, 2], PixelWindow(int(column), int(row), 64, 64), 0)
        return np.array_equal(got, values[:, row : row + 64, column : column + 64])

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(check, range(200)))
    assert len(source.pool) <= 4


def test_a_forked_child_opens_files_of_its_own(plain: Path, values: np.ndarray) -> None:
    source = FileSource.open(plain, DatasetPool(limit=8))
    source.read([0], PixelWindow(0, 0, 8, 8), 0)
    assert len(source.pool) == len(source.levels) > 0
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        got, _ = source.read([0], PixelWindow(5, 5, 8, 8), 0)
        same = np.array_equal(got[0], values[0, 5:13, 5:13])
        os.write(writer, f"{same} {len(source.pool)}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"True 1"
    os.close(reader)
    os.close(writer)
    got, _ = source.read([0], PixelWindow(5, 5, 8, 8), 0)
    np.testing.assert_array_equal(got[0], values[0, 5:13, 5:13])


def test_files_outside_the_root_are_not_opened(tmp_path: Path, plain: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    (root / "link.tif").symlink_to(plain)
    source = FileSource(str(root / "link.tif"), (1,), DatasetPool(root=str(root)))
    with pytest.raises(RasterReadError, match="leads outside"):
        source.read([0], PixelWindow(0, 0, 1, 1), 0)


@pytest.fixture(scope="module")
def wavelets(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> Path:
    """The values as JPEG 2000 without loss, in tiles, with resolutions of a half, a quarter and an eighth."""
    folder = tmp_path_factory.mktemp("jp2")
    draft = write(folder / "draft.tif", values)
    rasterio.shutil.copy(
        str(draft), str(folder / "a.jp2"), driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", YCC="NO",
        BLOCKXSIZE=256, BLOCKYSIZE=256, RESOLUTIONS=4,
    )  # fmt: skip
    return folder / "a.jp2"


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_window_of_jpeg_2000_is_what_rasterio_reads(
    wavelets: Path, values: np.ndarray, data: st.DataObject
) -> None:
    source = FileSource.open(wavelets)
    assert source.levels == (1, 2, 4, 8)
    level = data.draw(st.integers(0, 3))
    columns, rows = size_of(source.levels[level])
    column, row = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    width, height = data.draw(st.integers(1, columns - column)), data.draw(st.integers(1, rows - row))
    bands = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=3))
    got, valid = source.read(bands, PixelWindow(column, row, width, height), level)
    with rasterio.open(wavelets, **({"overview_level": level - 1} if level else {})) as dataset:
        assert (dataset.width, dataset.height) == (columns, rows)
        area = RasterioWindow(column, row, width, height)
        np.testing.assert_array_equal(got, dataset.read([band + 1 for band in bands], window=area))
    if level == 0:
        np.testing.assert_array_equal(got, values[bands, row : row + height, column : column + width])
    assert valid.all()


def test_only_geotiff_and_jpeg_2000_are_opened(tmp_path: Path, plain: Path) -> None:
    trap = tmp_path / "trap.tif"
    trap.write_text(
        f'<VRTDataset rasterXSize="2" rasterYSize="2"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{plain}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(trap) as dataset:  # the trap works
        assert dataset.driver == "VRT"
    with pytest.raises(rasterio.errors.RasterioIOError):
        FileSource(str(trap)).read([0], PixelWindow(0, 0, 1, 1), 0)


class Handle:
    def __init__(self, key: str) -> None:
        self.key = key
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_a_pool_lends_each_handle_to_one_at_a_time_and_closes_the_oldest() -> None:
    opened: list[Handle] = []

    def open_handle(key: str) -> Handle:
        opened.append(Handle(key))
        return opened[-1]

    pool: HandlePool[str, Handle] = HandlePool(open_handle, Handle.close, limit=2)
    with pool.lease("a") as first, pool.lease("a") as second:
        assert first is not second
    with pool.lease("a") as again:
        assert again in (first, second)
    with pool.lease("b"), pool.lease("c"):
        pass
    assert len(pool) == 2
    assert sum(handle.closed for handle in opened) == 2
    with pytest.raises(KeyError), pool.lease("d") as failed:
        raise KeyError
    assert failed.closed
    pool.clear()
    assert all(handle.closed for handle in opened)


@pytest.mark.slow
def test_a_full_pool_does_not_block_threads() -> None:
    pool: HandlePool[int, Handle] = HandlePool(lambda key: Handle(str(key)), Handle.close, limit=3)
    barrier = threading.Barrier(6, timeout=60)

    def use(number: int) -> int:
        with pool.lease(number % 2) as handle:
            barrier.wait()  # all six hold one at the same time
            return id(handle)

    with ThreadPoolExecutor(6) as executor:
        assert len(set(executor.map(use, range(6)))) == 6
    assert len(pool) == 3
