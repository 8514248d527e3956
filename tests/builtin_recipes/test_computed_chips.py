"""Indices, expressions and scaled bands of samples, on the demo planet, against numpy on the stored bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import eechips
from eechips.builtin_recipes.samples.chips import ChipSample
from eechips.errors import UsageError
from eechips.manifest.pictures.display_styles import display_styles
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.computed_bands import COMPUTED, QUIET, ROI, STORED, compare, read

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
