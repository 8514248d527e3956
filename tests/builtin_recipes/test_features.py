"""``features`` end to end: the command and the function, the real client, the local Earth Engine over HTTP.

The oracle is geopandas with the file from which the table was ingested.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal

import eechips
from eechips.builtin_recipes.tables.feature_columns import CellRows
from eechips.errors import EechipsError, UnknownDatasetError, UsageError, ValidationError
from eechips.planning.areas.feature_cells import FeatureCell
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server, initialize, wait_until
from tests.support.commands import run_command

PLOTS, SHAPES, DATE_LINE = "projects/p/assets/plots", "projects/p/assets/shapes", "projects/p/assets/dateline"
INDEX = "LARSE/GEDI/GEDI02_A_002_INDEX"
OUTDATED = "projects/p/assets/OUTDATED_INDEX"
ROI = "-106,39,-104,41"
BOX = shapely.box(-106, 39, -104, 41)


def plots() -> geopandas.GeoDataFrame:
    """6,000 points: dense ones in a corner, and all points of a lattice on which every edge of a cell lies."""
    random = np.random.default_rng(3)
    lattice = np.stack(np.meshgrid(np.linspace(-106, -104, 33), np.linspace(39, 41, 33)), axis=-1).reshape(-1, 2)
    dense = random.uniform((-106, 39), (-105.9, 39.1), (3000, 2))
    spread = random.uniform((-106.5, 38.5), (-103.5, 41.5), (6000 - len(lattice) - 3000, 2))
    places = np.concatenate([lattice, dense, spread])
    number = np.arange(len(places))
    return geopandas.GeoDataFrame(
        {
            "number": number,
            "height": random.uniform(0, 50, len(places)),
            "whole": number.astype(float),  # JSON has no decimal point for these
            "label": random.choice(["rye", "oats", "Roggen & Käse"], len(places)),
            "rare": [f"r{n}" if n % 1000 == 0 else None for n in number],
            "some": np.where(number % 2, random.uniform(0, 1, len(places)), np.nan),
            "system:time_start": 1_577_836_800_000 + number * 3_600_000,  # 2020-01-01
        },
        geometry=geopandas.points_from_xy(*places.T),
        crs="EPSG:4326",
    )


def shapes() -> geopandas.GeoDataFrame:
    """6,000 lines, polygons and collections across edges of cells and of the region, some in several parts."""
    random = np.random.default_rng(4)
    corners = random.uniform((-106.5, 38.5), (-103.5, 41.5), (6000, 2))
    sizes = random.uniform(0.001, 0.3, 6000)
    made: list[Any] = []
    for number, ((x, y), size) in enumerate(zip(corners, sizes, strict=True)):
        if number % 3 == 0:
            made.append(shapely.LineString([(x, y), (x + size, y + size / 2), (x + 2 * size, y - size)]))
        elif number % 3 == 1:
            made.append(shapely.box(x, y, x + size, y + size))
        else:  # parts that lie far from each other
            parts = [shapely.box(x, y, x + 0.01, y + 0.01), shapely.box(x + size, y, x + size + 0.01, y + 0.01)]
            made.append(shapely.MultiPolygon(parts))
    made += [
        shapely.box(-110, 30, -100, 50),
        shapely.LineString([(-105, 30), (-105, 50)]),
        shapely.box(-106, 39, -105, 40),
    ]
    return geopandas.GeoDataFrame({"number": range(len(made))}, geometry=made, crs="EPSG:4326")


def date_line() -> geopandas.GeoDataFrame:
    """Features at 180 degrees, and of longitudes beyond."""
    made = [
        shapely.Point(180, 0), shapely.Point(-180, 1), shapely.Point(179.9, 0), shapely.Point(-179.9, 0),
        shapely.LineString([(179.5, 0), (180, 0.5)]), shapely.box(-180, -1, -179.5, -0.5), shapely.Point(170, 0),
        shapely.box(179.8, 0.2, 180.2, 0.4),
    ]  # fmt: skip
    return geopandas.GeoDataFrame({"number": range(len(made))}, geometry=made, crs="EPSG:4326")


def granule(number: int) -> geopandas.GeoDataFrame:
    """Shots of one orbit, a quarter of them of bad quality."""
    random = np.random.default_rng(number)
    count = 400
    x = np.linspace(-106, -105, count)
    return geopandas.GeoDataFrame(
        {
            "shot": np.arange(count) + 1000 * number,
            "rh98": random.uniform(0, 40, count),
            "quality_flag": (random.uniform(size=count) < 0.75).astype(int),
            "degrade_flag": (random.uniform(size=count) < 0.1).astype(int) * 30,
        },
        geometry=geopandas.points_from_xy(x, 39 + (x + 106) * (number + 1) / 2),
        crs="EPSG:4326",
    )


class Store:
    """A folder of assets, and the tables in it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "assets"
        self.folder = folder
        self.tables: dict[str, geopandas.GeoDataFrame] = {}
        for asset, frame in ((PLOTS, plots()), (SHAPES, shapes()), (DATE_LINE, date_line())):
            self.add(asset, frame)
        granules = []
        for number in range(3):
            asset, frame = f"LARSE/GEDI/GEDI02_A_002/GEDI02_A_201910{number}", granule(number)
            self.add(asset, frame)
            day = f"2019-04-{10 + number}T0{number}:00:00Z"
            granules.append(
                {"table_id": asset, "time_start": day, "time_end": day, "geometry": frame.union_all().envelope}
            )
        self.add(INDEX, geopandas.GeoDataFrame(granules, crs="EPSG:4326"))
        self.add(OUTDATED, geopandas.GeoDataFrame([{**granules[0], "table_id": "LARSE/removed"}], crs="EPSG:4326"))

    def add(self, asset: str, frame: geopandas.GeoDataFrame) -> None:
        path = self.folder / f"{asset.rpartition('/')[2]}.parquet"
        frame.to_parquet(path)
        ingest(path, self.path, asset)
        self.tables[asset] = frame


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def start(store: Store, serve: Callable[..., Server]) -> Callable[..., Server]:
    return lambda *more: serve(
        "--assets", str(store.path), "--no-demo", "--rate", "none", "--concurrency", "none", *more
    )


@pytest.fixture
def features(start: Callable[..., Server], tmp_path: Path) -> Callable[..., geopandas.GeoDataFrame]:
    """Runs ``features`` and reads the table."""

    def run(dataset: str, *limits: str, **options: Any) -> geopandas.GeoDataFrame:
        done = eechips.features(
            dataset, out=tmp_path / "out", endpoint=start(*limits).url, quiet=True, executor="threads", **options
        )
        assert done.failures.empty
        assert done.verify() == []
        found = geopandas.read_parquet(tmp_path / "out" / "features")
        assert found.crs == "OGC:CRS84"
        assert not found["system:index"].duplicated().any() or "table" in found
        return found

    return run


def assert_equal(found: geopandas.GeoDataFrame, expected: geopandas.GeoDataFrame, key: str = "number") -> None:
    """The same rows and columns, of the same types, in any order; missing values of any kind are equal."""
    assert set(found.columns) == {"system:index", *expected.columns}
    found = found[expected.columns].sort_values(key, ignore_index=True).to_crs("EPSG:4326")
    expected = expected.sort_values(key, ignore_index=True)
    assert_geodataframe_equal(found, expected, check_less_precise=False, check_dtype=True)


def row(*ring: tuple[float, float]) -> dict[str, Any]:
    """A polygon, or a point, as a row of a response."""
    geometry = shapely.Point(ring[0]) if len(ring) == 1 else shapely.Polygon(ring)
    return {"system:index": "a", ".geo": shapely.geometry.mapping(geometry)}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the response has no feature, though the plan has counted some"),
        ([row((-104.0, 39.0))], "the response has features of another place"),
        ([row((-104.9, 30.0), (-104.8, 30.0), (-104.8, 31.0))], "the response has features of another place"),
    ],
)
def test_features_of_another_cell_are_an_error(rows: list[dict[str, Any]], message: str) -> None:
    """Those of neighbours are dropped: the cell would have been empty."""
    cell = CellRows(FeatureCell(-105.0, 39.0, -104.5, 39.5), BOX)
    with pytest.raises(ValidationError, match=message):
        cell.columns_of(rows)


@pytest.mark.parametrize("other", [{".geo": None}, {"system:index": "a"}, {"system:index": "a", ".geo": 7}])
def test_features_of_another_form_are_an_error_of_the_response(other: dict[str, Any]) -> None:
    cell = CellRows(FeatureCell(-105.0, 39.0, -104.5, 39.5), BOX)
    with pytest.raises(ValidationError, match="the response has other values than were asked for"):
        cell.columns_of([other])


@pytest.mark.parametrize(
    "rows",
    [
        [row((-104.0, 39.0)), row((-104.9, 39.2))],
        [row((-105.0, 39.50000001))],
        [row((-106.0, 39.6), (-104.0, 39.6), (-104.0, 39.7))],  # its southern edge is a geodesic
    ],
)
def test_features_near_a_cell_may_be_of_its_neighbours(rows: list[dict[str, Any]]) -> None:
    cell = CellRows(FeatureCell(-105.0, 39.0, -104.5, 39.5), BOX)
    assert len(cell.columns_of(rows)["system:index"]) == len(rows) - 1


def test_features_beyond_the_antimeridian_are_near_a_cell_before_it() -> None:
    cell = CellRows(FeatureCell(-180.0, 0.0, -179.0, 1.0), shapely.box(-180.0, 0.0, -179.0, 1.0))
    assert cell.columns_of([row((180.5, 0.5))])["system:index"] == ["a"]


@pytest.mark.exhaustive
def test_points_on_all_edges_of_cells_are_there_once(
    features: Callable[..., Any], store: Store, tmp_path: Path
) -> None:
    source = store.tables[PLOTS]
    found = features(PLOTS, roi=ROI)
    assert_equal(found, source[source.intersects(BOX)])
    units = eechips.open_run(tmp_path / "out").units
    assert len(units) > 4
    schemas = {str(pyarrow.parquet.read_schema(path)) for path in (tmp_path / "out" / "features").iterdir()}
    assert len(schemas) == 1
    assert pyarrow.dataset.dataset(tmp_path / "out" / "features").count_rows() == len(found)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_lines_and_polygons_across_cells_are_there_once(features: Callable[..., Any], store: Store) -> None:
    source = store.tables[SHAPES]
    assert_equal(features(SHAPES, roi=ROI), source[source.intersects(BOX)])


@pytest.mark.exhaustive
def test_a_region_of_a_file(features: Callable[..., Any], store: Store, tmp_path: Path) -> None:
    region = shapely.Polygon([(-106, 39), (-104.2, 39.3), (-105, 41)]).difference(shapely.box(-105.3, 39.5, -105, 40))
    geopandas.GeoSeries([region], crs="EPSG:4326").to_file(tmp_path / "area.gpkg")
    source = store.tables[PLOTS]
    assert_equal(features(PLOTS, roi=str(tmp_path / "area.gpkg")), source[source.intersects(region)])


@pytest.mark.slow
def test_features_at_the_antimeridian_are_there_once(features: Callable[..., Any], store: Store) -> None:
    found = features(DATE_LINE, roi="179,-5,-179,5")
    assert sorted(found["number"]) == [0, 1, 2, 3, 4, 5, 7]


@pytest.mark.slow
def test_a_whole_table(features: Callable[..., Any], store: Store) -> None:
    assert sorted(features(DATE_LINE)["number"]) == list(range(8))


@pytest.mark.exhaustive
def test_conditions_dates_and_columns_are_of_the_service(features: Callable[..., Any], store: Store) -> None:
    found = features(
        PLOTS, roi=ROI, where=["height > 20", "label in (rye, oats)"], start="2020-02-01", end="2020-12-01",
        columns="whole,number,rare",
    )  # fmt: skip
    source = store.tables[PLOTS]
    time = pd.to_datetime(source["system:time_start"], unit="ms")
    chosen = source[
        source.intersects(BOX)
        & (source["height"] > 20)
        & source["label"].isin(["rye", "oats"])
        & (time >= "2020-02-01")
        & (time < "2020-12-01")
    ]
    assert list(found.columns) == ["system:index", "whole", "number", "rare", "geometry"]
    assert_equal(found, chosen[["whole", "number", "rare", "geometry"]])


@pytest.mark.slow
@pytest.mark.parametrize("limits", [("--response", "60000"), ("--response", "2000")])
def test_cells_that_are_too_large_are_divided(
    limits: tuple[str, ...], features: Callable[..., Any], store: Store, tmp_path: Path
) -> None:
    source = store.tables[PLOTS]
    region = shapely.box(-105.99, 39.01, -105.97, 39.03)
    inside = source[source.intersects(region)]
    assert 50 < len(inside) < 150
    found = features(PLOTS, *limits, roi="-105.99,39.01,-105.97,39.03")
    assert_equal(found, inside)
    units = eechips.open_run(tmp_path / "out").units
    assert units["requests"].tolist()[0] >= (1 if limits[1] == "60000" else 8)


@pytest.mark.slow
def test_properties_that_are_called_as_other_columns(features: Callable[..., Any], store: Store) -> None:
    values = {"table": "a", "property_geometry": "b", "property_property_geometry": "c", "property_table": "d"}
    frame = geopandas.GeoDataFrame({name: [text] for name, text in values.items()}, geometry=[shapely.Point(0, 0)])
    store.add("projects/p/assets/reserved", frame.set_crs("EPSG:4326"))
    found = features("projects/p/assets/reserved")
    shown = found.drop(columns=["system:index", "geometry"]).iloc[0].to_dict()
    assert shown == {"table": "a", "property_property_geometry": "b", "property_property_property_geometry": "c",
                     "property_table": "d"}  # fmt: skip


@pytest.mark.slow
def test_a_property_called_table_beside_the_column_of_tables(features: Callable[..., Any], store: Store) -> None:
    place = [shapely.Point(0, 0)]
    frame = geopandas.GeoDataFrame({"table": ["a"], "property_table": ["b"]}, geometry=place, crs="EPSG:4326")
    store.add("projects/p/assets/listed", frame)
    store.add(
        "projects/p/assets/LISTED_INDEX",
        geopandas.GeoDataFrame({"table_id": ["projects/p/assets/listed"]}, geometry=place, crs="EPSG:4326"),
    )
    found = features("projects/p/assets/LISTED_INDEX", columns=["property_table", "table"])
    assert list(found.columns) == ["system:index", "table", "property_property_table", "property_table", "geometry"]
    assert found.iloc[0].tolist()[1:4] == ["projects/p/assets/listed", "b", "a"]


@pytest.mark.slow
def test_gedi_shots_of_good_quality_by_name(features: Callable[..., Any], store: Store) -> None:
    found = features("GEDI_L2A", roi=ROI, end="2019-04-12", columns=["shot", "rh98"])
    tables = [f"LARSE/GEDI/GEDI02_A_002/GEDI02_A_201910{number}" for number in range(2)]
    good = [store.tables[each].query("quality_flag == 1 and degrade_flag == 0").assign(table=each) for each in tables]
    expected = pd.concat(good)[["table", "shot", "rh98", "geometry"]]
    assert_equal(found, expected, key="shot")


@pytest.mark.exhaustive
def test_a_collection_that_the_service_computes(
    features: Callable[..., Any], start: Callable[..., Server], store: Store
) -> None:
    ee = initialize(start())
    table: Any = ee.FeatureCollection(PLOTS).filter(ee.Filter.gt("height", 25)).select(["number", "height"])
    doubled = table.map(lambda plot: plot.set("double", ee.Number(plot.get("height")).multiply(2)))
    found = features(doubled, roi="-106,39,-105.9,39.1", columns=["number", "double"])
    source = store.tables[PLOTS]
    chosen = source[source.intersects(shapely.box(-106, 39, -105.9, 39.1)) & (source["height"] > 25)]
    assert_equal(found, chosen.assign(double=chosen["height"] * 2)[["number", "double", "geometry"]])


@pytest.mark.slow
def test_a_table_that_is_only_called_like_an_index(features: Callable[..., Any], store: Store) -> None:
    store.add("projects/p/assets/MY_INDEX", date_line())
    assert len(features("projects/p/assets/MY_INDEX")) == 8


@pytest.mark.slow
def test_all_shots_of_an_index(features: Callable[..., Any]) -> None:
    assert len(features(INDEX, roi=ROI)) == 1200


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dataset": "projects/p/assets/none"}, UnknownDatasetError, "there is no table 'projects/p/assets/none'"),
        (
            {"dataset": OUTDATED},
            UnknownDatasetError,
            "there is no table 'LARSE/removed', which .*/OUTDATED_INDEX names",
        ),
        ({"columns": "hieght"}, UnknownDatasetError, "has no column 'hieght'; did you mean 'height'"),
        ({"dataset": "S2"}, UsageError, "S2 has images, not features"),
        ({"columns": "height,height"}, UsageError, "must name each column once"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ({"where": "hieght > 1"}, UsageError, "no feature there has a property 'hieght'"),
                ({"roi": "10,10,11,11"}, UsageError, "there are no features"),
                ({"dataset": SHAPES, "start": "2020-01-01"}, UsageError, "have no system:time_start"),
            )
        ),
        ({"start": "2020-01-01", "end": "2019-01-01"}, UsageError, "must be before the end"),
    ],
)
def test_wrong_options(
    options: dict[str, Any], error: type[EechipsError], message: str, start: Callable[..., Server], tmp_path: Path
) -> None:
    given = {"dataset": PLOTS, "roi": ROI, **options}
    with pytest.raises(error, match=message):
        eechips.features(**given, out=tmp_path / "out", endpoint=start().url, quiet=True, executor="threads")


@pytest.mark.slow
def test_the_command(start: Callable[..., Server], tmp_path: Path) -> None:
    words = ["features", "--dataset", DATE_LINE, "--endpoint", start().url, "--out", str(tmp_path / "out"), "-q"]
    run_command(*words, status=0)
    assert len(geopandas.read_parquet(tmp_path / "out" / "features" / "part-00000.parquet")) == 8


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_killed_run_resumes(start: Callable[..., Server], store: Store, tmp_path: Path) -> None:
    server = start("--latency", "0.2")
    command = [sys.executable, "-m", "eechips", "features", "--dataset", PLOTS, "--roi=" + ROI, "--out",
               str(tmp_path / "out"), "--endpoint", server.url, "--executor", "processes:1", "--in-flight", "1",
               "-q"]  # fmt: skip
    with subprocess.Popen(command, start_new_session=True) as process:
        wait_until(lambda: len(list((tmp_path / "out").glob("cells/*.parquet"))) >= 2)
        os.killpg(process.pid, signal.SIGKILL)
    recorded = eechips.open_run(tmp_path / "out").units["file"].dropna()  # a file that is not is fetched once more
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / file for file in recorded)}
    assert not (tmp_path / "out" / "features").exists()
    subprocess.run(command, check=True)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    source = store.tables[PLOTS]
    assert_equal(geopandas.read_parquet(tmp_path / "out" / "features"), source[source.intersects(BOX)])
    (part,) = (tmp_path / "out" / "features").iterdir()
    before = part.stat().st_mtime_ns
    subprocess.run(command, check=True)
    assert part.stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_lockfile_gives_the_same_table(start: Callable[..., Server], tmp_path: Path) -> None:
    given: dict[str, Any] = {"endpoint": start().url, "quiet": True, "executor": "threads"}
    run = eechips.features(SHAPES, roi="-105,39.9,-104.9,40", **given, out=tmp_path / "out")
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    found = eechips.rebuild(lockfile, tmp_path / "again", **given)
    assert found.is_same, found.differences
    names = [path.name for path in (tmp_path / "out" / "features").iterdir()]
    assert names == ["part-00000.parquet"]
    first, second = (tmp_path / folder / "features" / names[0] for folder in ("out", "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_a_plan_is_estimated_without_a_request_for_features(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start()
    before = server.requests().get("table:computeFeatures", 0)
    found = eechips.features(
        PLOTS, roi=ROI, out=tmp_path / "out", endpoint=server.url, quiet=True, executor="threads", dry_run=True
    )
    assert found.units > 4
    assert server.requests().get("table:computeFeatures", 0) == before


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_hundred_thousand_features_take_a_request_for_each_cell(
    serve_briefly: Callable[..., Server], tmp_path: Path
) -> None:
    random = np.random.default_rng(6)
    places = np.concatenate([random.normal((-105, 40), 0.05, (50_000, 2)), random.uniform(-60, 60, (50_000, 2))])
    number = np.arange(len(places))
    source = geopandas.GeoDataFrame(
        {
            "number": number,
            "height": random.uniform(0, 50, len(places)),
            "kind": random.choice(["a", "b"], len(places)),
        },
        geometry=geopandas.points_from_xy(*places.T),
        crs="EPSG:4326",
    )
    source.to_parquet(tmp_path / "a.parquet")
    ingest(tmp_path / "a.parquet", tmp_path / "assets", PLOTS)
    server = serve_briefly("--assets", str(tmp_path / "assets"), "--no-demo", "--rate", "none", "--concurrency", "none")
    run = eechips.features(PLOTS, out=tmp_path / "out", endpoint=server.url, quiet=True, executor="threads")
    assert_equal(geopandas.read_parquet(tmp_path / "out" / "features"), source)
    assert set(run.units["requests"]) == {1}
    groups = [
        file.metadata.row_group(group).num_rows
        for file in map(pyarrow.parquet.ParquetFile, run.assembled)
        for group in range(file.num_row_groups)
    ]
    assert max(groups) < 60_000
