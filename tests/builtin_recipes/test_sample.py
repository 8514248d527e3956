"""``eechips sample`` from end to end, over the real client and a local Earth Engine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import requests
import shapely
from PIL import Image

import eechips
from eechips.builtin_recipes.samples.chips import ChipSample
from eechips.errors import RegionError, UnknownDatasetError, UsageError
from eechips.geo.grid import Grid
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.parameters import slow_except

# Inside the North Dakota quarter quad, so that chips of 64 pixels at 5 m do not leave it.
QUAD = "-99.181,47.007,-99.128,47.033"
YEARS = (2009, 2010, 2012, 2014, 2015, 2016, 2017, 2018, 2019, 2020)


def sample(server: Server, out: Path, **options: Any) -> eechips.Run:
    options = {"dataset": "NAIP", "per_ecoregion": 4, "executor": "threads", "quiet": True, **options}
    return eechips.sample(endpoint=server.url, rate=None, out=out, **options)


@pytest.fixture(scope="module")
def colorado(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """Small chips of the demo planet's NAIP in its Colorado."""
    return sample(demo_server, tmp_path_factory.mktemp("colorado"), size=64, per_ecoregion=6)


def test_every_ecoregion_has_exactly_its_chips_and_each_is_valid(colorado: eechips.Run) -> None:
    units = colorado.units
    assert set(units["state"]) == {"done"}
    counts = Counter(unit["eco_id"] for unit in units["unit"])
    assert len(counts) >= 2
    assert set(counts.values()) == {6}
    assert colorado.verify() == []
    files = sorted(colorado.path.rglob("*.png"))
    assert len(files) == len(units)
    for file in files:
        with Image.open(file) as image:
            assert image.size == (64, 64)
            assert np.asarray(image.convert("RGB")).std() > 1, "a chip of a single colour"


def test_points_lie_in_their_ecoregion_and_in_the_region(colorado: eechips.Run, demo_ee: Any) -> None:
    ecoregions = demo_ee.FeatureCollection("RESOLVE/ECOREGIONS/2017")
    state = demo_ee.FeatureCollection("FAO/GAUL/2015/level1").filter(demo_ee.Filter.eq("ADM1_NAME", "Colorado"))
    region = shapely.geometry.shape(state.geometry().getInfo())
    for eco_id in {unit["eco_id"] for unit in colorado.units["unit"]}:
        found = ecoregions.filter(demo_ee.Filter.eq("ECO_ID", eco_id)).getInfo()["features"]
        polygon = shapely.union_all([shapely.geometry.shape(feature["geometry"]) for feature in found])
        inside = polygon.intersection(region).buffer(1e-5)  # the server cuts to within a metre
        for unit in colorado.units["unit"]:
            if unit["eco_id"] == eco_id:
                assert inside.contains(shapely.Point(unit["coordinates"]))


def test_a_repeated_command_sends_no_request(colorado: eechips.Run, demo_server: Server) -> None:
    before = demo_server.requests()
    again = sample(demo_server, colorado.path, size=64, per_ecoregion=6)
    assert demo_server.requests() == before
    assert again.units["sha256"].tolist() == colorado.units["sha256"].tolist()


@pytest.mark.slow
def test_the_same_seed_makes_the_same_files_and_lost_ones_are_fetched_again(
    colorado: eechips.Run, demo_server: Server, tmp_path: Path
) -> None:
    lost = colorado.path / colorado.units["file"].iloc[3]
    whole = lost.read_bytes()
    lost.unlink()
    sample(demo_server, colorado.path, size=64, per_ecoregion=6)
    assert lost.read_bytes() == whole
    other = sample(demo_server, tmp_path / "other", size=64, per_ecoregion=6)
    assert other.units["sha256"].tolist() == colorado.units["sha256"].tolist()
    assert other.units["file"].tolist() == colorado.units["file"].tolist()
    seeded = sample(demo_server, tmp_path / "seeded", size=64, per_ecoregion=6, seed=1, limit=5)
    assert len(seeded.units) == 5
    assert not set(seeded.units["sha256"]) & set(colorado.units["sha256"])


@pytest.mark.slow
def test_fewer_points_are_the_first_of_more(colorado: eechips.Run, demo_server: Server, tmp_path: Path) -> None:
    fewer = sample(demo_server, tmp_path, size=64, per_ecoregion=2)
    assert set(fewer.units["sha256"]) < set(colorado.units["sha256"])
    assert set(fewer.units["id"]) < set(colorado.units["id"])


@pytest.mark.slow
def test_thumbnail_chips_depend_on_the_seed(demo_server: Server, demo_ee: Any, tmp_path: Path) -> None:
    """256 pixels of a metre are buffer(127).bounds() at 256x256, to the byte."""
    run = sample(demo_server, tmp_path, per_ecoregion=1, limit=1)
    unit = run.units["unit"].iloc[0]
    region = demo_ee.Geometry.Point(unit["coordinates"]).buffer(127).bounds()
    images = demo_ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(region).sort("system:time_start")
    url = (
        images.select("R", "G", "B").mosaic().getThumbURL({"region": region, "dimensions": "256x256", "format": "png"})
    )
    expected = requests.get(url, timeout=60).content
    assert (tmp_path / run.units["file"].iloc[0]).read_bytes() == expected


def test_the_manifest_says_where_the_pixels_of_a_picture_lie(colorado: eechips.Run, demo_ee: Any) -> None:
    for _, row in colorado.units.iterrows():
        region = demo_ee.Geometry.Point(row["unit"]["coordinates"]).buffer(31).bounds()
        west, south, east, north = shapely.geometry.shape(region.getInfo()).bounds
        assert row["crs"] == "EPSG:4326"
        expected = ((east - west) / 64, 0, west, 0, (south - north) / 64, north)
        assert list(row["transform"]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_dry_run_is_an_estimate(demo_server: Server, tmp_path: Path) -> None:
    foreseen = eechips.sample("NAIP", per_ecoregion=1500, endpoint=demo_server.url, out=tmp_path, dry_run=True)
    assert foreseen.units % 1500 == 0
    assert foreseen.units > 5000
    assert foreseen.requests == foreseen.units
    assert not list(tmp_path.iterdir())


@pytest.mark.exhaustive
def test_run_json_says_what_was_fetched_and_that_it_is_synthetic(tmp_path: Path) -> None:
    run = eechips.sample(
        "NAIP", per_ecoregion=1, limit=2, size=16, local=True, executor="processes:2", quiet=True, out=tmp_path
    )
    assert run.is_complete
    info = run.info
    assert info["parameters"]["roi"] == "FAO/GAUL/2015/level1:ADM1_NAME=Colorado"
    assert info["datasets"][0]["id"] == "USDA/NAIP/DOQQ"
    assert "public domain" in info["datasets"][0]["licence"]
    assert any("synthetic" in note for note in info["notes"])


@pytest.mark.slow
@pytest.mark.parametrize("year", slow_except(YEARS, 2009, 2020))
def test_native_chips_are_the_file_s_own_pixels(
    photograph_server: Server, real_data: Path, tmp_path: Path, year: int
) -> None:
    """Byte for byte what rasterio reads at that window, and the same transform."""
    run = sample(
        photograph_server, tmp_path, roi=QUAD, size=64, format="tif", bands=("R", "G", "B", "N"), method="pixels",
        start=f"{year}-01-01", end=f"{year + 1}-01-01",
    )  # fmt: skip
    (path,) = (real_data / "naip").glob(f"m_4709963_se_14_1_{year}*.tif")
    units = run.units
    assert len(units) >= 4
    assert set(units["state"]) == {"done"}
    with rasterio.open(path) as source:
        for _, unit in units.iterrows():
            assert unit["unit"]["image"] == path.stem
            grid = Grid.from_json(unit["unit"]["grid"])
            with rasterio.open(tmp_path / unit["file"]) as chip:
                window = rasterio.windows.from_bounds(*chip.bounds, transform=source.transform)
                assert (window.width, window.height) == pytest.approx((64, 64))
                column, row = round(window.col_off), round(window.row_off)
                assert (window.col_off, window.row_off) == pytest.approx((column, row), abs=1e-6)
                window = rasterio.windows.Window(column, row, 64, 64)
                assert chip.transform == source.window_transform(window) == grid.affine
                assert chip.crs == source.crs
                assert chip.descriptions[:4] == ("R", "G", "B", "N")
                assert np.array_equal(chip.read([1, 2, 3, 4]), source.read(window=window))
                assert unit["valid_fraction"] == 1


@pytest.mark.slow
def test_the_latest_image_is_on_top_whatever_the_grid(
    photograph_server: Server, real_data: Path, tmp_path: Path
) -> None:
    run = sample(photograph_server, tmp_path, roi=QUAD, size=32, format="npy", per_ecoregion=3)
    for _, unit in run.units.iterrows():
        assert unit["unit"]["image"].endswith("20200831")
        assert unit["unit"]["date"].startswith("2020-08-31")
        array = np.load(tmp_path / unit["file"])
        with rasterio.open(next((real_data / "naip").glob("*_20200831.tif"))) as source:
            grid = Grid.from_json(unit["unit"]["grid"])
            column, row = (
                round(float(v)) for v in Grid(grid.crs, tuple(source.transform)[:6], 1, 1).pixel(*grid.xy(0, 0))
            )
            expected = source.read([1, 2, 3], window=rasterio.windows.Window(column, row, 32, 32))
        assert array.dtype.names[:3] == ("R", "G", "B")
        assert np.array_equal(np.stack([array[name] for name in "RGB"]), expected)


@pytest.mark.slow
def test_chips_per_real_ecoregion_over_a_zone_seam(photograph_server: Server, tmp_path: Path) -> None:
    """Two neighbouring pieces on either side of 78 W, in two UTM zones: every chip is on its own image's grid."""
    run = sample(
        photograph_server, tmp_path, roi="-78.0032,36.6208,-77.9968,36.6232", size=16, format="tif", per_ecoregion=20
    )
    zones = {Grid.from_json(unit["grid"]).crs for unit in run.units["unit"]}
    assert zones == {"EPSG:26917", "EPSG:26918"}
    assert run.is_complete


@pytest.mark.slow
def test_points_without_an_image_make_empty_chips_on_a_utm_grid(photograph_server: Server, tmp_path: Path) -> None:
    run = sample(photograph_server, tmp_path, roi="-99.3,46.9,-99.0,47.1", size=8, format="tif", per_ecoregion=12)
    bare = [unit for unit in run.units["unit"] if "image" not in unit]
    assert bare
    assert all(unit["grid"]["crs"] == "EPSG:32614" for unit in bare)
    states = run.units.loc[["image" not in unit for unit in run.units["unit"]], "state"]
    assert set(states) == {"empty"}
    assert run.is_complete


@pytest.mark.exhaustive
@pytest.mark.parametrize("file_format", ["tif", "png"])
def test_points_without_an_image_are_drawn_again(photograph_server: Server, tmp_path: Path, file_format: str) -> None:
    """Many points miss the quarter quad: others of the same sequence come instead, whatever happens."""
    options = {"roi": "-99.20,47.00,-99.11,47.04", "size": 8, "format": file_format, "seed": 4}
    run = sample(photograph_server, tmp_path / "whole", **options, per_ecoregion=12, on_empty="redraw")
    assert run.counts["done"] == 12
    assert run.counts["empty"] == len(run.units) - 12 > 3
    assert len(list(run.path.rglob(f"*.{file_format}"))) == 12
    recipe = ChipSample(dataset="NAIP", per_ecoregion=12 * 11, **options)
    initialize(photograph_server)
    sequence = list(recipe.get_requests())
    rounds = {}
    for position, unit in run.units.iterrows():
        before = unit["replaces"]
        place, number = (position, 0) if before != before else (rounds[before][0], rounds[before][1] + 1)
        rounds[position] = place, number
        assert unit["unit"] == sequence[number * 12 + place]
    for number in range(8):
        cut = sample(
            photograph_server,
            tmp_path / "cut",
            **options,
            per_ecoregion=12,
            on_empty="redraw",
            budget=f"requests={12 + 4 * number}",
        )
        if not cut.interrupted:
            break
    assert number > 0
    units = {unit["id"]: unit["sha256"] for _, unit in run.units.iterrows()}
    assert {unit["id"]: unit["sha256"] for _, unit in cut.units.iterrows()} == units


def test_emptiness_of_a_jpeg_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="on_empty='skip' needs png, tif or npy: jpg has no mask"):
        eechips.sample("NAIP", per_ecoregion=1, format="jpg", on_empty="skip", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_regions_are_read_from_a_file(photograph_server: Server, tmp_path: Path) -> None:
    west, south, east, north = map(float, QUAD.split(","))
    triangle = shapely.Polygon([(west, south), (east, south), (west, north)])
    path = tmp_path / "area.gpkg"
    gpd.GeoDataFrame(geometry=[triangle], crs="EPSG:4326").to_crs("EPSG:5070").to_file(path)
    run = sample(photograph_server, tmp_path / "run", roi=str(path), size=8, per_ecoregion=30, limit=30)
    outside = [
        unit for unit in run.units["unit"] if not triangle.buffer(1e-4).contains(shapely.Point(unit["coordinates"]))
    ]
    assert outside == []


@pytest.mark.slow
def test_datasets_without_a_record_are_sampled(photograph_server: Server, tmp_path: Path) -> None:
    """One image, by its id: bands, type and scale are asked from the server."""
    image = "USDA/NAIP/DOQQ/m_4709963_se_14_1_20150926"
    run = sample(photograph_server, tmp_path, dataset=image, roi=QUAD, size=16, format="tif", per_ecoregion=2)
    assert run.is_complete
    with rasterio.open(tmp_path / run.units["file"].iloc[0]) as chip:
        assert chip.descriptions[:4] == ("R", "G", "B", "N")
        assert chip.crs == "EPSG:26914"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dataset": "USDA/NAIP/DOQ"}, UnknownDatasetError, "did you mean USDA/NAIP/DOQQ"),
        ({"dataset": "RESOLVE/ECOREGIONS/2017"}, UnknownDatasetError, "is a table, not images"),
        ({"bands": ("R", "G", "Bleu")}, UnknownDatasetError, "has no band 'Bleu'; "),
        ({"per_ecoregion": "2:RESOLVE/ECOREGIONS/2017:ECO_IDX"}, RegionError, "did you mean 'ECO_ID'"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (
                    {"per_ecoregion": "2:RESOLVE/ECOREGIONS/2016"},
                    RegionError,
                    "there is no table 'RESOLVE/ECOREGIONS/2016'",
                ),
                ({"roi": "RESOLVE/ECOREGIONS/2017:ECO_NAMES=x"}, RegionError, "did you mean 'ECO_NAME'"),
                (
                    {"roi": "RESOLVE/ECOREGIONS/2017:ECO_NAME=Madagascar mangrove"},
                    RegionError,
                    "'Madagascar mangroves'",
                ),
                ({"roi": "NO/SUCH/TABLE:A=b"}, RegionError, "no table 'NO/SUCH/TABLE' .*; `roi` names another region"),
                ({"roi": "10,10,11,11"}, UsageError, "has no image that meets the region"),
            )
        ),
        ({"start": "1990-01-01", "end": "1991-01-01"}, UsageError, "has no image between 1990-01-01 and 1991-01-01"),
        (
            {"dataset": "USDA/NAIP/DOQQ/m_4709963_se_14_1_20150926", "format": "png"},
            UsageError,
            "png takes 1 or 3 bands",
        ),
    ],
)
def test_unknown_datasets_and_bands_are_reported(
    photograph_server: Server, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        sample(photograph_server, tmp_path, **{"roi": QUAD, **options})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.png"))


def test_a_thumb_chip_s_grid_is_where_its_pixels_lie(colorado: eechips.Run, demo_ee: Any) -> None:
    """The manifest's transform is that of the bounds of the buffer, as the server makes them."""
    unit = colorado.units.iloc[0]
    region = demo_ee.Geometry.Point(unit["unit"]["coordinates"]).buffer(31).bounds()
    west, south, east, north = shapely.geometry.shape(region.getInfo()).bounds
    assert unit["crs"] == "EPSG:4326"
    grid = Grid(unit["crs"], tuple(unit["transform"]), unit["width"], unit["height"])
    assert grid.bounds == pytest.approx((west, south, east, north), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"dataset": "S2", "grid": "thumb"}, {"dataset": ["DEM", "S2"]}])
def test_data_have_the_type_of_the_images_whatever_the_pixels_lie_on(
    demo_server: Server, tmp_path: Path, options: dict[str, Any]
) -> None:
    """A chip that has not the pixels of one of its images, too."""
    place = {"roi": "-105.3,39.88,-105.25,39.92", "start": "2020-06-10", "end": "2020-06-25", "per_ecoregion": None}
    bands = "B4,B8" if isinstance(options["dataset"], str) else ["S2:B4,B8"]
    run = sample(demo_server, tmp_path, total=2, size=16, format="tif", bands=bands, **place, **options)
    files = run.layers["file"] if isinstance(bands, list) else run.units["file"]
    for name in files[["DEM" not in name for name in files]]:
        with rasterio.open(run.path / name) as file:
            assert file.dtypes == ("uint16", "uint16")
            assert file.read().max() > 1000
