"""Satellite embeddings of the demo planet: unit vectors that are alike where the land is."""

from __future__ import annotations

from datetime import date, datetime, timezone

import numpy as np
import numpy.typing as npt
import pytest

from eechips import datasets
from eechips_local.demo import DemoStore
from eechips_local.demo.land import embedding, embedding_tiles
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from eechips_local.pixels.grids.pixel_grid import transformer
from local_tests.support.parameters import slow_except

STORE = DemoStore(date(2026, 1, 1))
FARMS = (-98.0, 38.0)
FOREST = (-105.5, 39.75)


def image_of(collection: str, place: tuple[float, float], year: int) -> ImageAsset:
    span = [datetime(y, 1, 1, tzinfo=timezone.utc).timestamp() * 1000.0 for y in (year, year + 1)]
    query = Query(bounds=(*place, *place), start=span[0], end=span[1])
    return next(iter(STORE.get(collection).images(query)))  # type: ignore[union-attr]


def vectors(place: tuple[float, float], year: int, size: int = 96, level: int = 0) -> npt.NDArray:
    image = image_of(embedding.ID, place, year)
    source, grid = image.bands[0].source, image.bands[0].grid.level(image.bands[0].source.levels[level])
    column, row = ~grid.transform * transformer("EPSG:4326", grid.crs).transform(*place)
    values, valid = source.read(
        range(64), PixelWindow(int(column) - size // 2, int(row) - size // 2, size, size), level
    )
    assert valid.all()
    return values


@pytest.mark.slow
def test_bands_properties_and_dates_are_those_of_the_catalogue() -> None:
    image = image_of(embedding.ID, FARMS, 2021)
    record = next(dataset for dataset in datasets.list_datasets() if dataset.alias == "EMBEDDINGS")
    assert tuple(band.name for band in image.bands) == tuple(band.name for band in record.bands)
    assert {band.pixel_type.precision for band in image.bands} == {"double"}
    grid = image.bands[0].grid
    assert (grid.crs, grid.shape, grid.nominal_scale) == ("EPSG:32614", (16384, 16384), 10.0)
    known = image.properties
    assert known["UTM_ZONE"] == "14N"
    assert known["system:time_start"] == datetime(2021, 1, 1, tzinfo=timezone.utc).timestamp() * 1000
    assert known["system:time_end"] == datetime(2022, 1, 1, tzinfo=timezone.utc).timestamp() * 1000
    years = {i.id.rpartition("/")[2][:4] for i in STORE.get(embedding.ID).images(Query(bounds=(*FARMS, *FARMS)))}  # type: ignore[union-attr]
    assert years == {str(year) for year in range(2017, 2026)}


@pytest.mark.parametrize("level", slow_except([0, 1, 3], 1))
@pytest.mark.parametrize("place", [FARMS, FOREST])
def test_vectors_have_unit_length(place: tuple[float, float], level: int) -> None:
    found = vectors(place, 2020, level=level)
    assert found.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), 1.0, atol=1e-6)
    assert found.std() > 0.05


def test_single_bands_are_those_of_the_whole_vector() -> None:
    image = image_of(embedding.ID, FARMS, 2020)
    source = image.bands[0].source
    whole, _ = source.read(range(64), PixelWindow(5000, 6000, 40, 700), 0)
    part, _ = source.read([33, 2], PixelWindow(5010, 6500, 20, 100), 0)
    assert np.array_equal(part, whole[[33, 2], 500:600, 10:30])


@pytest.mark.slow
def test_similar_land_has_similar_vectors() -> None:
    forest, again, fields = (
        vectors(place, 2020, 48).reshape(64, -1) for place in (FOREST, (-105.52, 39.77), (-104.6, 40.4))
    )
    alike, different = np.median(forest.T @ again), np.median(forest.T @ fields)
    assert alike > 0.9
    assert different < 0.75


def test_forests_stay_and_fields_change_from_year_to_year() -> None:
    changed = {place: 1.0 - (vectors(place, 2020) * vectors(place, 2021)).sum(axis=0) for place in (FARMS, FOREST)}
    assert np.median(changed[FOREST]) < 0.01
    assert np.quantile(changed[FARMS], 0.8) > 0.02


@pytest.mark.slow
def test_crops_are_learned_from_vectors() -> None:
    """The nearest vector of one place names the crop of another, against the Cropland Data Layer."""
    crops = image_of("USDA/NASS/CDL", FARMS, 2021)
    grid = crops.bands[0].grid
    known = []
    for place in (FARMS, (-98.4, 38.3)):
        image = image_of(embedding.ID, place, 2021)
        found = vectors(place, 2021, 384)
        own = image.bands[0].grid
        column, row = ~own.transform * transformer("EPSG:4326", own.crs).transform(*place)
        steps = np.arange(4, 384, 12)
        columns, rows = np.meshgrid(int(column) - 192 + steps, int(row) - 192 + steps)
        x, y = own.transform * (columns.ravel() + 0.5, rows.ravel() + 0.5)
        at = ~grid.transform * transformer(own.crs, grid.crs).transform(x, y)
        i, j = (np.floor(axis).astype(int) for axis in at)
        window = PixelWindow(i.min(), j.min(), i.max() - i.min() + 1, j.max() - j.min() + 1)
        codes, _ = crops.bands[0].source.read([0], window, 0)
        known.append((found[:, steps][:, :, steps].reshape(64, -1).T, codes[0, j - window.row, i - window.column]))
    (train, labels), (test, truth) = known
    named = labels[(test @ train.T).argmax(axis=1)]
    common = np.isin(truth, labels)
    assert len(np.unique(truth[common])) >= 5
    assert (named == truth)[common].mean() > 0.85


def test_land_is_in_a_tile_of_its_zone() -> None:
    for longitude, latitude, zone in ((-105.0, 39.5, "13N"), (150.0, -33.0, "56S"), (25.0, 66.0, "35N")):
        found = list(embedding_tiles.tiles((longitude, latitude, longitude, latitude)))
        assert zone in {tile.zone_name for tile in found}
        for tile in found:
            assert embedding_tiles.named(tile.name) == tile
