"""Clouds of the demo planet are as large and as frequent as published statistics say, and scenes agree with them."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from eechips_local.demo import DemoStore
from eechips_local.demo.borders import tessellation
from eechips_local.demo.painting import mercator, noise
from eechips_local.demo.painting.mercator import EQUATOR_UNIT, Rect, cosine_of
from eechips_local.demo.satellites import landsat, landsat_scenes
from eechips_local.demo.weather import climate, cloud_cover, sunlight
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from local_tests.support.call_counts import count_calls

STORE = DemoStore(date(2025, 1, 1))
SOMEWHERE = (-104.6, 40.4)


def skies(share: float, number: int, width: int = 96) -> npt.NDArray[np.bool_]:
    """Return where it is cloudy on squares of 1 km, shape (number, width, width)."""
    random = np.random.default_rng(2)
    places = random.integers((0, 8192), (32_768, 24_576), (number, 2))
    days = random.integers(0, 3650, number)
    return np.stack(
        [
            climate.cloudiness(Rect(1024, x, y, width, width), date(2015, 1, 1) + timedelta(int(day)), share, 3) > 0.0
            for (x, y), day in zip(places, days, strict=True)
        ]
    )


def averages(cloudy: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.float64]:
    """Return the covered shares of squares of some kilometres."""
    number, whole = len(cloudy), cloudy.shape[1] // size
    parts = cloudy[:, : whole * size, : whole * size].reshape(number, whole, size, whole, size)
    return np.asarray(parts.mean((2, 4)))


@pytest.mark.slow
def test_squares_are_clear_as_often_as_from_space() -> None:
    """Where 70% of squares of 1 km are cloudy: Krijger et al. (2007), Atmospheric Chemistry and Physics 7, 2881."""
    cloudy = skies(0.7, 600)
    assert cloudy.mean() == pytest.approx(0.7, abs=0.05)
    clear = {size: averages(cloudy, size) for size in (10, 96)}
    assert (clear[10] == 0.0).mean() == pytest.approx(0.16, abs=0.04)
    assert (clear[96] == 0.0).mean() == pytest.approx(0.03, abs=0.03)
    assert (clear[96] <= 0.05).mean() == pytest.approx(0.09, abs=0.04)
    assert (clear[96] <= 0.2).mean() == pytest.approx(0.17, abs=0.05)


def test_lengths_of_clouds_fall_by_a_power() -> None:
    """Wood and Field (2011), Journal of Climate 24, 4800: by that of 1.66, 0.04 more or less."""
    lengths = []
    for number in range(12):
        line = climate.cloudiness(Rect(64, 4096 * number, 180_000, 16_384, 1), date(2020, 1, 1), 0.5, 3)[0] > 0.0
        edges = np.flatnonzero(np.diff(line.astype(np.int8)))
        lengths.extend(np.diff(edges))
    counts, edges = np.histogram(lengths, bins=2.0 ** np.arange(2, 10))
    slope = np.polyfit(np.log2(np.sqrt(edges[1:] * edges[:-1])), np.log2(counts / np.diff(edges)), 1)[0]
    assert slope == pytest.approx(-1.66, abs=0.25)


SEASONS = {"winter": (12, 1, 2), "spring": (3, 4, 5), "summer": (6, 7, 8), "autumn": (9, 10, 11)}


def covers(place: tuple[float, float], season: str) -> float:
    """Return the mean percentage of clouds of tiles around a place, winter being that of the north."""
    square = cloud_cover.square(*place, 109_800.0)
    days = [date(year, month, day) for year in range(2015, 2021) for month in SEASONS[season] for day in (3, 13, 23)]
    return float(np.mean([cloud_cover.cover_percent(*square, day) for day in days]))


@pytest.mark.slow
def test_clouds_follow_the_climate() -> None:
    """Maps of MODIS by Wilson and Jetz (2016), PLOS Biology 14, e1002415, to 15 percent."""
    for place, share in (((2.0, 25.0), 10.0), ((-60.0, -3.0), 72.0), ((25.0, 0.5), 80.0), ((13.4, 52.5), 65.0)):
        assert np.mean([covers(place, season) for season in SEASONS]) == pytest.approx(share, abs=15.0)
    rainy_summers = (
        ((-48.0, -15.8), "winter", "summer"),
        ((4.0, 13.5), "summer", "winter"),
        ((131.0, -13.0), "winter", "summer"),
    )
    rainy_winters = ((-3.7, 40.4), "winter", "summer"), ((-120.0, 36.8), "winter", "summer")
    for place, wet, dry in (*rainy_summers, *rainy_winters):
        assert covers(place, wet) > 1.3 * covers(place, dry)


def test_monsoons_and_dry_summers_are_those_of_their_regions() -> None:
    """Places of ten regions: maps of January and July by Wilson and Jetz (2016), PLOS Biology 14, e1002415."""
    for longitude, latitude, winter, summer in (
        (79.1, 21.1, 20, 85),  # Nagpur
        (-6.0, 37.4, 45, 10),  # Seville
        (23.7, 38.0, 60, 12),  # Athens
        (-119.8, 36.7, 55, 8),  # Fresno
        (-68.9, -22.5, 10, 5),  # Calama
        (-77.0, -12.0, 55, 85),  # Lima
        (28.0, -26.2, 55, 10),  # Johannesburg
        (130.8, -12.5, 80, 10),  # Darwin
        (116.0, -32.0, 25, 55),  # Perth
        (39.3, 9.0, 25, 85),  # Addis Ababa
    ):
        column, row = (int(edge) // 64 for edge in (mercator.x_of(longitude), mercator.y_of(latitude)))
        place = Rect(64, column, row, 1, 1)
        january, july = (cloud_cover.share(place, date(2020, month, 15))[0, 0] for month in (1, 7))
        assert [january, july] == pytest.approx([winter / 100.0, summer / 100.0], abs=0.1), (longitude, latitude)


def test_regions_end_softly() -> None:
    """Between degrees there is no step, and far from regions the latitude alone counts: along 38 degrees north."""
    y = int(mercator.y_of(38.0)) // 4096
    shares = cloud_cover.share(Rect(4096, 0, y, 8192, 1), date(2020, 7, 15))[0]
    assert np.abs(np.diff(shares)).max() < 0.01


def test_half_of_the_land_is_cloudy() -> None:
    """55% by MODIS: King et al. (2013), IEEE Transactions on Geoscience and Remote Sensing 51, 3826."""
    world = Rect(1 << 18, 0, 0, 128, 128)
    shares = np.mean([cloud_cover.share(world, date(2020, month, 15)) for month in (1, 4, 7, 10)], axis=0)
    area = cosine_of(world.y)[:, None] ** 2
    land = tessellation.inland(world.x[None, :], world.y[:, None]) > 0.0
    assert np.average(shares, weights=area * land) == pytest.approx(0.55, abs=0.1)


def scenes(collection: str) -> list[ImageAsset]:
    longitude, latitude = SOMEWHERE
    start, end = (float(np.datetime64(day, "ms").astype(np.int64)) for day in ("2021-03-01", "2021-11-01"))
    found = STORE.get(collection)
    return list(found.images(Query((longitude, latitude, longitude, latitude), start, end)))  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("collection", "percentage", "band"),
    [
        ("COPERNICUS/S2_SR_HARMONIZED", "CLOUDY_PIXEL_PERCENTAGE", "SCL"),
        ("LANDSAT/LC08/C02/T1_L2", "CLOUD_COVER", "QA_PIXEL"),
    ],
)
def test_scenes_have_the_clouds_that_they_state(collection: str, percentage: str, band: str) -> None:
    images = scenes(collection)
    stated = np.array([image.properties[percentage] for image in images])
    partly = [image for image in images if 10.0 < image.properties[percentage] < 80.0]
    assert 20.0 < stated.mean() < 55.0
    for image in partly[:4]:
        info = next(each for each in image.bands if each.name == band)
        level = info.source.levels.index(64 if band == "SCL" else 32)
        whole = info.grid.level(info.source.levels[level])
        values, valid = info.source.read([info.index], PixelWindow(0, 0, whole.width, whole.height), level)
        codes = values[valid].astype(int)
        cloudy = np.isin(codes, (8, 9, 10)) if band == "SCL" else codes >> 3 & 1
        shadow = codes == 3 if band == "SCL" else codes >> 4 & 1
        assert cloudy.mean() * 100.0 == pytest.approx(image.properties[percentage], abs=10.0)
        assert 0.005 < shadow.mean() < 0.3


@pytest.mark.parametrize(("place", "north"), [((7_000_000, 12_600_000), 40.0), ((18_800_000, 20_100_000), -33.0)])
def test_shadows_lie_away_from_the_sun(place: tuple[int, int], north: float) -> None:
    when = date(2021, 3, 21)
    azimuth, zenith = np.radians(sunlight.sun(north, when))
    cells = 2000.0 * np.tan(zenith) / (EQUATOR_UNIT * np.cos(np.radians(north)) * 64)
    below: dict[int, list[bool]] = {way: [] for way in (1, -1)}
    for column in range(0, 1 << 22, 1 << 19):
        seen = cloud_cover.sky(Rect(64, (place[0] + column) // 64, place[1] // 64, 200, 200), when, north)
        for way, found in below.items():
            east, south = (round(-way * cells * np.sin(azimuth)), round(way * cells * np.cos(azimuth)))
            moved = np.roll(seen.cloud > 0.05, (south, east), (0, 1))[50:-50, 50:-50]
            found.extend(moved[seen.shadow[50:-50, 50:-50] > 0.5])
    assert len(below[1]) > 1000
    assert np.mean(below[1]) > 0.95
    assert np.mean(below[-1]) < 0.8


def test_aerosol_of_landsat_agrees_with_clouds_and_water() -> None:
    """Bits of SR_QA_AEROSOL, and how they come about: LaSRC of USGS, see ``LandsatOverpass``.

    Over a lake and fields in Iowa, on days that are partly cloudy.
    """
    place = Rect(64, 125_829, 194_330, 200, 200)
    bands = [landsat_scenes.BANDS.index(name) for name in ("SR_QA_AEROSOL", "QA_PIXEL", "SR_B4", "SR_B5")]
    for day in (26, 62, 112):
        overpass = landsat_scenes.LandsatOverpass(date(2018, 6, 1) + timedelta(day), 42.0)
        painted, _ = overpass.paint(place, bands)
        aerosol, quality = painted[:2].astype(int)
        cloudy, water = quality >> 3 & 1 == 1, (quality >> 7 & 1 == 1)
        assert 0.05 < cloudy.mean() < 0.5
        much, little = aerosol >> 6 == 3, aerosol >> 6 == 1
        retrieved = aerosol >> 2 & 1 == 0
        assert set(np.unique(aerosol)) <= {96, 100, 160, 224}
        assert much[cloudy].all()
        # Aerosol thickens towards clouds; far from them there is little.
        sky = cloud_cover.sky(place, overpass.when, 42.0)
        assert much[sky.haze > 0.9].mean() > 0.5 > 0.2 > much[sky.haze == 0.0].mean()
        assert little[(sky.haze == 0.0) & ~cloudy].mean() > 0.8
        assert not retrieved[water].any()
        assert retrieved[~water].mean() > 0.9


def test_clouds_of_landsat_are_dilated_by_three_pixels() -> None:
    """Bits 1, 3 and 6 of QA_PIXEL: cldpix of Fmask."""
    place = Rect(32, 251_658, 388_660, 200, 200)
    (quality,), _ = landsat_scenes.LandsatOverpass(date(2018, 9, 27), 42.0).paint(
        place, [landsat_scenes.BANDS.index("QA_PIXEL")]
    )
    dilated, cloudy, clear = (quality.astype(int) >> bit & 1 == 1 for bit in (1, 3, 6))
    assert np.array_equal(clear, ~(dilated | cloudy))
    assert not (dilated & cloudy).any()
    cells = round(90.0 / (EQUATOR_UNIT * np.cos(np.radians(42.0)) * 32))
    assert cells in (3, 4)
    around = np.lib.stride_tricks.sliding_window_view(cloudy, (2 * cells + 1, 2 * cells + 1)).any((2, 3))
    inner = slice(cells, -cells)
    assert np.array_equal((dilated | cloudy)[inner, inner], around)
    assert dilated.any()


def test_pixels_that_are_corrected_by_too_much_lack_their_blue() -> None:
    """0.02 to 0.21% of pixels in six images of Landsat 8, more where it is cloudy: documentation of geedim 1.2.0."""
    place = Rect(32, 251_658, 388_660, 300, 300)
    bands = [landsat_scenes.BANDS.index(name) for name in ("SR_B1", "SR_B4")]
    shares = {True: [], False: []}  # type: dict[bool, list[float]]
    for day in (16, 32, 64):
        overpass = landsat_scenes.LandsatOverpass(date(2018, 6, 1) + timedelta(day), 42.0, has_failures=True)
        _, valid = overpass.paint(place, bands)
        assert valid is not None
        assert valid[1].all()
        cloudy = cloud_cover.sky(place, overpass.when, 42.0).haze > 0.5
        for part, found in shares.items():
            if (cloudy == part).sum() > 10_000:
                found.append(1.0 - valid[0][cloudy == part].mean())
    assert 0.0002 < np.mean(shares[False]) < 0.001 < 0.002 < np.mean(shares[True]) < 0.005
    assert landsat_scenes.LandsatOverpass(date(2018, 6, 1), 42.0).paint(place, bands)[1] is None


def test_noise_is_the_same_where_columns_and_rows_cross_and_at_single_places() -> None:
    octaves = [(k, 77 + k) for k in (24, 18, 12, 9, 7)]
    x = 31_000_000.0 + 200.0 * np.arange(150)[None, :]
    y = 12_345_678.0 + 180.0 * np.arange(90)[:, None]
    crossed, single = noise.gradient(x, y, octaves), noise.gradient(*np.broadcast_arrays(x, y), octaves)
    assert crossed.tobytes() == single.tobytes()


def test_bands_of_a_scene_share_its_sky() -> None:
    """Masks of clouds are stored otherwise than reflectances, and most scripts read both."""
    place = Query(bounds=(*SOMEWHERE, *SOMEWHERE), start=1.62e12, end=1.63e12)
    scene = next(iter(landsat.collections(date(2025, 1, 1), "climate")[0].images(place)))
    bands = {band.name: band for band in scene.bands}
    with count_calls() as calls:
        for name in ("SR_B4", "QA_PIXEL"):
            band = bands[name]
            band.source.read([band.index], PixelWindow(3000, 3000, 200, 200), 0)
    assert calls["_shifted"] == 1
    assert calls["_other_properties"] == 0
