"""Mosaics of windows, read by rasterio and validated by rio-cogeo."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rio_cogeo import cog_validate

from eechips.errors import StorageError, UsageError, ValidationError
from eechips.formats import geotiff
from eechips.formats.cog_options import COMPRESSIONS, DTYPES, RESAMPLINGS
from eechips.formats.mosaic_cog import Mosaic, Tile, common_dtype
from eechips.formats.nodata_values import check_nodata
from eechips.geo.grid import Grid, Window
from eechips.planning.request_windows import divide_grid

GRID = Grid("EPSG:32613", (10.0, 0.0, 399_960.3, 0.0, -10.0, 4_400_040.7), 700, 600)
SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"


def values(grid: Grid, bands: int, dtype: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of any value that a type holds, and a mask; zeros where that is false, as the service has it."""
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        pixels = (random.normal(0, 1e6, (bands, *grid.shape))).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        pixels = random.integers(limits.min, limits.max, (bands, *grid.shape), dtype, endpoint=True)
    mask = random.random(grid.shape) > 0.1
    mask[: grid.height // 3, : grid.width // 4] = False
    pixels[:, ~mask] = 0
    return pixels, mask


def cut(
    folder: Path, grid: Grid, pixels: np.ndarray, mask: np.ndarray, edge: int = 256, skipped: Sequence[int] = ()
) -> list[Tile]:
    """Windows as they come: GeoTIFFs."""
    crs = CRS.from_string(SINUSOIDAL if grid.crs.startswith("SR-ORG") else grid.crs)
    names = tuple(f"b{n}" for n in range(len(pixels)))
    tiles = []
    for number, window in enumerate(divide_grid(grid, grid.window(-100, -7, 1, 1), len(pixels), pixels.dtype, edge)):
        if number in skipped:
            continue
        place = grid.window(window.column, window.row, window.width, window.height)
        inside = window.slices
        data = geotiff.encode(pixels[(..., *inside)], mask[inside], names, crs, place.affine)
        path = folder / f"{window.row}-{window.column}.tif"
        path.write_bytes(data)
        tiles.append(Tile(window, path))
    return tiles


def mosaic_of(folder: Path, grid: Grid, pixels: np.ndarray, tiles: Sequence[Tile], **options: Any) -> Mosaic:
    names = tuple(f"b{n}" for n in range(len(pixels)))
    return Mosaic(grid=grid, bands=names, dtype=pixels.dtype.name, tiles=tiles, **options)


def written(mosaic: Mosaic, path: Path) -> list[tuple[Tile, str]]:
    mosaic.write(path, lambda _: None)
    return list(mosaic.check(path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        *((dtype, None) for dtype in DTYPES),
        *(pytest.param(d, 0.0, marks=() if d in ("uint8", "float32") else pytest.mark.slow) for d in DTYPES),
    ],
)
def test_every_type_comes_back_pixel_for_pixel(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    pixels, mask = values(GRID, 2, dtype)
    if nodata is not None:
        pixels[:, mask & (pixels == 0).any(axis=0)] = 1
    mosaic = mosaic_of(tmp_path, GRID, pixels, cut(tmp_path, GRID, pixels, mask), nodata=nodata)
    checked = written(mosaic, tmp_path / "mosaic.tif")
    assert [made for made, _ in checked] == list(mosaic.tiles)
    with rasterio.open(tmp_path / "mosaic.tif") as file:
        assert np.array_equal(file.read(), pixels)
        assert np.array_equal(file.dataset_mask() != 0, mask)
        assert (file.nodata, file.descriptions, file.dtypes) == (nodata, ("b0", "b1"), (dtype, dtype))
        assert tuple(file.transform)[:6] == GRID.transform
        assert file.crs == CRS.from_epsg(32613)
        assert file.mask_flag_enums[0] == [MaskFlags.per_dataset if nodata is None else MaskFlags.nodata]
        assert file.overviews(1) == [2]
        assert file.profile["blockxsize"] == file.profile["blockysize"] == 512
    assert cog_validate(tmp_path / "mosaic.tif", strict=True) == (True, [], [])
    made, digest = checked[0]
    content = pixels[(..., *made.window.slices)].astype(np.dtype(dtype).newbyteorder("<"))
    assert digest == hashlib.sha256(content.tobytes()).hexdigest()
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".tif"]


@pytest.mark.slow
@pytest.mark.parametrize("compress", COMPRESSIONS)
@pytest.mark.parametrize("resampling", [RESAMPLINGS[0], *RESAMPLINGS[1:3]])
def test_compression_and_overviews(tmp_path: Path, compress: str, resampling: str) -> None:
    grid = GRID.window(0, 0, 640, 640)
    pixels, mask = values(grid, 1, "uint16")
    mask[:] = True
    options = {"compress": compress, "resampling": resampling, "tags": {"dataset": "a/b", "reducer": "median"}}
    mosaic = mosaic_of(tmp_path, grid, pixels, cut(tmp_path, grid, pixels, mask), **options)
    written(mosaic, tmp_path / "mosaic.tif")
    assert cog_validate(tmp_path / "mosaic.tif", strict=True)[0]
    with rasterio.open(tmp_path / "mosaic.tif") as file:
        assert np.array_equal(file.read(), pixels)
        assert file.profile.get("compress", "none").lower() == compress
        assert file.tags()["reducer"] == "median"
    with rasterio.open(tmp_path / "mosaic.tif", overview_level=0) as half:
        found = half.read(1).astype(float)
    blocks = pixels[0].reshape(320, 2, 320, 2).astype(float)
    if resampling == "average":
        assert np.abs(found - blocks.mean(axis=(1, 3))).max() <= 1.0
    elif resampling == "nearest":
        assert all(value in quarter for value, quarter in zip(found[0], blocks[0].transpose(1, 0, 2), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "grid",
    [
        Grid("EPSG:4326", (1 / 3600, 0.0, 179.9, 0.0, -1 / 3600, -16.0), 900, 700),  # beyond 180 degrees
        Grid("SR-ORG:6974", (926.625433055833, 0.0, -1e6, 0.0, -926.625433055833, 2e6), 600, 600),
        Grid("EPSG:32613", (7.0, 3.0, 500_300.1, 3.0, -7.0, 4_399_400.3), 640, 590),  # turned
        Grid("EPSG:32613", (10.0, 0.0, 500_000.0, 0.0, 10.0, 4_300_000.0), 600, 600),  # south up
        Grid("EPSG:3857", (0.1, 0.0, 0.1, 0.0, -0.1, 0.3), 1, 1),
        Grid("EPSG:3857", (0.1, 0.0, 0.1, 0.0, -0.1, 0.3), 3, 2000),
    ],
)
def test_grids_stay_as_they_are(tmp_path: Path, grid: Grid) -> None:
    pixels, mask = values(grid, 1, "int16")
    written(mosaic_of(tmp_path, grid, pixels, cut(tmp_path, grid, pixels, mask)), tmp_path / "mosaic.tif")
    with rasterio.open(tmp_path / "mosaic.tif") as file:
        assert tuple(file.transform)[:6] == grid.transform
        assert np.array_equal(file.read(), pixels)
        assert np.array_equal(file.dataset_mask() != 0, mask)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    edge=st.integers(16, 900),
    bands=st.integers(1, 4),
    has_nodata=st.booleans(),
    seed=st.integers(0, 99),
)
def test_windows_of_any_size_are_assembled(
    tmp_path_factory: pytest.TempPathFactory,
    width: int,
    height: int,
    edge: int,
    bands: int,
    has_nodata: bool,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    grid = GRID.window(3, -5, width, height)
    pixels, mask = values(grid, bands, "int16", seed)
    pixels[pixels == -7] = 7
    skipped = [3, 4, 7] if edge < 200 and min(width, height) > 600 else []
    tiles = cut(folder, grid, pixels, mask, max(edge, 48), skipped)
    there = np.zeros(grid.shape, bool)
    for made in tiles:
        there[made.window.slices] = True
    mosaic = mosaic_of(folder, grid, pixels, tiles, nodata=-7.0 if has_nodata else None)
    written(mosaic, folder / "mosaic.tif")
    with rasterio.open(folder / "mosaic.tif") as file:
        shown = mask & there
        assert np.array_equal(file.dataset_mask() != 0, shown)
        assert np.array_equal(file.read(), np.where(shown, pixels, -7 if has_nodata else 0))


@pytest.mark.slow
def test_a_float_without_data_is_nan(tmp_path: Path) -> None:
    pixels, mask = values(GRID, 1, "float32")
    pixels[0, 500, 500] = np.nan  # valid all the same
    mosaic = mosaic_of(tmp_path, GRID, pixels, cut(tmp_path, GRID, pixels, mask), nodata=math.nan)
    written(mosaic, tmp_path / "mosaic.tif")
    with rasterio.open(tmp_path / "mosaic.tif") as file:
        assert file.nodata is not None
        assert np.isnan(file.nodata)
        assert np.array_equal(file.read(1), np.where(mask, pixels[0], np.nan), equal_nan=True)


def test_a_valid_pixel_of_the_nodata_value_is_refused(tmp_path: Path) -> None:
    pixels, mask = values(GRID, 2, "int16")
    pixels[1, 500, 600], mask[500, 600] = -9999, True
    mosaic = mosaic_of(tmp_path, GRID, pixels, cut(tmp_path, GRID, pixels, mask), nodata=-9999.0)
    with pytest.raises(UsageError, match="`nodata` -9999 is also the value of valid pixels"):
        written(mosaic, tmp_path / "mosaic.tif")


def test_validation_finds_differences(tmp_path: Path) -> None:
    pixels, mask = values(GRID, 1, "uint8")
    mosaic = mosaic_of(tmp_path, GRID, pixels, cut(tmp_path, GRID, pixels, mask))
    written(mosaic, tmp_path / "mosaic.tif")
    for place, what in ((pixels[0], "pixel"), (mask, "mask")):
        before = place[400, 600]
        place[400, 600] = 1 - before if what == "mask" else before ^ 1
        cut(tmp_path, GRID, pixels, mask)
        with pytest.raises(ValidationError, match=r"the window at column \d+, row \d+ is not in the mosaic as it came"):
            list(mosaic.check(tmp_path / "mosaic.tif"))
        place[400, 600] = before
    other = Mosaic(grid=GRID.window(1, 0, *GRID.shape[::-1]), bands=("b0",), dtype="uint8", tiles=mosaic.tiles)
    with pytest.raises(ValidationError, match="the transform is"):
        list(other.check(tmp_path / "mosaic.tif"))
    cut(tmp_path, GRID.window(0, 0, 40, 40), pixels[:, :40, :40], mask[:40, :40])
    small = Mosaic(grid=GRID.window(0, 0, 40, 40), bands=("b0",), dtype="uint8", tiles=mosaic.tiles[:1])
    with pytest.raises(ValidationError, match="not a valid cloud-optimised"):
        list(small.check(tmp_path / "0-0.tif"))


def test_a_missing_window_leaves_no_file(tmp_path: Path) -> None:
    pixels, mask = values(GRID, 1, "uint8")
    mosaic = mosaic_of(tmp_path, GRID, pixels, cut(tmp_path, GRID, pixels, mask))
    mosaic.tiles[-1].path.unlink()
    with pytest.raises(StorageError, match=r"could not write .*mosaic\.tif"):
        mosaic.write(tmp_path / "mosaic.tif", lambda _: None)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_progress_grows_to_what_is_written(tmp_path: Path) -> None:
    pixels, mask = values(GRID, 3, "uint16")
    seen: list[int] = []
    mosaic_of(tmp_path, GRID, pixels, cut(tmp_path, GRID, pixels, mask)).write(tmp_path / "mosaic.tif", seen.append)
    assert seen[-1] >= (tmp_path / "mosaic.tif").stat().st_size


def test_common_types_hold_all_values() -> None:
    assert common_dtype(["uint8", "uint16"]) == "uint16"
    assert common_dtype(["uint8", "int16", "uint16"]) == "int32"
    assert common_dtype(["uint32", "int32"]) == "float64"
    assert common_dtype(["uint16", "float32"]) == "float32"


@pytest.mark.parametrize(
    ("nodata", "dtype"), [(-1.0, "uint8"), (256.0, "uint8"), (0.5, "int16"), (math.nan, "int32"), (-(2.0**63), "int64")]
)
def test_a_nodata_value_that_a_type_does_not_hold(nodata: float, dtype: str) -> None:
    with pytest.raises(UsageError, match="which holds whole numbers"):
        check_nodata(nodata, dtype)
    check_nodata(nodata, "float32")


def test_a_window_is_part_of_a_grid() -> None:
    assert Mosaic(grid=GRID, bands=("a", "b"), dtype="uint16", tiles=[Tile(Window(0, 0, 1, 1), Path("x"))]).bytes == (
        700 * 600 * 4
    )
