"""Indices, expressions and scaled bands in every verb, on the demo planet, against numpy on the stored bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio

import eechips
from eechips.builtin_recipes.rasters.composites import Composites
from eechips.builtin_recipes.rasters.images import Images
from eechips.builtin_recipes.rasters.mosaic import MosaicRecipe
from eechips.builtin_recipes.tables.points import PointValues
from eechips.builtin_recipes.tables.timeseries import TimeSeries
from eechips.errors import UnknownDatasetError, UsageError
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.commands import run_command
from tests.support.computed_bands import COMPUTED, NAMES, QUIET, ROI, STORED, SUMMER, compare, computed, read


@pytest.mark.slow
def test_images_have_bands_indices_and_expressions_in_order(demo_server: Server, tmp_path: Path) -> None:
    options = {**SUMMER, **QUIET, "endpoint": demo_server.url, "limit": 3}
    found = eechips.images("S2", out=tmp_path / "computed", **options, **COMPUTED)
    stored = eechips.images("S2", out=tmp_path / "stored", **options, bands=STORED)
    assert len(found.units) == 3
    assert found.units["crs"].tolist() == stored.units["crs"].tolist()
    assert found.units["transform"].tolist() == stored.units["transform"].tolist()
    shown = 0
    for one, other in zip(found.units["file"], stored.units["file"], strict=True):
        if one is not None:
            shown += compare(found.path / one, stored.path / other)
    assert shown
    before = demo_server.requests()
    eechips.images("S2", out=tmp_path / "computed", **options, **COMPUTED)
    assert demo_server.requests() == before


@pytest.mark.slow
def test_composites_reduce_the_indices_of_images(demo_server: Server, tmp_path: Path) -> None:
    """The median of an index is not the index of medians: formulas are computed image by image."""
    options = {**SUMMER, **QUIET, "endpoint": demo_server.url}
    images = eechips.images("S2", out=tmp_path / "images", **options, index="NDVI")
    (unit,) = eechips.composites(
        "S2", out=tmp_path / "composites", **options, index=["NDVI"], every="1 month"
    ).units.to_dict("records")
    stack = []
    for name in images.units["file"].dropna():
        bands, valid = read(images.path / name)
        stack.append(np.where(valid, bands["NDVI"], np.nan))
    bands, valid = read(tmp_path / "composites" / unit["file"])
    assert np.array_equal(valid, ~np.isnan(stack).all(axis=0))
    assert np.allclose(bands["NDVI"][valid], np.nanmedian(np.array(stack)[:, valid], axis=0), rtol=1e-6)


@pytest.mark.slow
def test_the_greenest_pixel_is_chosen_by_a_computed_index(demo_server: Server, tmp_path: Path) -> None:
    options = {**SUMMER, **QUIET, "endpoint": demo_server.url}
    images = eechips.images("S2", out=tmp_path / "images", **options, bands="B4", index="NDVI")
    (unit,) = eechips.composites(
        "S2", out=tmp_path / "composites", **options, bands="B4", index="NDVI", every="1 month",
        reducer="qualityMosaic:NDVI",
    ).units.to_dict("records")  # fmt: skip
    stack = []
    for name in images.units["file"].dropna():
        bands, valid = read(images.path / name)
        stack.append(np.where(valid, bands["NDVI"], -9))
    bands, valid = read(tmp_path / "composites" / unit["file"])
    assert list(bands) == ["B4", "NDVI"]
    assert np.array_equal(bands["NDVI"][valid], np.max(stack, axis=0)[valid])


@pytest.mark.exhaustive
@pytest.mark.parametrize("reducer", slow_except(["mosaic", "median"], "mosaic"))
def test_mosaics_have_computed_bands(demo_server: Server, tmp_path: Path, reducer: str) -> None:
    options = {**SUMMER, **QUIET, "endpoint": demo_server.url, "reducer": reducer, "window": 64}
    found = eechips.mosaic("S2", out=tmp_path / "computed", **options, **COMPUTED)
    if reducer == "mosaic":
        stored = eechips.mosaic("S2", out=tmp_path / "stored", **options, bands=STORED)
        assert compare(found.assembled[0], stored.assembled[0])
    else:
        bands, valid = read(found.assembled[0])
        assert list(bands) == NAMES
        assert np.all(np.abs(bands["NDVI"][valid]) <= 1)


@pytest.mark.slow
def test_a_mosaic_of_a_single_image_has_scaled_bands(demo_server: Server, tmp_path: Path) -> None:
    options = {**QUIET, "endpoint": demo_server.url, "roi": ROI}
    found = eechips.mosaic("SRTM", out=tmp_path / "km", **options, index="km=elevation/1000")
    stored = eechips.mosaic("SRTM", out=tmp_path / "stored", **options)
    bands, valid = read(found.assembled[0])
    heights, stored_valid = read(stored.assembled[0])
    assert np.array_equal(valid, stored_valid)
    assert np.array_equal(bands["km"][valid], (heights["elevation"][valid] / 1000).astype("f4"))


def points_file(folder: Path) -> Path:
    random = np.random.default_rng(3)
    path = folder / "points.csv"
    frame = pd.DataFrame(
        {"id": range(12), "lon": random.uniform(-105.3, -105.28, 12), "lat": random.uniform(39.9, 39.92, 12)}
    )
    frame.to_csv(path, index=False)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("mode", [pytest.param({"each_image": True}, marks=pytest.mark.slow), {"composite": "latest"}])
def test_points_have_computed_columns(demo_server: Server, tmp_path: Path, mode: dict[str, Any]) -> None:
    path = points_file(tmp_path)
    dates = {"start": "2020-06-01", "end": "2020-06-09", "mask": "scl", **mode}
    options = {**QUIET, "endpoint": demo_server.url, **dates}
    found = eechips.points("S2", path, out=tmp_path / "computed", **options, **COMPUTED)
    stored = eechips.points("S2", path, out=tmp_path / "stored", **options, bands=STORED)
    one, other = (pd.read_parquet(run.assembled[0]) for run in (found, stored))
    assert [name for name in one.columns if name in NAMES] == NAMES
    assert len(one) == len(other)
    valid = other["B4"].notna().to_numpy()
    assert np.array_equal(valid, one["red"].notna().to_numpy())
    assert valid.sum() == 11
    expected = computed({name: other[name].to_numpy(dtype=float, na_value=np.nan) for name in STORED.split(",")})
    for name in NAMES:
        values = one[name].to_numpy(dtype=float, na_value=np.nan)
        assert np.allclose(values[valid], expected[name][valid], rtol=2e-6, atol=1e-8), name


def polygons_file(folder: Path) -> Path:
    path = folder / "fields.geojson"
    rings = [
        [[x, y], [x + 0.002, y], [x + 0.002, y + 0.0015], [x, y + 0.0015], [x, y]]
        for x, y in [(-105.298, 39.902), (-105.293, 39.905)]
    ]
    features = ",".join(
        f'{{"type":"Feature","properties":{{"name":"{number}"}},"geometry":{{"type":"Polygon","coordinates":[{ring}]}}}}'
        for number, ring in enumerate(rings)
    )
    path.write_text(f'{{"type":"FeatureCollection","features":[{features}]}}')
    return path


@pytest.mark.exhaustive
def test_a_series_of_an_index_is_the_mean_of_its_pixels(demo_server: Server, tmp_path: Path) -> None:
    """The means equal those of exactextract over the images' pixels, whose parts inside a region weight them."""
    from exactextract import exact_extract

    fields = polygons_file(tmp_path)
    dates = {"start": "2020-06-16", "end": "2020-06-28", "mask": "scl"}
    options: dict[str, Any] = {**QUIET, "endpoint": demo_server.url, "index": "NDVI", **dates}
    series = {"regions": str(fields), "columns": "id=name", "output": "one", "format": "csv"}
    found = eechips.timeseries("S2", out=tmp_path / "a", **options, **series)
    table = pd.read_csv(found.assembled[0], dtype={"name": str})
    assert list(table.columns) == ["name", "date", "NDVI", "count", "valid_fraction"]
    images = eechips.images("S2", out=tmp_path / "images", **options, roi=ROI)
    expected = []
    for unit in images.units.dropna(subset=["file"]).to_dict("records"):
        regions = gpd.read_file(fields).to_crs(unit["crs"])
        path = tmp_path / "nan.tif"
        with rasterio.open(images.path / unit["file"]) as file:
            profile, values = file.profile, np.where(file.read_masks(1) != 0, file.read(1), np.nan)
        with rasterio.open(path, "w", **{**profile, "count": 1, "nodata": np.nan}) as file:
            file.write(values, 1)
        means = exact_extract(str(path), regions, "mean", include_cols="name", output="pandas")
        expected.append(means.assign(date=unit["dates"][0][:10]))
    both = table.dropna().merge(pd.concat(expected), on=["name", "date"])
    assert len(both) == table["NDVI"].notna().sum() > 1
    assert np.allclose(both["NDVI"], both["mean"], atol=1e-4)


@pytest.mark.slow
def test_a_series_of_periods_has_computed_columns(demo_server: Server, tmp_path: Path) -> None:
    run = eechips.timeseries(
        "S2", out=tmp_path / "b", **QUIET, endpoint=demo_server.url, index="NDVI,d=nir-red",
        regions=str(polygons_file(tmp_path)), columns="id=name", output="one", format="csv",
        start="2020-06-16", end="2020-07-16", mask="scl", every="15 days",
    )  # fmt: skip
    table = pd.read_csv(run.assembled[0])
    assert table["date"].tolist() == ["2020-06-16", "2020-07-01"] * 2
    assert table["NDVI"].dropna().between(-1, 1).all()
    assert table["d"].dropna().abs().max() > 100
    assert len(table.dropna()) == 4


@pytest.mark.slow
def test_scaled_series_are_in_the_units_of_the_record(demo_server: Server, tmp_path: Path) -> None:
    options = {
        **QUIET, "endpoint": demo_server.url, "regions": str(polygons_file(tmp_path)), "columns": "id=name",
        "start": "2020-06-01", "end": "2020-06-05", "output": "one", "format": "csv",
    }  # fmt: skip
    kelvin = eechips.timeseries("MODIS_LST", out=tmp_path / "scaled", **options, values="scaled")
    stored = eechips.timeseries("MODIS_LST", out=tmp_path / "stored", **options)
    one, other = (pd.read_csv(run.assembled[0]) for run in (kelvin, stored))
    assert list(one.columns) == list(other.columns)
    name = one.columns[2]
    assert one[name].dropna().between(220, 340).all()
    assert np.allclose(one[name], other[name] * 0.02, rtol=1e-6, equal_nan=True)


@pytest.mark.slow
def test_pictures_of_computed_values_need_a_range(demo_server: Server, tmp_path: Path) -> None:
    options = {**SUMMER, **QUIET, "endpoint": demo_server.url, "limit": 1, "format": "png"}
    with pytest.raises(UsageError, match="the values of NDVI are float32 and png holds 8 bits: give `stretch`"):
        eechips.images("S2", out=tmp_path / "a", **options, index="NDVI")
    run = eechips.images("S2", out=tmp_path / "b", **options, index="NDVI", stretch="-1,1:ff0000,00ff00")
    assert run.units["file"].notna().all()
    natural = eechips.images("S2", out=tmp_path / "c", **options, bands="red,green,blue")
    default = eechips.images("S2", out=tmp_path / "d", **options)
    files = [run.path / run.units["file"][0] for run in (natural, default)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_only_computed_bands_change_the_identity_of_a_recipe(tmp_path: Path) -> None:
    path, fields = str(points_file(tmp_path)), str(polygons_file(tmp_path))
    recipes: list[tuple[Any, dict[str, Any]]] = [
        (Images, {"roi": ROI}),
        (Composites, {"roi": ROI}),
        (MosaicRecipe, {"roi": ROI}),
        (PointValues, {"points": path}),
        (TimeSeries, {"regions": fields, "columns": "id=name"}),
    ]
    for make, options in recipes:
        plain = make(dataset="S2", bands="B4", **options)
        assert "computed" not in plain.parameters
        others = [
            make(dataset="S2", bands="B4", index="NDVI", **options),
            make(dataset="S2", bands="B4", index="x=B4*2", **options),
            make(dataset="S2", bands="B4", index="x=B4*3", **options),
            make(dataset="S2", bands="B4", values="scaled", **options),
        ]
        assert len({each.identity for each in (plain, *others)}) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"index": "NDVJ"}, UsageError, "no spectral index 'NDVJ'"),
        ({"index": "RFDI"}, UsageError, "S2 has no band HH and no band HV, which RFDI needs"),
        ({"index": "x=B8-B44"}, UsageError, "S2 has no band 'B44'; did you mean 'B4'"),
        ({"index": "x=__import__('os')"}, UsageError, "not a function"),
        ({"bands": "NDVI"}, UnknownDatasetError, "NDVI is a spectral index, which `index` computes from bands"),
    ],
)
def test_the_same_errors_in_every_verb(
    demo_server: Server, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    shared = {**QUIET, "endpoint": demo_server.url, "out": tmp_path / "out", **options}
    dates = {"start": "2020-06-01", "end": "2020-06-16"}
    for verb in (eechips.images, eechips.composites, eechips.mosaic):
        with pytest.raises(error, match=message):
            verb("S2", roi=ROI, **dates, **shared)
    with pytest.raises(error, match=message):
        eechips.points("S2", points_file(tmp_path), **dates, **shared)
    with pytest.raises(error, match=message):
        eechips.timeseries("S2", regions=str(polygons_file(tmp_path)), columns="id=name", **dates, **shared)


@pytest.mark.slow
def test_the_command_line_takes_several_expressions(demo_server: Server, tmp_path: Path) -> None:
    arguments = ["images", "--dataset", "S2", f"--roi={ROI}", "--start", "2020-06-01", "--end", "2020-06-16"]
    arguments += ["--index", "NDVI,NBR", "--index", "a=B8-B4,b = sqrt(nir)", "--limit", "1"]
    arguments += [
        "--endpoint",
        demo_server.url,
        "--rate",
        "none",
        "--executor",
        "processes:1",
        "-q",
        "--out",
        str(tmp_path),
    ]
    run_command(*arguments, status=0)
    run = eechips.open_run(tmp_path)
    assert list(read(run.path / run.units["file"][0])[0]) == ["NDVI", "NBR", "a", "b"]
    assert [each["name"] for each in run.info["parameters"]["computed"]] == ["NDVI", "NBR", "a", "b"]
    run_command(*arguments[:7], "--index", "NDMI", "--dataset", "NAIP", status=2)
