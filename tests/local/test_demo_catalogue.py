"""Datasets of the demo planet that other ones imply: what they share is the same, and what users compute agrees."""

from __future__ import annotations

from datetime import date, datetime, timezone

import numpy as np
import pytest

from eechips import datasets
from eechips_local.demo import DemoStore
from eechips_local.demo.land import us_landcover
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query

STORE = DemoStore(date(2025, 1, 1))
FARMS = (-93.0, 42.0)
PLACE = (-105.1, 40.2, -105.0, 40.3)


def millis(*when: int) -> float:
    return datetime(*when, tzinfo=timezone.utc).timestamp() * 1000.0  # type: ignore[arg-type, misc]


def first(
    collection: str, start: tuple[int, int, int], bounds: tuple[float, float, float, float] = PLACE
) -> ImageAsset:
    found = STORE.get(collection)
    assert found is not None
    return next(iter(found.images(Query(bounds=PLACE, start=millis(*start)))))  # type: ignore[union-attr]


def window_at(image: ImageAsset, longitude: float, latitude: float, size: int = 64, band: int = 0) -> PixelWindow:
    from eechips_local.pixels.grids.pixel_grid import transformer

    grid = image.bands[band].grid
    x, y = transformer("EPSG:4326", grid.crs).transform(longitude, latitude)
    column, row = ~grid.transform * (x, y)
    return PixelWindow(int(column), int(row), size, size)


def read(image: ImageAsset, names: tuple[str, ...], window: PixelWindow) -> tuple[np.ndarray, np.ndarray]:
    bands = {band.name: band for band in image.bands}
    values, masks = [], []
    for name in names:
        band = bands[name]
        value, valid = band.source.read([band.index], window, 0)
        values.append(value[0].astype(float))
        masks.append(valid[0])
    return np.stack(values), np.stack(masks)


@pytest.mark.slow
def test_datasets_with_a_short_name_are_served_with_their_bands_and_types() -> None:
    served = [dataset for dataset in datasets.list_datasets() if STORE.get(dataset.id) is not None]
    assert {dataset.alias for dataset in served} >= {
        "NAIP", "S2", "S2_TOA", "L8", "L9", "MODIS_LST", "MOD13A2", "MOD13Q1", "SRTM", "WORLDCOVER", "DYNAMICWORLD",
        "CDL", "NLCD", "ERA5_LAND_MONTHLY", "S1", "EMBEDDINGS", "HLSL30", "HLSS30", "CHIRPS", "NIGHT_LIGHTS", "MCD12Q1",
        "GSW", "GLO30",
    }  # fmt: skip
    for dataset in served:
        asset = STORE.get(dataset.id)
        image = asset if isinstance(asset, ImageAsset) else next(iter(asset.images(Query(bounds=PLACE))))  # type: ignore[union-attr]
        assert set(dataset.default_bands) <= {band.name for band in image.bands}, dataset.alias
        # Records whose source says nothing about types have none; those of bands that are cast are of the chips.
        if dataset.dtype is not None and not any(band.is_cast for band in dataset.bands):
            assert {band.source.dtype for band in image.bands if band.name in dataset.default_bands} == {dataset.dtype}


@pytest.mark.parametrize(("plain", "harmonized"), [("S2_SR", "S2_SR_HARMONIZED"), ("S2", "S2_HARMONIZED")])
@pytest.mark.parametrize(("start", "offset"), [((2021, 6, 1), 0), ((2022, 6, 1), 1000)])
def test_reflectances_that_are_not_harmonized_have_an_offset_from_2022_on(
    plain: str, harmonized: str, start: tuple[int, int, int], offset: int
) -> None:
    """See https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR."""
    before, after = first(f"COPERNICUS/{plain}", start), first(f"COPERNICUS/{harmonized}", start)
    assert before.properties["system:index"] == after.properties["system:index"]
    window = window_at(before, -105.05, 40.25, band=1)
    bands = ("B2", "B3", "B4", "B8")
    with_offset, valid = read(before, bands, window)
    without, _ = read(after, bands, window)
    assert valid.all()
    assert np.array_equal(with_offset, without + offset)


def test_the_top_of_the_atmosphere_is_brighter_in_blue() -> None:
    top, surface = first("COPERNICUS/S2_HARMONIZED", (2021, 6, 1)), first("COPERNICUS/S2_SR_HARMONIZED", (2021, 6, 1))
    assert [band.name for band in top.bands][9:13] == ["B9", "B10", "B11", "B12"]
    assert "SCL" not in {band.name for band in top.bands}
    window = window_at(top, -105.05, 40.25, band=1)
    high, valid = read(top, ("B2", "B8"), window)
    low, _ = read(surface, ("B2", "B8"), window)
    assert valid.all()
    assert np.median(high[0] - low[0]) > 300
    assert abs(np.median(high[1] - low[1])) < 100


def test_vegetation_indices_follow_from_the_reflectances() -> None:
    image = first("MODIS/061/MOD13A2", (2021, 7, 1))
    names = ("NDVI", "EVI", "sur_refl_b01", "sur_refl_b02", "sur_refl_b03")
    values, valid = read(image, names, window_at(image, *FARMS))
    assert valid.any()
    ndvi, evi, red, nir, blue = values[:, valid.all(axis=0)] * 0.0001
    # Pixels are read between painted cells, each band by itself: ratios agree nearly.
    for index, expected in (
        (ndvi, (nir - red) / (nir + red)),
        (evi, 2.5 * (nir - red) / (nir + 6.0 * red - 7.5 * blue + 1.0)),
    ):
        assert np.median(np.abs(index - expected)) < 0.005
        assert np.quantile(np.abs(index - expected), 0.99) < 0.03
    assert 0.1 < ndvi.mean() < 0.9


def test_vegetation_is_greener_in_summer() -> None:
    image = first("MODIS/061/MOD13A2", (2021, 7, 1))
    window = window_at(image, *FARMS)
    summer, _ = read(image, ("NDVI",), window)
    winter, _ = read(first("MODIS/061/MOD13A2", (2021, 1, 1)), ("NDVI",), window)
    assert summer.mean() > winter.mean() + 1000


def test_windows_of_vegetation_agree_with_each_other() -> None:
    image = first("MODIS/061/MOD13Q1", (2021, 7, 1))
    whole, _ = read(image, ("NDVI",), PixelWindow(47000, 24500, 96, 96))
    part, _ = read(image, ("NDVI",), PixelWindow(47040, 24550, 32, 32))
    assert np.array_equal(whole[:, 50:82, 40:72], part)


def test_versions_of_a_modis_product_show_the_same() -> None:
    old, new = first("MODIS/006/MOD11A2", (2020, 7, 1)), first("MODIS/061/MOD11A2", (2020, 7, 1))
    window = window_at(old, *FARMS, 32)
    assert old.properties["system:index"] == new.properties["system:index"]
    for one, other in zip(read(old, ("LST_Day_1km",), window), read(new, ("LST_Day_1km",), window), strict=True):
        assert np.array_equal(one, other)
    ended = STORE.get("MODIS/006/MOD11A2")
    assert not list(ended.images(Query(start=millis(2023, 2, 17))))  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("collection", "band", "codes"),
    [
        ("USDA/NASS/CDL", "cropland", {value for value, _, _ in us_landcover.CDL_LEGEND}),
        ("USGS/NLCD_RELEASES/2021_REL/NLCD", "landcover", {value for value, _, _ in us_landcover.NLCD_LEGEND}),
    ],
)
def test_codes_of_land_cover_are_those_of_the_legend(collection: str, band: str, codes: set[int]) -> None:
    image = first(collection, (2021, 1, 1))
    seen: set[int] = set()
    for longitude, latitude in ((-104.6, 40.4), (-105.6, 40.0), (-98.0, 38.0), (-93.0, 42.0), (-84.4, 33.8)):
        values, valid = read(image, (band,), window_at(image, longitude, latitude, 256))
        assert valid.all()
        seen |= {int(value) for value in np.unique(values)}
    assert seen <= codes
    assert len(seen) >= 8
    assert image.properties[f"{band}_class_values"] == sorted(codes)


def test_land_cover_of_the_united_states_ends_at_its_borders() -> None:
    image = first("USGS/NLCD_RELEASES/2021_REL/NLCD", (2021, 1, 1))
    _, valid = read(image, ("landcover",), window_at(image, -100.0, 50.5))
    assert not valid.any()
    _, valid = read(image, ("landcover",), window_at(image, -100.0, 48.0))
    assert valid.all()


@pytest.mark.slow
def test_crops_change_from_year_to_year_and_forests_stay() -> None:
    place = (-98.0, 38.0)
    before, after = first("USDA/NASS/CDL", (2020, 1, 1)), first("USDA/NASS/CDL", (2021, 1, 1))
    window = window_at(before, *place, 256)
    one, other = read(before, ("cropland",), window)[0], read(after, ("cropland",), window)[0]
    fields = (one < 100) & (other < 100)
    assert fields.mean() > 0.2
    assert 0.2 < (one[fields] != other[fields]).mean() < 0.95


@pytest.mark.parametrize("name", ["USGS/SRTMGL1_003", "CGIAR/SRTM90_V4", "NASA/NASADEM_HGT/001"])
def test_heights_are_whole_in_every_tile_that_has_land(name: str) -> None:
    """As in the mission's tiles of a degree: zero at sea, nothing only where a tile has no land."""
    image = STORE.get(name)
    assert isinstance(image, ImageAsset)
    # San Francisco's degree: coast, bay and open sea.
    for longitude, latitude in ((-122.95, 37.05), (-122.4, 37.8), (-122.95, 37.95), (-122.05, 37.05)):
        values, valid = read(image, ("elevation",), window_at(image, longitude, latitude, 32))
        assert valid.all()
        assert values.min() >= 0.0
    values, valid = read(image, ("elevation",), window_at(image, -140.5, 30.5, 32))
    assert not valid.any()


@pytest.mark.slow
def test_counties_have_the_codes_of_their_states() -> None:
    states = {row.properties["STATEFP"]: row for row in STORE.get("TIGER/2018/States").rows(Query())}  # type: ignore[union-attr]
    counties = list(STORE.get("TIGER/2018/Counties").rows(Query()))  # type: ignore[union-attr]
    assert len({row.properties["GEOID"] for row in counties}) == len(counties) > 500
    for row in counties:
        assert row.properties["GEOID"] == row.properties["STATEFP"] + row.properties["COUNTYFP"]
        assert row.geometry.representative_point().within(states[row.properties["STATEFP"]].geometry.buffer(1e-6))


@pytest.mark.slow
def test_cloud_probabilities_are_of_the_same_images_and_clouds() -> None:
    query = Query(bounds=PLACE, start=millis(2020, 6, 1), end=millis(2020, 7, 15))
    named = {}
    for collection in ("S2_SR_HARMONIZED", "S2_CLOUD_PROBABILITY"):
        found = STORE.get(f"COPERNICUS/{collection}").images(query)  # type: ignore[union-attr]
        named[collection] = {image.properties["system:index"]: image for image in found}
    surface, clouds = named.values()
    assert list(surface) == list(clouds)
    cover = []
    for index, image in surface.items():
        fine = window_at(clouds[index], -105.05, 40.25, 256)
        likely = read(clouds[index], ("probability",), fine)[0][0]
        opaque = read(image, ("MSK_CLDPRB",), PixelWindow(fine.column // 2, fine.row // 2, 128, 128))[0][0]
        assert 0 <= likely.min() <= likely.max() <= 100
        cover.append(((likely > 40).mean(), (opaque > 15).mean()))
    assert max(share for share, _ in cover) > 0.1
    assert all(abs(share - other) < 0.1 for share, other in cover)
