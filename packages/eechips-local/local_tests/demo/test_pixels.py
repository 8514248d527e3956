"""Pixels of the demo planet: the same in every window, on every machine, in every neighbouring image."""

from __future__ import annotations

import hashlib
import pickle
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from eechips_local.demo import DemoStore
from eechips_local.demo.land import natural_cover, terrain
from eechips_local.demo.land.ground_cover import ground
from eechips_local.demo.painting.mercator import SIZE, Rect, latitude_of, longitude_of, x_of, y_of
from eechips_local.demo.painting.noise import gradient
from eechips_local.demo.weather import climate
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelWindow, Query, RasterSource
from eechips_local.pixels.grids.pixel_grid import PixelGrid, parse_crs
from eechips_local.pixels.lazy_image import Render
from eechips_local.pixels.stored_image import PixelSource, stored_image
from local_tests.support.parameters import slow_except

STORE = DemoStore(date(2025, 1, 1))
FRONT_RANGE = (-105.0, 39.5)


def images(collection: str, place: tuple[float, float], start: str, end: str) -> Iterator[ImageAsset]:
    found = STORE.get(collection)
    times = [float(np.datetime64(day, "ms").astype(np.int64)) for day in (start, end)]
    return found.images(Query(bounds=(*place, *place), start=times[0], end=times[1]))  # type: ignore[union-attr]


@cache
def samples() -> dict[str, tuple[BandInfo, int, int]]:
    """A band of every kind of image, and a pixel near the Front Range in it."""
    naip = next(images("USDA/NAIP/DOQQ", FRONT_RANGE, "2015-01-01", "2016-01-01"))
    fine = next(images("USDA/NAIP/DOQQ", FRONT_RANGE, "2021-01-01", "2022-01-01"))
    modis = next(images("MODIS/061/MOD11A2", FRONT_RANGE, "2015-07-04", "2015-07-12"))
    daily = next(images("MODIS/061/MOD11A1", FRONT_RANGE, "2015-07-04", "2015-07-12"))
    sentinel = next(images("COPERNICUS/S2_SR_HARMONIZED", FRONT_RANGE, "2020-07-01", "2020-08-01"))
    score = next(images("GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED", FRONT_RANGE, "2020-07-01", "2020-08-01"))
    world = next(images("GOOGLE/DYNAMICWORLD/V1", FRONT_RANGE, "2020-07-01", "2020-09-01"))
    landsat = next(images("LANDSAT/LC09/C02/T1_L2", FRONT_RANGE, "2022-07-01", "2022-08-01"))
    cover = next(images("ESA/WorldCover/v200", FRONT_RANGE, "2021-01-01", "2022-01-01"))
    climate = next(images("ECMWF/ERA5_LAND/MONTHLY_AGGR", FRONT_RANGE, "2020-01-01", "2020-02-01"))
    radar = next(images("COPERNICUS/S1_GRD", FRONT_RANGE, "2020-07-01", "2020-08-01"))
    embedding = next(images("GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL", FRONT_RANGE, "2020-01-01", "2021-01-01"))
    harmonized = next(images("NASA/HLS/HLSL30/v002", FRONT_RANGE, "2020-06-01", "2020-08-01"))
    dem = STORE.get("USGS/SRTMGL1_003")
    water = STORE.get("JRC/GSW1_4/GlobalSurfaceWater")
    assert isinstance(dem, ImageAsset)
    assert isinstance(water, ImageAsset)
    bands = {
        "naip": naip.bands[0],
        "naip fine": fine.bands[3],
        "lst": modis.bands[0],
        "lst night": daily.bands[4],
        "s2 red": sentinel.bands[3],
        "s2 scl": sentinel.bands[14],
        "s2 aerosol": sentinel.bands[0],
        "cloud score": score.bands[0],
        "label": world.bands[9],
        "landsat nir": landsat.bands[4],
        "landsat qa": landsat.bands[17],
        "worldcover": cover.bands[0],
        "era5": climate.bands[1],
        "srtm": dem.bands[0],
        "s1 vh": radar.bands[1],
        "embedding": embedding.bands[16],
        "hls red": harmonized.bands[3],
        "hls fmask": harmonized.bands[10],
        "rain": next(images("UCSB-CHG/CHIRPS/DAILY", FRONT_RANGE, "2020-06-10", "2020-06-11")).bands[0],
        "lights": next(images("NOAA/VIIRS/DNB/MONTHLY_V1/VCMSLCFG", FRONT_RANGE, "2020-06-01", "2020-07-01")).bands[0],
        "modis cover": next(images("MODIS/061/MCD12Q1", FRONT_RANGE, "2020-01-01", "2021-01-01")).bands[0],
        "surface": next(images("COPERNICUS/DEM/GLO30", FRONT_RANGE, "2010-01-01", "2011-01-01")).bands[0],
        "water": water.bands[0],
    }
    return {name: (band, *pixel(band, *FRONT_RANGE)) for name, band in bands.items()}


def pixel(band: BandInfo, longitude: float, latitude: float) -> tuple[int, int]:
    crs = parse_crs(band.grid.crs)
    x, y = Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(longitude, latitude)
    column, row = ~band.grid.transform * (x, y)
    return int(column), int(row)


def read(band: BandInfo, window: PixelWindow, level: int = 0) -> tuple[npt.NDArray, npt.NDArray]:
    values, valid = band.source.read([band.index], window, level)
    return values[0], valid[0]


NAMES = (
    "naip", "naip fine", "lst", "lst night", "s2 red", "s2 scl", "s2 aerosol", "cloud score", "label", "landsat nir",
    "landsat qa", "worldcover", "era5", "srtm",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_any_window_is_the_crop_of_a_larger_one(name: str, data: st.DataObject) -> None:
    band, column, row = samples()[name]
    level = data.draw(st.integers(0, min(4, len(band.source.levels) - 1)), label="level")
    factor = band.source.levels[level]
    grid = band.grid.level(factor)
    # Wider than the blocks in which pixels are painted.
    width, height = min(300, grid.width), min(280, grid.height)
    left = min(max(0, column // factor - data.draw(st.integers(0, 299), label="left")), grid.width - width)
    top = min(max(0, row // factor - data.draw(st.integers(0, 279), label="top")), grid.height - height)
    values, valid = read(band, PixelWindow(left, top, width, height), level)
    assert values.shape == valid.shape == (height, width)
    for _ in range(2):
        dx, dy = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        w, h = data.draw(st.integers(1, width - dx)), data.draw(st.integers(1, height - dy))
        part, seen = read(band, PixelWindow(left + dx, top + dy, w, h), level)
        assert np.array_equal(seen, valid[dy : dy + h, dx : dx + w])
        assert np.array_equal(part[seen], values[dy : dy + h, dx : dx + w][seen])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["naip", "naip fine", "s2 red", "s2 scl", "label", "landsat nir", "landsat qa", "s1 vh", "embedding", "hls red"],
)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_picked_pixels_are_those_of_the_window(name: str, data: st.DataObject) -> None:
    band, column, row = samples()[name]
    assert isinstance(band.source, PixelSource)
    values, valid = read(band, PixelWindow(column - 200, row - 180, 400, 330))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    # A scatter of pixels, and rows and columns that are left out, over more than one piece.
    shape = (random.integers(1, 300), random.integers(1, 300))
    for columns, rows in (
        (random.integers(0, 400, shape), random.integers(0, 330, shape)),
        (np.sort(random.integers(0, 400, (1, shape[1]))), np.sort(random.integers(0, 330, (shape[0], 1)), axis=0)),
    ):
        picked = band.source.pick([band.index], columns + (column - 200), rows + (row - 180), 0)
        assert picked is not None
        assert np.array_equal(picked[0][0], values[rows, columns])
        assert np.array_equal(picked[1][0], valid[rows, columns])


@pytest.mark.parametrize("name", ["lst", "worldcover", "srtm"])
def test_pixels_whose_pitch_depends_on_the_row_are_not_picked(name: str) -> None:
    band, column, row = samples()[name]
    assert band.source.pick([band.index], np.array([[column]]), np.array([[row]]), 0) is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", [(-105.0, 39.5), (-105.0625, 39.5), (-108.0, 39.5312)])
@pytest.mark.parametrize("angle", slow_except([0.0, 31.0], 31.0))
def test_images_that_are_picked_are_those_that_are_read(place: tuple[float, float], angle: float) -> None:
    """In the middle of a quad, on the edge of one, and at its corner."""
    transform = Affine.translation(*place) * Affine.rotation(angle) * Affine.scale(1.2e-5, -0.9e-5)
    grid = PixelGrid("EPSG:4326", transform * Affine.translation(-140, -100), 280, 200)
    image = next(images("USDA/NAIP/DOQQ", place, "2021-01-01", "2022-01-01"))
    whole = [replace(band, source=Whole(band.source)) for band in image.bands]
    made = [stored_image(image), stored_image(replace(image, bands=tuple(whole)))]
    found, expected = (Render().read(some.bands[:3], grid) for some in made)
    for got, want in zip(found, expected, strict=True):
        assert np.array_equal(got.valid, want.valid)
        assert np.array_equal(got.values[got.valid], want.values[got.valid])
    assert expected[0].valid.any()


@dataclass(frozen=True)
class Whole:
    """A source that can only be read by windows."""

    source: RasterSource

    @property
    def levels(self) -> tuple[int, ...]:
        return self.source.levels

    def read(self, bands: Sequence[int], window: PixelWindow, level: int) -> tuple[npt.NDArray, npt.NDArray]:
        return self.source.read(bands, window, level)


# The planet is the same on every machine and for ever. Positions are rounded to 1/4096 of a unit; all else is integer
# arithmetic and + - * / sqrt, so the last bits of sines and logarithms, which differ between machines, do not show.
GOLDEN: dict[str, str] = {
    "naip": "be15b9ef087c0c4f",
    "naip fine": "3a133c7e44061e96",
    "lst": "092c0ed72e4de2e8",
    "lst night": "140dd5c6a65aaec8",
    "s2 red": "bfa14d76eed6abb1",
    "s2 scl": "ea53984993deac56",
    "s2 aerosol": "bf52a81b4ab5ecf9",
    "cloud score": "402006784ae8076e",
    "label": "30589104f7c9a1ec",
    "landsat nir": "21369e053520f0a5",
    "landsat qa": "73fa0c2b09ebf602",
    "worldcover": "218b709829809da2",
    "era5": "da28be3127aa8875",
    "srtm": "d67dd2b184c7182a",
    "s1 vh": "e1c2a2342c30801e",
    "embedding": "5d19dc282fe87cf7",
    "hls red": "5b57ed3b63d671ce",
    "hls fmask": "1199b0582efb89af",
    "rain": "2b2538d989c765fe",
    "lights": "e34c2a0856513954",
    "modis cover": "44e09a0845ee61de",
    "surface": "fb8b595a10a7bfbf",
    "water": "e626ae0467aa6f22",
}


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_pixels_never_change(name: str) -> None:
    assert digest(name) == GOLDEN[name]


def digest(name: str) -> str:
    band, column, row = samples()[name]
    values, valid = read(band, PixelWindow(column - 60, row - 50, 120, 100))
    return hashlib.sha256(values.tobytes() + valid.tobytes()).hexdigest()[:16]


def test_noise_never_changes() -> None:
    x = np.arange(40, dtype=np.float64)[None, :] * 37.25
    y = np.arange(30, dtype=np.float64)[:, None] * 91.5
    waves = gradient(x, y, [(4, 1), (9, 2), (20, 3)])
    assert hashlib.sha256(waves.tobytes()).hexdigest()[:16] == NOISE
    assert np.abs(waves).max() < 1.6


NOISE = "de2046ea19a8eac8"


@pytest.mark.parametrize("step", [0.01, 3.0, 5000.0])
def test_noise_of_many_places_is_that_of_few(step: float) -> None:
    """Many places share nodes of the lattice, few places or wide ones do not."""
    random = np.random.default_rng(1)
    x, y = np.cumsum(random.random((90, 400)) * step, axis=1), np.cumsum(random.random((90, 400)) * step, axis=0)
    octaves = [(4, 1), (9, 2), (20, 3)]
    many = gradient(x, y, octaves)
    for row in (0, 50, 89):
        few = gradient(x[row : row + 1], y[row : row + 1], octaves)
        assert many[:, row : row + 1].tobytes() == few.tobytes()


@pytest.mark.parametrize("step", [0.01, 3.0, 300.0])
def test_noise_of_a_wide_grid_needs_the_memory_of_a_small_one(step: float) -> None:
    """Short waves have 300 nodes between neighbouring pixels of a map of the world."""
    x, y = (np.cumsum(np.random.default_rng(1).random(count)) * step for count in (400, 90))
    octaves = [(4, 1), (9, 2), (20, 3)]
    tracemalloc.start()
    try:
        many = gradient(x[None, :], y[:, None], octaves)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * many.nbytes
    for row in (0, 50, 89):
        assert many[:, row : row + 1].tobytes() == gradient(x[None, :], y[row : row + 1, None], octaves).tobytes()


def test_dates_of_a_place_share_what_stays() -> None:
    rect = Rect(8, int(x_of(-104.5)) // 8, int(y_of(40.4)) // 8, 200, 150)
    summer, winter = ground(rect, date(2021, 7, 1)), ground(rect, date(2021, 1, 1), -4000.0)
    assert winter.terrain is summer.terrain
    assert not np.array_equal(winter.layers["crop"].mix, summer.layers["crop"].mix)
    assert "snow" in winter.layers
    assert "snow" not in summer.layers
    for elsewhere in range(10):
        ground(replace(rect, column=elsewhere), date(2021, 7, 1))
    again = ground(rect, date(2021, 7, 1))
    assert again.terrain is not summer.terrain  # a few are cached
    assert np.array_equal(again.reflectance(["red", "nir"]), summer.reflectance(["red", "nir"]))


def test_the_plane_closes_at_the_antimeridian() -> None:
    x, y = np.linspace(-5000.0, 5000.0, 50)[None, :], np.linspace(1.2e7, 1.2e7 + 3000.0, 20)[:, None]
    octaves = [(10, 5), (14, 6), (18, 7)]
    np.testing.assert_allclose(gradient(x, y, octaves), gradient(x + SIZE, y, octaves), atol=1e-9)


@given(st.floats(-180, 180), st.floats(-84, 84))
def test_positions_come_back_from_the_plane(longitude: float, latitude: float) -> None:
    oracle = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    east, north = oracle.transform(longitude, latitude)
    metres = 2 * np.pi * 6378137.0 / SIZE
    assert float(x_of(longitude)) == pytest.approx((east + np.pi * 6378137.0) / metres, abs=1e-3)
    assert float(y_of(latitude)) == pytest.approx((np.pi * 6378137.0 - north) / metres, abs=1e-3)
    assert float(longitude_of(x_of(longitude))) == pytest.approx(longitude, abs=1e-8)
    assert float(latitude_of(y_of(latitude))) == pytest.approx(latitude, abs=1e-8)


@pytest.mark.parametrize(
    ("place", "year"), [((-108.0, 38.6), 2015), ((-105.5, 39.75), 2015), ((-102.0, 33.5), 2016), ((-114.0, 36.2), 2015)]
)
def test_neighbouring_images_show_the_same_ground(place: tuple[float, float], year: int) -> None:
    """Across edges of quads and of UTM zones (at 108, 102 and 114 degrees west)."""
    found = list(images("USDA/NAIP/DOQQ", place, f"{year}-01-01", f"{year + 1}-01-01"))
    assert len({image.bands[0].grid.crs for image in found}) == (2 if place[0] in (-108.0, -102.0, -114.0) else 1)
    longitudes, latitudes = np.meshgrid(np.linspace(-0.0008, 0.0008, 60), np.linspace(-0.0008, 0.0008, 60))
    views = []
    for image in found:
        band = image.bands[0]
        crs = parse_crs(band.grid.crs)
        project = Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
        x, y = project.transform(place[0] + longitudes, place[1] + latitudes)
        columns, rows = ~band.grid.transform * (x, y)
        left, top = int(columns.min()), int(rows.min())
        values, valid = read(band, PixelWindow(left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1))
        assert valid.all()
        views.append(values[rows.astype(int) - top, columns.astype(int) - left].astype(float))
    assert len(views) >= 2
    for view in views[1:]:
        # Pixels of one image fall between those of another: half a pixel of difference is all there may be.
        assert np.corrcoef(view.ravel(), views[0].ravel())[0, 1] > 0.75
        assert abs(view.mean() - views[0].mean()) < 1.5


@pytest.mark.parametrize("name", ["naip", "s2 red", "srtm", "landsat nir"])
def test_coarse_levels_show_what_fine_ones_do(name: str) -> None:
    band, column, row = samples()[name]
    for level in (2, 3):
        factor = band.source.levels[level]
        left, top = column // factor * factor - 128, row // factor * factor - 128
        fine, _ = read(band, PixelWindow(left, top, 256, 256))
        coarse, _ = read(band, PixelWindow(left // factor, top // factor, 256 // factor, 256 // factor), level)
        spread = max(4.0, 0.15 * float(fine.mean()))
        assert abs(float(fine.mean()) - float(coarse.mean())) < spread
        assert coarse.std() <= fine.std() * 1.2


def test_the_last_level_is_one_pixel() -> None:
    for band, _, _ in samples().values():
        grid = band.grid.level(band.source.levels[-1])
        assert (grid.width, grid.height) == (1, 1)
        values, _ = read(band, PixelWindow(0, 0, 1, 1), len(band.source.levels) - 1)
        assert values.shape == (1, 1)


def test_pixels_have_the_documented_types() -> None:
    kinds = {
        "naip": "uint8",
        "lst": "uint16",
        "s2 red": "uint16",
        "s2 scl": "uint8",
        "era5": "float32",
        "srtm": "int16",
    }
    for name, dtype in kinds.items():
        band, column, row = samples()[name]
        assert read(band, PixelWindow(column, row, 3, 2))[0].dtype == dtype
        assert band.pixel_type.precision == ("float" if dtype == "float32" else "int")


@pytest.mark.slow
def test_sources_travel_between_processes_and_threads() -> None:
    band, column, row = samples()["naip"]
    window = PixelWindow(column - 40, row - 40, 80, 80)
    expected = read(band, window)[0]
    copy = pickle.loads(pickle.dumps(band))
    assert copy == band
    with ThreadPoolExecutor(8) as pool:
        for values, _ in pool.map(lambda _: read(copy, window), range(24)):
            assert np.array_equal(values, expected)


@pytest.mark.slow
def test_the_antimeridian_and_the_poles_can_be_read() -> None:
    asset = STORE.get("MODIS/061/MOD11A2/2015_07_04")
    assert isinstance(asset, ImageAsset)
    band = asset.bands[0]
    for column, row in ((0, 0), (21590, 0), (21590, 21580), (43180, 10800), (33600, 2600)):
        values, valid = read(band, PixelWindow(column, row, 20, 20))
        assert values.shape == valid.shape == (20, 20)
    assert not read(band, PixelWindow(0, 0, 20, 20))[1].any()
    for tile in images("COPERNICUS/S2_SR_HARMONIZED", (179.95, 66.5), "2020-07-01", "2020-07-20"):
        values, valid = read(tile.bands[3], PixelWindow(5000, 5000, 64, 64))
        assert valid.all()
        assert values.min() >= 1


def test_what_follows_from_a_relief_alone_is_computed_once() -> None:
    land = terrain.terrain(Rect(4096, 3000, 7000, 40, 30))
    dry, trees = climate.dryness(land), natural_cover.tree_density(land)
    assert climate.dryness(land) is dry
    assert natural_cover.tree_density(land) is trees
    assert not dry.flags.writeable
    assert dry.shape == land.height.shape
