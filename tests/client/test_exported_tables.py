"""Files of exported tables: rows as responses have them, and files that are not whole."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from eechips import Table
from eechips.client.exports.export_tasks import read_rows, selected_columns, table_obstacle
from eechips.errors import ValidationError

PLAIN = Table([], columns=("n",))
PACKED = Table([], unpack=lambda rows: {})
HEADER = "eechips_row\n"
URL = "gs://bucket/eechips-0123-4567.csv"
END = "eechips_mask_4567"


def written(table: Table, *rows: tuple[str, ...]) -> bytes:
    """A CSV with the last row of exported tables."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = selected_columns(table)
    writer.writerows([names, *rows, (END, "")[: len(names)]])
    return text.getvalue().encode()


def test_numbers_are_those_of_responses() -> None:
    values = '{"a":1.0,"b":1.5,"c":1.0E10,"d":-0.0,"e":1.0E300,"f":7,"g":[2.0,null,"x\\n\\"y\\", z"],"h":{"i":3.0}}'
    (row,) = read_rows(written(PLAIN, (values,)), PLAIN, URL)
    assert json.dumps(row.pop("g")) == r'[2, null, "x\n\"y\", z"]'
    whole = {"a": 1, "b": 1.5, "c": 10_000_000_000, "d": 0, "e": 1e300, "f": 7, "h": {"i": 3}}
    assert json.dumps(row) == json.dumps({"system:index": None, **whole, ".geo": None})


def test_rows_have_their_geometry_or_none() -> None:
    point = {"type": "Point", "coordinates": [1, 2]}
    parts = {"type": "GeometryCollection", "geometries": [point]}
    empty = '{"type":"MultiPoint","coordinates":[]}'
    cells = [json.dumps(point), json.dumps(parts), empty, ""]
    rows = read_rows(written(PACKED, *[('{"system:index":"a"}', cell) for cell in cells]), PACKED, URL)
    assert [row[".geo"] for row in rows] == [point, parts, None, None]
    assert {row["system:index"] for row in rows} == {"a"}


def test_a_cell_may_have_many_bytes() -> None:
    values = list(range(400_000))
    (row,) = read_rows(written(PLAIN, (json.dumps({"values": values}),)), PLAIN, URL)
    assert row["values"] == values


def test_a_table_without_rows() -> None:
    assert read_rows(written(PLAIN), PLAIN, URL) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no CSV"),
        (b"\xff\xfe\x00", "no CSV|its columns are"),
        (HEADER.encode(), "its last row is missing"),
        ((HEADER + '"{}"\n').encode(), "its last row is missing"),
        ((f"{HEADER}{END}\n{{}}\n").encode(), "its last row is missing"),
        ((HEADER + '"{}"\neechips_mask_4568\n').encode(), "that of another task"),
        (f"other\n{END}\n".encode(), "its columns are other, not eechips_row"),
        (f"eechips_row,.geo\n{END},\n".encode(), "its columns are eechips_row, .geo, not eechips_row"),
        ((HEADER + '"{""n"":1"\n' + END + "\n").encode(), "a row is no JSON"),
        ((f"{HEADER}[]\n{END}\n").encode(), "a row is no JSON object"),
        ((f"{HEADER}{END}\n{END}\n").encode(), "a row is no JSON"),
    ],
)
def test_files_that_are_not_whole_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        read_rows(data, PLAIN, URL)


@pytest.mark.parametrize(
    ("options", "obstacle"),
    [
        ({}, "the order of the columns is unknown"),
        ({"columns": ("n", ".geo")}, "exported geometries differ"),
        ({"columns": ("system:index", "n")}, None),
        ({"unpack": lambda rows: {}}, None),
    ],
)
def test_obstacles(options: dict[str, Any], obstacle: str | None) -> None:
    found = table_obstacle(Table([], **options))
    assert found is None if obstacle is None else found is not None and found.startswith(obstacle)
