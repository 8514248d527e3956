"""Crops of the demo planet: each has a season of its own, which all sensors see; no single date tells them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import shapely

from eechips_local.demo.land import crop_calendar, farmland
from eechips_local.demo.land.farmland import SurveyBlocks
from eechips_local.demo.painting.mercator import Rect, x_of, y_of
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow
from eechips_local.pixels.grids.pixel_grid import transformer
from local_tests.support.demo_images import images

KANSAS = (-98.0, 39.0)
NAMES = {
    crop_calendar.CORN: "corn",
    crop_calendar.SOYBEANS: "soybeans",
    crop_calendar.WINTER_WHEAT: "wheat",
    crop_calendar.ALFALFA: "alfalfa",
    crop_calendar.HAY: "hay",
}
SIZE, STEP = 576, 8


@cache
def blocks(latitude: float, pitch: int = 128, cells: int = 128) -> SurveyBlocks:
    return farmland.blocks(Rect(pitch, int(x_of(-98.0) // pitch), int(y_of(latitude) // pitch), cells, cells))


def mean_of(kind: int, latitude: float, when: date) -> float:
    stand = crop_calendar.standing(blocks(latitude), when)
    return float(stand.green[crop_calendar.codes(blocks(latitude), when.year) == kind].mean())


def pixels_of(image: ImageAsset, names: tuple[str, ...]) -> tuple[npt.NDArray, tuple[npt.NDArray, npt.NDArray]]:
    """Return every eighth pixel around a place, shape (bands, n, n), and where they are, in degrees."""
    bands = {band.name: band for band in image.bands}
    grid = bands[names[0]].grid
    column, row = ~grid.transform * transformer("EPSG:4326", grid.crs).transform(*KANSAS)
    window = PixelWindow(int(column) - SIZE // 2, int(row) - SIZE // 2, SIZE, SIZE)
    values, _ = bands[names[0]].source.read([bands[name].index for name in names], window, 0)
    at = np.arange(STEP // 2, SIZE, STEP)
    i, j = np.meshgrid(window.column + at, window.row + at)
    where = transformer(grid.crs, "EPSG:4326").transform(*(grid.transform * (i + 0.5, j + 0.5)))
    return values[:, at][:, :, at].astype(float), where


def codes_at(where: tuple[npt.NDArray, npt.NDArray]) -> npt.NDArray:
    """Return the codes of the Cropland Data Layer at places."""
    layer = images("USDA/NASS/CDL", KANSAS, (2020, 1, 1), (2021, 1, 1))[0].bands[0]
    columns, rows = (
        np.floor(axis).astype(int)
        for axis in ~layer.grid.transform * transformer("EPSG:4326", layer.grid.crs).transform(*where)
    )
    window = PixelWindow(columns.min(), rows.min(), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    return layer.source.read([0], window, 0)[0][0, rows - window.row, columns - window.column]


def vegetation_index(month: int) -> tuple[npt.NDArray, npt.NDArray]:
    """Return NDVI in a month's clearest Sentinel-2 images, not a number under clouds, and codes of the crops."""
    found = images("COPERNICUS/S2_SR_HARMONIZED", KANSAS, (2020, month, 1), (2020, month, 28))
    clear = sorted(found, key=lambda image: (image.properties["CLOUDY_PIXEL_PERCENTAGE"], image.id))[:2]
    read = [pixels_of(image, ("B4", "B8")) for image in clear]
    seen = [np.where(red < 2500.0, (nir - red) / (nir + red), np.nan) for (red, nir), _ in read]
    return np.ma.masked_invalid(seen).mean(axis=0).filled(np.nan), codes_at(read[0][1])


def backscatter(month: int) -> tuple[npt.NDArray, npt.NDArray]:
    """Return the mean power in VH of a month, decibels, and codes of the crops."""
    around = shapely.Point(KANSAS).buffer(0.05)
    found = images("COPERNICUS/S1_GRD", KANSAS, (2020, month, 1), (2020, month, 28))
    seen = [image for image in found if image.properties["orbitProperties_pass"] == "ASCENDING"]
    read = [pixels_of(image, ("VH",)) for image in seen if image.footprint.contains(around)]
    return 10.0 * np.log10(np.mean([10.0 ** (values[0] / 10.0) for values, _ in read], axis=0)), codes_at(read[0][1])


@pytest.mark.exhaustive
@pytest.mark.parametrize("sensor", [vegetation_index, backscatter])
def test_crops_peak_in_their_own_month(sensor: Callable[[int], tuple[npt.NDArray, npt.NDArray]]) -> None:
    """Winter wheat in May, corn in July or August, soybeans in August; alfalfa rises again after a cut."""
    curves: dict[str, list[float]] = {name: [] for name in NAMES.values()}
    for month in range(3, 12):
        values, codes = sensor(month)
        for code, name in NAMES.items():
            curves[name].append(float(np.nanmean(values[codes == code])))
    peaks = {name: 3 + int(np.argmax(curve)) for name, curve in curves.items()}
    assert peaks["wheat"] in (4, 5)
    assert peaks["corn"] in (7, 8)
    assert peaks["soybeans"] == 8
    # July: wheat is harvested when corn is full.
    assert curves["corn"][4] - curves["wheat"][4] > 0.5 * np.ptp(curves["corn"])
    assert curves["wheat"][1] - curves["corn"][1] > 0.5 * np.ptp(curves["wheat"])


def test_no_date_tells_crops_apart_but_the_year_does() -> None:
    """The commonest crop of the fifteen most similar fields, which lie elsewhere."""
    days = [date(2020, month, 15) for month in range(1, 13)]
    series, labels = [], []
    for latitude in (39.0, 40.0):
        some = blocks(latitude)
        kinds = crop_calendar.codes(some, 2020)
        _, fields = np.unique(some.field, return_index=True)
        fields = fields[np.isin(kinds.ravel()[fields], list(NAMES))]
        series.append(np.stack([crop_calendar.standing(some, day).green.ravel()[fields] for day in days], axis=1))
        labels.append(kinds.ravel()[fields])
    (learned, tested), (known, truth) = series, labels

    def accuracy(columns: list[int]) -> float:
        away = np.abs(tested[:, None, columns] - learned[None, :, columns]).sum(axis=2)
        nearest = known[np.argsort(away, axis=1, kind="stable")[:, :15]]
        votes = np.stack([(nearest == code).sum(axis=1) for code in NAMES], axis=1)
        return float((np.array(list(NAMES))[votes.argmax(axis=1)] == truth).mean())

    single = max(accuracy([n]) for n in range(12))
    assert single < 0.85
    assert accuracy(list(range(12))) > single + 0.1


@pytest.mark.slow
def test_alfalfa_is_cut_four_times() -> None:
    curve = np.array(
        [crop_calendar.standing(blocks(40.0), date(2020, 4, 1) + timedelta(days=n)).green for n in range(220)]
    )
    fields = crop_calendar.codes(blocks(40.0), 2020) == crop_calendar.ALFALFA
    assert fields.any()
    falls = np.diff(curve[:, fields], axis=0) < -0.1
    starts = falls & ~np.vstack([np.zeros((1, falls.shape[1]), dtype=bool), falls[:-1]])
    assert set(starts.sum(axis=0).tolist()) == {4}


def test_fields_of_a_crop_are_up_to_two_weeks_apart() -> None:
    """When corn has come halfway, from the earliest field to the latest."""
    some = blocks(40.0)
    corn = crop_calendar.codes(some, 2020) == crop_calendar.CORN
    curve = np.array([crop_calendar.standing(some, date(2020, 5, 1) + timedelta(days=n)).green for n in range(100)])[
        :, corn
    ]
    halfway = np.argmax(curve > 0.5 * curve.max(axis=0), axis=0)
    assert 20 < np.ptp(halfway) <= 30


def test_a_winter_crop_stands_before_and_after_new_year() -> None:
    last, first = (crop_calendar.standing(blocks(39.0), day) for day in (date(2020, 12, 31), date(2021, 1, 1)))
    wheat = crop_calendar.codes(blocks(39.0), 2021) == crop_calendar.WINTER_WHEAT
    assert wheat.any()
    assert (last.codes[wheat] == crop_calendar.WINTER_WHEAT).all()
    assert last.green[wheat].min() > 0.1
    np.testing.assert_allclose(last.green[wheat], first.green[wheat], atol=0.01)


def test_seasons_come_later_in_the_north_and_half_a_year_later_in_the_south() -> None:
    days = [date(2020, 7, 1) + timedelta(days=n) for n in range(365)]
    north, far, south = (
        np.array([crop_calendar.mean_green(np.array([[latitude]]), day)[0, 0] for day in days])
        for latitude in (40.0, 46.0, -40.0)
    )
    shifts = [np.corrcoef(north, np.roll(far, -n))[0, 1] for n in range(40)]
    assert 8 <= int(np.argmax(shifts)) <= 22
    assert np.corrcoef(south, np.roll(north, 184))[0, 1] > 0.98


def test_the_mean_is_that_of_many_fields() -> None:
    some = blocks(40.5)
    _, fields = np.unique(some.field, return_index=True)
    fields = fields[some.circle.ravel()[fields] == 0.0]
    for month in range(1, 13):
        when = date(2020, month, 15)
        mean = crop_calendar.standing(some, when).green.ravel()[fields].mean()
        assert crop_calendar.mean_green(np.array([[40.0]]), when)[0, 0] == pytest.approx(mean, abs=0.05)


def test_greenness_never_changes() -> None:
    """In steps of 1/4096, in which the rounding of machines does not show."""
    green = np.stack([crop_calendar.standing(blocks(39.0), date(2020, month, 15)).green for month in range(1, 13)])
    steps = np.rint(green * 4096.0).astype("<i2")
    assert hashlib.sha256(steps.tobytes()).hexdigest()[:16] == "8ca527abf1a35c48"
