"""Vector files as tables, against geopandas."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips_local.assets import (
    AssetExistsError,
    EmptyTableError,
    FolderStore,
    IngestError,
    MissingCrsError,
    UnreadableFileError,
    ingest,
)
from eechips_local.assets.stored_tables import StoredTable
from eechips_local.evaluation.asset_model import FeatureRow, Query, TableAsset
from local_tests.support.captured_log import CapturedLog

COUNT = 3000


def frame(count: int = 40, seed: int = 0) -> geopandas.GeoDataFrame:
    """Squares with a column of every type."""
    random = np.random.default_rng(seed)
    west, south = random.uniform(-179, 170, count), random.uniform(-80, 70, count)
    floats = random.normal(size=count)
    floats[::7] = np.nan
    return geopandas.GeoDataFrame(
        {
            "long": pd.array(random.integers(-(2**52), 2**52, count)),
            "integer": random.integers(-9, 9, count).astype("int32"),
            "holes": pd.array([None if n % 5 == 0 else n for n in range(count)], dtype="Int64"),
            "float": floats,
            "text": [None if n % 11 == 0 else f"té{n % 13}" for n in range(count)],
            "flag": [n % 2 == 0 for n in range(count)],
            "when": pd.to_datetime(["2020-01-01T00:00:00.5"] * count).astype("datetime64[ms]"),
        },
        geometry=shapely.box(west, south, west + random.uniform(0, 9, count), south + random.uniform(0, 9, count)),
        crs=4326,
    )


def table(root: Path, asset_id: str) -> TableAsset:
    found = FolderStore(root).get(asset_id)
    assert isinstance(found, StoredTable)
    return found


def rows(found: TableAsset, **query: Any) -> list[FeatureRow]:
    return list(found.rows(Query(**query)))


def expected(data: geopandas.GeoDataFrame) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """What rows should be, from pandas."""
    for position, (_, row) in enumerate(data.iterrows()):
        properties = {}
        for name in data.columns:
            value = row[name]
            if name == data.geometry.name or value is pd.NaT or value is pd.NA or value is None:
                continue
            if isinstance(value, float) and math.isnan(value):
                continue
            if isinstance(value, pd.Timestamp):
                value = int(value.timestamp() * 1000)
            properties[name] = value.item() if isinstance(value, np.generic) else value
        yield f"{position:020x}", row[data.geometry.name], properties


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".geojson", ".fgb"])
def test_a_table_is_what_geopandas_reads(tmp_path: Path, suffix: str) -> None:
    data = frame()
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        data.to_parquet(path)
    else:
        data.to_file(path)
    read = geopandas.read_parquet(path) if suffix == ".parquet" else geopandas.read_file(path)
    assert ingest(path, tmp_path / "store", "RESOLVE/squares", properties={"title": "a"}) == ["RESOLVE/squares"]
    found = table(tmp_path / "store", "RESOLVE/squares")
    (stored,) = (tmp_path / "store").rglob("*.parquet")
    assert found.properties == {"title": "a", "system:asset_size": stored.stat().st_size}
    got = rows(found)
    assert len(got) == len(read) == 40
    for row, (index, geometry, properties) in zip(got, expected(read), strict=True):
        assert row.index == index
        assert shapely.equals_exact(row.geometry, geometry, 1e-9)
        for name in ("text", "float", "integer"):
            assert row.properties.get(name) == properties.get(name)
        assert row.properties["long"] == properties["long"]
        assert type(row.properties["long"]) is int
    if suffix in (".parquet", ".gpkg", ".fgb"):
        assert dict(found.columns) == {
            "long": "Long", "integer": "Integer", "holes": "Long", "float": "Float", "text": "String",
            "flag": "Integer", "when": "Long", "system:index": "String",
        }  # fmt: skip
        assert {row.properties.get("holes") for row in got} == {None, *(n for n in range(40) if n % 5)}
        assert all(type(row.properties.get("holes", 0)) is int for row in got)
        assert {row.properties["when"] for row in got} == {1577836800500}
        assert [row.properties["flag"] for row in got] == [int(flag) for flag in read["flag"]]
    assert sum("float" in row.properties for row in got) == 40 - 6  # NaN is absent


@pytest.mark.slow
def test_tables_are_reprojected(tmp_path: Path) -> None:
    data = geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.box(300000, 4100000, 340000, 4150000)], crs=6367)
    data.to_file(tmp_path / "a.gpkg")
    data.to_parquet(tmp_path / "b.parquet")
    for name in ("a.gpkg", "b.parquet"):
        ingest(tmp_path / name, tmp_path / "store", "t")
        (row,) = rows(table(tmp_path / "store", "t"))
        assert shapely.equals_exact(row.geometry, data.to_crs(4326).geometry.iloc[0], 1e-9)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[geopandas.GeoDataFrame, TableAsset]:
    data = frame(COUNT).sort_values("integer").reset_index(drop=True)
    folder = tmp_path_factory.mktemp("big")
    data.to_parquet(folder / "a.parquet")
    ingest(folder / "a.parquet", folder / "store", "big")
    return data, table(folder / "store", "big")


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    west=st.floats(-180, 180),
    east=st.floats(-180, 180),
    south=st.floats(-90, 80),
    height=st.floats(0, 60),
    equals=st.one_of(
        st.just({}),
        st.fixed_dictionaries({"integer": st.integers(-10, 10)}),
        st.fixed_dictionaries({"text": st.sampled_from(["té1", "té12", "nothing"])}),
        st.fixed_dictionaries({"integer": st.sampled_from([1.0, 0.5, -2])}),
        st.fixed_dictionaries({"flag": st.integers(0, 1), "text": st.just("té3")}),
    ),
)
def test_queries_find_what_a_plain_filter_finds(
    big: tuple[geopandas.GeoDataFrame, TableAsset],
    west: float,
    east: float,
    south: float,
    height: float,
    equals: dict[str, Any],
) -> None:
    data, found = big
    north = south + height
    boxes = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    meets = np.zeros(len(data), dtype=bool)
    for left, right in boxes:
        meets |= shapely.intersects(data.geometry.to_numpy(), shapely.box(left, south, right, north))
    for name, value in equals.items():
        meets &= (data[name] == value).fillna(False).to_numpy(dtype=bool)
    got = rows(found, bounds=(west, south, east, north), equals=equals)
    must = {f"{position:020x}" for position in np.flatnonzero(meets)}
    assert must <= {row.index for row in got}
    assert [row.index for row in got] == sorted(row.index for row in got)
    for row in got:
        assert all(row.properties[name] == value for name, value in equals.items())


@pytest.mark.slow
def test_rows_are_found_by_index_and_kinds_do_not_mix(big: tuple[geopandas.GeoDataFrame, TableAsset]) -> None:
    data, found = big
    (row,) = rows(found, equals={"system:index": f"{1234:020x}"})
    assert row.properties["integer"] == data["integer"][1234]
    assert rows(found, equals={"nothing": 1}) == []
    assert rows(found, equals={"text": 1}) == []
    assert rows(found, equals={"integer": "1"}) == []
    assert rows(found, equals={"integer": 1.5}) == []
    assert len(rows(found)) == COUNT


@pytest.mark.slow
def test_times_bound_rows_that_have_them(tmp_path: Path) -> None:
    data = geopandas.GeoDataFrame(
        {"system:time_start": [5, 10, None, 20]}, geometry=shapely.points([[0, 0]] * 4), crs=4326
    )
    data.to_parquet(tmp_path / "a.parquet")
    ingest(tmp_path / "a.parquet", tmp_path / "store", "t")
    found = table(tmp_path / "store", "t")
    assert [row.properties["system:time_start"] for row in rows(found, start=10)] == [10, 20]
    assert [row.properties["system:time_start"] for row in rows(found, start=5, end=20)] == [5, 10]


@pytest.mark.slow
def test_unusual_geometries_and_names_are_kept(tmp_path: Path) -> None:
    bowtie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    overlapping = shapely.MultiPolygon([bowtie, shapely.box(0, 0, 1, 2)])
    data = geopandas.GeoDataFrame(
        {"bbox": [1, 2, 3, 4], "geometry_": [5, 6, 7, 8], "list": [[1, 2], None, [3], []]},
        geometry=[shapely.Point(1, 2, 3), None, shapely.Polygon(), overlapping],
        crs=4326,
    ).rename_geometry("shape")
    data = data.rename(columns={"geometry_": "geometry"})
    data.to_parquet(tmp_path / "a.parquet")
    ingest(tmp_path / "a.parquet", tmp_path / "store", "t")
    got = rows(table(tmp_path / "store", "t"))
    assert [row.properties["bbox"] for row in got] == [1, 2, 3, 4]
    assert [row.properties["geometry"] for row in got] == [5, 6, 7, 8]
    assert [row.properties.get("list") for row in got] == ["[1, 2]", None, "[3]", "[]"]
    assert got[0].geometry == shapely.Point(1, 2)
    assert got[1].geometry is None
    assert got[2].geometry is None
    assert got[3].geometry is not None
    assert got[3].geometry.is_valid
    assert got[3].geometry.area == pytest.approx(3)  # what two polygons cover counts once
    assert [row.index[-1] for row in rows(table(tmp_path / "store", "t"), bounds=(0, 0, 3, 3))] == ["0", "3"]


def test_objects_mixed_types_and_times_of_geojson_are_text(tmp_path: Path) -> None:
    """GDAL gives objects, and columns of several types, as JSON; and texts that look like times as times."""
    own = [{"tags": {"a": 1}, "mixed": 1, "at": "12:30:00"}, {"tags": None, "mixed": "x", "at": "07:00:01"}]
    features = [
        {"type": "Feature", "properties": each, "geometry": {"type": "Point", "coordinates": [n, 0]}}
        for n, each in enumerate(own)
    ]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    ingest(tmp_path / "a.geojson", tmp_path / "store", "t")
    first, second = (row.properties for row in rows(table(tmp_path / "store", "t")))
    assert json.loads(first["tags"]) == {"a": 1}
    assert "tags" not in second
    assert [(row["mixed"], row["at"]) for row in (first, second)] == [("1", "12:30:00"), ("x", "07:00:01")]


def test_decimals_and_views_are_kept_and_too_large_integers_named(tmp_path: Path) -> None:
    count = 9
    geopandas.GeoDataFrame(geometry=shapely.points([[0, 0]] * count), crs=4326).to_parquet(tmp_path / "plain.parquet")
    plain = pq.read_table(tmp_path / "plain.parquet")
    prices = [decimal.Decimal(number) / 100 for number in range(110, 110 * (count + 1), 110)]
    texts = pa.array([f"t{n}" for n in range(count)], pa.string_view())
    wide = plain.append_column("price", pa.array(prices, pa.decimal128(9, 2))).append_column("text", texts)
    pq.write_table(wide, tmp_path / "a.parquet")
    ingest(tmp_path / "a.parquet", tmp_path / "store", "t")
    found = [row.properties for row in rows(table(tmp_path / "store", "t"))]
    assert found == [{"price": float(price), "text": f"t{n}"} for n, price in enumerate(prices)]
    pq.write_table(plain.append_column("n", pa.array([2**64 - 1] * count, pa.uint64())), tmp_path / "b.parquet")
    with pytest.raises(IngestError, match=r"column 'n' of .* has numbers beyond 64 bits"):
        ingest(tmp_path / "b.parquet", tmp_path / "store", "u")


@pytest.mark.parametrize("kind", ["Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon"])
def test_native_encodings_of_geoparquet_are_read(tmp_path: Path, kind: str) -> None:
    count = 4100  # more than a batch
    x, y = np.random.default_rng(3).uniform(-60, 60, (2, count))
    squares = shapely.box(x, y, x + 2, y + 2)
    holed = shapely.difference(squares, shapely.box(x + 0.5, y + 0.5, x + 1, y + 1))
    shapes = {
        "Point": shapely.points(x, y),
        "LineString": shapely.linestrings(np.stack([[x, y], [x + 1, y], [x + 2, y + 1]], axis=1).T),
        "Polygon": holed,
        "MultiPoint": shapely.multipoints(shapely.points(np.stack([[x, y], [x + 1, y]], axis=1).T)),
        "MultiLineString": shapely.boundary(holed),
        "MultiPolygon": shapely.union(holed, shapely.box(x + 2.5, y, x + 3, y + 1)),
    }[kind].astype(object)
    shapes[::7] = None
    data = geopandas.GeoDataFrame({"n": np.arange(count)}, geometry=shapes, crs=4326)
    data.to_parquet(tmp_path / "a.parquet", geometry_encoding="geoarrow", schema_version="1.1.0")
    encoding = json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"geo"])["columns"]["geometry"]["encoding"]
    assert encoding == kind.lower()
    ingest(tmp_path / "a.parquet", tmp_path / "store", "t")
    found = rows(table(tmp_path / "store", "t"))
    assert [row.properties["n"] for row in found] == list(range(count))
    geometries = np.array([row.geometry for row in found], dtype=object)
    assert (shapely.is_missing(geometries) == shapely.is_missing(shapes)).all()
    there = ~shapely.is_missing(shapes)
    assert shapely.equals_exact(geometries[there], shapes[there]).all()


def test_documents_of_layers_in_a_kmz_are_read(tmp_path: Path) -> None:
    """GDAL writes each layer of a KMZ as a document of its own, to which the main one links."""
    data = frame(5)[["text", "geometry"]]
    pyogrio.write_dataframe(data, tmp_path / "a.kmz", driver="LIBKML", layer="one")
    ingest(tmp_path / "a.kmz", tmp_path / "store", "t")
    found = [row.geometry for row in rows(table(tmp_path / "store", "t"))]
    assert shapely.equals_exact(found, data.geometry.to_numpy(), 1e-9, normalize=True).all()
    pyogrio.write_dataframe(data, tmp_path / "a.kmz", driver="LIBKML", layer="two", append=True)
    with pytest.raises(UnreadableFileError, match=r"the archive holds 2 vector files .*unpack it"):
        ingest(tmp_path / "a.kmz", tmp_path / "store", "u")


@pytest.mark.slow
def test_tables_of_points_without_columns_are_ingested(tmp_path: Path) -> None:
    data = geopandas.GeoDataFrame(geometry=shapely.points([[1, 2], [190, 4]]), crs=4326)
    data.to_file(tmp_path / "a.gpkg")
    ingest(tmp_path / "a.gpkg", tmp_path / "store", "t")
    found = table(tmp_path / "store", "t")
    assert dict(found.columns) == {"system:index": "String"}
    assert [row.geometry.x for row in rows(found)] == [1, 190]
    assert [row.geometry.x for row in rows(found, bounds=(-171, 0, -169, 9))] == [190]


@pytest.mark.slow
def test_the_file_is_geoparquet(tmp_path: Path) -> None:
    frame(10).to_parquet(tmp_path / "a.parquet")
    ingest(tmp_path / "a.parquet", tmp_path / "store", "t")
    (made,) = (tmp_path / "store").rglob("*.parquet")
    read = geopandas.read_parquet(made, bbox=(-180, -90, 180, 90))
    assert len(read) == 10
    assert read.crs == "OGC:CRS84"
    assert shapely.equals_exact(read.geometry.to_numpy(), frame(10).geometry.to_numpy()).all()


@pytest.mark.slow
def test_several_files_make_several_tables(tmp_path: Path) -> None:
    for name in ("a", "b"):
        frame(3).to_parquet(tmp_path / f"{name}.parquet")
    ids = ingest([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "store", "T/x")
    assert ids == ["T/x/a", "T/x/b"]
    store = FolderStore(tmp_path / "store")
    assert list(store.children("T/x")) == ids
    assert [line.type for line in store.summaries()] == ["FOLDER", "FOLDER", "TABLE", "TABLE"]
    with pytest.raises(AssetExistsError, match="there is already the folder T/x"):
        ingest(tmp_path / "a.parquet", tmp_path / "store", "T/x")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_unusable_files_are_refused(tmp_path: Path) -> None:
    nowhere = frame(3).set_crs(None, allow_override=True)
    with pytest.warns(UserWarning, match="crs"):
        nowhere.to_file(tmp_path / "nowhere.gpkg")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "plain.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "empty.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    frame(3).to_file(tmp_path / "two.gpkg", layer="one")
    frame(4).to_file(tmp_path / "two.gpkg", layer="two", mode="a")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    frame(3).to_parquet(tmp_path / "good.parquet")
    far = geopandas.GeoDataFrame(geometry=[shapely.Point(1e30, 1e30)], crs=32633)
    far.to_parquet(tmp_path / "far.parquet")
    cases: list[tuple[type[Exception], str, str, dict[str, Any]]] = [
        (MissingCrsError, "no coordinate reference system.*--crs EPSG", "nowhere.gpkg", {}),
        (UnreadableFileError, "is not GeoParquet: it has no 'geo' metadata", "plain.parquet", {}),
        (UnreadableFileError, "it is damaged", "broken.parquet", {}),
        (EmptyTableError, "no features", "empty.geojson", {}),
        (IngestError, "several layers: choose one of one, two", "two.gpkg", {}),
        (UnreadableFileError, "neither a raster nor a vector file", "table.csv", {}),
        (IngestError, "is a vector file", "good.parquet", {"bands": ["a"]}),
        (IngestError, "does not cover", "far.parquet", {}),
        (IngestError, "has no place on Earth", "good.parquet", {"crs": 'LOCAL_CS["here",UNIT["metre",1]]'}),
    ]
    for error, message, name, options in cases:
        with pytest.raises(error, match=message):
            ingest(tmp_path / name, tmp_path / "store", "A/t", **options)
    left = [path.name for path in (tmp_path / "store").rglob("*") if not path.name.startswith(".")]
    assert left == ["catalog.json"]
    ingest(tmp_path / "two.gpkg", tmp_path / "store", "A/t", layer="two")
    assert len(rows(table(tmp_path / "store", "A/t"))) == 4
    ingest(tmp_path / "nowhere.gpkg", tmp_path / "store", "A/u", crs="EPSG:4326")


@pytest.mark.slow
def test_dates_become_milliseconds(tmp_path: Path) -> None:
    data = frame(2).assign(day=[datetime.date(2020, 1, 2), None])
    data.to_parquet(tmp_path / "a.parquet")
    ingest(tmp_path / "a.parquet", tmp_path / "store", "t")
    assert [row.properties.get("day") for row in rows(table(tmp_path / "store", "t"))] == [1577923200000, None]


def test_the_process_that_reads_vectors_imports_nothing_else_of_the_package() -> None:
    """Each file has such a process, which would take three times as long with the modules that ingest rasters."""
    program = (
        "import sys, eechips_local.assets.vectors.vector_reader\n"
        "print(*sorted(name for name in sys.modules if name.startswith('eechips_local')))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    modules = ("dbase_texts", "vector_formats", "vector_reader")
    package = "eechips_local.assets.vectors"
    assert found == ["eechips_local", "eechips_local.assets", package, *(f"{package}.{name}" for name in modules)]


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("EPSG:99999", False), ("unnamed", False), ("EPSG::4267", False), ("urn:ogc:def:crs:EPSG::4267", True),
        ("EPSG:4326", True), ("urn:ogc:def:crs:OGC:1.3:CRS84", True), (None, True),
    ],
)  # fmt: skip
def test_a_crs_that_gdal_takes_for_wgs84_is_told(
    name: str | None, is_known: bool, tmp_path: Path, caplog: CapturedLog
) -> None:
    """Coordinates of an unknown CRS became degrees of an asset without a word."""
    path = tmp_path / "a.geojson"
    member = {} if name is None else {"crs": {"type": "name", "properties": {"name": name}}}
    point = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [-105, 40]}}
    path.write_text(json.dumps({"type": "FeatureCollection", **member, "features": [point]}))
    assert (pyogrio.read_info(path)["crs"] == "EPSG:4326") is (not is_known or name != "urn:ogc:def:crs:EPSG::4267")
    ingest(path, tmp_path / "assets", "users/me/a")
    assert any("does not know" in message for message in caplog.messages) is not is_known
