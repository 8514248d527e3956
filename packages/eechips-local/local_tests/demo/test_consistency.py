"""The demo planet makes sense: water runs in valleys, plants follow the seasons, heights are cold."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from eechips_local.demo import DemoStore, land_character
from eechips_local.demo.land import farmland, ground_cover, landcover, terrain, texture
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.mercator import SIZE, Rect, x_of, y_of
from eechips_local.demo.weather import climate
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from local_tests.support.call_counts import count_calls

STORE = DemoStore(date(2025, 1, 1))
PLACES = {"prairie": (-103.2, 39.5), "rockies": (-106.2, 39.3), "plateau": (-108.8, 38.2), "wyoming": (-108.6, 40.8)}


def rect(name: str, pitch: int, cells: int = 256) -> Rect:
    longitude, latitude = PLACES[name]
    return Rect(pitch, int(x_of(longitude) // pitch), int(y_of(latitude) // pitch), cells, cells)


@cache
def relief(name: str) -> terrain.Terrain:
    return terrain.terrain(rect(name, 64, 512))


@pytest.mark.slow
@pytest.mark.parametrize("name", PLACES)
def test_streams_lie_in_valleys(name: str) -> None:
    land = relief(name)
    for order, out in ((0, 3000.0), (1, 1200.0)):
        distance = np.abs(land.streams[order])
        others = np.abs(land.streams[1 - order]) > 2.0 * out
        on, beside = (distance < 80.0) & others, (distance > out) & (distance < 2.0 * out) & others
        if on.sum() > 50:
            assert np.median(land.height[on]) < np.median(land.height[beside])


@pytest.mark.slow
def test_lakes_are_level() -> None:
    for name in PLACES:
        land = relief(name)
        lake = land.lake > 0.0
        if lake.any():
            assert np.quantile(land.slope[lake], 0.9) < 0.03


@pytest.mark.slow
def test_heights_are_those_of_colorado() -> None:
    means = {name: float(relief(name).height.mean()) for name in PLACES}
    assert 1200 < means["prairie"] < 1700
    assert means["rockies"] == max(means.values())
    whole = terrain.terrain(Rect(1024, int(x_of(-109.05) // 1024), int(y_of(41.0) // 1024), 636, 480))
    assert 3700 < whole.height.max() < 4700
    assert 900 < whole.height.min() < 1700


def green(name: str, band: str = "B8", month: int = 7) -> float:
    longitude, latitude = PLACES[name]
    collection = STORE.get("COPERNICUS/S2_SR_HARMONIZED")
    start = float(np.datetime64(f"2020-{month:02d}-01", "ms").astype(np.int64))
    images = collection.images(Query((longitude, latitude, longitude, latitude), start, start + 31 * 86_400_000.0))  # type: ignore[union-attr]
    clear = min(images, key=lambda i: (i.properties["CLOUDY_PIXEL_PERCENTAGE"], i.id))
    near, red = (next(b for b in clear.bands if b.name == n) for n in (band, "B4"))
    # Many fields: each crop has a season of its own.
    level = near.source.levels.index(8)
    column, row = _pixel(near.grid.level(8), longitude, latitude)
    values, _ = near.source.read([near.index, red.index], PixelWindow(column - 60, row - 60, 120, 120), level)
    nir, visible = values.astype(float)
    return float(((nir - visible) / (nir + visible)).mean())


def _pixel(grid, longitude: float, latitude: float) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform(longitude, latitude)
    column, row = ~grid.transform * (x, y)
    return int(column), int(row)


@pytest.mark.slow
def test_vegetation_follows_season_and_land() -> None:
    assert green("prairie", month=7) > green("prairie", month=1) + 0.08
    assert green("rockies", month=7) > green("plateau", month=7) + 0.1
    # Conifers stay green where there is no snow on the ground in between.
    assert (
        climate.season_of_growth(39.0, date(2020, 7, 10))
        > 0.9
        > 0.3
        > climate.season_of_growth(39.0, date(2020, 1, 10))
    )
    assert climate.season_of_growth(-35.0, date(2020, 1, 10)) > climate.season_of_growth(-35.0, date(2020, 7, 10))


@cache
def lst(day: str) -> tuple[npt.NDArray, npt.NDArray]:
    image = STORE.get(f"MODIS/061/MOD11A2/{day}")
    assert isinstance(image, ImageAsset)
    band = image.bands[0]
    values, valid = band.source.read([0, 4], PixelWindow(11350, 5930, 700, 300), 0)
    return values * 0.02 - 273.15, valid


@pytest.mark.slow
def test_surface_temperature_makes_sense() -> None:
    summer, seen = lst("2015_07_04")
    winter, also = lst("2015_01_01")
    both = seen & also
    assert summer[0][both[0]].mean() > winter[0][both[0]].mean() + 15.0
    # Days are warmer than nights.
    known = seen[0] & seen[1]
    assert (summer[0][known] > summer[1][known]).mean() > 0.99
    # Clouds leave gaps, but not everywhere.
    assert 0.5 < seen.mean() < 1.0
    assert 0.5 < np.mean([lst(d)[1].mean() for d in ("2015_07_04", "2015_01_01", "2015_04_07")]) < 0.999
    # The Rockies are colder than the plains.
    assert summer[0][:, 200:300][seen[0][:, 200:300]].mean() > -10


def test_heights_are_cold_and_seas_are_masked() -> None:
    land = terrain.terrain(Rect(1024, int(x_of(-107.5) // 1024), int(y_of(40.5) // 1024), 300, 300))
    air = climate.mean_temperature(land, 200)
    assert np.corrcoef(air.ravel(), land.height.ravel())[0, 1] < -0.95
    image = STORE.get("MODIS/061/MOD11A2/2015_07_04")
    assert isinstance(image, ImageAsset)
    # The middle of the Atlantic.
    assert not image.bands[0].source.read([0], PixelWindow(18000, 7000, 40, 40), 0)[1].any()


@pytest.mark.parametrize("name", PLACES)
def test_shares_of_land_cover_add_up(name: str) -> None:
    ground = ground_cover.ground(rect(name, 8), date(2021, 7, 1))
    parts = landcover.shares(ground)
    assert parts.min() >= 0.0
    np.testing.assert_allclose(parts.sum(axis=0), 1.0, atol=1e-4)


@pytest.mark.slow
def test_land_cover_differs_between_ecoregions() -> None:
    parts = {}
    for name in PLACES:
        # Many small pieces of a large area.
        corner = rect(name, 32, 400)
        parts[name] = dict(
            zip(
                landcover.CLASSES,
                landcover.shares(ground_cover.ground(corner, date(2021, 7, 1))).mean(axis=(1, 2)),
                strict=True,
            )
        )
    assert parts["prairie"]["crop"] > 0.3
    assert parts["rockies"]["tree"] > 0.4
    assert parts["wyoming"]["shrub"] > 0.2
    assert parts["plateau"]["bare"] > 0.2
    assert max(parts[n]["crop"] for n in ("rockies", "plateau", "wyoming")) < 0.2


@pytest.mark.slow
def test_world_cover_is_what_photographs_show() -> None:
    """Forest is dark in the red, fields and steppe are not."""
    longitude, latitude = PLACES["rockies"]
    naip = STORE.get("USDA/NAIP/DOQQ")
    photograph = next(iter(naip.images(Query((longitude, latitude, longitude, latitude), 1.6e12, 1.64e12))))  # type: ignore[union-attr]
    world = next(iter(STORE.get("ESA/WorldCover/v200").images(Query())))  # type: ignore[union-attr]
    grid = world.bands[0].grid
    level = photograph.bands[0].source.levels.index(16)
    coarse = photograph.bands[0].grid.level(16)
    reds, codes = [], []
    values, _ = photograph.bands[0].source.read([0], PixelWindow(50, 50, 200, 200), level)
    from pyproj import Transformer

    back = Transformer.from_crs(coarse.crs, "EPSG:4269", always_xy=True)
    for row in range(60, 240, 12):
        for column in range(60, 240, 12):
            x, y = coarse.transform * (column + 0.5, row + 0.5)
            east, north = back.transform(x, y)
            i, j = ~grid.transform * (east, north)
            codes.append(int(world.bands[0].source.read([0], PixelWindow(int(i), int(j), 1, 1), 0)[0][0, 0, 0]))
            reds.append(int(values[0, row - 50, column - 50]))
    found, red = np.array(codes), np.array(reds)
    assert {10} <= set(found.tolist()) <= {10, 20, 30, 40, 50, 60, 70, 80}
    if (found != 10).sum() > 5:
        assert red[found == 10].mean() < red[found != 10].mean()


def test_dates_have_clouds_of_their_own() -> None:
    longitude, latitude = PLACES["prairie"]
    images = list(
        STORE.get("LANDSAT/LC08/C02/T1_L2").images(  # type: ignore[union-attr]
            Query((longitude, latitude, longitude, latitude), 1.52e12, 1.60e12)
        )
    )
    cloudy = np.array([i.properties["CLOUD_COVER"] for i in images])
    assert (cloudy < 10).mean() > 0.3
    assert (cloudy > 40).mean() > 0.05
    worst, best = images[int(cloudy.argmax())], images[int(cloudy.argmin())]
    quality = {}
    for name, image in (("worst", worst), ("best", best)):
        band = next(b for b in image.bands if b.name == "QA_PIXEL")
        level = band.source.levels.index(64)
        coarse = band.grid.level(64)
        values, valid = band.source.read([band.index], PixelWindow(0, 0, coarse.width, coarse.height), level)
        quality[name] = float(((values[0] >> 3) & 1)[valid[0]].mean()) * 100.0
        assert quality[name] == pytest.approx(image.properties["CLOUD_COVER"], abs=25.0)
    assert quality["worst"] > quality["best"]


def test_textures_are_periodic_and_share_views() -> None:
    here, there = Rect(1, 10, 20, 50, 40), Rect(1, 10 + 1024, 20 - 2048, 50, 40)
    for name in ("grain", "mottle", "rock", "pine", "oak_shadow", "bush"):
        assert np.array_equal(texture.part(name, here), texture.part(name, there))  # type: ignore[arg-type]
        wide = texture.part(name, Rect(1, 0, 0, 1500, 30))  # type: ignore[arg-type]
        assert np.array_equal(wide[:, 1024:1500], wide[:, :476])


def test_few_calls_paint_a_chip() -> None:
    longitude, latitude = PLACES["rockies"]
    image = next(iter(STORE.get("USDA/NAIP/DOQQ").images(Query((longitude, latitude, longitude, latitude)))))  # type: ignore[union-attr]
    source = image.bands[0].source
    source.read([0, 1, 2], PixelWindow(0, 0, 256, 256), 0)
    with count_calls() as calls:
        for n in range(8):
            source.read([0, 1, 2], PixelWindow(300 * n, 200 * n, 256, 256), 0)
    assert sum(calls.values()) / 8 < 256 * 256 / 10  # not for each pixel; some 1,700


def test_blocks_are_hashed_only_near_towns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hashes of all blocks were most of the time of coarse maps of settlement."""
    hashed = []

    def counted(*arguments: Any) -> npt.NDArray[np.float64]:
        values = draw(*arguments)
        if arguments[-1] == 525:
            hashed.append(values.size)
        return values

    draw = noise.random
    rect = Rect(1024, 241_168, 398_448, 64, 64)
    expected = farmland.settlement(rect)
    monkeypatch.setattr(noise, "random", counted)
    assert (farmland.settlement(rect) == expected).all()
    assert expected.any()
    assert 0 < sum(hashed) < (64 * 8) ** 2 / 4


def test_the_lattice_of_the_coast_has_its_values_between_the_poles_and_around_the_earth() -> None:
    lattice = land_character.coast_lattice()
    rows, columns = np.r_[0:2048:128, 2048], np.r_[0:2048:128, 2047]
    coast = land_character.coast(columns[None, :] * SIZE / 2048, rows[:, None] * SIZE / 2048, finest=99)
    np.testing.assert_array_equal(lattice[np.ix_(rows, columns)], coast)
    assert lattice.min() < 0 < lattice.max()
