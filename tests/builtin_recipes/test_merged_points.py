"""The table of all cells: every input row in order, for any cells and little memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely

from eechips.builtin_recipes.tables import merged_points
from eechips.builtin_recipes.tables.merged_points import PointTable
from eechips.builtin_recipes.tables.point_queries import Pairs, PointQuery
from eechips.formats.parquet import encode
from eechips.planning.areas.region_reducers import parse_statistics
from eechips.planning.imagery.band_selection import BandSelection
from eechips.planning.place_tables import read_places

MILLISECONDS = 86_400_000


def pairs(**fields: Any) -> Pairs:
    unit = {"mode": "paired", "bands": ["v"], "dtypes": ["int16"], "at": np.zeros((3, 2)).tolist(), **fields}
    query = PointQuery(
        unit=unit, dataset="", selection=BandSelection(("v",)), start=None, end=None, composite="latest", mask=None,
        scale=None, statistics=parse_statistics("mean"),
    )  # fmt: skip
    return Pairs(query)


def feature(day: int | None, values: list[list[Any]], name: str | None = None) -> dict[str, Any]:
    time = None if day is None else day * MILLISECONDS
    return {"image": name or f"i{day}", "time": time, "values": values, ".geo": None}


@pytest.mark.parametrize("together", [1_000_000, 50, 7])
@pytest.mark.parametrize("is_csv", [False, True])
def test_rows_are_in_the_callers_order_in_one_part_or_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int, is_csv: bool
) -> None:
    monkeypatch.setattr(merged_points, "_TOGETHER", together)
    random = np.random.default_rng(1)
    count = 60
    frame = pd.DataFrame({"id": [f"{i:03d}" for i in range(count)], "lon": 1.0, "lat": 2.0, "n": np.arange(count)})
    frame.to_csv(tmp_path / "places.csv", index=False)
    places = read_places(tmp_path / "places.csv")
    # Rows 50 to 54 are asked for by nobody, 55 to 59 by a cell that failed; 3 and 7 are one place.
    order = [int(row) for row in random.permutation(50) if row != 7]
    expected: dict[int, list[tuple[str, float]]] = {}
    made = PointTable(places, keep=None, prefix="p_", format="csv" if is_csv else "parquet")
    for number, some in enumerate(np.array_split(order, 6)):
        rows: list[Any] = [[3, 7] if row == 3 else int(row) for row in some]
        features = []
        for day in (30, 10, 20):
            kept = [i for i in range(len(rows)) if random.random() < 0.7]
            values = [[i, None if random.random() < 0.2 else int(random.integers(1, 99))] for i in kept]
            features.append(feature(day, values))
            for i, value in values:
                for row in rows[i] if isinstance(rows[i], list) else [rows[i]]:
                    expected.setdefault(row, []).append((f"i{day}", np.nan if value is None else value))
        found = pairs(at=np.zeros((len(rows), 2)).tolist()).columns_of(features)
        path = tmp_path / f"cell{number}.parquet"
        path.write_bytes(encode(tuple(found), list(found.values())).data)
        made.add(rows, path)
    made.add(list(range(55, 60)), None)
    without = [all(value != value for _, value in expected.get(row, [])) for row in range(50)]
    assert made.write(tmp_path / "table") == sum(without) > 0
    table = (
        pd.read_csv(tmp_path / "table", dtype={"id": str}) if is_csv else pq.read_table(tmp_path / "table").to_pandas()
    )
    assert made.failed == 5
    assert list(table.columns) == ["id", "lon", "lat", "n", "p_image", "p_image_date", "p_v"]
    wanted = [
        (row, *pair)
        for row in range(55)
        for pair in sorted(expected.get(row, [(None, np.nan)]), key=lambda p: p[0] or "")
    ]
    assert table["n"].tolist() == [row for row, _, _ in wanted]
    assert table["id"].tolist() == [f"{row:03d}" for row, _, _ in wanted]
    assert [None if name != name else name for name in table["p_image"]] == [name for _, name, _ in wanted]
    np.testing.assert_array_equal(table["p_v"], [value for _, _, value in wanted])
    assert not list(tmp_path.glob(".scratch*"))


def test_the_nearest_image_with_a_value_and_of_two_the_earlier() -> None:
    found = pairs(moments=[day * MILLISECONDS for day in (15, 15, 40)]).columns_of(
        [feature(20, [[0, 2], [1, None]]), feature(10, [[0, 1], [1, 5]]), feature(39, [[2, None]])]
    )
    assert found["place"].to_pylist() == [0, 1]  # an image that is masked at a place is not named there
    assert found["image"].to_pylist() == ["i10", "i10"]
    assert found["v"].to_pylist() == [1, 5]


def test_integers_stay_integers_unless_a_value_is_none() -> None:
    found = pairs().columns_of([feature(1, [[0, 1], [1, 2.5]])])
    assert str(found["v"].type) == "double"
    assert str(pairs().columns_of([feature(1, [[0, 1], [1, None]])])["v"].type) == "int64"
    assert str(pairs(dtypes=["float32"]).columns_of([feature(1, [[0, 1]])])["v"].type) == "double"
    assert pairs().columns_of([])["v"].to_pylist() == []


@pytest.mark.parametrize(
    ("footprint", "held"),
    [
        (shapely.box(8, 46, 9, 47), [0]),
        (shapely.box(179, -1, 181, 1), [1]),
        (shapely.box(-181, -1, -179, 1), [1]),
        (shapely.box(-180, -90, 180, 90), [0, 1, 2]),
        (shapely.LinearRing([(8, 46), (9, 46), (9, 47), (8, 47)]), [0]),
        (None, [0, 1, 2]),
    ],
)
def test_pairs_without_a_value_are_kept_where_the_footprint_holds_the_place(footprint: Any, held: list[int]) -> None:
    at = [(8.5, 46.5), (180.0, 0.0), (50.0, 50.0)]
    one = feature(1, [[0, None], [1, None], [2, None]])
    one[".geo"] = None if footprint is None else shapely.geometry.mapping(footprint)
    assert pairs(at=at, mode="each").columns_of([one])["place"].to_pylist() == held
    one = feature(1, [[0, 7], [1, 7], [2, 7]])
    assert pairs(at=at, mode="each").columns_of([one])["place"].to_pylist() == [0, 1, 2]
