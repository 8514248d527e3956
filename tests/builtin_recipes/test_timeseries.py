"""``eechips timeseries`` from end to end, against exactextract and numpy on the same rasters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.warp
import shapely

import eechips
from eechips.builtin_recipes.tables.timeseries import TimeSeries
from eechips.errors import RegionError, UnknownDatasetError, UsageError
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server
from local_tests.support.region_weights import zonal_statistics
from local_tests.support.stack_store import CRS, TRANSFORM, Stack
from local_tests.support.stack_store import STACK as STACK_ID
from tests.cli.test_commands import eechips as command

STACK = Path("lst") / "MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"

# A vertex every 80 m: between them it does not matter (0.1 mm) whose straight edges, the raster's or the degrees'.
BOX = shapely.segmentize(shapely.Polygon([(-78.93, 42.80), (-78.70, 42.83), (-78.72, 42.98), (-78.95, 42.95)]), 1e-3)
HOLE = shapely.segmentize(shapely.box(-78.85, 42.87, -78.80, 42.91), 1e-3)
HOLED = shapely.Polygon(BOX.exterior, [HOLE.exterior])


def timeseries(server: Server, out: Path, **options: Any) -> eechips.Run:
    options = {"dataset": "MODIS_LST", "executor": "threads", "quiet": True, **options}
    return eechips.timeseries(endpoint=server.url, rate=None, out=out, **options)


@pytest.fixture(scope="module")
def districts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("regions") / "districts.gpkg"
    names = ["north/side", "Lake Érie"]
    gpd.GeoDataFrame({"code": [7, 8], "name": names}, geometry=[BOX, HOLED], crs="EPSG:4326").to_file(path)
    return path


def read(run: eechips.Run, region: object) -> pd.DataFrame:
    (file,) = [row["file"] for _, row in run.units.iterrows() if row["unit"]["region"] == region]
    path = run.path / file
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


@pytest.fixture(scope="module")
def series(
    real_server: Server, districts: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[eechips.Run, eechips.Run]:
    """All 811 dates for both districts: the largest value as stored, the mean in degrees Celsius."""
    out = tmp_path_factory.mktemp("series")
    options = {"regions": str(districts), "columns": "id=code"}
    return (
        timeseries(real_server, out / "max", reducer="max", **options),
        timeseries(real_server, out / "mean", reducer="mean", multiply=0.02, add=-273.15, **options),
    )


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(("code", "polygon"), [(7, BOX), (8, HOLED)])
def test_811_dates_equal_an_independent_computation(
    series: tuple[eechips.Run, eechips.Run], real_data: Path, code: int, polygon: shapely.Polygon
) -> None:
    """The largest value and the count exactly, the mean to a millionth, the dates in order.

    Earth Engine weights pixels of a mean by how much of them is inside, in steps; the largest value
    and the count are over pixels whose centre is inside.
    https://developers.google.com/earth-engine/guides/reducers_weighting
    """
    maximum, mean = (read(run, code) for run in series)
    with rasterio.open(real_data / STACK) as stack:
        dates = [description[:10] for description in stack.descriptions]
        pixels = stack.read(masked=True)
        fine = gpd.GeoSeries([polygon], crs="EPSG:4326").to_crs(stack.crs)
        columns, rows = np.meshgrid(np.arange(stack.width) + 0.5, np.arange(stack.height) + 0.5)
        x, y = stack.transform.a * columns + stack.transform.c, stack.transform.e * rows + stack.transform.f
    inside = shapely.contains_xy(fine.iloc[0], x, y)
    values = pixels[:, inside]
    layers = pixels.astype(float).filled(np.nan)
    expected_mean = zonal_statistics(gpd.GeoDataFrame(geometry=fine), layers, stack.bounds)["mean"][0] * 0.02 - 273.15
    assert list(maximum.columns) == ["code", "date", "LST_Day_1km", "count", "valid_fraction"]
    assert maximum["date"].tolist() == mean["date"].tolist() == sorted(dates)
    assert len(maximum) == 811
    assert set(maximum["code"]) == {code}
    assert np.array_equal(maximum["count"], values.count(axis=1))
    assert np.array_equal(maximum["LST_Day_1km"], values.max(axis=1).astype(float).filled(np.nan), equal_nan=True)
    assert np.allclose(mean["LST_Day_1km"], expected_mean, rtol=0, atol=1e-6, equal_nan=True)
    assert maximum["LST_Day_1km"].isna().any(), "the series should have a gap to test"


@pytest.mark.slow
def test_no_data_is_an_empty_cell(real_server: Server, districts: Path, tmp_path: Path) -> None:
    dates = {"start": "2005-12-01", "end": "2006-02-01"}  # on 27 December no pixel is valid
    run = timeseries(real_server, tmp_path, regions=str(districts), columns="id=code", reducer="max", **dates)
    text = next(run.path.rglob("7.csv")).read_text()
    assert ",,0,0.0\n" in text.replace("\r", "")
    assert "-999" not in text
    assert "nan" not in text.lower()


@pytest.mark.slow
@pytest.mark.parametrize("output", [pytest.param("region", marks=pytest.mark.slow), "one"])
def test_values_of_too_few_valid_pixels_are_empty(
    real_server: Server, real_data: Path, districts: Path, tmp_path: Path, output: str
) -> None:
    """The valid fraction is that of exactextract, and what is left is what there is without ``min_clear``."""
    winter = ("2004-12-01", "2005-03-01")
    options = {"regions": str(districts), "columns": "id=code", "output": output, "start": winter[0], "end": winter[1]}
    options |= {"reducer": "mean,max", "format": "csv"}

    def table(out: Path, **more: Any) -> pd.DataFrame:
        run = timeseries(real_server, out, **options, **more)
        paths = run.assembled or sorted((run.path / "series").glob("*.csv"))
        return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)

    before = real_server.requests().get("table:computeFeatures", 0)
    whole = table(tmp_path / "whole")
    clear = table(tmp_path / "clear", min_clear=0.8)
    # Twice: one for each of two regions, or one for both and one that plans the batches.
    assert real_server.requests()["table:computeFeatures"] - before == 4

    with rasterio.open(real_data / STACK) as stack:
        chosen = [n for n, text in enumerate(stack.descriptions) if winter[0] <= text[:10] < winter[1]]
        valid = (stack.read_masks()[chosen] != 0).astype(float)
        frame = gpd.GeoDataFrame(geometry=gpd.GeoSeries([BOX, HOLED], crs="EPSG:4326").to_crs(stack.crs))
    truth = zonal_statistics(frame, valid, stack.bounds)["mean"].ravel()
    np.testing.assert_allclose(whole["LST_Day_1km_valid_fraction"], truth, rtol=0, atol=1e-6)
    assert whole["code"].tolist() == [7] * len(chosen) + [8] * len(chosen)
    few = truth < 0.8
    assert 0 < few.sum() < len(few)
    assert whole["LST_Day_1km_mean"][few].notna().any(), "some values should be left out that there are otherwise"
    values = ["LST_Day_1km_mean", "LST_Day_1km_max"]
    assert clear[values][few].isna().all(axis=None)
    pd.testing.assert_frame_equal(clear[values][~few], whole[values][~few], check_dtype=False)
    pd.testing.assert_frame_equal(clear.drop(columns=values), whole.drop(columns=values))


@pytest.mark.slow
def test_a_region_that_an_image_covers_in_part_has_that_valid_fraction(
    real_server: Server, real_data: Path, tmp_path: Path
) -> None:
    """Pixels beyond the footprint count as pixels without data."""
    with rasterio.open(real_data / STACK) as stack:
        west, _, _, north = rasterio.warp.transform_bounds(stack.crs, "EPSG:4326", *stack.bounds)
    path = tmp_path / "edge.geojson"
    area = shapely.segmentize(shapely.box(west - 0.3, north - 0.3, west + 0.3, north + 0.3), 0.01)
    gpd.GeoDataFrame(geometry=[area], crs="EPSG:4326").to_file(path)
    dates = {"start": "2005-07-01", "end": "2005-07-20"}
    table = read(timeseries(real_server, tmp_path / "run", regions=str(path), **dates), 1)
    assert ((table["valid_fraction"] > 0) & (table["valid_fraction"] < 0.5)).all()


@pytest.mark.slow
@pytest.mark.parametrize("output", [pytest.param("region", marks=pytest.mark.slow), "one"])
def test_a_series_has_only_images_that_meet_the_conditions(
    stack_server: Server, stack: Stack, tmp_path: Path, output: str
) -> None:
    path = tmp_path / "block.gpkg"
    left, top = TRANSFORM @ (100, 50)
    gpd.GeoDataFrame(geometry=[shapely.box(left, top - 200, left + 300, top)], crs=CRS).to_file(path)
    options: dict[str, Any] = {"dataset": STACK_ID, "regions": str(path), "bands": "red", "output": output}
    run = timeseries(stack_server, tmp_path / "run", where=["kind = k1"], **options)
    table = read(run, 1) if output == "region" else pd.read_parquet(run.assembled[0])
    assert table["date"].tolist() == ["2020-02-15", "2020-04-15"]
    np.testing.assert_allclose(table["red"], stack.pixels[1::2, 0, 50:70, 100:130].mean(axis=(1, 2)), rtol=1e-5)
    with pytest.raises(UsageError, match="no image there has a property 'knid'; did you mean 'kind'"):
        timeseries(stack_server, tmp_path / "wrong", where="knid = k1", **options)
    with pytest.raises(UsageError, match="has no image with cloud > 90"):
        timeseries(stack_server, tmp_path / "none", where="cloud > 90", **options)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_beyond_0_and_1_is_refused(districts: Path, share: float) -> None:
    with pytest.raises(UsageError, match="`min_clear` is a share from 0 to 1"):
        TimeSeries(dataset="MODIS_LST", regions=str(districts), min_clear=share)


@pytest.mark.slow
def test_names_with_any_character_and_parquet(real_server: Server, tmp_path: Path, districts: Path) -> None:
    options = {"regions": str(districts), "columns": "id=name", "format": "parquet"}
    run = timeseries(real_server, tmp_path, start="2010-01-01", end="2011-01-01", **options)
    table = read(run, "north/side")
    assert set(table["name"]) == {"north/side"}
    assert table["date"].str.startswith("2010-").all()
    assert table["LST_Day_1km"].dtype == "float64"
    assert len(list(run.path.rglob("*.parquet"))) == 3  # two regions and the manifest


@pytest.mark.slow
def test_regions_on_the_server_by_id_and_box(demo_server: Server, demo_ee: Any, tmp_path: Path) -> None:
    asset = "FAO/GAUL_SIMPLIFIED_500m/2015/level2"
    options = {"regions": asset, "columns": "id=ADM2_CODE", "start": "2020-06-01", "end": "2020-08-01"}
    run = timeseries(demo_server, tmp_path, bbox="-79,42,-78,43", reducer="max", **options)
    box = demo_ee.Geometry.Rectangle([-79, 42, -78, 43], None, False)
    codes = demo_ee.FeatureCollection(asset).filterBounds(box).aggregate_array("ADM2_CODE").getInfo()
    assert [unit["region"] for unit in run.units["unit"]] == codes
    assert run.is_complete
    table = read(run, codes[0])
    assert table["date"].is_monotonic_increasing
    assert len(table) == 8
    before = demo_server.requests()
    timeseries(demo_server, tmp_path, bbox="-79,42,-78,43", reducer="max", **options)
    assert demo_server.requests() == before


@pytest.mark.slow
def test_one_region_is_a_box_a_file_or_features_of_a_table(demo_server: Server, tmp_path: Path) -> None:
    """As other commands take it; the series is that of the same polygon as the only one of a file."""
    shape = shapely.box(-105.2, 39.6, -105.0, 39.8)
    path = tmp_path / "area.geojson"
    gpd.GeoDataFrame(geometry=[shape], crs="EPSG:4326").to_file(path)
    dates = {"start": "2020-06-01", "end": "2020-06-20"}
    expected = read(timeseries(demo_server, tmp_path / "file", regions=str(path), **dates), 1).drop(columns="region")
    for number, roi in enumerate(("-105.2,39.6,-105,39.8", path, shape)):
        run = timeseries(demo_server, tmp_path / f"{number}", roi=roi, **dates)
        table = read(run, "roi")
        assert set(table.pop("region")) == {"roi"}
        pd.testing.assert_frame_equal(table, expected)
        assert [unit["file"] for unit in run.units.to_dict("records")] == ["series/roi.csv"]
    run = timeseries(demo_server, tmp_path / "table", roi="RESOLVE/ECOREGIONS/2017:ECO_ID=351", **dates)
    assert set(read(run, 351)["ECO_ID"]) == {351}
    with pytest.raises(RegionError, match="no feature whose ECO_ID is '3519'"):
        timeseries(demo_server, tmp_path / "none", roi="RESOLVE/ECOREGIONS/2017:ECO_ID=3519", **dates)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give `regions`, which have a series each, or `roi`, one region"),
        ({"roi": "0,0,1,1", "regions": "A/B"}, "give `regions`, which"),
        ({"roi": "0,0,1,1", "columns": "id=a"}, "`columns` describes the regions of `regions`"),
        ({"roi": "0,0,1,1", "bbox": "0,0,1,1"}, "`bbox` describes the regions of `regions`"),
    ],
)
def test_one_region_or_several(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TimeSeries(dataset="MODIS_LST", **options)


@pytest.mark.slow
def test_a_box_is_warned_of_once(demo_server: Server, tmp_path: Path, caplog: CapturedLog) -> None:
    regions = {"regions": "FAO/GAUL_SIMPLIFIED_500m/2015/level2", "columns": "id=ADM2_CODE"}
    with pytest.raises(RegionError, match="meets -78,88,-79,89"):
        timeseries(demo_server, tmp_path, bbox="-78,88,-79,89", start="2020-06-01", end="2020-08-01", **regions)
    assert caplog.text.count("if W and E are swapped, write -79,88,-78,89") == 1


@pytest.mark.slow
def test_each_of_several_bands_has_a_count(demo_server: Server, tmp_path: Path) -> None:
    path = tmp_path / "area.geojson"
    gpd.GeoDataFrame(geometry=[shapely.box(-105.2, 39.6, -105.0, 39.8)], crs="EPSG:4326").to_file(path)
    bands = ("LST_Day_1km", "LST_Night_1km")
    options = {"regions": str(path), "bands": bands, "start": "2020-06-01", "end": "2020-07-01"}
    table = read(timeseries(demo_server, tmp_path / "run", **options), 1)
    assert list(table.columns) == [
        "region", "date", "LST_Day_1km", "LST_Night_1km", "LST_Day_1km_count", "LST_Night_1km_count",
        "LST_Day_1km_valid_fraction", "LST_Night_1km_valid_fraction",
    ]  # fmt: skip
    counted = read(timeseries(demo_server, tmp_path / "count", reducer="count", **options), 1)
    assert np.array_equal(counted["LST_Day_1km"], counted["LST_Day_1km_count"])


@pytest.mark.exhaustive
@pytest.mark.parametrize("output", ["region", "one"])
def test_a_region_without_images_has_a_table_without_rows(real_server: Server, tmp_path: Path, output: str) -> None:
    path = tmp_path / "regions.gpkg"
    boxes = [BOX, shapely.box(100.0, -30.0, 100.1, -29.9)]
    gpd.GeoDataFrame({"id": ["here", "nowhere"]}, geometry=boxes, crs="EPSG:4326").to_file(path)
    options = {"regions": str(path), "columns": "id=id", "start": "2010-01-01", "end": "2010-02-01", "output": output}
    run = timeseries(real_server, tmp_path / "run", **options)
    assert run.is_complete
    if output == "region":
        assert len(read(run, "here")) == 4
        assert len(read(run, "nowhere")) == 0
        assert list(read(run, "nowhere").columns) == list(read(run, "here").columns)
        assert run.status().without_rows == 1
        dates = ("--start", "2010-01-01", "--end", "2010-02-01", "--endpoint", real_server.url, "--out", str(run.path))
        words = ("--dataset", "MODIS_LST", "--regions", str(path), "--columns", "id=id", *dates)
        assert "2 of 2 results, 1 of them without rows, " in command("timeseries", *words, cwd=tmp_path).stdout


@pytest.mark.slow
def test_regions_that_cover_hardly_a_pixel_are_told(real_server: Server, tmp_path: Path, caplog: CapturedLog) -> None:
    """Fields within a pixel of ERA5 or MODIS: Earth Engine leaves out pixels that are covered by less than 1/256."""
    path = tmp_path / "fields.gpkg"
    x, y = BOX.centroid.x, BOX.centroid.y
    boxes = [shapely.box(x, y, x + size, y + size) for size in (0.0004, 0.003)]  # 0.2% and 9% of a pixel of 1 km
    gpd.GeoDataFrame({"id": ["tiny", "some"]}, geometry=boxes, crs="EPSG:4326").to_file(path)
    options = {"regions": str(path), "columns": "id=id", "start": "2010-01-01", "end": "2010-02-01"}
    run = timeseries(real_server, tmp_path / "run", **options)
    assert read(run, "tiny")["LST_Day_1km"].isna().all()
    assert read(run, "some")["LST_Day_1km"].notna().any()
    assert [m for m in caplog.messages if "1/256" in m] == [
        "1 of 2 regions is smaller than 1/256 of a pixel of 927 m, and may have no value: "
        "take centres with `eechips points`"
    ]


@pytest.mark.slow
def test_features_of_one_id_are_one_region(real_server: Server, real_data: Path, tmp_path: Path) -> None:
    halves = [shapely.box(-78.9, 42.8, -78.8, 42.9), shapely.box(-78.8, 42.8, -78.7, 42.9)]
    whole = shapely.box(-78.9, 42.8, -78.7, 42.9)
    parts, one = tmp_path / "parts.gpkg", tmp_path / "one.gpkg"
    gpd.GeoDataFrame({"id": ["a", "a"]}, geometry=halves, crs="EPSG:4326").to_file(parts)
    gpd.GeoDataFrame({"id": ["a"]}, geometry=[whole], crs="EPSG:4326").to_file(one)
    dates = {"start": "2010-01-01", "end": "2010-06-01", "columns": "id=id"}
    left = read(timeseries(real_server, tmp_path / "l", regions=str(parts), **dates), "a")
    right = read(timeseries(real_server, tmp_path / "r", regions=str(one), **dates), "a")
    pd.testing.assert_frame_equal(left, right, rtol=1e-4)  # edges become curves in the raster's plane


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dataset": "MODIS/061/MOD11A9"}, UnknownDatasetError, "did you mean MODIS/061/MOD11A2"),
        ({"bands": ("LST_Day",)}, UnknownDatasetError, "did you mean 'LST_Day_1km'"),
        ({"columns": "id=cod"}, RegionError, "did you mean 'code'"),
        ({"bbox": "0,0,1,1"}, RegionError, "no region of .* meets 0,0,1,1"),
        ({"regions": "NO/SUCH/TABLE"}, RegionError, "there is no table 'NO/SUCH/TABLE'"),
        ({"regions": "RESOLVE/ECOREGIONS/2017", "columns": ""}, UsageError, "`columns` id=NAME must say which column"),
        ({"regions": "RESOLVE/ECOREGIONS/2017", "columns": "id=ECO"}, RegionError, "did you mean 'ECO_ID'"),
        ({"start": "1990-01-01", "end": "1991-01-01"}, UsageError, "has no image between"),
        ({"dataset": "USDA/NAIP/DOQQ/m_4709963_se_14_1_20150926"}, UsageError, "is a single image"),
    ],
)
def test_unknown_datasets_and_bands_are_reported(
    real_server: Server, tmp_path: Path, districts: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        timeseries(real_server, tmp_path, **{"regions": str(districts), "columns": "id=code", **options})
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_region_without_area_is_refused_by_number(real_server: Server, tmp_path: Path) -> None:
    path = tmp_path / "flat.geojson"
    flat = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 0], [0, 0]]]}
    feature = {"type": "Feature", "properties": {}, "geometry": flat}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(RegionError, match="feature 1 cannot be repaired: it has no area"):
        timeseries(real_server, tmp_path / "run", regions=str(path))
