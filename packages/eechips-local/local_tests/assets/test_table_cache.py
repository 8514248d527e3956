"""Large tables that a process holds in memory: the same rows as those of geopandas and of the file."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from eechips_local.assets import FolderStore, ingest
from eechips_local.assets.stored_tables import StoredTable
from eechips_local.assets.table_cache import hold_table
from eechips_local.evaluation.asset_model import Query

COUNT = 20_500


def frame(count: int) -> geopandas.GeoDataFrame:
    """Squares all over the Earth, one across the antimeridian, with missing values."""
    random = np.random.default_rng(5)
    west, south = random.uniform(-179, 170, count), random.uniform(-80, 70, count)
    shapes = shapely.box(west, south, west + random.uniform(0, 3, count), south + random.uniform(0, 3, count))
    shapes[17] = shapely.box(179, 10, 181, 11)
    shapes[18] = shapely.Point(180, 20)
    number = np.arange(count)
    return geopandas.GeoDataFrame(
        {
            "number": number,
            "kind": [None if n % 7 == 0 else f"k{n % 3}" for n in number],
            "system:time_start": number * 1000,
        },
        geometry=shapes,
        crs="EPSG:4326",
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[geopandas.GeoDataFrame, StoredTable, Path]:
    folder = tmp_path_factory.mktemp("held")
    data = frame(COUNT)
    data.to_parquet(folder / "a.parquet")
    ingest(folder / "a.parquet", folder / "store", "t")
    found = FolderStore(folder / "store").get("t")
    assert isinstance(found, StoredTable)
    (path,) = (folder / "store" / "t").glob("*.parquet")
    return data, found, path


@pytest.mark.parametrize(
    "bounds", [(-10, 0, 10, 20), (5, 5, 5.001, 5.001), (170, -90, -170, 90), (-180, 0, -179.5, 30), (179, 0, 180, 30)]
)
def test_rows_are_those_whose_boxes_meet_the_bounds_in_stored_order(
    table: tuple[geopandas.GeoDataFrame, StoredTable, Path], bounds: tuple[float, float, float, float]
) -> None:
    data, found, path = table
    assert hold_table(path) is not None
    west, south, east, north = bounds
    edges = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    meets = np.zeros(COUNT, dtype=bool)
    for left, right in edges:
        for turn in (-360, 0, 360):
            meets |= shapely.intersects(data.geometry.to_numpy(), shapely.box(left + turn, south, right + turn, north))
    # The meridian of 180 degrees belongs to both sides.
    rows = list(found.rows(Query(bounds=bounds)))
    numbers = [row.properties["number"] for row in rows]
    assert numbers == np.flatnonzero(meets).tolist()
    for row in rows[:50]:
        kind = data["kind"][row.properties["number"]]
        assert row.properties.get("kind") == (None if kind is None or kind != kind else kind)
        assert shapely.equals_exact(row.geometry, data.geometry[row.properties["number"]])


def test_other_conditions_hold_as_well(table: tuple[geopandas.GeoDataFrame, StoredTable, Path]) -> None:
    data, found, _ = table
    box = (-50.0, -50.0, 50.0, 50.0)
    chosen = data[
        data.intersects(shapely.box(*box)) & (data["kind"] == "k1") & data["system:time_start"].between(5e5, 9e6 - 1)
    ]
    rows = found.rows(Query(bounds=box, equals={"kind": "k1"}, start=500_000, end=9_000_000))
    assert [row.properties["number"] for row in rows] == chosen["number"].tolist()


def test_a_table_of_few_rows_is_not_held(tmp_path: Path) -> None:
    frame(100).to_parquet(tmp_path / "a.parquet")
    ingest(tmp_path / "a.parquet", tmp_path / "store", "t")
    (path,) = (tmp_path / "store" / "t").glob("*.parquet")
    assert hold_table(path) is None
