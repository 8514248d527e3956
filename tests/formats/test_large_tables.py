"""Tables that are written in parts, and rows that are sorted on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eechips.files.temporary_names import SCRATCH_PREFIX
from eechips.formats import csv, table_format
from eechips.formats.large_tables import TIMESTAMP, TableAppender, TableSpill
from eechips.formats.table import arrange_columns

SCHEMA = pa.schema([("id", pa.string()), ("count", pa.int64()), ("value", pa.float64()), ("at", TIMESTAMP)])
TABLE = pa.table(
    {
        "id": ["007", 'a "b", c', "é", None],
        "count": [1, None, 3, 2**60 + 1],
        "value": [0.1, 2.0, None, -1e-300],
        "at": pa.array([0, 1_500_000_000_123, None, 86_400_000], pa.int64()).cast(TIMESTAMP),
    },
    schema=SCHEMA,
)


def pieces_of(table: pa.Table, rows: int) -> list[pa.Table]:
    return [table.slice(start, rows) for start in range(0, len(table), rows)]


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_a_csv_file_is_the_same_whatever_the_pieces(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "table.csv"
    with TableAppender(path, SCHEMA, "csv") as file:
        for piece in pieces_of(TABLE, rows):
            file.write(piece)
    assert path.read_text(encoding="utf-8") == (
        "id,count,value,at\n"
        "007,1,0.1,1970-01-01T00:00:00Z\n"
        '"a ""b"", c",,2.0,2017-07-14T02:40:00.123Z\n'
        "é,3,,\n"
        ",1152921504606846977,-1e-300,1970-01-02T00:00:00Z\n"
    )
    types = pa.csv.ConvertOptions(column_types=SCHEMA, strings_can_be_null=True)
    assert pa.csv.read_csv(path, convert_options=types) == TABLE


def test_lists_are_json_in_a_csv_file(tmp_path: Path) -> None:
    """As vector files have them, and not as numpy prints them; of a small table and a large one the same text."""
    table = pa.table({"tags": [["a", "é"], None], "place": [{"x": 1, "a": "ü"}, {"x": None, "a": None}]})
    with TableAppender(tmp_path / "table.csv", table.schema, "csv") as file:
        file.write(table)
    small = csv.encode(*arrange_columns(table.to_pylist(), table.column_names))
    assert (tmp_path / "table.csv").read_bytes() == small.data
    frame = pd.read_csv(tmp_path / "table.csv", keep_default_na=False)
    assert [json.loads(text) if text else None for text in frame["tags"]] == [["a", "é"], None]
    assert [json.loads(text) for text in frame["place"]] == [{"x": 1, "a": "ü"}, {"x": None, "a": None}]


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integers_beside_missing_values_keep_their_digits(tmp_path: Path, kind: str) -> None:
    greatest = np.iinfo(kind).max
    table = pa.table({"n": pa.array([greatest, None], kind), "a": ["x", "y"]})
    with TableAppender(tmp_path / "table.csv", table.schema, "csv") as file:
        file.write(table)
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == f"n,a\n{greatest},x\n,y\n"


ROWS = st.lists(
    st.tuples(*(value | st.none() for value in (st.text(st.characters(codec="utf-8")), st.booleans(), st.floats()))),
    min_size=1,
    max_size=8,
)


@given(ROWS)
@example([("a\rb", True, math.inf)])
def test_a_table_is_written_as_one_that_fits_into_memory(rows: list[tuple[Any, ...]]) -> None:
    names, columns = arrange_columns([dict(zip(("t", "is", "x"), row, strict=True)) for row in rows], None)
    kinds = (pa.string(), pa.bool_(), pa.float64())
    table = pa.table([pa.array(c, k) for c, k in zip(columns, kinds, strict=True)], names=list(names))
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        with TableAppender(path, table.schema, "csv") as file:
            file.write(table)
        assert path.read_bytes() == table_format("csv").encode(names, columns).data


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_a_parquet_file_has_the_pieces_in_their_order(tmp_path: Path, rows: int) -> None:
    with TableAppender(tmp_path / "table.parquet", SCHEMA, "parquet") as file:
        for piece in pieces_of(TABLE, rows):
            file.write(piece)
    assert pq.read_table(tmp_path / "table.parquet") == TABLE


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    with (
        TableAppender(tmp_path / "table.csv", SCHEMA, "csv"),
        TableAppender(tmp_path / "table.parquet", SCHEMA, "parquet"),
    ):
        pass
    assert (tmp_path / "table.csv").read_text() == "id,count,value,at\n"
    assert pq.read_table(tmp_path / "table.parquet") == SCHEMA.empty_table()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_part_has_what_was_added_to_it_in_that_order(tmp_path: Path, count: int) -> None:
    schema = pa.schema([("n", pa.int64())])
    with TableSpill(tmp_path, schema, count) as parts:
        for number in range(20):
            parts.add(number % count, pa.table({"n": [number, number]}, schema=schema))
            parts.add(number % count, schema.empty_table())
        assert bool(list(tmp_path.glob(f"{SCRATCH_PREFIX}*"))) == (count > 1)
        for part in range(count):
            taken = parts.take(part).column("n").to_pylist()
            assert taken == [number for number in range(part, 20, count) for _ in range(2)]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 3])
def test_a_part_to_which_nothing_was_added_has_no_rows(tmp_path: Path, count: int) -> None:
    with TableSpill(tmp_path, SCHEMA, count) as parts:
        assert [parts.take(part) for part in range(count)] == [SCHEMA.empty_table()] * count


def test_nothing_is_left_behind_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with TableSpill(tmp_path, SCHEMA, 3) as parts:
            parts.add(1, TABLE)
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert not list(tmp_path.iterdir())
