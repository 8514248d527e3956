"""Rain, night lights, land cover, water and surface heights of the demo planet agree with its other sensors."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt
import pytest

from eechips import datasets
from eechips_local.demo.land import copernicus_dem
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from eechips_local.pixels.grids.pixel_grid import transformer
from local_tests.support.demo_images import FARMS, STORE, images

LAKE = (-104.54, 40.42)
FOREST = (-105.5, 39.75)
RAIN, LIGHTS = "UCSB-CHG/CHIRPS/DAILY", "NOAA/VIIRS/DNB/MONTHLY_V1/VCMSLCFG"
COVER, WATER, HEIGHTS = "MODIS/061/MCD12Q1", "JRC/GSW1_4/GlobalSurfaceWater", "COPERNICUS/DEM/GLO30_2024_1"


def single(name: str) -> ImageAsset:
    asset = STORE.get(name)
    assert isinstance(asset, ImageAsset)
    return asset


def square(place: tuple[float, float], degrees: float, count: int) -> tuple[npt.NDArray, npt.NDArray]:
    """Return longitudes and latitudes of places in a square."""
    steps = np.linspace(-degrees / 2, degrees / 2, count)
    x, y = np.meshgrid(place[0] + steps, place[1] + steps)
    return x.ravel(), y.ravel()


def sample(image: ImageAsset, name: str, x: npt.NDArray, y: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray]:
    """Return values and validity of a band at longitudes and latitudes."""
    band = next(band for band in image.bands if band.name == name)
    columns, rows = ~band.grid.transform * transformer("EPSG:4326", band.grid.crs).transform(x, y)
    i, j = np.floor(columns).astype(int), np.floor(rows).astype(int)
    window = PixelWindow(i.min(), j.min(), i.max() - i.min() + 1, j.max() - j.min() + 1)
    values, valid = band.source.read([band.index], window, 0)
    return values[0, j - window.row, i - window.column].astype(float), valid[0, j - window.row, i - window.column]


@pytest.mark.slow
@pytest.mark.parametrize("alias", ["CHIRPS", "NIGHT_LIGHTS", "MCD12Q1", "GSW", "GLO30"])
def test_bands_pixels_and_title_are_those_of_the_catalogue(alias: str) -> None:
    record = next(dataset for dataset in datasets.list_datasets() if dataset.alias == alias)
    asset = STORE.get(record.id)
    image = asset if isinstance(asset, ImageAsset) else next(iter(asset.images(Query(bounds=(*FARMS, *FARMS)))))  # type: ignore[union-attr]
    assert [band.name for band in image.bands] == [band.name for band in record.bands]
    assert asset.properties["title"] == record.title  # type: ignore[union-attr]
    assert image.bands[0].grid.nominal_scale == pytest.approx(record.pixel_size, rel=0.08)
    for band in record.bands:
        if band.classes:
            x, y = square(FARMS, 0.2, 30)
            values, valid = sample(image, band.name, x, y)
            assert set(values[valid].tolist()) <= set(map(float, band.classes))


@pytest.mark.slow
def test_rain_falls_from_clouds() -> None:
    """On days of a year on which Sentinel-2 passes."""
    x, y = square(FARMS, 0.6, 12)
    rain: dict[bool, list[float]] = {True: [], False: []}
    for scene in images("COPERNICUS/S2_SR_HARMONIZED", FARMS, (2020, 1, 1), (2021, 1, 1)):
        when = datetime.fromtimestamp(scene.properties["system:time_start"] / 1000.0, tz=timezone.utc)
        cloudy = scene.properties["CLOUDY_PIXEL_PERCENTAGE"]
        if 20.0 < cloudy < 60.0:
            continue
        day = single(f"{RAIN}/{when:%Y%m%d}")
        values, valid = sample(day, "precipitation", x, y)
        assert valid.all()
        assert values.min() >= 0.0
        rain[cloudy > 40.0].append(values.mean())
    assert min(len(rain[True]), len(rain[False])) >= 8
    assert np.mean(rain[True]) > 3.0 * np.mean(rain[False])


@pytest.mark.slow
def test_rain_of_a_month_follows_its_climate() -> None:
    daily, monthly = [], []
    x, y = square(FARMS, 2.0, 8)
    for year in (2019, 2020, 2021):
        for month in range(1, 13):
            after = (year + month // 12, month % 12 + 1, 1)
            days = images(RAIN, FARMS, (year, month, 1), after)
            daily.append(sum(sample(day, "precipitation", x, y)[0].mean() for day in days))
            climate = images("ECMWF/ERA5_LAND/MONTHLY_AGGR", FARMS, (year, month, 1), after)[0]
            monthly.append(sample(climate, "total_precipitation_sum", x, y)[0].mean())
    assert np.corrcoef(daily, monthly)[0, 1] > 0.4
    assert 150.0 < sum(daily) / 3.0 < 2500.0


@pytest.mark.slow
def test_deserts_are_drier_than_rain_forests() -> None:
    def year(place: tuple[float, float]) -> float:
        x, y = square(place, 0.3, 4)
        days = images(RAIN, place, (2020, 1, 1), (2021, 1, 1))
        return float(sum(sample(day, "precipitation", x, y)[0].mean() for day in days))

    assert year((-112.0, 36.0)) * 2.0 < year((-60.0, -4.0))


@pytest.mark.slow
def test_wet_fields_scatter_more_than_dry_ones() -> None:
    """Bare fields in winter, by the rain of the three days before."""
    x, y = square(FARMS, 0.03, 40)
    before, bright = [], []
    passes = [i for year in range(2017, 2023) for i in images("COPERNICUS/S1_GRD", FARMS, (year, 3, 1), (year, 5, 1))]
    for scene in passes:
        if scene.properties["orbitProperties_pass"] != "ASCENDING":
            continue
        start = scene.properties["system:time_start"]
        days = STORE.get(RAIN).images(Query(start=start - 3 * 86_400_000.0, end=start))  # type: ignore[union-attr]
        before.append(sum(sample(day, "precipitation", x, y)[0].mean() for day in days))
        bright.append(np.median(sample(scene, "VV", x, y)[0]))
    rain, decibels = np.array(before), np.array(bright)
    assert (rain > 3.0).sum() >= 4
    assert decibels[rain > 3.0].mean() > decibels[rain < 0.1].mean() + 0.3


@pytest.mark.slow
def test_lights_shine_where_land_is_built_up() -> None:
    x, y = square((-104.55, 40.33), 0.12, 60)
    light, valid = sample(images(LIGHTS, FARMS, (2021, 6, 1), (2021, 7, 1))[0], "avg_rad", x, y)
    built = sample(images("ESA/WorldCover/v200", FARMS, (2021, 1, 1), (2022, 1, 1))[0], "Map", x, y)[0] == 50
    assert valid.all()
    assert built.any()
    assert light[built].mean() > 4.0 * light[~built].mean()
    assert light.min() >= 0.0
    assert 5.0 < light.max() < 200.0


def test_lights_grow_and_the_sea_is_dark() -> None:
    x, y = square((-104.55, 40.33), 0.1, 30)
    first, last = (
        sample(images(LIGHTS, FARMS, (year, 6, 1), (year, 7, 1))[0], "avg_rad", x, y)[0] for year in (2014, 2024)
    )
    assert 1.02 < last.max() / first.max() < 1.4
    x, y = square((-125.5, 38.0), 0.2, 20)
    sea = sample(images(LIGHTS, FARMS, (2021, 6, 1), (2021, 7, 1))[0], "avg_rad", x, y)[0]
    assert sea.max() < 0.5


@pytest.mark.slow
def test_modis_land_cover_agrees_with_world_cover() -> None:
    year = images(COVER, FARMS, (2021, 1, 1), (2022, 1, 1))[0]
    fine = images("ESA/WorldCover/v200", FARMS, (2021, 1, 1), (2022, 1, 1))[0]
    for place, code, classes in ((FOREST, 10, (1, 2, 3, 4, 5, 8)), (FARMS, 40, (12, 14)), (LAKE, 80, (17,))):
        x, y = square(place, 0.08, 40)
        coarse, valid = sample(year, "LC_Type1", x, y)
        known = sample(fine, "Map", x, y)[0] == code
        assert valid.all()
        share = known[np.isin(coarse, classes)].mean()
        assert share > known.mean() + 0.02 or share > 0.55
    assert year.properties["LC_Type1_class_values"] == list(range(1, 18))
    x, y = square((-122.75, 37.6), 0.1, 10)  # off San Francisco
    values, valid = sample(year, "LC_Type1", x, y)
    assert valid.any()
    assert (values[valid] == 17).all()
    assert (sample(year, "LW", x, y)[0][valid] == 1).all()


@pytest.mark.slow
def test_water_lies_where_the_other_maps_have_it() -> None:
    image = single(WATER)
    x, y = square(LAKE, 0.12, 100)
    occurrence, valid = sample(image, "occurrence", x, y)
    known = sample(images("ESA/WorldCover/v200", LAKE, (2021, 1, 1), (2022, 1, 1))[0], "Map", x, y)[0] == 80
    often = valid & (occurrence > 75)
    assert known.mean() > 0.03
    assert (often == known).mean() > 0.97
    extent, everywhere = sample(image, "max_extent", x, y)
    assert everywhere.all()
    assert np.array_equal(extent == 1, valid)
    season = sample(image, "seasonality", x, y)[0]
    assert (season[often].min(), season[valid].max()) >= (9, 12)
    transition = sample(image, "transition", x, y)[0]
    assert (transition[valid & (season == 12)] == 1).all()
    assert not sample(image, "occurrence", *square(FOREST, 0.01, 9))[1].all()


@pytest.mark.slow
def test_surfaces_rise_above_the_ground_by_trees() -> None:
    surface = images(HEIGHTS, FOREST, (2010, 1, 1), (2012, 1, 1))[0]
    x, y = square(FOREST, 0.1, 80)
    high, ground = (sample(i, n, x, y)[0] for i, n in ((surface, "DEM"), (single("USGS/SRTMGL1_003"), "elevation")))
    cover = sample(images("ESA/WorldCover/v200", FOREST, (2021, 1, 1), (2022, 1, 1))[0], "Map", x, y)[0]
    assert np.median((high - ground)[cover == 10]) > 4.0
    assert abs(high - ground).mean() < 20.0
    assert np.corrcoef(high, ground)[0, 1] > 0.999


@pytest.mark.slow
def test_lakes_and_the_sea_are_marked_and_level() -> None:
    lake = images(HEIGHTS, LAKE, (2010, 1, 1), (2012, 1, 1))[0]
    x, y = square(LAKE, 0.08, 60)
    mask = sample(lake, "WBM", x, y)[0]
    assert 2 in mask
    assert (sample(lake, "EDM", x, y)[0][mask == 2] == 9).all()
    sea = images(HEIGHTS, (-122.95, 37.5), (2010, 1, 1), (2012, 1, 1))[0]
    x, y = square((-122.93, 37.1), 0.05, 20)
    assert (sample(sea, "WBM", x, y)[0] == 1).all()
    assert (sample(sea, "DEM", x, y)[0] == 0.0).all()


def test_neighbouring_tiles_of_heights_meet() -> None:
    """The last pixels of one tile are the first of the next."""
    west, east = (copernicus_dem.Degree(39, column) for column in (-106, -105))
    tiles = [single(f"{HEIGHTS}/{degree.name}") for degree in (west, east)]
    left, right = (
        tile.bands[0].source.read([0], PixelWindow(column, 1000, 40, 200), 0)[0][0]
        for tile, column in zip(tiles, (3561, 0), strict=True)
    )
    assert abs(right[:, 0] - left[:, -1]).max() < 0.01
    assert west.grid.bounds[2] == pytest.approx(east.grid.bounds[0] + 1.0 / 3600.0, abs=1e-9)


@pytest.mark.parametrize(
    ("south", "west", "columns"), [(0, 20, 3601), (49, 8, 3601), (50, 8, 2401), (61, 25, 1801), (-34, 150, 3601)]
)
def test_pixels_of_heights_widen_towards_the_poles(south: int, west: int, columns: int) -> None:
    degree = copernicus_dem.Degree(south, west)
    assert degree.grid.shape == (3601, columns)
    found = images(HEIGHTS, (west + 0.5, south + 0.5), (2010, 1, 1), (2012, 1, 1))
    assert [i.properties["system:index"] for i in found] == [degree.name]


def test_tiles_of_heights_have_the_names_of_the_product() -> None:
    assert copernicus_dem.Degree(39, -105).name == "Copernicus_DSM_10_N39_00_W105_00"
    assert copernicus_dem.Degree(-34, 18).name == "Copernicus_DSM_10_S34_00_E018_00"
