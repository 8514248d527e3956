"""Time series of chips of real imagery, frame by frame against rasterio, and their choice against all images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
from affine import Affine
from rasterio.io import DatasetReader

import eechips
from eechips.geo.grid import Grid
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server

Array = npt.NDArray[Any]

LST = "MODIS/061/MOD11A2"
NETCDF = "netcdf:{}:{}"
STACK = Path("lst") / "MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"
START, END = "2003-01-01", "2009-01-01"  # of the images with their quality band
TEMPERATURES = "users/someone/temperatures"
LANDSAT = "users/someone/pucallpa"
LANDSAT_YEARS = (1985, 1990, 1995, 2000, 2005, 2010, 2015, 2020)
SIZE = 8


def sample(server: Server, out: Path, **options: Any) -> eechips.Run:
    return eechips.sample(
        **options,
        out=out,
        endpoint=server.url,
        project="local",
        format="tif",
        executor="threads",
        rate=None,
        quiet=True,
    )


def serve_store(serve: Callable[..., Server], store: Path) -> Server:
    return serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none")


def frames_of(run: eechips.Run) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Return each unit of a run, and the rows of its frames in layers.parquet."""
    assert set(run.units["state"]) == {"done"}
    rows = pd.read_parquet(run.path / "layers.parquet")
    units = enumerate(run.units["unit"])
    return [(unit, rows[rows["position"] == position].sort_values("frame")) for position, unit in units]


def nearest_pixels(source: DatasetReader, grid: Grid) -> tuple[Array, Array]:
    """Return the rows and columns of the source's pixels in which the centres of a chip's pixels lie."""
    chip = Affine(*grid.transform)
    columns, _ = ~source.transform * (chip * (np.arange(grid.width) + 0.5, np.full(grid.width, 0.5)))
    _, rows = ~source.transform * (chip * (np.full(grid.height, 0.5), np.arange(grid.height) + 0.5))
    return np.floor(rows).astype(int), np.floor(columns).astype(int)


@pytest.mark.exhaustive
def test_ten_years_of_naip_equal_rasterio(real_server: Server, real_data: Path, tmp_path: Path) -> None:
    """The chips are on the pixels of the latest photograph; of the others, each has the nearest pixel."""
    run = sample(
        real_server, tmp_path / "run", dataset="NAIP", bands="R,G,B,N", total=5, roi="-99.175,47.01,-99.135,47.03",
        start="2009-01-01", end="2021-01-01", frames=10, size=64,
    )  # fmt: skip
    files = sorted((real_data / "naip").glob("m_4709963_se_14_1_*.tif"))
    assert len(files) == 10
    for unit, rows in frames_of(run):
        grid = Grid.from_json(unit["grid"])
        assert [frame["image"] for frame in unit["frames"]] == [path.stem for path in files]
        for path, row in zip(files, rows.itertuples(), strict=True):
            day = path.stem[-8:]
            assert list(row.dates) == [f"{day[:4]}-{day[4:6]}-{day[6:]}T00:00:00Z"]
            assert row.clear_fraction == 1.0
            with rasterio.open(path) as source, rasterio.open(run.path / row.file) as chip:
                lines, columns = nearest_pixels(source, grid)
                np.testing.assert_array_equal(chip.read(), source.read()[:, lines][:, :, columns])


@pytest.mark.exhaustive
def test_eight_years_of_landsat_equal_rasterio(real_data: Path, tmp_path: Path, serve: Callable[..., Server]) -> None:
    """A stack has the bytes of the files' own windows, masked pixels included, and each image's moment."""
    moments = {year: f"{year}-08-{day:02}T14:{day:02}:5{day % 10}" for day, year in enumerate(LANDSAT_YEARS, 11)}
    paths = {year: real_data / "optical" / f"landsat_pucallpa_{year}.tif" for year in LANDSAT_YEARS}
    bands = ["nir", "swir1", "red", "green"]
    for year, moment in moments.items():
        ingest(paths[year], tmp_path / "store", f"{LANDSAT}/{year}", bands=bands, time_start=moment)
    server = serve_store(serve, tmp_path / "store")
    run = sample(
        server, tmp_path / "run", dataset=LANDSAT, bands=bands, total=4, roi="-74.6,-8.5,-74.3,-8.35",
        start="1985-01-01", end="2025-01-01", every="5 years", size=64, seed=3,
    )  # fmt: skip
    stack = eechips.stack(run.path)
    (series,) = (
        name for name, values in stack.data_vars.items() if values.dims == ("sample", "time", "band", "y", "x")
    )
    for number, (unit, rows) in enumerate(frames_of(run)):
        grid = Grid.from_json(unit["grid"])
        assert [list(dates) for dates in rows["dates"]] == [[f"{moment}Z"] for moment in moments.values()]
        for frame, (path, row) in enumerate(zip(paths.values(), rows.itertuples(), strict=True)):
            with rasterio.open(path) as source, rasterio.open(run.path / row.file) as chip:
                column, line = ~source.transform * (grid.transform[2], grid.transform[5])
                assert (column, line) == (pytest.approx(round(column), abs=1e-6), pytest.approx(round(line), abs=1e-6))
                window = rasterio.windows.Window(round(column), round(line), 64, 64)
                expected, masks = source.read(window=window), source.read_masks(window=window)
                valid = masks.min(axis=0) > 0
                np.testing.assert_array_equal(chip.read(), np.where(masks > 0, expected, 0))
                np.testing.assert_array_equal(chip.read_masks(1) > 0, valid)
                np.testing.assert_array_equal(stack[series][number, frame], chip.read())
                assert row.clear_fraction == pytest.approx(valid.mean(), abs=1e-6)


@pytest.fixture(scope="module")
def temperatures(real_data: Path) -> tuple[Array, Array, list[str], Affine]:
    """Digital numbers and quality of 811 dates, their dates, and the transform; shape (date, row, column)."""
    path = real_data / "lst" / "MOD11A2.006_aid0001.nc"
    with rasterio.open(NETCDF.format(path, "LST_Day_1km")) as file:
        values, transform = file.read().astype(np.uint16), file.transform
    with rasterio.open(NETCDF.format(path, "QC_Day")) as file:
        quality = file.read().astype(np.uint16)
    with rasterio.open(real_data / STACK) as file:
        dates = list(file.descriptions)
    return values, quality, dates, transform


@pytest.fixture(scope="module")
def quality_server(
    real_data: Path, temperatures: Any, tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]
) -> Server:
    """Serve the temperatures of six years with their quality band."""
    folder = tmp_path_factory.mktemp("temperatures")
    with rasterio.open(real_data / STACK) as file:
        profile = file.profile | {"count": 2, "nodata": None, "interleave": "pixel"}
    for value, flags, date in zip(*temperatures[:3], strict=True):
        if START <= date < END:
            path = folder / "image.tif"
            with rasterio.open(path, "w", **profile) as file:
                file.write(np.stack([value, flags]))
                file.write_mask(value > 0)
            ingest(path, folder / "store", f"{LST}/{date}", bands=["LST_Day_1km", "QC_Day"], time_start=date)
    return serve_store(serve, folder / "store")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_811_dates_equal_the_netcdf(
    real_data: Path, temperatures: Any, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    """Every image of a place with a valid pixel is a frame."""
    values, _, dates, transform = temperatures
    ingest(real_data / STACK, tmp_path / "store", TEMPERATURES, bands=["LST_Day_1km"], dates_from_bands=True)
    server = serve_store(serve, tmp_path / "store")
    run = sample(
        server, tmp_path / "run", dataset=TEMPERATURES, bands="LST_Day_1km", total=1, roi="-78.9,42.8,-78.7,43.0",
        start="2000-01-01", end="2018-01-01", frames=811, size=SIZE,
    )  # fmt: skip
    ((unit, rows),) = frames_of(run)
    chips = windows(unit, values, transform)
    shown = [number for number in range(811) if chips[number].any()]
    assert len(rows) == 811
    assert 600 < len(shown) < 811
    assert [frame.get("image") for frame in unit["frames"]][: len(shown)] == [
        dates[number].replace("-", "_") for number in shown
    ]
    for number, row in zip(shown, rows.itertuples(), strict=False):
        assert list(row.dates) == [f"{dates[number]}T00:00:00Z"]
        with rasterio.open(run.path / row.file) as chip:
            np.testing.assert_array_equal(chip.read(1), chips[number])
            np.testing.assert_array_equal(chip.read_masks(1) > 0, chips[number] > 0)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_clearest_of_six_years_are_chosen(quality_server: Server, temperatures: Any, tmp_path: Path) -> None:
    """Clear shares are those of the quality bits, and no other choice is clearer."""
    values, quality, dates, transform = temperatures
    run = sample(
        quality_server, tmp_path / "run", dataset=LST, bands="LST_Day_1km", total=6, roi="-78.9,42.8,-78.7,43.0",
        start=START, end=END, frames=5, size=SIZE,
    )  # fmt: skip
    within = [number for number, date in enumerate(dates) if START <= date < END]
    assert len(within) == 276
    for unit, rows in frames_of(run):
        shares = clear_shares(windows(unit, quality, transform), windows(unit, values, transform))
        chosen = [dates.index(frame["image"]) for frame in unit["frames"]]
        assert chosen == sorted(set(chosen) & set(within))
        assert rows["clear_fraction"].to_list() == pytest.approx(shares[chosen].tolist(), abs=1e-6)
        np.testing.assert_array_equal(np.sort(shares[chosen])[::-1], np.sort(shares[within])[::-1][:5])


def windows(unit: dict[str, Any], stack: Array, transform: Affine) -> Array:
    """Return the windows of a stack on a chip's pixels; shape (date, row, column)."""
    grid = Grid.from_json(unit["grid"])
    assert (grid.width, grid.height) == (SIZE, SIZE)
    column, row = ~transform * (grid.transform[2], grid.transform[5])
    assert (column, row) == (pytest.approx(round(column), abs=1e-3), pytest.approx(round(row), abs=1e-3))
    found: Array = stack[:, round(row) : round(row) + SIZE, round(column) : round(column) + SIZE]
    assert found.shape[1:] == (SIZE, SIZE)
    return found


def clear_shares(quality: Array, values: Array) -> Array:
    """Return the clear share of each date, by the bits of QC_Day as documented.

    Bits 0 and 1 are 2 or 3 where no temperature was produced, bits 6 and 7 where its average error exceeds 2 K
    (https://developers.google.com/earth-engine/datasets/catalog/MODIS_061_MOD11A2).
    """
    clear = (values > 0) & (quality & 0b11 < 2) & (quality >> 6 & 0b11 < 2)
    found: Array = clear.mean(axis=(1, 2))
    return found
