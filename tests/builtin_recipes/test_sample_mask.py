"""``eechips sample --mask``: the latest clear pixels, against numpy, which puts the images together itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine

import eechips
from eechips.builtin_recipes.samples.chips import ChipSample
from eechips.errors import UnknownDatasetError, UsageError
from eechips.geo.grid import Grid
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server, initialize
from tests.support.coded_store import write_geotiff

L8, L9, S2 = "LANDSAT/LC08/C02/T1_L2", "LANDSAT/LC09/C02/T1_L2", "COPERNICUS/S2_SR_HARMONIZED"
CRS, TRANSFORM = "EPSG:32613", Affine(30, 0, 500_000, 0, -30, 4_400_000)
SHAPE = (120, 120)
DAYS = ("20200105", "20200121", "20200206")
CLOUD = 1 << 3
AROUND = "-104.9995,39.7215,-104.962,39.747"
CLEAR = (2, 4, 5, 6, 7, 11)  # of Sentinel-2's scene classification, for the usual mask

Array = npt.NDArray[Any]


def scenes() -> tuple[Array, Array]:
    """Values and quality of three images in order of time; all of them are cloudy in the north-west."""
    values = np.arange(1, SHAPE[0] * SHAPE[1] * 3 + 1, dtype=np.uint16).reshape(3, *SHAPE)
    quality = np.zeros_like(values)
    quality[0, :30, :] = CLOUD
    quality[1, :60, :60] = CLOUD
    quality[2, :60, :] = CLOUD | 1 << 4
    quality[2, 80:, 90:] = 1 << 5  # snow, which the usual mask keeps
    return values, quality


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    folder = tmp_path_factory.mktemp("cloudy")
    for day, *bands in zip(DAYS, *scenes(), strict=True):
        path = folder / f"{day}.tif"
        write_geotiff(path, CRS, TRANSFORM, np.stack(bands))
        options: dict[str, Any] = {"bands": ["SR_B4", "QA_PIXEL"], "time_start": f"{day[:4]}-{day[4:6]}-{day[6:]}"}
        ingest(path, folder / "store", f"{L8}/LC08_033032_{day}", **options)
    write_geotiff(folder / "dem.tif", CRS, TRANSFORM, np.ones((1, *SHAPE), dtype=np.int16))
    ingest(folder / "dem.tif", folder / "store", "users/someone/dem", bands=["height"])
    write_geotiff(folder / "bare.tif", CRS, TRANSFORM, scenes()[0][:1])
    ingest(
        folder / "bare.tif", folder / "store", f"{L9}/LC09_033032_20200105", bands=["SR_B4"], time_start="2020-01-05"
    )
    store = str(folder / "store")
    return serve("--assets", store, "--no-demo", "--rate", "none", "--concurrency", "none")


def sample(server: Server, out: Path, **options: Any) -> eechips.Run:
    given = {"dataset": L8, "bands": "SR_B4", "mask": "auto", "total": 30, "roi": AROUND, "size": 16, "format": "tif"}
    given |= {"executor": "threads", "quiet": True, "rate": None, "endpoint": server.url, "out": out}
    return eechips.sample(**{**given, **options})


def window(grid: Grid, array: Array) -> Array:
    """Return the part of an array on the images' pixels that a chip covers; zero beyond them."""
    column, row = (round(float(v)) for v in Grid(CRS, tuple(TRANSFORM)[:6], 1, 1).pixel(*grid.xy(0, 0)))
    padded = np.pad(array, 64)
    return padded[row + 64 : row + 64 + grid.height, column + 64 : column + 64 + grid.width]


def clearest(wrong: Array, order: tuple[int, ...] = (2, 1, 0)) -> Array:
    """The values of the first image in an order that is clear; zero where none is."""
    values, _ = scenes()
    found = np.zeros(SHAPE, dtype=np.uint16)
    for number in reversed(order):
        found = np.where(wrong[number], found, values[number])
    return found


def assert_chips(run: eechips.Run, expected: Array) -> None:
    """Files and the manifest agree with an array on the images' pixels, in which zero is no data."""
    assert run.is_complete
    for unit in run.units.to_dict("records"):
        wanted = window(Grid.from_json(unit["unit"]["grid"]), expected)
        assert unit["valid_fraction"] == np.count_nonzero(wanted) / wanted.size
        assert unit["state"] == ("done" if wanted.any() else "empty")
        with rasterio.open(run.path / unit["file"]) as file:
            assert np.array_equal(file.read_masks(1) != 0, wanted != 0)
            assert np.array_equal(np.where(file.read_masks(1), file.read(1), 0), wanted)


@pytest.mark.slow
@pytest.mark.parametrize(("mask", "bits"), [("auto", 0b11111), ("qa_pixel:shadow", 1 << 4), ("none", 0)])
def test_a_chip_shows_the_latest_clear_pixels(server: Server, tmp_path: Path, mask: str, bits: int) -> None:
    run = sample(server, tmp_path, mask=mask)
    assert_chips(run, clearest((scenes()[1] & bits) != 0))
    assert (run.units["valid_fraction"].between(0.01, 0.6)).any() == (mask == "auto")
    assert run.info["parameters"].get("mask") == {
        "auto": "qa_pixel:fill,dilated,cirrus,cloud,shadow", "qa_pixel:shadow": "qa_pixel:shadow", "none": None,
    }[mask]  # fmt: skip


@pytest.mark.slow
def test_pixels_come_from_the_images_nearest_to_a_date(server: Server, tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    points.write_text("lon,lat,day\n" + "".join(f"-104.{n},39.734,2020-01-20\n" for n in (974, 980, 986, 992)))
    options = {"points": str(points), "columns": "date=day", "near": "30d", "total": None, "roi": None}
    run = sample(server, tmp_path / "run", **options)
    assert_chips(run, clearest((scenes()[1] & 0b11111) != 0, (1, 0, 2)))


@pytest.mark.slow
def test_a_single_image_has_the_mask_of_its_collection(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path, dataset=f"{L8}/LC08_033032_{DAYS[1]}")
    values, quality = scenes()
    assert_chips(run, np.where(quality[1], 0, values[1]))


@pytest.mark.slow
def test_sources_are_those_that_show_where_others_are_masked(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path, provenance=True)
    _, quality = scenes()
    names = [f"{L8}/LC08_033032_{day}" for day in DAYS]
    top = np.full(SHAPE, -1)
    for number in range(3):
        top = np.where(quality[number] & 0b11111, top, number)
    several = 0
    for unit in run.units.to_dict("records"):
        shown = set(np.unique(window(Grid.from_json(unit["unit"]["grid"]), top + 1)).tolist()) - {0}
        assert set(unit["sources"]) == {names[number - 1] for number in shown}
        several += len(shown) > 1
    assert several


@pytest.mark.exhaustive
def test_a_chip_that_is_masked_altogether_is_empty(server: Server, tmp_path: Path) -> None:
    cloudy = "-104.9995,39.7425,-104.992,39.747"  # the first 30 rows and 60 columns, but for the chips' edges
    kept = sample(server, tmp_path / "kept", roi=cloudy, size=4)
    assert set(kept.units["valid_fraction"]) == {0.0}
    assert set(kept.units["state"]) == {"empty"}
    drawn = sample(server, tmp_path / "drawn", size=4, total=60, on_empty="redraw")
    assert drawn.counts["empty"] > 0
    full = drawn.units[drawn.units["state"] == "done"]
    assert (full["valid_fraction"] > 0).all()
    assert full["replaces"].notna().any()
    assert len(full) == 60


@pytest.mark.slow
def test_datasets_with_masks_are_masked(server: Server, tmp_path: Path) -> None:
    several: dict[str, Any] = {"dataset": [L8, "users/someone/dem"], "bands": [f"{L8}:SR_B4"], "total": 3}
    clear = sample(server, tmp_path / "clear", **several).layers
    whole = sample(server, tmp_path / "whole", **{**several, "mask": "none"}).layers
    is_dem = [layer == "dem" for _, layer in clear.index]
    assert clear["sha256"][is_dem].tolist() == whole["sha256"][is_dem].tolist()
    assert (clear["valid_fraction"][is_dem] == 1.0).all()
    optical = [not each for each in is_dem]
    assert clear["sha256"][optical].tolist() != whole["sha256"][optical].tolist()
    assert (clear["valid_fraction"][optical] <= whole["valid_fraction"][optical]).all()


@pytest.mark.slow
def test_datasets_without_masks_are_refused_before_fetching(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no mask is known for USDA/NAIP/DOQQ"):
        sample(server, tmp_path, dataset="NAIP", bands=None)
    with pytest.raises(UsageError, match=r"has no such mask; it has qa_pixel"):
        sample(server, tmp_path, mask="scl")
    with pytest.raises(UsageError, match="no mask is known for users/someone/dem"):
        sample(server, tmp_path, dataset=["users/someone/dem", "WORLDCOVER"], bands=None)
    with pytest.raises(UnknownDatasetError, match="has no band 'QA_PIXEL'"):
        sample(server, tmp_path, dataset=L9)
    assert not list(tmp_path.rglob("*.tif"))


def test_without_a_mask_chips_are_unchanged() -> None:
    plain = ChipSample(dataset="S2", total=1)
    assert "mask" not in plain.sample.results
    assert plain.identity == ChipSample(dataset="S2", total=1, mask="none").identity
    assert plain.identity != ChipSample(dataset="S2", total=1, mask="auto").identity


@pytest.mark.slow
@pytest.mark.parametrize("grid", ["native", "thumb"])
def test_the_demo_planet_is_masked(demo_server: Server, tmp_path: Path, grid: str) -> None:
    days = {"start": "2020-06-10", "end": "2020-06-25"}
    options = {"dataset": "S2", "bands": "B4,B8", "roi": "-105.3,39.88,-105.25,39.92", "total": 4, "grid": grid, **days}
    run = sample(demo_server, tmp_path, **options)
    ee = initialize(demo_server)
    for unit in run.units.to_dict("records"):
        chip = Grid.from_json(unit["unit"]["grid"])
        around = ee.Geometry.Point(unit["unit"]["coordinates"]).buffer(500)
        images = ee.ImageCollection(S2).filterBounds(around).filterDate(*days.values()).sort("system:time_start")
        order: list[str] = images.aggregate_array("system:index").getInfo()
        if (top := unit["unit"].get("image")) is not None:
            order.append(order.pop(order.index(top)))
        wanted, valid = np.zeros((2, chip.height, chip.width)), np.zeros((chip.height, chip.width), dtype=bool)
        for name in order:
            both = ee.Image(f"{S2}/{name}").select(["B4", "B8", "SCL"])
            request = {"expression": both, "fileFormat": "NUMPY_NDARRAY", "grid": chip.to_pixel_grid()}
            found = ee.data.computePixels(request)
            clear = np.isin(found["SCL"], CLEAR)
            wanted = np.where(clear, np.stack([found["B4"], found["B8"]]), wanted)
            valid |= clear
        with rasterio.open(run.path / unit["file"]) as file:
            assert np.array_equal(file.read_masks(1) != 0, valid)
            assert np.array_equal(file.read()[:, valid], wanted[:, valid])
        assert unit["valid_fraction"] == np.count_nonzero(valid) / valid.size
