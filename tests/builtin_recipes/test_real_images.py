"""Every image of real collections: byte for byte what rasterio reads; composites as numpy computes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import geometry_mask
from rasterio.windows import Window

import eechips
from eechips.errors import RegionError
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from local_tests.support.real_store import LST, NAIP

pytestmark = pytest.mark.slow

QUAD = "-99.175,47.010,-99.135,47.031"  # inside the North Dakota quad
YEARS = (2009, 2010, 2012, 2014, 2015, 2016, 2017, 2018, 2019, 2020)
PUCALLPA = "users/someone/pucallpa"
LANDSAT_YEARS = (1985, 1990, 1995, 2000, 2005, 2010, 2015, 2020)
BUFFALO = "-78.95,42.8,-78.6,43.05"
QUALITY = "MODIS/006/MOD11A2"


@pytest.fixture(scope="module")
def landsat_server(real_data: Path, tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    """Eight years of Landsat over Pucallpa, and a year of land surface temperature with its quality flags."""
    folder = tmp_path_factory.mktemp("landsat")
    for year in LANDSAT_YEARS:
        path = real_data / "optical" / f"landsat_pucallpa_{year}.tif"
        properties = {"year": year, "decade": f"{year // 10}0s"}
        ingest(
            path, folder / "store", f"{PUCALLPA}/{year}", time_start=f"{year}-07-01", properties=properties,
            bands=["SWIR1", "NIR", "R", "G"],
        )  # fmt: skip
    for date, values, quality, profile in flagged(real_data):
        path = folder / f"{date}.tif"
        with rasterio.open(path, "w", **profile) as file:
            file.write(np.stack([values, quality]))
        ingest(path, folder / "store", f"{QUALITY}/{date}", time_start=date, bands=["LST_Day_1km", "QC_Day"])
    store = str(folder / "store")
    return serve("--assets", store, "--no-demo", "--rate", "none", "--concurrency", "none")


def flagged(real_data: Path) -> list[tuple[str, npt.NDArray[Any], npt.NDArray[Any], dict[str, Any]]]:
    """Date, temperatures, quality flags and profile of ten dates of the NetCDF file that has both."""
    source = f"netcdf:{real_data / 'lst' / 'MOD11A2.006_aid0001.nc'}"
    with rasterio.open(real_data / "lst" / "MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif") as stack:
        dates, crs, transform = stack.descriptions, stack.crs, stack.transform
    with rasterio.open(f"{source}:LST_Day_1km") as lst, rasterio.open(f"{source}:QC_Day") as qc:
        profile = {
            "driver": "GTiff", "width": lst.width, "height": lst.height, "count": 2, "dtype": "uint16", "crs": crs,
            "transform": transform,
        }  # fmt: skip
        found = []
        for band in range(1, 360, 36):
            day = str(dates[band - 1])[:10]
            values, quality = (np.where(a < 0, 0, a).astype("uint16") for a in (lst.read(band), qc.read(band)))
            found.append((day, values, quality, profile))
    return found


def window_of(file: rasterio.DatasetReader, transform: Affine, shape: tuple[int, int]) -> Window:
    """The window of a file that a result says it is; whole pixels."""
    column, row = ~file.transform * (transform.c, transform.f)
    assert (column, row) == pytest.approx((round(column), round(row)), abs=1e-6)
    return Window(round(column), round(row), shape[1], shape[0])


def truth(path: Path, chip: rasterio.DatasetReader) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Affine]:
    """Values, masks and transform of a file where a result lies."""
    with rasterio.open(path) as file:
        window = window_of(file, chip.transform, chip.shape)
        return file.read(window=window), file.read_masks(window=window), file.window_transform(window)


def fetch(server: Server, out: Path, dataset: str, **options: Any) -> eechips.Run:
    return eechips.images(dataset, endpoint=server.url, rate=None, executor="threads", quiet=True, out=out, **options)


def compose(server: Server, out: Path, dataset: str, **options: Any) -> eechips.Run:
    return eechips.composites(
        dataset, endpoint=server.url, rate=None, executor="threads", quiet=True, out=out, **options
    )


@pytest.mark.exhaustive
def test_images_of_ten_years_equal_the_source(real_data: Path, real_server: Server, tmp_path: Path) -> None:
    before = real_server.requests()
    run = fetch(real_server, tmp_path, "NAIP", roi=QUAD, bands=["R", "G", "B", "N"], profile_every=0)
    asked = {kind: count - before.get(kind, 0) for kind, count in real_server.requests().items()}
    assert asked["image:computePixels"] == 1  # all share a request
    # What it is, how many images lack blue or near infrared, and which images there are.
    assert asked["value:compute"] + asked["table:computeFeatures"] == 3
    units = run.units
    assert [unit["date"][:4] for unit in units["unit"]] == [str(year) for year in YEARS]
    assert set(units["state"]) == {"done"}
    for year, unit in zip(YEARS, units.to_dict("records"), strict=True):
        (source,) = unit["sources"]
        (path,) = (real_data / "naip").glob(f"m_4709963_se_14_1_{year}*.tif")
        assert source == f"{NAIP}/{path.stem}"
        assert unit["file"] == f"images/{unit['unit']['date']}_{path.stem}.tif"
        assert list(unit["dates"]) == [f"{unit['unit']['date']}T00:00:00Z"]
        with rasterio.open(run.path / unit["file"]) as chip:
            values, masks, transform = truth(path, chip)
            assert np.array_equal(chip.read(), values)
            assert np.array_equal(chip.read_masks(1), masks.min(axis=0))
            assert chip.transform == transform
            assert chip.crs == rasterio.crs.CRS.from_epsg(26914)
            assert unit["valid_fraction"] == np.count_nonzero(masks.min(axis=0)) / masks[0].size
            # The window holds the region, and hardly more.
            x, y = rasterio.warp.transform("EPSG:4326", chip.crs, [-99.175, -99.135] * 2, [47.01] * 2 + [47.031] * 2)
            assert (min(x) - 5, min(y) - 5) < (chip.bounds.left, chip.bounds.bottom) <= (min(x), min(y))
            assert (max(x), max(y)) <= (chip.bounds.right, chip.bounds.top) < (max(x) + 5, max(y) + 5)
    before = real_server.requests()
    again = fetch(real_server, tmp_path, "NAIP", roi=QUAD, bands="R,G,B,N")
    assert real_server.requests() == before
    assert again.units["sha256"].tolist() == units["sha256"].tolist()


def test_whole_images_where_the_region_is_larger(real_data: Path, real_server: Server, tmp_path: Path) -> None:
    """And no pixel beyond."""
    run = fetch(real_server, tmp_path, "NAIP", roi="-100,46,-98,48", bands="N", start="2016-01-01", end="2018-01-01")
    assert len(run.units) == 2
    for unit in run.units.to_dict("records"):
        (source,) = unit["sources"]
        path = real_data / "naip" / f"{source.split('/')[-1]}.tif"
        with rasterio.open(path) as file, rasterio.open(run.path / unit["file"]) as chip:
            assert chip.shape == file.shape
            assert chip.transform == file.transform
            assert np.array_equal(chip.read(1), file.read(4))


def test_two_images_on_either_side_of_a_seam_of_utm_zones(real_data: Path, real_server: Server, tmp_path: Path) -> None:
    roi = "-78.0008,36.621,-77.9992,36.623"
    run = fetch(real_server, tmp_path / "native", "NAIP", roi=roi, bands="R,G,B,N")
    assert sorted(run.units["crs"]) == ["EPSG:26917", "EPSG:26918"]
    for unit in run.units.to_dict("records"):
        with rasterio.open(run.path / unit["file"]) as chip:
            values, _, transform = truth(real_data / "naip" / f"{unit['sources'][0].split('/')[-1]}.tif", chip)
            assert np.array_equal(chip.read(), values)
            assert chip.transform == transform
    one = fetch(real_server, tmp_path / "utm", "NAIP", roi=roi, bands="R,G,B,N", crs="utm", scale=1.0)
    assert set(one.units["crs"]) == {"EPSG:32618"}
    corners = np.array(one.units["transform"].tolist())[:, [2, 5]]
    assert (corners == corners.round()).all()


@pytest.mark.parametrize("clip", [False, True])
def test_landsat_images_of_eight_years_equal_the_source(
    real_data: Path, landsat_server: Server, tmp_path: Path, clip: bool
) -> None:
    """A polygon's window, with the pixels outside of it, or masked."""
    polygon = shapely.Polygon([(-74.6, -8.5), (-74.3, -8.45), (-74.35, -8.33), (-74.55, -8.35)])
    roi = tmp_path / "polygon.geojson"
    roi.write_text(shapely.to_geojson(polygon))
    run = fetch(landsat_server, tmp_path / "out", PUCALLPA, roi=str(roi), clip=clip, where="year < 2020")
    units = run.units
    assert [unit["date"] for unit in units["unit"]] == [f"{year}-07-01" for year in LANDSAT_YEARS[:-1]]
    for year, unit in zip(LANDSAT_YEARS, units.to_dict("records"), strict=False):
        with rasterio.open(run.path / unit["file"]) as chip:
            values, masks, transform = truth(real_data / "optical" / f"landsat_pucallpa_{year}.tif", chip)
            assert chip.transform == transform
            valid = masks.min(axis=0) != 0
            if clip:
                valid &= ~geometry_mask([polygon], chip.shape, chip.transform)
                edge = ~geometry_mask([polygon.boundary.buffer(1.5 * transform.a)], chip.shape, chip.transform)
            else:
                edge = np.zeros(chip.shape, bool)
            # On the polygon's edge rasterio and Earth Engine may differ about a pixel.
            assert np.array_equal((chip.read_masks(1) != 0)[~edge], valid[~edge])
            kept = chip.read_masks(1) != 0
            assert np.array_equal(chip.read()[:, kept], values[:, kept])
            assert unit["valid_fraction"] == np.count_nonzero(kept) / kept.size
            west, south, east, north = polygon.bounds
            size = transform.a
            assert chip.bounds.left <= west < chip.bounds.left + size
            assert chip.bounds.right - size < east <= chip.bounds.right
            assert chip.bounds.bottom <= south < chip.bounds.bottom + size
            assert chip.bounds.top - size < north <= chip.bounds.top


@pytest.mark.slow
def test_conditions_choose_images(landsat_server: Server, tmp_path: Path) -> None:
    def years(*where: str) -> list[int]:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        run = fetch(landsat_server, out, PUCALLPA, roi="-74.5,-8.4,-74.49,-8.39", where=where, bands="NIR")
        return [int(unit["image"]) for unit in run.units["unit"]]

    assert years("year >= 2000", "year != 2010") == [2000, 2005, 2015, 2020]
    assert years("year in (1985, 2015, 7)") == [1985, 2015]
    assert years("decade = 1990s") == [1990, 1995]
    assert years("decade in ('1980s', 2020s)") == [1985, 2020]


def test_masks_of_real_quality_flags_equal_numpy(real_data: Path, landsat_server: Server, tmp_path: Path) -> None:
    """QC_Day of MOD11A2, bits 0-1: 00 good, 01 other, 10 and 11 not produced; bits 6-7: error up to 1, 2, 3 K, more."""
    run = fetch(landsat_server, tmp_path, QUALITY, roi=BUFFALO, bands="LST_Day_1km", mask="qc:other,over1k")
    dates = flagged(real_data)
    assert len(run.units) == len(dates) == 10
    fractions = []
    for (day, values, quality, profile), unit in zip(dates, run.units.to_dict("records"), strict=True):
        assert unit["unit"]["date"] == day
        good = (quality & 0b11 != 0b01) & (quality >> 6 == 0)
        with rasterio.open(run.path / unit["file"]) as chip:
            column, row = ~profile["transform"] * (chip.transform.c, chip.transform.f)
            window = np.s_[round(row) : round(row) + chip.height, round(column) : round(column) + chip.width]
            kept = chip.read_masks(1) != 0
            assert np.array_equal(kept, good[window])
            assert np.array_equal(chip.read(1)[kept], values[window][kept])
        assert unit["valid_fraction"] == np.count_nonzero(good[window]) / good[window].size
        fractions.append(unit["valid_fraction"])
    assert len(set(fractions)) > 3  # the flags do vary


def stack_of(real_data: Path, run: eechips.Run) -> tuple[npt.NDArray[Any], list[pd.Timestamp]]:
    """All dates of the temperatures in the window of a run's results, as float with NaN for no data; and the dates."""
    with rasterio.open(real_data / "lst" / "MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif") as file:
        with rasterio.open(run.path / run.units["file"].dropna().iloc[0]) as chip:
            window = window_of(file, chip.transform, chip.shape)
        values = file.read(window=window).astype(float)
        dates = [pd.Timestamp(str(name)[:10]) for name in file.descriptions]
    values[values == 0] = np.nan
    return values, dates


def latest(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The last valid value of each column."""
    return np.asarray(pd.DataFrame(values).ffill().iloc[-1])


REDUCERS: dict[str, tuple[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]]] = {
    "median": ("float32", lambda values: np.nanmedian(values, axis=0)),
    "stdDev": ("float32", lambda values: np.nanstd(values, axis=0)),
    "max": ("uint16", lambda values: np.nanmax(values, axis=0)),
    "count": ("uint16", lambda values: np.count_nonzero(~np.isnan(values), axis=0)),
    "mosaic": ("uint16", latest),
}


@pytest.mark.slow
@pytest.mark.parametrize("reducer", REDUCERS)
def test_monthly_composites_equal_numpy(real_data: Path, real_server: Server, tmp_path: Path, reducer: str) -> None:
    """Of 8-day temperatures with gaps, against numpy over the same window of the file."""
    run = compose(
        real_server, tmp_path, LST, roi=BUFFALO, start="2002-11-15", end="2003-04-01", every="1 month", reducer=reducer,
        bands="LST_Day_1km",
    )  # fmt: skip
    dtype, compute = REDUCERS[reducer]
    values, dates = stack_of(real_data, run)
    starts = ["2002-11-15", "2002-12-15", "2003-01-15", "2003-02-15", "2003-03-15"]
    assert [unit["start"] for unit in run.units["unit"]] == starts
    assert run.units["dtype"].tolist() == [dtype] * len(starts)
    for start, unit in zip(starts, run.units.to_dict("records"), strict=True):
        end = min(pd.Timestamp(start) + pd.DateOffset(months=1), pd.Timestamp("2003-04-01"))
        chosen = [n for n, date in enumerate(dates) if pd.Timestamp(start) <= date < end]
        assert unit["unit"]["images"] == len(chosen) > 0
        assert [name.split("/")[-1].replace("_", "-") for name in unit["sources"]] == [
            str(dates[n].date()) for n in chosen
        ]
        assert list(unit["dates"]) == [f"{dates[n].date()}T00:00:00Z" for n in chosen]
        there = (~np.isnan(values[chosen])).any(axis=0)
        with rasterio.open(run.path / unit["file"]) as file:
            assert file.descriptions == ("LST_Day_1km",)
            assert np.array_equal(file.read_masks(1) != 0, there | (reducer == "count"))
            expected = compute(values[chosen][:, there]).astype(dtype)
            assert np.allclose(file.read(1)[there], expected, rtol=2e-7, atol=0)
            assert (file.read(1)[~there] == 0).all()


def test_composites_of_landsat_decades_equal_numpy(real_data: Path, landsat_server: Server, tmp_path: Path) -> None:
    run = compose(landsat_server, tmp_path, PUCALLPA, roi="-74.6,-8.5,-74.4,-8.35", every="10 years", reducer="mean")
    assert [unit["start"] for unit in run.units["unit"]] == [f"{year}-01-01" for year in (1985, 1995, 2005, 2015)]
    for first, unit in zip((1985, 1995, 2005, 2015), run.units.to_dict("records"), strict=True):
        with rasterio.open(run.path / unit["file"]) as chip:
            files = [real_data / "optical" / f"landsat_pucallpa_{year}.tif" for year in (first, first + 5)]
            values, masks = zip(*(truth(file, chip)[:2] for file in files), strict=True)
            valid = np.where(np.stack(masks) != 0, np.stack(values).astype(float), np.nan)
            kept = ~np.isnan(valid).all(axis=0)
            assert np.array_equal(chip.read()[kept], np.nanmean(valid[:, kept], axis=0).astype(np.float32))
            assert np.array_equal(chip.read_masks(1) != 0, kept.all(axis=0))


def test_periods_without_images_have_no_file_and_are_recorded(landsat_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"roi": "-74.6,-8.5,-74.59,-8.49", "every": "year", "reducer": "max", "bands": "NIR"}
    run = compose(landsat_server, tmp_path, PUCALLPA, start="1988-01-01", end="1997-01-01", **options)
    assert run.is_complete
    assert run.units["state"].tolist() == [
        "done" if year in LANDSAT_YEARS else "empty" for year in range(1988, 1997)
    ]  # fmt: skip
    assert run.units["file"].notna().sum() == 2
    assert [unit["images"] for unit in run.units["unit"]] == [int(year in LANDSAT_YEARS) for year in range(1988, 1997)]
    before = landsat_server.requests()
    compose(landsat_server, tmp_path, PUCALLPA, start="1988-01-01", end="1997-01-01", **options)
    assert landsat_server.requests() == before
    assert run.verify() == []


def test_the_image_where_a_band_is_greatest(real_data: Path, landsat_server: Server, tmp_path: Path) -> None:
    """Bands of the same image, also where the deciding one is not among them."""
    run = compose(
        landsat_server, tmp_path, PUCALLPA, roi="-74.6,-8.5,-74.5,-8.4", every="100 years", bands="R,G",
        reducer="qualityMosaic:NIR",
    )  # fmt: skip
    (unit,) = run.units.to_dict("records")
    with rasterio.open(run.path / unit["file"]) as chip:
        stack = np.stack([truth(real_data / "optical" / f"landsat_pucallpa_{y}.tif", chip)[0] for y in LANDSAT_YEARS])
        found = chip.read()
    best = stack[:, 1] == stack[:, 1].max(axis=0)
    only = best.sum(axis=0) == 1
    expected = np.take_along_axis(stack[:, 2:], stack[:, 1].argmax(axis=0)[None, None], axis=0)[0]
    assert only.mean() > 0.5
    assert np.array_equal(found[:, only], expected[:, only])


def test_percentiles_lie_where_they_should(real_data: Path, landsat_server: Server, tmp_path: Path) -> None:
    run = compose(
        landsat_server, tmp_path, PUCALLPA, roi="-74.6,-8.5,-74.55,-8.45", every="100 years", bands="NIR", reducer="p50"
    )  # fmt: skip
    (unit,) = run.units.to_dict("records")
    with rasterio.open(run.path / unit["file"]) as chip:
        stack = np.stack([truth(real_data / "optical" / f"landsat_pucallpa_{y}.tif", chip)[0] for y in LANDSAT_YEARS])
        ordered = np.sort(stack[:, 1], axis=0)
        assert chip.dtypes == ("float32",)
        assert (chip.read(1) >= ordered[3]).all()
        assert (chip.read(1) <= ordered[4]).all()


@pytest.mark.slow
def test_composites_on_other_grids_equal_rasterio(landsat_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"roi": "-74.6,-8.5,-74.5,-8.4", "every": "100 years", "bands": "NIR"}
    utm = compose(landsat_server, tmp_path / "utm", PUCALLPA, crs="utm", scale=60.0, **options).units.iloc[0]
    assert utm["crs"] == "EPSG:32718"
    assert list(utm["transform"])[:2] == [60.0, 0.0]
    assert utm["transform"][2] % 60 == utm["transform"][5] % 60 == 0
    assert utm["valid_fraction"] == 1.0
    with pytest.raises(RegionError, match="UTM zone 33N"):
        compose(landsat_server, tmp_path / "far", PUCALLPA, crs="EPSG:32633", **options)
    like = f"{PUCALLPA}/1990"
    aligned = compose(landsat_server, tmp_path / "aligned", PUCALLPA, grid=like, **options).units.iloc[0]
    native = compose(landsat_server, tmp_path / "native", PUCALLPA, **options).units.iloc[0]
    assert aligned["transform"] == native["transform"]
    assert aligned["sha256"] == native["sha256"]
