"""Chips of files that share a grid of pixels, with rows in either direction, equal those by Earth Engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform, transform_bounds

import eechips
from eechips.archive.windows import describe, plan_chip, read_chip, window_file
from eechips.datasets import find_dataset
from eechips.errors import RecipeError, UsageError
from local_tests.support.local_earth_engine import Server
from tests.support.embedding_images import BANDS, FIELDS, EmbeddingPixels, embedding_pixels

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "embedding_cogs.py"
CRS = "EPSG:32614"
NORTH_WEST = Affine(10.0, 0.0, 6e5, 0.0, -10.0, 42e5)


def write_cog(path: Path, pixels: np.ndarray, location: Affine, *, is_south_up: bool, **more: Any) -> Path:
    """Write a COG whose transform and rows run from north to south, or from south to north; masked pixels are -128."""
    count, height, width = pixels.shape
    if is_south_up:
        pixels = pixels[:, ::-1]
        location = location * Affine.translation(0, height) * Affine.scale(1, -1)
    options = {"crs": CRS, "nodata": -128, "blocksize": 128, "compress": "zstd", **more}
    with rasterio.open(
        path, "w", driver="COG", width=width, height=height, count=count, dtype="int8", transform=location, **options
    ) as file:
        file.write(pixels)
        file.descriptions = BANDS[:count]
    return path


@pytest.fixture(scope="module")
def around() -> EmbeddingPixels:
    return embedding_pixels(FIELDS, 2021, 160)


@pytest.fixture(scope="module")
def index(around: EmbeddingPixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of two files in the form of the producers', west and east of the place; the eastern one is bottom-up."""
    folder = tmp_path_factory.mktemp("cogs")
    stored = (np.sign(around.values) * np.rint(np.sqrt(np.abs(around.values)) * 127.5)).astype(np.int8)
    rows = []
    for name, columns, is_south_up in (("west", slice(0, 80), False), ("east", slice(80, 160), True)):
        location = around.transform * Affine.translation(columns.start, 0)
        path = write_cog(
            folder / f"{name}.tiff", stored[:, :, columns], location, is_south_up=is_south_up, crs=around.crs
        )
        with rasterio.open(path) as file:
            assert (file.transform.e > 0) is is_south_up
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        x, y = location.c, location.f
        metres = (x, y - 1600.0, x + 800.0, y)
        degrees = transform_bounds(around.crs, "EPSG:4326", *metres)
        rows.append([str(path), 2021, around.crs, *degrees, *metres])
        rows.append([str(folder / "absent.tiff"), 2020, around.crs, *degrees, *metres])
    sides = ("west", "south", "east", "north")
    columns = ["path", "year", "crs", *(f"wgs84_{side}" for side in sides), *(f"utm_{side}" for side in sides)]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "index.csv", index=False)
    return folder / "index.csv"


@pytest.fixture(scope="module")
def places(around: EmbeddingPixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Places in the western file, in the eastern one, and on either side of the line between them."""
    columns, rows = np.array([30.3, 130.2, 79.4, 81.7]), np.array([40.6, 110.1, 77.7, 90.2])
    longitudes, latitudes = transform(around.crs, "EPSG:4326", *(around.transform * (columns, rows)))
    path = tmp_path_factory.mktemp("places") / "places.csv"
    pd.DataFrame({"lon": longitudes, "lat": latitudes}).to_csv(path, index=False)
    return path


def read(run: eechips.Run) -> list[rasterio.io.DatasetReader]:
    assert run.is_complete
    return [rasterio.open(run.path / file) for file in run.units["file"]]


@pytest.mark.exhaustive
def test_chips_of_embeddings_from_files_equal_those_by_earth_engine(
    demo_server: Server, index: Path, places: Path, tmp_path: Path
) -> None:
    """The same pixels, grids, bands and masks; the same bytes."""
    parameters = {"places": str(places), "index": str(index), "year": 2021, "size": 48}
    made = eechips.run(RECIPE, parameters, out=tmp_path / "files", executor="threads", quiet=True)
    verb = eechips.sample(
        "EMBEDDINGS", points=places, size=48, values="quantized", start="2021-01-01", end="2022-01-01",
        endpoint=demo_server.url, rate=None, executor="threads", quiet=True, out=tmp_path / "verb",
    )  # fmt: skip
    assert [len(unit["parts"]) for unit in made.units["unit"]] == [1, 1, 2, 2]
    for ours, theirs in zip(read(made), read(verb), strict=True):
        assert (ours.crs, ours.transform, ours.shape) == (theirs.crs, theirs.transform, (48, 48))
        assert ours.transform.e == -10.0
        assert ours.descriptions == theirs.descriptions == BANDS
        assert ours.dataset_mask().all()
        assert np.array_equal(ours.read(), theirs.read())
    assert made.units["sha256"].tolist() == verb.units["sha256"].tolist()
    assert [dataset["id"] for dataset in made.info["datasets"]] == ["GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL"]

    floats = eechips.run(
        RECIPE, {**parameters, "floats": True}, out=tmp_path / "floats", executor="threads", quiet=True
    )
    record = find_dataset("EMBEDDINGS")
    for ours, theirs in zip(read(floats), read(verb), strict=True):
        assert set(ours.dtypes) == {"float32"}
        assert np.array_equal(ours.read(), record.quantization.dequantize(theirs.read()))  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_place_without_a_file_is_named(index: Path, tmp_path: Path) -> None:
    (tmp_path / "places.csv").write_text("lon,lat\n10,50\n")
    parameters = {"places": str(tmp_path / "places.csv"), "index": str(index), "year": 2021}
    with pytest.raises((RecipeError, UsageError), match="no file of embeddings shows 10, 50"):
        eechips.run(RECIPE, parameters, out=tmp_path / "out", executor="threads", quiet=True)


@pytest.fixture
def noise() -> np.ndarray:
    pixels = np.random.default_rng(5).integers(-127, 128, (3, 60, 50), dtype=np.int8)
    pixels[:, 10:20, 5:15] = -128
    return pixels


def place_of(column: float, row: float) -> tuple[float, float]:
    (longitude,), (latitude,) = transform(CRS, "EPSG:4326", *([axis] for axis in NORTH_WEST * (column, row)))
    return longitude, latitude


@pytest.mark.parametrize("is_south_up", [False, True])
@pytest.mark.parametrize("place", [(20.5, 30.5), (0.5, 0.5), (49.5, 58.5)])
def test_a_chip_is_masked_without_data_and_beyond_the_raster(
    tmp_path: Path, noise: np.ndarray, place: tuple[float, float], is_south_up: bool
) -> None:
    path = write_cog(tmp_path / "a.tif", noise, NORTH_WEST, is_south_up=is_south_up)
    unit = plan_chip([describe(str(path))], place_of(*place), (21, 31), bands=(3, 1))
    pixels = read_chip(unit)
    padded = np.full((3, 60 + 62, 50 + 42), -128, np.int8)
    padded[:, 31:-31, 21:-21] = noise
    row, column = int(place[1]) - 15 + 31, int(place[0]) - 10 + 21
    expected = np.ma.masked_equal(padded[[2, 0], row : row + 31, column : column + 21], -128)
    assert pixels.dtype == np.int8
    assert np.array_equal(np.ma.getmaskarray(pixels), np.ma.getmaskarray(expected))
    assert np.array_equal(pixels.filled(0), expected.filled(0))
    path = tmp_path / "chip.tif"
    path.write_bytes(window_file(unit, pixels, bands=["c", "a"]))
    with rasterio.open(path) as file:
        assert file.transform == NORTH_WEST * Affine.translation(column - 21, row - 31)
        assert np.array_equal(file.read(masked=True).filled(0), expected.filled(0))


def test_a_further_raster_shows_where_the_first_has_no_data(tmp_path: Path, noise: np.ndarray) -> None:
    first = write_cog(tmp_path / "first.tif", noise, NORTH_WEST, is_south_up=False)
    other = noise[:, 5:45] // 2
    second = write_cog(tmp_path / "second.tif", other, NORTH_WEST * Affine.translation(0, 5), is_south_up=True)
    pixels = read_chip(plan_chip([describe(str(path)) for path in (first, second)], place_of(25, 30), (50, 60)))
    expected = np.ma.masked_equal(noise, -128)
    filled = np.ma.masked_equal(np.full_like(noise, -128), -128)
    filled[:, 5:45] = other
    both = np.where(expected.mask, filled.data, noise)
    assert not np.ma.getmaskarray(pixels).any()
    assert np.array_equal(pixels.data, both)


def test_rasters_that_cannot_be_joined_are_refused(tmp_path: Path, noise: np.ndarray) -> None:
    def header(name: str, location: Affine, **more: Any) -> Any:
        return describe(str(write_cog(tmp_path / f"{name}.tif", noise, location, is_south_up=False, **more)))

    first, place = header("first", NORTH_WEST), place_of(25, 30)
    for name, other in {
        "shifted": header("shifted", NORTH_WEST * Affine.translation(0.5, 0)),
        "coarse": header("coarse", NORTH_WEST * Affine.scale(2)),
        "zone": header("zone", NORTH_WEST, crs="EPSG:32615"),
    }.items():
        with pytest.raises(UsageError, match=f"{name}.tif are not aligned with the pixels of the first raster"):
            plan_chip([first, other], place, 16)
    with pytest.raises(UsageError, match=r"rotated.tif is rotated: chips need pixels along the axes"):
        plan_chip([header("rotated", NORTH_WEST * Affine.rotation(10))], place, 16)
    with pytest.raises(UsageError, match=r"first.tif has no band 4: it has 3 bands"):
        plan_chip([first], place, 16, bands=(1, 4))
    with pytest.raises(UsageError, match="no raster has pixels around -97"):
        plan_chip([first], place_of(5000, 30), 16)


def test_a_chip_whose_blocks_exceed_the_memory_is_refused_when_planned(tmp_path: Path) -> None:
    path = tmp_path / "tile.tif"
    shape = {"width": 8192, "height": 8192, "count": 1, "dtype": "uint8", "blockxsize": 8192, "blockysize": 8192}
    with rasterio.open(
        path, "w", driver="GTiff", crs=CRS, transform=NORTH_WEST, tiled=True, compress="deflate", **shape
    ) as file:
        file.write(np.zeros((1, 8192, 8192), np.uint8))
    assert path.stat().st_size < 1e6
    raster, place = describe(str(path)), place_of(25, 30)
    message = r"max_memory=256.0 MB is too little for a chip of 16x16 pixels of .*tile\.tif, whose blocks of 8,192x"
    with pytest.raises(UsageError, match=message):
        plan_chip([raster], place, 16, max_memory="256MB")
    unit = plan_chip([raster], place, 16)
    assert unit["parts"][0]["cache"] == 8192 * 8192  # the block once, although a chip may touch four of smaller ones
    assert read_chip(unit).shape == (1, 16, 16)


@pytest.mark.parametrize(
    "location",
    [
        Affine(0.01, 0, 179.7, 0, -0.01, -15),
        Affine(0.01, 0, 285, 0, -0.01, 1),
        Affine(1 / 12000, 0, 9, 0, -1 / 12000, 48),
    ],
)
def test_chips_of_degrees_whose_pixel_size_is_no_float_also_beyond_180(
    tmp_path: Path, noise: np.ndarray, location: Affine
) -> None:
    path = write_cog(tmp_path / "degrees.tif", noise, location, is_south_up=False, crs="EPSG:4326")
    east = write_cog(
        tmp_path / "east.tif", noise, location * Affine.translation(50, 0), is_south_up=True, crs="EPSG:4326"
    )
    rasters = [describe(str(path)), describe(str(east))]
    padded = np.full((3, 60 + 32, 100 + 32), -128, np.int8)
    padded[:, 16:-16, 16:-16] = np.concatenate([noise, noise], axis=2)
    for column, row in np.random.default_rng(1).uniform((0, 0), (50, 60), (30, 2)):
        longitude, latitude = location * (column, row)
        unit = plan_chip(rasters, ((longitude + 180) % 360 - 180, latitude), 16)
        expected = padded[:, round(row) + 8 :, round(column) + 8 :][:, :16, :16]
        assert np.array_equal(read_chip(unit).filled(-128), expected)
