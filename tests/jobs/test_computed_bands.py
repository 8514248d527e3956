"""Indices, expressions and scaled bands in every verb, on the demo planet, against numpy on the stored bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio

import eechips
from eechips.errors import UnknownDatasetError, UsageError
from eechips.jobs.rasters.composites import Composites
from eechips.jobs.rasters.images import Images
from eechips.jobs.rasters.mosaic import MosaicRecipe
from eechips.jobs.samples.chips import ChipSample
from eechips.jobs.tables.points import PointValues
from eechips.jobs.tables.timeseries import TimeSeries
from eechips.manifest.pictures.display_styles import display_styles
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.commands import run_command

Array = npt.NDArray[Any]

ROI = "-105.3,39.9,-105.29,39.91"
SUMMER: dict[str, Any] = {"roi": ROI, "start": "2020-06-01", "end": "2020-06-16", "mask": "scl"}
QUIET: dict[str, Any] = {"rate": None, "executor": "threads", "quiet": True}
COMPUTED: dict[str, Any] = {
    "bands": "red,B8", "index": ["NDVI,EVI", "NDMI", "ratio = B8/B4", "low = swir1 < 2000"]
}  # fmt: skip
NAMES = ["red", "B8", "NDVI", "EVI", "NDMI", "ratio", "low"]
STORED = "B4,B8,B2,B11"


def read(path: Path) -> tuple[dict[str, Array], Array]:
    """Return the bands of a GeoTIFF by name, and its mask."""
    with rasterio.open(path) as file:
        return dict(zip(file.descriptions, file.read(), strict=True)), file.read_masks(1) != 0


def computed(stored: dict[str, Array]) -> dict[str, Array]:
    """Return the bands of ``COMPUTED`` by numpy."""
    red, nir, blue, swir = (stored[name].astype(float) for name in STORED.split(","))
    r, n, b, s = (values * 0.0001 for values in (red, nir, blue, swir))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "red": red,
            "B8": nir,
            "NDVI": (n - r) / (n + r),
            "EVI": 2.5 * (n - r) / (n + 6 * r - 7.5 * b + 1),
            "NDMI": (n - s) / (n + s),
            "ratio": nir / red,
            "low": (swir < 2000).astype(float),
        }


def compare(found: Path, stored: Path) -> int:
    """Compare the bands with numpy; return the number of valid pixels."""
    bands, valid = read(found)
    sources, stored_valid = read(stored)
    assert list(bands) == NAMES
    assert {values.dtype for values in bands.values()} == {np.dtype("float32")}
    assert np.array_equal(valid, stored_valid)
    for name, expected in computed(sources).items():
        assert np.allclose(bands[name][valid], expected[valid].astype("f4"), rtol=2e-6, atol=1e-8), name
    return int(valid.sum())


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
    assert valid.sum() > 0
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
    assert len(table.dropna()) > 1


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


CHIPS: dict[str, Any] = {
    "total": 4,
    "roi": "-105.3,39.9,-105.28,39.92",
    "size": 32,
    "start": "2020-06-01",
    "end": "2020-07-01",
}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("grid", "mask"),
    [
        ("native", "none"),
        pytest.param("thumb", "scl", marks=pytest.mark.slow),
        pytest.param("native", "scl", marks=pytest.mark.slow),
        pytest.param("thumb", "none", marks=pytest.mark.slow),
    ],
)
def test_chips_have_computed_bands(demo_server: Server, tmp_path: Path, grid: str, mask: str) -> None:
    options = {**QUIET, "endpoint": demo_server.url, **CHIPS, "grid": grid, "mask": mask, "format": "tif"}
    found = eechips.sample("S2", out=tmp_path / "computed", **options, **COMPUTED)
    stored = eechips.sample("S2", out=tmp_path / "stored", **options, bands=STORED)
    assert found.units["crs"].tolist() == stored.units["crs"].tolist()
    assert found.units["transform"].tolist() == stored.units["transform"].tolist()
    assert set(found.units["dtype"]) == {"float32"}
    shown = [
        compare(found.path / one, stored.path / other)
        for one, other in zip(found.units["file"], stored.units["file"], strict=True)
    ]
    assert sum(shown)


@pytest.mark.slow
def test_chips_of_several_datasets_have_their_own_computed_bands(demo_server: Server, tmp_path: Path) -> None:
    run = eechips.sample(
        ["S2", "L8", "SRTM"], out=tmp_path, **QUIET, **CHIPS, endpoint=demo_server.url,
        bands={"S2": "red,nir", "L8": "red,nir", "SRTM": "elevation"},
        index={"S2": "NDVI", "L8": ["NDVI", "NBR"], "SRTM": "km = elevation / 1000"}, values="scaled",
    )  # fmt: skip
    bands = {}
    for name in sorted((tmp_path / "chips").rglob("*.tif")):
        with rasterio.open(name) as file:
            bands.setdefault(file.descriptions, []).append(file.read())
    assert set(bands) == {("red", "nir", "NDVI"), ("red", "nir", "NDVI", "NBR"), ("elevation", "km")}
    for names, chips in bands.items():
        values = np.stack(chips)
        assert values.dtype == np.float32
        if "red" in names:
            assert values[:, 0].max() < 1.7  # reflectance
            red, nir, ndvi = values[:, 0], values[:, 1], values[:, 2]
            inside = (red != 0) & (nir != 0)
            assert np.allclose(ndvi[inside], ((nir - red) / (nir + red))[inside], atol=2e-6)
    layers = run.info["parameters"]["layers"]
    assert [each["name"] for each in layers[1]["computed"]] == ["red", "nir", "NDVI", "NBR"]


@pytest.mark.slow
def test_chips_of_a_single_image_and_of_a_dataset_without_a_record(demo_server: Server, tmp_path: Path) -> None:
    shared = {**QUIET, "endpoint": demo_server.url, "roi": "-105.3,39.9,-105.28,39.92", "total": 2, "size": 16}
    run = eechips.sample("SRTM", out=tmp_path / "a", **shared, index="km=elevation/1000", format="npy")
    for name in run.units["file"]:
        chip = np.load(run.path / name)
        assert chip.dtype["km"] == np.float32
        assert 1 < chip["km"].mean() < 4.5
    run = eechips.sample(
        "MODIS/061/MOD11A2", out=tmp_path / "b", **shared, start="2020-06-01", end="2020-07-01",
        index="celsius = LST_Day_1km*0.02 - 273.15", format="npy",
    )  # fmt: skip
    assert run.units["file"].notna().any()
    for name in run.units["file"].dropna():
        chip = np.load(run.path / name)
        assert chip.dtype.names is not None
        assert "celsius" in chip.dtype.names


@pytest.mark.slow
def test_files_have_one_type_that_holds_all_bands(demo_server: Server, tmp_path: Path) -> None:
    shared = {**QUIET, "endpoint": demo_server.url, **CHIPS, "total": 2, "size": 16}
    narrow = eechips.sample("S1", out=tmp_path / "s1", **shared, bands="VV", index="VHVVR")
    assert set(narrow.units["dtype"]) == {"float32"}  # the service stores decibels with 64 bits
    single = eechips.sample("S2", out=tmp_path / "s2", **shared, bands="B4,SCL", index="NDVI")
    assert set(single.units["dtype"]) == {"float32"}
    own = eechips.sample("S2", out=tmp_path / "npy", **shared, bands="B4", index="NDVI", format="npy")
    chip = np.load(own.path / own.units["file"][0])
    assert (chip.dtype["B4"], chip.dtype["NDVI"]) == (np.uint16, np.float32)
    with rasterio.open(single.path / single.units["file"][0]) as file:
        assert np.array_equal(file.read(1), chip["B4"])


@pytest.mark.slow
@pytest.mark.parametrize("time", slow_except([{"frames": 2}, {"every": "15 days:max"}], {"frames": 2}))
def test_frames_have_computed_bands(demo_server: Server, tmp_path: Path, time: dict[str, Any]) -> None:
    run = eechips.sample(
        "S2", out=tmp_path, **QUIET, endpoint=demo_server.url, **{**CHIPS, "total": 2, "end": "2020-07-01"}, **time,
        bands="B4,B8", index="NDVI,difference=B8-B4", mask="scl",
    )  # fmt: skip
    files = sorted((run.path / "chips").rglob("*.tif"))
    assert len(files) == 4
    shown = 0
    for path in files:
        bands, valid = read(path)
        assert list(bands) == ["B4", "B8", "NDVI", "difference"]
        assert {values.dtype for values in bands.values()} == {np.dtype("float32")}
        red, nir = bands["B4"][valid].astype(float), bands["B8"][valid].astype(float)
        if "frames" in time:
            assert np.allclose(bands["NDVI"][valid], (nir - red) / (nir + red), rtol=2e-6)
            assert np.array_equal(bands["difference"][valid], nir - red)
        shown += valid.sum()
    assert shown


@pytest.mark.slow
def test_reports_stretch_scaled_bands_by_their_own_values(demo_server: Server, tmp_path: Path) -> None:
    shared = {**QUIET, "endpoint": demo_server.url, **CHIPS, "total": 1, "size": 16, "format": "tif"}
    stored = eechips.sample("S2", out=tmp_path / "stored", **shared)
    scaled = eechips.sample("S2", out=tmp_path / "scaled", **shared, values="scaled")
    layers = eechips.sample(["S2", "SRTM"], out=tmp_path / "layers", **shared, values="scaled")
    assert [style.bands for style in display_styles(stored.info)] == [("B4", "B3", "B2")]
    assert display_styles(scaled.info) == ()
    assert [style.bands for style in display_styles(layers.info)] == [("elevation",)]


@pytest.mark.slow
def test_an_empty_place_has_the_computed_bands(demo_server: Server, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("lon,lat,day\n-105.295,39.905,2010-06-10\n-105.295,39.905,2020-06-10\n")
    run = eechips.sample(
        "S2", points=path, out=tmp_path / "out", **QUIET, endpoint=demo_server.url, size=16, bands="B4", index="NDVI",
        columns="date=day", near="15d",
    )  # fmt: skip
    assert run.units["state"].tolist() == ["empty", "done"]
    assert run.units["dtype"].tolist() == ["float32", "float32"]


@pytest.mark.slow
def test_provenance_and_dates_work_with_computed_bands(demo_server: Server, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("lon,lat,day\n-105.295,39.905,2020-06-10\n-105.292,39.907,2020-06-20\n")
    run = eechips.sample(
        "S2", points=path, out=tmp_path / "out", **QUIET, endpoint=demo_server.url, size=16, index="NDMI,NDVI",
        columns="date=day", near="15d", provenance=True, mask="scl",
    )  # fmt: skip
    assert all(run.units["sources"].map(len) > 0)
    assert run.units["bands"].map(list).tolist() == [["NDMI", "NDVI"]] * 2


@pytest.mark.slow
def test_chips_in_the_usual_colours_take_common_names(demo_server: Server, tmp_path: Path) -> None:
    options = {**QUIET, "endpoint": demo_server.url, **CHIPS}
    named = eechips.sample("S2", out=tmp_path / "named", **options, bands="red,green,blue")
    default = eechips.sample("S2", out=tmp_path / "default", **options)
    assert all(name.endswith(".png") for name in default.units["file"])
    assert named.units["sha256"].tolist() == default.units["sha256"].tolist()
    with pytest.raises(UsageError, match="give `stretch`"):
        eechips.sample("S2", out=tmp_path / "wrong", **options, index="NDVI", format="png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "NDVI"}, "index='NDVI': name the dataset, as in index='S2:NDVI'"),
        ({"index": "S3:NDVI"}, "index='S3:…' names none of the datasets; they are S2, SRTM"),
        ({"index": "SRTM:NDVI"}, "SRTM has no band nir and no band red, which NDVI needs"),
        ({"index": "x=B4"}, "index='x=B4': name the dataset, as in index='S2:x=B4'"),
        ({"index": "L8:x=B4"}, "index='L8:…' names none of the datasets"),
        ({"index": "S2:x=elevation"}, "S2 has no band 'elevation'"),
    ],
)
def test_computed_bands_of_several_datasets_name_their_dataset(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        eechips.sample(["S2", "SRTM"], out=tmp_path / "out", **CHIPS, **options)


def test_only_computed_bands_change_the_identity_of_a_sample() -> None:
    shared: dict[str, Any] = {"dataset": "S2", "total": 1, "roi": ROI, "bands": "B4"}
    plain = ChipSample(**shared)
    assert "computed" not in plain.parameters
    others = [ChipSample(**shared, **each) for each in ({"index": "NDVI"}, {"index": "x=B4"}, {"values": "scaled"})]
    assert len({each.identity for each in (plain, *others)}) == 4
