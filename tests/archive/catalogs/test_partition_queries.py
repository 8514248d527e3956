"""``catalog partitions``: no partition that holds a match is missing, whatever is in the partitions' files."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.archive.catalogs.partitions.grid_systems import H3, S2, Mgrs, Tiles, Utm
from eechips.archive.catalogs.partitions.layout import CellGrid, Layout
from tests.support.catalog_items import boxes, item, put
from tests.support.commands import run_command

TILES = Tiles((
    ("ring", "POLYGON ((-60 -60, 60 -60, 60 60, -60 60, -60 -60), (-10 -10, 10 -10, 10 10, -10 10, -10 -10))"),
    ("two", "MULTIPOLYGON (((100 0, 120 0, 120 20, 100 20, 100 0)), ((-120 0, -100 0, -100 20, -120 20, -120 0)))"),
    ("over", "POLYGON ((0 0, 110 0, 110 10, 0 10, 0 0))"),
))  # fmt: skip
GRIDS: list[CellGrid] = [H3(0), H3(2), S2(3), Mgrs(), Utm(), TILES]
HOURS = st.integers(0, 24 * 400).map(
    lambda hours: f"{2020 + hours // 9000}-{1 + hours % 12:02}-{1 + hours % 28:02}T{hours % 24:02}:00:00Z"
)


@st.composite
def items(draw: st.DrawFn, number: int) -> dict[str, Any]:
    box, times = draw(boxes()), sorted((draw(HOURS), draw(HOURS)))
    span: dict[str, Any] = {"start_datetime": times[0], "end_datetime": times[1]} if draw(st.booleans()) else {}
    value = item(f"{number}", box, when=times[0], collection=draw(st.sampled_from(["a", "b"])), **span)
    if span and draw(st.booleans()):
        value["properties"]["datetime"] = None
    return value


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[list[dict[str, Any]], Layout]:
    values = [draw(items(number)) for number in range(draw(st.integers(1, 12)))]
    period: Any = draw(st.sampled_from(["year", "month", "day", "none"]))
    return values, Layout(draw(st.sampled_from(GRIDS)), period, draw(st.sampled_from([1, 3, 20])))


def parts(box: Any) -> shapely.Geometry:
    """A box on the plane of longitude and latitude; the antimeridian is on both sides of it."""
    west, south, east, north = box
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    spans += [(-180.0, -180.0)] if any(end == 180.0 for _, end in spans) else []
    spans += [(180.0, 180.0)] if any(start == -180.0 for start, _ in spans) else []
    return shapely.union_all([span(a, south, b, north) for a, b in spans])


def span(west: float, south: float, east: float, north: float) -> shapely.Geometry:
    if (west, south) == (east, north):
        return shapely.Point(west, south)
    is_line = west == east or south == north
    return shapely.LineString([(west, south), (east, north)]) if is_line else shapely.box(west, south, east, north)


def stamp(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@pytest.mark.exhaustive
@pytest.mark.slow
@given(catalogues(), boxes(), HOURS, HOURS, st.integers(0, 7))
@settings(max_examples=50, deadline=None)
def test_no_partition_that_holds_a_match_is_missing(
    catalogue: tuple[list[dict[str, Any]], Layout], box: Any, one: str, other: str, asked: int
) -> None:
    values, layout = catalogue
    start, end = sorted((one, other))
    options = [*(["--bbox", ",".join(map(repr, box))] if asked & 1 else []), *(["--start", start] if asked & 2 else []),
               *(["--end", end] if asked & 4 else [])]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a", "b"):
            own = [value for value in values if value["collection"] == name]
            if own:
                put(Path(folder), own, layout=layout)
        result = run_command("catalog", "partitions", folder, *options, status=0)
        listed = set(result.output.split())
        # What is really in the files, by an engine that knows nothing of catalogues.
        every = f"read_parquet('{folder}/**/*.parquet', filename = true, union_by_name = true)"
        times = "datetime, datetime"
        if any("start_datetime" in value["properties"] for value in values):
            times = "least(datetime, start_datetime), greatest(datetime, end_datetime)"
        rows = duckdb.sql(f"SELECT filename, bbox, {times} FROM {every}").fetchall()
    assert len(rows) == len(values)
    place = parts(box)
    for path, found, first, last in rows:
        begins, ends = first.timestamp(), last.timestamp()
        is_here = not asked & 1 or parts((found["xmin"], found["ymin"], found["xmax"], found["ymax"])).intersects(place)
        is_then = (not asked & 2 or ends >= stamp(start)) and (not asked & 4 or begins < stamp(end))
        if is_here and is_then:
            assert path in listed
    assert listed <= {path for path, *_ in rows}
    if not asked:
        assert listed == {path for path, *_ in rows}


def test_queries_by_point_include_global_items(tmp_path: Path) -> None:
    """An item of half the world is found wherever it is, a point on the antimeridian from both sides."""
    put(
        tmp_path,
        [item("wide", (-100, -60, 100, 60)), item("edge", (179, 0, -179, 1)), item("pole", (-180, 89, 180, 90))],
    )
    for place, count in (("0,0", 1), ("100,60", 1), ("180,0.5", 1), ("-180,0.5", 1), ("33,90", 1), ("150,80", 0)):
        result = run_command("catalog", "partitions", tmp_path, f"--point={place}")
        assert len(result.output.split()) == count, place
        assert ("cell=global" in result.output) == (place in ("0,0", "100,60"))
