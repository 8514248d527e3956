"""Time series of many regions at once, of periods, and of several reducers, from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ee
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

import eechips
from eechips.builtin_recipes.tables.timeseries import TimeSeries
from eechips.builtin_recipes.tables.zonal_statistics import TableLayout, merge_tables
from eechips.engine.results.result_assembly import Results
from eechips.errors import RegionError, UsageError
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.region_weights import zonal_statistics

pytestmark = pytest.mark.slow

STACK = Path("lst") / "MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"
BAND = "LST_Day_1km"
COUNT = 23


def timeseries(server: Server, out: Path, **options: Any) -> eechips.Run:
    options = {"dataset": "MODIS_LST", "bands": BAND, "executor": "threads", "quiet": True, **options}
    run = eechips.timeseries(endpoint=server.url, rate=None, out=out, **options)
    assert isinstance(run, eechips.Run)
    return run


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stars around Buffalo, from a part of a pixel to a hundred pixels, in no order of their ids."""
    random = np.random.default_rng(3)
    shapes = []
    for radius in np.geomspace(0.002, 0.06, COUNT):
        x, y = random.uniform(-78.9, -78.6), random.uniform(42.78, 43.0)
        radii, angles = random.uniform(radius / 2, radius, 9), np.linspace(0, 2 * np.pi, 9, endpoint=False)
        shapes.append(shapely.Polygon(np.column_stack([x + radii * np.cos(angles), y + radii * np.sin(angles)])))
    ids = [f"f{number:02d}" for number in random.permutation(COUNT)]
    path = tmp_path_factory.mktemp("regions") / "fields.gpkg"
    gpd.GeoDataFrame({"field": ids}, geometry=shapes, crs="EPSG:4326").to_file(path)
    return path


YEAR = {"start": "2005-01-01", "end": "2006-01-01", "columns": "id=field"}


@pytest.fixture(scope="module")
def one(real_server: Server, fields: Path, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """One table of a year and all fields."""
    options = {"regions": str(fields), "output": "one", "reducer": "mean,max,p90,stdDev", "batch": 7, **YEAR}
    return timeseries(real_server, tmp_path_factory.mktemp("one") / "run", **options)


def table_of(run: eechips.Run) -> pd.DataFrame:
    (path,) = run.assembled
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def by_region(run: eechips.Run) -> pd.DataFrame:
    tables = [pd.read_csv(path) for path in sorted((run.path / "series").glob("*.csv"))]
    return pd.concat(tables, ignore_index=True)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_batches_of_any_size_make_the_same_table(
    real_server: Server, fields: Path, one: eechips.Run, tmp_path: Path
) -> None:
    """To the last byte; and the numbers are those of regions that are asked about one by one."""
    options = {"regions": str(fields), "reducer": "mean,max,p90,stdDev", **YEAR}
    expected = (one.path / "series.parquet").read_bytes()
    for batch in (1, 1000, "auto"):
        run = timeseries(real_server, tmp_path / str(batch), output="one", batch=batch, **options)
        assert (run.path / "series.parquet").read_bytes() == expected
        assert run.verify() == []
    found = table_of(one)
    assert found["field"].drop_duplicates().tolist() == [f"f{number:02d}" for number in range(COUNT)]
    assert len(found) == COUNT * 46
    alone = by_region(timeseries(real_server, tmp_path / "alone", **options))
    assert list(alone.columns) == list(found.columns)
    # The server adds up the pixels of one and of several regions in different orders.
    pd.testing.assert_frame_equal(found, alone, check_dtype=False, rtol=1e-9, atol=1e-7)
    for column in (f"{BAND}_max", f"{BAND}_count", "date"):
        assert found[column].equals(alone[column].astype(found[column].dtype))


@pytest.mark.exhaustive
def test_batches_take_few_requests_without_repetition(real_server: Server, fields: Path, one: eechips.Run) -> None:
    sizes = [len(unit["regions"]) for unit in one.units["unit"]]
    assert sum(sizes) == COUNT
    assert 1 < max(sizes) <= 7
    options = {"regions": str(fields), "output": "one", "reducer": "mean,max,p90,stdDev", "batch": 7, **YEAR}
    before = real_server.requests()
    run = timeseries(real_server, one.path, **options)
    expected = (run.path / "series.parquet").read_bytes()
    (run.path / "series.parquet").unlink()
    timeseries(real_server, one.path, **options)
    assert (run.path / "series.parquet").read_bytes() == expected
    assert real_server.requests() == before
    (run.path / run.units["file"][2]).unlink()
    timeseries(real_server, one.path, **options)
    assert (run.path / "series.parquet").read_bytes() == expected
    assert real_server.requests()["table:computeFeatures"] == before["table:computeFeatures"] + 1
    with pytest.raises(UsageError, match="batch: 7 there, 8 here"):
        timeseries(real_server, one.path, **{**options, "batch": 8})


@pytest.mark.exhaustive
def test_a_thousand_regions_take_few_requests(real_server: Server, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    points = shapely.points(random.uniform(-78.9, -78.6, 1000), random.uniform(42.78, 43.0, 1000))
    path = tmp_path / "many.parquet"
    gpd.GeoDataFrame(geometry=shapely.buffer(points, 0.01), crs="EPSG:4326").to_parquet(path)
    initialize(real_server)
    recipe = TimeSeries(dataset="MODIS_LST", regions=str(path), bands=BAND, output="one")
    units = list(recipe.get_requests())
    assert sorted(region["region"] for unit in units for region in unit["regions"]) == list(range(1, 1001))
    assert 40 <= len(units) <= 80


def projected(fields: Path, crs: Any) -> gpd.GeoDataFrame:
    frame = gpd.read_file(fields).sort_values("field", ignore_index=True)
    return frame.set_geometry(frame.segmentize(0.0002)).to_crs(crs)


@pytest.fixture(scope="module")
def pixels(real_data: Path) -> tuple[np.ndarray[Any, Any], list[str], Any, Any]:
    """The stack's numbers, NaN where masked; dates; transform and crs."""
    with rasterio.open(real_data / STACK) as stack:
        values = stack.read(masked=True).astype(float).filled(np.nan)
        return values, [text[:10] for text in stack.descriptions], stack.transform, stack.crs


def zonal(frame: gpd.GeoDataFrame, layers: Any, transform: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Weighted statistics of layers by :func:`zonal_statistics`."""
    height, width = layers[0].shape
    right, bottom = transform @ (width, height)
    return zonal_statistics(frame, layers, (transform.c, bottom, right, transform.f))


def test_several_reducers_equal_other_programs(one: eechips.Run, fields: Path, pixels: Any) -> None:
    """Mean and deviation as exactextract weights them; largest values and counts of pixels by their centres."""
    values, dates, transform, crs = pixels
    layers = [number for number, date in enumerate(dates) if date.startswith("2005")]
    frame = projected(fields, crs)
    truth = zonal(frame, values[layers], transform)
    rows, columns = np.indices(values.shape[1:]) + 0.5
    xs, ys = transform @ (columns, rows)
    found = table_of(one).set_index(["field", "date"])
    assert list(found.columns) == [
        f"{BAND}_{name}" for name in ("mean", "max", "p90", "stdDev", "count", "valid_fraction")
    ]
    for number, region in frame.iterrows():
        mine = found.loc[region["field"]]
        assert mine.index.tolist() == sorted(dates[layer] for layer in layers)
        inside = values[layers][:, shapely.contains_xy(region.geometry, xs, ys)]
        count = np.isfinite(inside).sum(axis=1)
        assert mine[f"{BAND}_count"].tolist() == count.tolist()
        largest = np.where(count > 0, np.max(np.nan_to_num(inside, nan=-1), axis=1, initial=-1), np.nan)
        np.testing.assert_array_equal(mine[f"{BAND}_max"], largest)
        for column in ("mean", "stdDev"):
            expected = truth[column][number]
            np.testing.assert_allclose(mine[f"{BAND}_{column}"], expected, rtol=1e-5, atol=0.05, equal_nan=True)


def test_a_region_within_a_pixel_has_a_mean_but_no_maximum(real_server: Server, tmp_path: Path, pixels: Any) -> None:
    """Its centre lies beside it. https://developers.google.com/earth-engine/guides/reducers_weighting"""
    values, dates, transform, crs = pixels
    corner = gpd.GeoSeries([shapely.Point(*(transform @ (20.2, 20.2)))], crs=crs).to_crs("EPSG:4326").iloc[0]
    path = tmp_path / "tiny.gpkg"
    gpd.GeoDataFrame(geometry=[corner.buffer(0.0005)], crs="EPSG:4326").to_file(path)
    dates_of = {"start": "2010-01-01", "end": "2010-03-01"}
    run = timeseries(real_server, tmp_path / "run", regions=str(path), reducer="mean,max", output="one", **dates_of)
    found = table_of(run)
    layers = [dates.index(date) for date in found["date"]]
    np.testing.assert_allclose(found[f"{BAND}_mean"], values[layers, 20, 20], rtol=1e-12, equal_nan=True)
    assert found[f"{BAND}_mean"].notna().any()
    assert found[f"{BAND}_max"].isna().all()
    assert (found[f"{BAND}_count"] == 0).all()


@pytest.mark.parametrize("output", ["region", "one"])
def test_every_month_has_a_row(real_server: Server, fields: Path, pixels: Any, tmp_path: Path, output: str) -> None:
    """The mean of each month's images, pixel by pixel, then of each region; January 2000 has no image."""
    values, dates, transform, crs = pixels
    options = {"regions": str(fields), "columns": "id=field", "start": "2000-01-01", "end": "2000-06-20"}
    run = timeseries(real_server, tmp_path, every="1 month", output=output, **options)
    found = table_of(run) if output == "one" else by_region(run)
    months = ["2000-01-01", "2000-02-01", "2000-03-01", "2000-04-01", "2000-05-01", "2000-06-01"]
    assert found["date"].tolist() == months * COUNT
    assert list(found.columns) == ["field", "date", BAND, "count", "valid_fraction"]
    frame = projected(fields, crs)
    cut = [date if date < "2000-06-20" else "" for date in dates]
    layers = [np.array([values[n] for n, date in enumerate(cut) if date.startswith(month[:7])]) for month in months[1:]]
    with np.errstate(invalid="ignore"):
        means = [np.nansum(layer, axis=0) / np.isfinite(layer).sum(axis=0) for layer in layers]
    truth = zonal(frame, means, transform)["mean"]
    expected = np.column_stack([np.full(COUNT, np.nan), truth])
    np.testing.assert_allclose(found[BAND].to_numpy(float).reshape(COUNT, 6), expected, rtol=1e-5, equal_nan=True)
    assert (found["count"].to_numpy().reshape(COUNT, 6)[:, 0] == 0).all()


@pytest.mark.slow
def test_tables_are_split_by_years(real_server: Server, fields: Path, tmp_path: Path) -> None:
    options = {"regions": str(fields), "columns": "id=field", "start": "2004-12-01", "end": "2005-02-01"}
    whole = table_of(timeseries(real_server, tmp_path / "one", output="one", format="csv", **options))
    run = timeseries(real_server, tmp_path / "year", output="year", **options)
    names = [str(path.relative_to(run.path)) for path in run.assembled]
    assert names == ["series/year=2004/series.parquet", "series/year=2005/series.parquet"]
    found = pd.read_parquet(run.path / "series").sort_values(["field", "date"], ignore_index=True)
    assert found.pop("year").astype(int).tolist() == [int(date[:4]) for date in found["date"]]
    pd.testing.assert_frame_equal(found, whole, check_dtype=False)


def test_tables_above_memory_are_sorted_on_disk(one: eechips.Run, tmp_path: Path) -> None:
    layout = TableLayout(
        id_column="field",
        values=tuple(f"{BAND}_{name}" for name in ("mean", "max", "p90", "stdDev", "count", "valid_fraction")),
        counts=frozenset({f"{BAND}_count"}),
        format="parquet",
    )
    with Ledger(one.path / LEDGER_NAME, readonly=True) as ledger:

        class Elsewhere(Results):
            """The results of the run; what is made of them is put into another folder."""

            def make(self, name: str) -> Any:
                return Results(ledger, tmp_path, quiet=True).make(name)

        elsewhere = Elsewhere(ledger, one.path, quiet=True)
        elsewhere.folder = tmp_path
        merge_tables(elsewhere, lambda unit: layout, most_rows=100)
    found = pd.read_parquet(tmp_path / "series.parquet")
    pd.testing.assert_frame_equal(found, table_of(one))
    assert [path.name for path in tmp_path.iterdir()] == ["series.parquet"]


def rows_together(recipe: TimeSeries, units: list[Any]) -> pd.DataFrame:
    """Return the results of one request for the regions of several units."""
    bounds = np.array([unit["bounds"] for unit in units])
    box = [*bounds[:, :2].min(axis=0).tolist(), *bounds[:, 2:].max(axis=0).tolist()]
    merged = {"kind": "region", "regions": [region for unit in units for region in unit["regions"]], "bounds": box}
    table: Any = recipe.get_result(0, merged)
    rows: Any = ee.data.computeFeatures({"expression": table.source.source.rows(), "pageSize": 1000})
    features = [{**feature["properties"], "system:index": feature["id"]} for feature in rows["features"]]
    return pd.DataFrame(table.unpack(features))


def test_images_have_rows_for_the_regions_that_they_meet(real_server: Server, tmp_path: Path) -> None:
    """Regions in two UTM zones and a state, asked about together: each has its own images, on their own pixels."""
    places = {"prairie": (-99.15, 47.02), "seventeen": (-78.001, 36.622), "eighteen": (-77.9999, 36.622)}
    path = tmp_path / "places.gpkg"
    boxes = [shapely.Point(xy).buffer(0.0004) for xy in places.values()]
    gpd.GeoDataFrame({"place": list(places)}, geometry=boxes, crs="EPSG:4326").to_file(path)
    initialize(real_server)
    recipe = TimeSeries(dataset="NAIP", regions=str(path), columns="id=place", bands="R,N", output="one")
    units = list(recipe.get_requests())
    assert len(units) == 3, "what no image joins should not come together"
    found = rows_together(recipe, units).set_index("place")
    alone = TimeSeries(**{**vars(recipe.options), "output": "region"})
    for unit in alone.get_requests():
        table: Any = alone.get_result(0, unit)
        rows: Any = ee.data.computeFeatures({"expression": table.source.rows(), "pageSize": 1000})
        expected = pd.DataFrame([feature["properties"] for feature in rows["features"]])
        mine = found.loc[[unit["region"]]].reset_index()
        pd.testing.assert_frame_equal(mine, expected[list(mine.columns)], check_dtype=False, rtol=1e-9)
    assert len(found.loc["prairie"]) > 5
    assert found.loc[["seventeen", "eighteen"]]["date"].unique().tolist() == ["2016-06-20"]


@pytest.mark.exhaustive
def test_tables_on_the_server_by_batches(demo_server: Server, demo_ee: Any, tmp_path: Path) -> None:
    options = {
        "regions": "FAO/GAUL_SIMPLIFIED_500m/2015/level2", "columns": "id=ADM2_CODE", "bbox": "-80,42,-78,43.5",
        "start": "2020-06-01", "end": "2020-06-20", "scale": 5000,
    }  # fmt: skip
    run = timeseries(demo_server, tmp_path / "one", output="one", batch=3, **options)
    alone = timeseries(demo_server, tmp_path / "alone", **options)
    assert len(run.units) < len(alone.units)
    found = table_of(run)
    assert found["ADM2_CODE"].is_monotonic_increasing
    expected = by_region(alone).sort_values(["ADM2_CODE", "date"], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)


def test_pixels_of_another_grid_are_resampled(demo_server: Server, demo_ee: Any, tmp_path: Path) -> None:
    """UTM pixels of 2 km, as one would ask for them; regions in two zones are asked about apart."""
    path = tmp_path / "zones.gpkg"
    boxes = [shapely.box(-102.4, 39.6, -102.2, 39.8), shapely.box(-101.8, 39.6, -101.6, 39.8)]
    gpd.GeoDataFrame(geometry=boxes, crs="EPSG:4326").to_file(path)
    dates = {"start": "2020-07-01", "end": "2020-07-12"}
    run = timeseries(
        demo_server, tmp_path / "run", regions=str(path), crs="utm", scale=2000.0, output="one", batch=9, **dates
    )
    assert [unit["crs"] for unit in run.units["unit"]] == ["EPSG:32613", "EPSG:32614"]
    found = table_of(run)
    collection = demo_ee.ImageCollection("MODIS/061/MOD11A2").filterDate("2020-07-01", "2020-07-12").select(BAND)
    image = demo_ee.Image(collection.first())
    for number, (box, crs) in enumerate(zip(boxes, ("EPSG:32613", "EPSG:32614"), strict=True), start=1):
        region = demo_ee.Geometry(shapely.geometry.mapping(box), None, False)
        grid = {"crs": crs, "crsTransform": [2000, 0, 0, 0, -2000, 0]}
        expected = image.reduceRegion(demo_ee.Reducer.mean(), region, **grid).getInfo()[BAND]
        assert found[found["region"] == number][BAND].iloc[0] == pytest.approx(expected, rel=1e-9)


def test_a_region_across_the_antimeridian_is_one(demo_server: Server, tmp_path: Path) -> None:
    """Written beyond 180 degrees or cut there, it is the same; and it is what its halves are, weighted."""
    whole, east, west = (shapely.box(178, 67, 181, 68), shapely.box(178, 67, 180, 68), shapely.box(-180, 67, -179, 68))
    path = tmp_path / "chukotka.geojson"
    shapes = [whole, shapely.MultiPolygon([east, west]), east, west]
    gpd.GeoDataFrame(geometry=shapes, crs="EPSG:4326").to_file(path)
    options = {
        "dataset": "ECMWF/ERA5_LAND/MONTHLY_AGGR",
        "bands": "temperature_2m",
        "start": "2020-01-01",
        "end": "2020-04-01",
    }
    run = timeseries(demo_server, tmp_path / "run", regions=str(path), output="one", **options)
    values = table_of(run).pivot(index="date", columns="region", values="temperature_2m")
    assert values.index.tolist() == ["2020-01-01", "2020-02-01", "2020-03-01"]
    np.testing.assert_allclose(values[1], values[2], rtol=1e-12)
    np.testing.assert_allclose(values[1], (2 * values[3] + values[4]) / 3, rtol=1e-6)


def test_regions_above_the_least_part_of_a_pixel_are_not_told(
    demo_server: Server, tmp_path: Path, caplog: CapturedLog
) -> None:
    """Pixels of 0.1 degrees are half as large at 60 degrees north: regions of 0.2% and 0.7% of one have 0.1% and 0.36%
    of a pixel at the equator."""
    path = tmp_path / "fields.geojson"
    x, y = 16.01, 60.01  # near a pixel's centre, in Sweden
    sides = [0.1 * part**0.5 for part in (0.002, 0.007)]
    gpd.GeoDataFrame(geometry=[shapely.box(x, y, x + side, y + side) for side in sides], crs="EPSG:4326").to_file(path)
    run = timeseries(
        demo_server, tmp_path / "run", regions=str(path), output="one", dataset="ECMWF/ERA5_LAND/MONTHLY_AGGR",
        bands="temperature_2m", start="2020-01-01", end="2020-03-01",
    )  # fmt: skip
    values = table_of(run).groupby("region")["temperature_2m"].count()
    assert values.tolist() == [0, 2]
    assert [message for message in caplog.messages if "1/256" in message] == [
        "1 of 2 regions is smaller than 1/256 of a pixel of 11,132 m, and may have no value: "
        "take centres with `eechips points`"
    ]


def test_a_mask_leaves_out_pixels(demo_server: Server, demo_ee: Any, tmp_path: Path) -> None:
    path = tmp_path / "area.geojson"
    area = shapely.box(-105.2, 39.6, -105.1, 39.7)
    gpd.GeoDataFrame(geometry=[area], crs="EPSG:4326").to_file(path)
    options = {
        "dataset": "LANDSAT/LC08/C02/T1_L2", "bands": "SR_B4", "regions": str(path), "output": "one",
        "start": "2020-06-01", "end": "2020-08-01", "scale": 300,
    }  # fmt: skip
    clear, all_ = (table_of(timeseries(demo_server, tmp_path / str(m), mask=m, **options)) for m in ("auto", None))
    assert (clear["count"] <= all_["count"]).all()
    assert clear["count"].sum() < all_["count"].sum()


def test_failed_regions_are_missing_and_reported(
    real_store: Path, serve: Callable[..., Server], fields: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "faults.json"
    fault = {"type": "status", "status": 400, "on": "table:computeFeatures", "after": 4}
    fault["message"] = "Image.load: Image asset 'x' not found."  # not divided, and repeated without its mark
    plan.write_text(json.dumps({"seed": 1, "faults": [fault]}))
    server = serve("--assets", str(real_store), "--no-demo", "--rate", "none", "--faults", str(plan))
    options = {"regions": str(fields), "output": "one", "batch": 6, **YEAR, "end": "2005-02-01", "quiet": False}
    run = timeseries(server, tmp_path / "run", **options)
    assert len(run.units) == 5  # a request each
    assert run.counts["failed_permanent"] == 1
    there = table_of(run)["field"].nunique()
    (unit,) = run.failures["unit"]
    assert COUNT - there == len(unit["regions"])
    assert f"{COUNT - there} regions missing in the table: requests failed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"reducer": "mean,average"}, UsageError, "unknown reducer 'average'"),
        ({"batch": 10}, UsageError, "`batch` is for one table: use output='one'"),
        ({"batch": 0, "output": "one"}, UsageError, "`batch` must be auto or at least 1, not 0"),
        ({"output": "all"}, UsageError, "unknown output 'all': one of region, one, year"),
        ({"every": "1 month"}, UsageError, "`every` needs `start` and `end`"),
        ({"every": "1 moon", "start": "2020-01-01", "end": "2021-01-01"}, UsageError, "is not a step of time"),
        (
            {"every": "1 day", "start": "2020-01-01T12:00", "end": "2021-01-01"},
            UsageError,
            r"'2020-01-01T12:00' is not a day \(YYYY-MM-DD\)",
        ),
        ({"composite": "max"}, UsageError, "`composite` is for periods"),
        (
            {"every": "1 day", "start": "2020-01-01", "end": "2021-01-01", "composite": "best"},
            UsageError,
            "unknown reducer 'best'",
        ),
        ({"mask": "scl"}, UsageError, "MODIS/061/MOD11A2 has no such mask"),
        ({"scale": 0}, UsageError, "`scale` must be 0.001 to"),
        ({"crs": "EPSG:0"}, UsageError, "EPSG:0"),
        ({"columns": "id=LST_Day_1km_mean", "reducer": "mean,max", "bands": BAND}, UsageError, "is also the name"),
        ({"regions": "nowhere.gpkg"}, RegionError, "there is no file nowhere.gpkg"),
        ({"regions": "/nowhere"}, RegionError, "there is no file .*nowhere"),
    ],
)
def test_wrong_options_are_refused_before_any_request(
    fields: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TimeSeries(**{"dataset": "MODIS_LST", "regions": str(fields), **options})
