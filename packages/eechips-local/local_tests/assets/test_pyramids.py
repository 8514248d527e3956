"""Pyramids of stored rasters: each pixel of a level is made of a block of 2x2 pixels of the level below."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ee
import numpy as np
import numpy.typing as npt
import pytest

from eechips_local.assets import FolderStore, ingest
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.support.ingested_rasters import UTM, image, raster
from local_tests.support.local_earth_engine import Server, initialize

Values = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def _blocks(values: Values) -> Values:
    """The pixels of each 2x2 block along the last axis, row by row."""
    height, width = values.shape
    return values.reshape(height // 2, 2, width // 2, 2).swapaxes(1, 2).reshape(height // 2, width // 2, 4)


def _coarser(values: Values, valid: Mask, policy: str) -> tuple[Values, Mask, Mask]:
    """The next level by numpy, where it is valid, and where the policy says nothing else."""
    margins = [(0, edge % 2) for edge in values.shape]
    cells, known = _blocks(np.pad(values, margins)), _blocks(np.pad(valid, margins))
    if policy == "nearest":
        return cells[..., 0], known[..., 0], known[..., 0]
    if policy == "average":
        sums = np.where(known, cells, 0).astype("float64").sum(axis=-1)
        means = np.floor(sums / np.maximum(known.sum(axis=-1), 1) + 0.5)
        return means.astype(values.dtype), known.any(axis=-1), known.any(axis=-1)
    counts = (known[..., None, :] & (cells[..., None] == cells[..., None, :])).sum(axis=-1) * known
    best = counts.max(axis=-1)
    winner = np.take_along_axis(cells, counts.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    is_unique = ((counts == best[..., None]) & (cells == winner[..., None]) & known).sum(axis=-1) == (
        (counts == best[..., None]) & known
    ).sum(axis=-1)
    return winner, known.any(axis=-1), known.any(axis=-1) & is_unique


def _check(folder: Path, seed: int, largest: int) -> None:
    rng, dice = np.random.default_rng(seed), random.Random(seed)
    width, height = dice.randint(200, largest), dice.randint(200, largest)
    _check_levels(folder, width, height, rng, dice)


def _check_levels(folder: Path, width: int, height: int, rng: np.random.Generator, dice: random.Random) -> None:
    policy, validity = dice.choice(["average", "nearest", "mode"]), dice.choice(["all", "nodata", "mask"])
    values = rng.integers(1, 4 if policy == "mode" else 250, (height, width)).astype("uint8")
    valid = np.ones(values.shape, dtype=bool) if validity == "all" else rng.random(values.shape) < 0.7
    options: dict[str, Any] = {}
    if validity == "nodata":
        values, options = np.where(valid, values, 0).astype("uint8"), {"nodata": 0}
    elif validity == "mask":
        options = {"mask": valid}
    raster(folder / "a.tif", values[None], **options)
    ingest(folder / "a.tif", folder / "store", "x/y", resampling=policy)
    with FolderStore(folder / "store") as store:
        band = image(store, "x/y").bands[0]
        assert not band.keeps_extent
        for level in range(1, len(band.source.levels)):
            values, valid, is_certain = _coarser(values, valid, policy)
            rows, columns = values.shape
            found, seen = band.source.read([0], PixelWindow(0, 0, columns, rows), level)
            place = f"{width}x{height}, {policy}, {validity}, level {level}"
            np.testing.assert_array_equal(seen[0], valid, place)
            np.testing.assert_array_equal(found[0][is_certain], values[is_certain], place)
            values = found[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_levels_are_made_of_blocks(tmp_path: Path, seed: int) -> None:
    _check(tmp_path, seed, largest=600)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 60))
def test_levels_of_many_sizes_are_made_of_blocks(tmp_path: Path, seed: int) -> None:
    _check(tmp_path, seed, largest=1100)


@pytest.mark.parametrize(("width", "height"), [(1, 300), (3, 3000), (5, 700), (900, 2), (1, 1)])
def test_levels_of_narrow_rasters_are_made_of_blocks(tmp_path: Path, width: int, height: int) -> None:
    """Rasterio finds the factors of overviews from widths, which are rounded up."""
    _check_levels(tmp_path, width, height, np.random.default_rng(width), random.Random(height))
    with FolderStore(tmp_path / "store") as store:
        levels = image(store, "x/y").bands[0].source.levels
    assert levels == tuple(2**level for level in range(len(levels)))
    assert max(width, height) <= 256 * levels[-1]


@pytest.mark.parametrize(("dtype", "nodata"), [("int16", 0), ("uint8", 3), ("float32", 0), ("float64", -9999)])
def test_means_that_are_the_nodata_value_are_valid(tmp_path: Path, dtype: str, nodata: int) -> None:
    """The mean of -1 and 1 is 0: valid in Earth Engine, which stores masks apart from values."""
    values = np.tile(np.array([nodata - 1, nodata + 1], dtype), (1, 300, 150))
    values[0, :2, :2] = nodata
    raster(tmp_path / "a.tif", values, nodata=nodata)
    ingest(tmp_path / "a.tif", tmp_path / "store", "x/y")
    with FolderStore(tmp_path / "store") as store:
        found, seen = image(store, "x/y").bands[0].source.read([0], PixelWindow(0, 0, 150, 150), 1)
    assert not seen[0, 0, 0]
    assert seen.sum() == 150 * 150 - 1
    np.testing.assert_allclose(found[seen], nodata, atol=1 if dtype[0] in "iu" else 0.02)


@pytest.mark.slow
def test_a_level_is_read_where_its_blocks_lie(tmp_path: Path, serve_briefly: Callable[..., Server]) -> None:
    values = np.random.default_rng(5).integers(0, 4000, (1, 515, 513)).astype("uint16")
    raster(tmp_path / "a.tif", values)
    ingest(tmp_path / "a.tif", tmp_path / "store", "x/y")
    initialize(serve_briefly("--assets", str(tmp_path / "store")))
    scale = 2 * UTM.a
    grid = {
        "dimensions": {"width": 257, "height": 258},
        "affineTransform": {"scaleX": scale, "scaleY": -scale, "translateX": UTM.c, "translateY": UTM.f},
        "crsCode": "EPSG:26914",
    }
    found = ee.data.computePixels({"expression": ee.Image("x/y"), "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    expected, _, _ = _coarser(values[0], np.ones(values[0].shape, dtype=bool), "average")
    centres_inside = np.s_[:257, :256]  # of the last row and column, the centres lie outside the image
    np.testing.assert_array_equal(found[found.dtype.names[0]][centres_inside], expected[centres_inside])
