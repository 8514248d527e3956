"""HLS of the demo planet: the planet's own Landsat and Sentinel-2, on one grid."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt
import pytest

from eechips import datasets
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from eechips_local.pixels.grids.pixel_grid import transformer
from local_tests.support.demo_images import FARMS, STORE, images, millis

LANDSAT, SENTINEL = "NASA/HLS/HLSL30/v002", "NASA/HLS/HLSS30/v002"
SIZE = 120


def read(image: ImageAsset, name: str, place: tuple[float, float], metres: float) -> tuple[npt.NDArray, npt.NDArray]:
    """Return values and validity of a square of a band whose corner is nearest to a place."""
    band = next(band for band in image.bands if band.name == name)
    column, row = ~band.grid.transform * transformer("EPSG:4326", band.grid.crs).transform(*place)
    size = round(metres / band.grid.nominal_scale)
    # On multiples of 30 m, where all grids of a tile have corners of pixels.
    part = max(1, round(30.0 / band.grid.nominal_scale))
    window = PixelWindow(int(column) // part * part, int(row) // part * part, size, size)
    values, valid = band.source.read([band.index], window, 0)
    return values[0].astype(float), valid[0]


@pytest.mark.parametrize(("collection", "alias"), [(LANDSAT, "HLSL30"), (SENTINEL, "HLSS30")])
def test_bands_and_grid_are_those_of_the_catalogue(collection: str, alias: str) -> None:
    image = images(collection, FARMS, (2020, 7, 1), (2020, 8, 1))[0]
    record = next(dataset for dataset in datasets.list_datasets() if dataset.alias == alias)
    assert [band.name for band in image.bands] == [band.name for band in record.bands]
    kinds = {band.name: band.pixel_type.precision for band in image.bands}
    assert kinds.pop("Fmask") == "int"
    assert set(kinds.values()) == {"float"}
    grid = image.bands[0].grid
    assert (grid.nominal_scale, grid.shape) == (30.0, (3660, 3660))
    same = images("COPERNICUS/S2_SR_HARMONIZED", FARMS, (2020, 7, 1), (2020, 8, 1))[0]
    assert grid.bounds == same.bands[1].grid.bounds


def test_images_are_named_as_published() -> None:
    """As in T21JUL_20130427T135010 and T12RXT_20240425T174911, where Sentinel-2 has the start of its datatake."""
    july = (FARMS, (2020, 7, 1), (2020, 8, 1))
    landsat = [
        datetime.fromtimestamp(i.properties["system:time_start"] / 1000.0, tz=timezone.utc)
        for i in images(LANDSAT, *july)
    ]
    starts = [i.properties["system:index"].split("_")[0] for i in images("COPERNICUS/S2_SR_HARMONIZED", *july)]
    for collection, times in ((LANDSAT, [f"{when:%Y%m%dT%H%M%S}" for when in landsat]), (SENTINEL, starts)):
        indexes = [image.properties["system:index"] for image in images(collection, *july)]
        assert indexes == [f"T13TEE_{time}" for time in times]


@pytest.mark.slow
def test_sentinel_2_is_the_planets_own() -> None:
    """Reflectance of each pass against the means of nine pixels of Sentinel-2, clouds included."""
    passes = images(SENTINEL, FARMS, (2020, 6, 1), (2020, 7, 1))
    own = images("COPERNICUS/S2_SR_HARMONIZED", FARMS, (2020, 6, 1), (2020, 7, 1))
    assert [i.properties["system:time_start"] for i in passes] == [i.properties["system:time_start"] for i in own]
    for one, other in zip(passes[:4], own[:4], strict=True):
        for name in ("B4", "B8"):
            harmonized, _ = read(one, name, FARMS, 30.0 * SIZE)
            fine, _ = read(other, name, FARMS, 30.0 * SIZE)
            mean = fine.reshape(SIZE, 3, SIZE, 3).mean(axis=(1, 3)) * 1e-4
            assert abs(harmonized - mean).mean() < 0.012
            assert abs(harmonized.mean() - mean.mean()) < 0.005
            assert np.corrcoef(harmonized.ravel(), mean.ravel())[0, 1] > 0.93


@pytest.mark.slow
def test_landsat_is_the_planets_own() -> None:
    """Reflectance and temperature against Landsat, whose pixels lie half a pixel beside those of the tiles."""
    checked = 0
    for image in images(LANDSAT, FARMS, (2022, 6, 1), (2022, 9, 1)):
        day = datetime.fromtimestamp(image.properties["system:time_start"] / 1000.0, tz=timezone.utc).date()
        span = ((day.year, day.month, day.day), (day.year, day.month, day.day, 23))
        own = [i for c in ("08", "09") for i in images(f"LANDSAT/LC{c}/C02/T1_L2", FARMS, *span)]
        scene = min(own, key=lambda i: i.properties["WRS_ROW"])
        if scene.bands[0].grid.crs != image.bands[0].grid.crs:
            continue
        for name, theirs, scale, offset, limit in (
            ("B4", "SR_B4", 2.75e-5, -0.2, 0.01),
            ("B5", "SR_B5", 2.75e-5, -0.2, 0.01),
            ("B10", "ST_B10", 0.00341802, 149.0 - 273.15, 0.5),
        ):
            harmonized, valid = read(image, name, FARMS, 30.0 * SIZE)
            stored, seen = read(scene, theirs, FARMS, 30.0 * SIZE)
            assert valid.all()
            assert seen.all()
            expected = (stored * scale + offset).reshape(SIZE // 8, 8, SIZE // 8, 8).mean(axis=(1, 3))
            means = harmonized.reshape(SIZE // 8, 8, SIZE // 8, 8).mean(axis=(1, 3))
            assert abs(means - expected).mean() < limit
        checked += 1
    assert checked >= 5


def test_landsat_is_masked_beside_its_swath() -> None:
    image = min(
        (i for x in (-104.0, -103.5) for i in images(LANDSAT, (x, 40.4), (2020, 6, 1), (2020, 7, 1))),
        key=lambda i: i.properties["SPATIAL_COVERAGE"],
    )
    assert image.properties["SPATIAL_COVERAGE"] < 80.0
    for name in ("B4", "B9", "B10", "Fmask"):
        band = next(band for band in image.bands if band.name == name)
        level = band.source.levels.index(16)
        coarse = band.grid.level(16)
        _, valid = band.source.read([band.index], PixelWindow(0, 0, coarse.width, coarse.height), level)
        assert valid.mean() * 100.0 == pytest.approx(image.properties["SPATIAL_COVERAGE"], abs=2.0)


@pytest.mark.slow
def test_fmask_marks_what_is_bright() -> None:
    seen: dict[str, list[float]] = {"cloud": [], "clear": [], "water": []}
    for image in images(SENTINEL, FARMS, (2020, 5, 1), (2020, 9, 1)):
        bits = read(image, "Fmask", FARMS, 30.0 * SIZE)[0].astype(int)
        assert (bits & 1 == 0).all()
        assert (bits >> 6 == 1).all()
        red = read(image, "B4", FARMS, 30.0 * SIZE)[0]
        cloud, near, shadow = (bits & bit > 0 for bit in (2, 4, 8))
        assert not (cloud & (near | shadow)).any()
        seen["cloud"] += red[cloud].tolist()
        seen["clear"] += red[~cloud & ~near & ~shadow].tolist()
        nir = read(image, "B8", FARMS, 30.0 * SIZE)[0]
        seen["water"] += nir[(bits & 32 > 0) & ~cloud & ~near].tolist()
    assert np.median(seen["cloud"]) > 0.35
    assert np.quantile(seen["clear"], 0.99) < 0.3
    if seen["water"]:
        assert np.median(seen["water"]) < 0.05


def test_both_sensors_see_the_same_fields() -> None:
    """On clear days a few days apart, on one grid, without resampling."""
    clear = {}
    for collection in (LANDSAT, SENTINEL):
        found = images(collection, FARMS, (2020, 6, 20), (2020, 7, 20))
        clear[collection] = min(found, key=lambda i: (read(i, "Fmask", FARMS, 30.0 * SIZE)[0] != 64).mean())
    index = []
    for collection, nir in ((LANDSAT, "B5"), (SENTINEL, "B8")):
        red, infrared = (read(clear[collection], name, FARMS, 30.0 * SIZE)[0] for name in ("B4", nir))
        index.append((infrared - red) / (infrared + red))
    assert np.corrcoef(index[0].ravel(), index[1].ravel())[0, 1] > 0.98


def test_conditions_on_the_tile_narrow_a_query() -> None:
    query = Query(equals={"MGRS_TILE_ID": "13TEE"}, start=millis(2020, 7, 1), end=millis(2020, 7, 8))
    found = list(STORE.get(SENTINEL).images(query))  # type: ignore[union-attr]
    assert {i.properties["MGRS_TILE_ID"] for i in found} == {"13TEE"}
