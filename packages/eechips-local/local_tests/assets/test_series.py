"""Stacks of bands with a date each become collections: dates that are given, described, or a NetCDF's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from click.testing import CliRunner
from rasterio.io import MemoryFile
from scipy.io import netcdf_file

from eechips_local.assets import FolderStore, IngestError, ingest
from eechips_local.cli.assets_commands import assets_command
from local_tests.support.ingested_rasters import UTM, image, noise, pixels, raster


def netcdf(
    path: Path, values: np.ndarray, axis: str | None, units: str = "days since 2000-01-01", step: int = 8
) -> Path:
    """A NetCDF of values with shape (times, rows, columns) and equal steps, written by GDAL."""
    count, height, width = values.shape
    profile: dict[str, Any] = {"driver": "GTiff", "dtype": values.dtype, "crs": "EPSG:26914", "transform": UTM}
    with MemoryFile() as memory:
        with memory.open(count=count, height=height, width=width, **profile) as dataset:
            dataset.write(values)
            if axis:
                steps = ",".join(str(step * number) for number in range(count))
                tags = {
                    "NETCDF_DIM_EXTRA": f"{{{axis}}}", f"NETCDF_DIM_{axis}_DEF": f"{{{count},6}}",
                    f"NETCDF_DIM_{axis}_VALUES": f"{{{steps}}}", f"{axis}#units": units,
                }  # fmt: skip
                dataset.update_tags(**tags)
        rasterio.shutil.copy(memory.name, str(path), driver="netCDF")
    return path


def times(store: Path, ids: list[str]) -> list[int]:
    return [image(FolderStore(store), asset_id).properties["system:time_start"] for asset_id in ids]


def test_given_dates_are_used(tmp_path: Path) -> None:
    values = noise(3, 9, 9)
    source = raster(tmp_path / "a.tif", values)
    ids = ingest(source, tmp_path / "store", "M", dates=["2001-01-09", 978220800000, "2001-01-01T12:00:00Z"])
    assert ids == ["M/20001231T000000", "M/20010101T120000", "M/20010109T000000"]
    assert times(tmp_path / "store", ids) == [978220800000, 978350400000, 978998400000]
    for position, asset_id in zip((1, 2, 0), ids, strict=True):
        np.testing.assert_array_equal(pixels(image(FolderStore(tmp_path / "store"), asset_id))[0], values[position])


@pytest.mark.parametrize(
    "dates", [["2018-02-15", "2018-05-16"], ["2018-02-15", "2018-02-15", "2018-05-16", "2018-05-16"]]
)
def test_several_bands_for_each_date_are_grouped(tmp_path: Path, dates: list[str]) -> None:
    values = noise(4, 9, 9)
    source = raster(tmp_path / "a.tif", values, scales=[0.5, 1, 0.5, 1])
    ids = ingest(source, tmp_path / "store", "M", dates=dates, bands=["red", "nir"])
    assert ids == ["M/2018_02_15", "M/2018_05_16"]
    second = image(FolderStore(tmp_path / "store"), ids[1])
    assert [band.name for band in second.bands] == ["red", "nir"]
    assert second.properties["red_scale"] == 0.5
    for band in range(2):
        np.testing.assert_array_equal(pixels(second, band)[0], values[2 + band])


def test_alternating_bands_are_grouped(tmp_path: Path) -> None:
    values = noise(4, 9, 9)
    described = ["red 2018-02-15", "red 2018-05-16", "nir 2018-02-15", "nir 2018-05-16"]
    source = raster(tmp_path / "a.tif", values, descriptions=described)
    ids = ingest(source, tmp_path / "store", "M", dates_from_bands=True, bands=["red", "nir"])
    second = image(FolderStore(tmp_path / "store"), ids[1])
    np.testing.assert_array_equal(pixels(second, 0)[0], values[1])
    np.testing.assert_array_equal(pixels(second, 1)[0], values[3])


def test_several_files_make_one_series(tmp_path: Path) -> None:
    (tmp_path / "years").mkdir()
    for year in (2001, 2000):
        raster(
            tmp_path / "years" / f"{year}.tif",
            noise(2, 9, 9, seed=year),
            descriptions=[f"{year}-01-01", f"{year}-07-01"],
        )
    ids = ingest(tmp_path / "years", tmp_path / "store", "M", dates_from_bands=True)
    assert ids == ["M/2000_01_01", "M/2000_07_01", "M/2001_01_01", "M/2001_07_01"]
    found = image(FolderStore(tmp_path / "store"), ids[2])
    np.testing.assert_array_equal(pixels(found)[0], noise(2, 9, 9, seed=2001)[0])


@pytest.mark.parametrize("axis", ["time", "t", "valid_time"])
def test_the_time_axis_of_a_netcdf_whatever_its_name(tmp_path: Path, axis: str) -> None:
    values = noise(3, 9, 12, dtype="int16")
    source = netcdf(tmp_path / "a.nc", values, axis)
    ids = ingest(source, tmp_path / "store", "M", dates_from_bands=True)
    assert ids == ["M/2000_01_01", "M/2000_01_09", "M/2000_01_17"]
    for layer, asset_id in zip(values, ids, strict=True):
        np.testing.assert_array_equal(pixels(image(FolderStore(tmp_path / "store"), asset_id))[0], layer)


def test_bounds_of_the_time_axis_are_no_bands(tmp_path: Path) -> None:
    values = noise(2, 9, 12, dtype="int16")
    with netcdf_file(tmp_path / "a.nc", "w") as file:
        for name, coordinates in {"time": [0, 8], "lat": 40 - np.arange(9) / 8, "lon": np.arange(12) / 8}.items():
            file.createDimension(name, len(coordinates))
            file.createVariable(name, "d", (name,))[:] = coordinates
        file.createDimension("side", 2)
        file.variables["time"].units, file.variables["time"].bounds = "days since 2000-01-01", "time_bnds"
        file.createVariable("time_bnds", "d", ("time", "side"))[:] = [[0, 8], [8, 16]]
        file.createVariable("lst", "h", ("time", "lat", "lon"))[:] = values
    ids = ingest(tmp_path / "a.nc", tmp_path / "store", "M", dates_from_bands=True, crs="EPSG:4326")
    assert ids == ["M/2000_01_01", "M/2000_01_09"]
    found = image(FolderStore(tmp_path / "store"), ids[1])
    assert [band.name for band in found.bands] == ["lst"]
    np.testing.assert_array_equal(pixels(found)[0], values[1])


def test_a_netcdf_with_invalid_times_is_refused(tmp_path: Path) -> None:
    twice = netcdf(tmp_path / "b.nc", noise(2, 9, 12, dtype="int16"), "time", step=0)
    with pytest.raises(IngestError, match=r"b\.nc has Band1 of 2000_01_01 twice: remove one of them"):
        ingest(twice, tmp_path / "store", "M", dates_from_bands=True, bands=["Band1"])
    source = netcdf(tmp_path / "a.nc", noise(2, 9, 12, dtype="int16"), "time", "months since 2000-01-01")
    with pytest.raises(IngestError, match=r"units 'months since 2000-01-01' .* dates="):
        ingest(source, tmp_path / "store", "M", dates_from_bands=True)
    ids = ingest(source, tmp_path / "store", "M", dates=["2000-01-01", "2000-02-01"])
    assert ids == ["M/2000_01_01", "M/2000_02_01"]


def test_a_netcdf_without_times_is_an_image(tmp_path: Path) -> None:
    values = noise(1, 9, 12, dtype="int16")
    (asset_id,) = ingest(netcdf(tmp_path / "a.nc", values, None), tmp_path / "store", "dem", bands=["height"])
    found = image(FolderStore(tmp_path / "store"), asset_id)
    assert [band.name for band in found.bands] == ["height"]
    np.testing.assert_array_equal(pixels(found)[0], values[0])


def test_inconsistent_series_are_refused(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", noise(4, 9, 9))
    other = raster(tmp_path / "b.tif", noise(1, 9, 9), descriptions=["2001-01-01"])
    again = raster(tmp_path / "c.tif", noise(1, 9, 9), descriptions=["2001-01-01"])
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        ("4 bands, but there are 3 dates", source, {"dates": ["2001-01-01", "2001-01-02", "2001-01-03"]}),
        ("4 bands, but there are 2 dates", source, {"dates": ["2001-01-01", "2001-01-02"], "bands": ["a"]}),
        ("has two bands of 2001_01_01", source, {"dates": ["2001-01-01", "2001-01-01", "2001-01-02", "2001-01-03"]}),
        ("is not a date", source, {"dates": ["2001-01-01", "x"], "bands": ["a", "b"]}),
        ("both have 2001_01_01", [other, again], {"dates_from_bands": True}),
        ("the bands of one file", [other, again], {"dates": ["2001-01-01"]}),
        ("not both", source, {"dates": ["2001-01-01"], "one_image": True}),
        ("leave name out", other, {"dates_from_bands": True, "name": "{date}"}),
    ]
    for message, files, options in cases:
        with pytest.raises(IngestError, match=message):
            ingest(files, tmp_path / "store", "M", **options)


def test_dates_are_parsed_from_the_command_line(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", noise(2, 9, 9))
    (tmp_path / "dates.txt").write_text("2001-01-01\n\n2001-01-09\n")
    for dates in ("2001-01-01, 2001-01-09", str(tmp_path / "dates.txt")):
        arguments = ["ingest", source, "--into", tmp_path / "store", "--id", "M", "--dates", dates]
        found = CliRunner().invoke(assets_command, [str(argument) for argument in arguments])
        assert found.exit_code == 0, found.output
        assert found.output.split() == ["M/2001_01_01", "M/2001_01_09"]
