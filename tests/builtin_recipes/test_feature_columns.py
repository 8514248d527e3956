"""Types of the columns of ``features/``, by the cells that they are joined from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from eechips.builtin_recipes.tables.feature_columns import FeatureFiles

LARGE = 2**53 + 1  # float64 has no such number


@pytest.mark.parametrize(
    ("cells", "stated", "expected"),
    [
        pytest.param([[LARGE], [0.5]], "", [str(LARGE), "0.5"], id="text, where float64 loses digits"),
        pytest.param([[-LARGE, None], [0.5]], "", [str(-LARGE), None, "0.5"], id="negative"),
        pytest.param([[2**53, None], [0.5]], "", [2.0**53, None, 0.5], id="float64 has all digits"),
        pytest.param([[None], [LARGE]], "", [None, LARGE], id="integers"),
        pytest.param([[LARGE - 1], [0.5]], "Double", [2.0**53, 0.5], id="the service says that they are decimal"),
        pytest.param([[LARGE + 1], [0.5]], "Double", [2.0**53 + 2, 0.5], id="decimal and large"),
    ],
)
def test_integers_beside_fractions_keep_their_digits(
    cells: list[list[Any]], stated: str, expected: list[Any], tmp_path: Path
) -> None:
    table = FeatureFiles({"value": stated} if stated else {})
    for number, values in enumerate(cells):
        points = [shapely.to_wkb(shapely.Point(number, 0))] * len(values)
        pq.write_table(pa.table({"value": pa.array(values), "geometry": points}), tmp_path / f"{number}.parquet")
        table.add(tmp_path / f"{number}.parquet")
    (parts,) = table.parts()
    table.write(parts, tmp_path / "table.parquet")
    found = pq.read_table(tmp_path / "table.parquet")["value"].to_pylist()
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))
    assert table.mixed == (["value"] if isinstance(expected[-1], str) else [])
