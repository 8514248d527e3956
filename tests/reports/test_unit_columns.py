"""Columns, strata and locations of units in a report."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips.errors import UsageError
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.reports import unit_columns
from eechips.reports.page_data import names_of, page_data, with_place
from eechips.reports.report_data import read_head, read_locations
from eechips.reports.thumbnails import Thumbnails, draw_units
from eechips.reports.unit_columns import UnitColumn, UnitColumns, read_units
from eechips.web.redaction import redact_unit

GRID = {"crs": "EPSG:32613", "transform": [10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0], "width": 64, "height": 32}


def identity(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def make(folder: Path, units: list[Any], records: list[dict[str, Any]] | None = None) -> Path:
    """A ledger of units, all done unless told otherwise."""
    records = records or [{} for _ in units]
    with Ledger(folder / LEDGER_NAME) as ledger:
        ledger.store_plan(
            {}, [WorkUnit(i, identity(i), json.dumps(unit), f"chips/{i}") for i, unit in enumerate(units)]
        )
        ledger.record(
            [
                Record(**{"position": i, "state": State.DONE, "file": f"chips/{i}.png", **r})
                for i, r in enumerate(records)
            ]
        )
    return folder


def kinds(units: UnitColumns) -> dict[str, str]:
    return {column.name: column.kind for column in units.columns}


def unpacked(packed: dict[str, str]) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(packed["data"]), dtype=packed["type"].lower())


def test_columns_have_no_secrets_of_units(tmp_path: Path) -> None:
    units = [{"href": f"https://a:s3cret@h/{number}?sig=s3cret"} for number in range(2)]
    column = read_units(make(tmp_path, units)).column("href")
    assert list(column.values) == ["https://***@h/0?sig=***", "https://***@h/1?sig=***"]


def test_secrets_are_removed_from_shown_units_and_categories_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redacted = []
    monkeypatch.setattr(unit_columns, "redact_unit", lambda value: redacted.append(value) or redact_unit(value))
    pair = ["https://h/a?sig=s3cret", "https://h/b?sig=s3cret"]
    units = read_units(make(tmp_path, [{"href": pair[number % 2], "api_key": number} for number in range(60)]), most=20)
    assert set(units.column("href").categories()) == {"https://h/a?sig=***", "https://h/b?sig=***"}
    assert units.tallies == {"href": {(f"https://h/{name}?sig=***", "done"): 30 for name in "ab"}}
    assert len(redacted) == 22  # 20 units, 2 categories


def test_columns_of_the_users_table_may_be_called_as_secrets_are(tmp_path: Path) -> None:
    words = ["water", "https://h/a?sig=s3cret"]
    units = read_units(make(tmp_path, [{"properties": {"token": words[number % 2]}} for number in range(8)]))
    assert set(units.column("token").categories()) == {"water", "https://h/a?sig=***"}
    assert units.tallies["token"] == {("water", "done"): 4, ("https://h/a?sig=***", "done"): 4}


def test_fields_are_classified_by_their_values(tmp_path: Path) -> None:
    zones = ["Alps", "Jura", "Plateau"]
    units = [
        {
            "kind": "point",
            "coordinates": [7.0 + i / 100, 46.0],
            "eco_id": 100 + i % 3,
            "eco_name": zones[i % 3],
            "class": 10 * (i % 4),
            "slope": i / 7,
            "plot": f"p{i}",
            "constant": 1,
            "properties": {"owner": ["state", "church"][i % 2]},
        }
        for i in range(60)
    ]
    found = read_units(make(tmp_path, units))
    assert kinds(found) == {
        "eco_name": "category",  # eco_id says the same in numbers, and is left out
        "class": "category",
        "slope": "number",
        "plot": "text",
        "owner": "category",
    }
    assert found.stratum is not None
    assert found.stratum.name == "eco_name"
    assert found.tallies["eco_name"] == {(zone, "done"): 20 for zone in zones}
    assert found.centres.tolist() == [unit["coordinates"] for unit in units]
    with pytest.raises(UsageError, match="no column 'biome'; there are: eco_name, class"):
        found.column("biome")


@pytest.mark.parametrize(
    ("unit", "place"),
    [
        ({"kind": "call", "value": [7.5, 46.5]}, (7.5, 46.5)),
        ({"kind": "call", "value": {"coordinates": [7.5, 46.5]}}, (7.5, 46.5)),
        ({"kind": "call", "value": {"lon": 7.5, "lat": 46.5}}, (7.5, 46.5)),
        ({"kind": "call", "value": {"geometry": {"type": "Point", "coordinates": [7.5, 46.5]}}}, (7.5, 46.5)),
        ({"kind": "region", "bounds": [7.0, 46.0, 8.0, 47.0]}, (7.5, 46.5)),
        ({"kind": "call", "value": [700, 46]}, None),
        ({"kind": "call", "value": [True, False]}, None),
        ({"kind": "call", "value": {"coordinates": "here"}}, None),
        ({"kind": "call", "value": 7}, None),
        ({"kind": "call", "grid": {"crs": "EPSG:4326"}}, None),
        ({"kind": "call", "grid": {**GRID, "crs": "none of these"}}, None),
        ({"kind": "call", "grid": {**GRID, "crs": "none of these"}, "value": [7.5, 46.5]}, (7.5, 46.5)),
    ],
)
def test_places_that_units_give(unit: Any, place: tuple[float, float] | None, tmp_path: Path) -> None:
    found = read_units(make(tmp_path, [unit]))
    if place is None:
        assert not found.has_places
    else:
        assert found.centres[0].tolist() == pytest.approx(place)


def test_a_grid_is_an_outline(tmp_path: Path) -> None:
    facts = {**GRID, "transform": json.dumps(GRID["transform"])}
    planned = {"kind": "point", "grid": GRID}
    failed = {"state": State.FAILED_PERMANENT, "file": None, "error_class": "PermanentError", "error": "no " * 200}
    found = read_units(make(tmp_path, [{"kind": "point"}, planned], [facts, failed]))
    assert found.outlines[0].equals(found.outlines[1])  # what failed has its place on the map, too
    assert found.centres[0].tolist() == pytest.approx([-104.9963, 39.7482], abs=1e-3)
    assert found.errors[1] is not None
    assert found.errors[1].startswith("PermanentError: no no")
    assert len(found.errors[1]) == 200


def test_all_units_are_counted_and_some_are_listed(tmp_path: Path) -> None:
    units = [{"kind": "point", "zone": "ab"[i % 5 == 0], "coordinates": [i / 100, 1.0]} for i in range(1000)]
    found = read_units(make(tmp_path, units), seed=3, most=100)
    assert (len(found), found.total) == (100, 1000)
    assert found.tallies["zone"] == {("a", "done"): 800, ("b", "done"): 200}
    again = read_units(tmp_path, seed=3, most=100)
    assert list(again.ids) == list(found.ids)
    assert list(read_units(tmp_path, seed=4, most=100).ids) != list(found.ids)
    order = {identity(i)[:16]: i for i in range(1000)}
    numbers = [order[identifier] for identifier in found.ids]
    assert numbers == sorted(numbers)  # in the order of the plan


def test_splits_are_a_column(tmp_path: Path) -> None:
    make(tmp_path, [{"kind": "call", "value": i} for i in range(4)])
    splits = ["train", "train", "test", "test"]
    table = pa.table({"id": [identity(i) for i in range(4)], "split": splits, "block": ["x"] * 4})
    pa.parquet.write_table(table, tmp_path / "splits.parquet")
    assert list(read_units(tmp_path).column("split").values) == splits


def test_dates_are_a_column(tmp_path: Path) -> None:
    dates = [{"dates": json.dumps([f"20{i + 10}-05-01T10:00:00Z"])} for i in range(3)]
    found = read_units(make(tmp_path, [{"kind": "call", "value": i} for i in range(3)], dates))
    assert list(found.column("date").values) == ["2010-05-01", "2011-05-01", "2012-05-01"]
    assert found.stratum is None  # each unit has its own


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60), st.integers(1, 40), st.integers(0, 5))
def test_a_draw_is_as_even_as_strata_allow(strata: list[str], count: int, seed: int) -> None:
    numbers = list(range(len(strata)))
    chosen = draw_units(numbers, strata, count, seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(strata))
    assert chosen == draw_units(numbers, strata, count, seed)
    have, taken = Counter(strata), Counter(strata[number] for number in chosen)
    most = max(taken.values())
    assert all(taken[name] >= min(have[name], most - 1) for name in have)


def units_at(shapes: list[Any]) -> UnitColumns:
    count = len(shapes)
    return UnitColumns(
        total=count,
        ids=[f"{i:016x}" for i in range(count)],
        states=["done"] * count,
        files=[f"chips/{i:016x}.png" for i in range(count)],
        bytes=np.ones(count, dtype=np.int64),
        valid=np.ones(count),
        errors=[None] * count,
        centres=np.array([[shape.centroid.x, shape.centroid.y] for shape in shapes]),
        outlines=np.array(shapes, dtype=object),
        columns=[],
        tallies={},
    )


NOTHING = Thumbnails({}, 0, [])


def winds(ring: npt.NDArray[np.float64]) -> bool:
    """Return whether a ring goes anticlockwise."""
    return bool(shapely.LinearRing(ring).is_ccw)


@pytest.mark.parametrize("size", [1.0, 500.0])
def test_outlines_come_back_from_the_page(size: float) -> None:
    """As the script reads them: corners from the centre, gaps between rings; small ones among large ones, too."""
    holed = shapely.Polygon([(0, 0), (0, 3), (3, 3), (3, 0)], [[(1, 1), (2, 1), (2, 2), (1, 2)]])
    small = [shapely.box(7.0, 46.0, 7.0 + 1 / size, 46.0 + 2 / size) for _ in range(10)]
    same_way = shapely.Polygon(holed.exterior, [holed.interiors[0].reverse()])
    islands = shapely.MultiPolygon([shapely.box(10, 5, 11, 7), holed])
    shapes = [*small, shapely.Polygon([(5, 5), (6, 7), (8, 5)]), holed, same_way, islands]
    found = page_data(units_at(shapes), NOTHING)["map"]
    places = unpacked(found["places"]).reshape(-1, 2) / 1e6
    corners = unpacked(found["shapes"]["corners"]).reshape(-1, 2).astype(float)
    begin = 0
    for place, end, shape in zip(places, unpacked(found["shapes"]["ends"]), shapes, strict=True):
        mine = corners[begin:end]
        rings = np.split(mine, np.flatnonzero((mine == found["shapes"]["gap"]).all(axis=1)))
        rings = [
            ring[(ring != found["shapes"]["gap"]).all(axis=1)] * found["shapes"]["scale"] + place for ring in rings
        ]
        # A canvas fills what the rings wind around: https://html.spec.whatwg.org/multipage/canvas.html (nonzero).
        polygons = {way: [shapely.Polygon(ring) for ring in rings if winds(ring) is way] for way in (True, False)}
        drawn = shapely.union_all(polygons[True]) - shapely.union_all(polygons[False])
        assert drawn.symmetric_difference(shape).area < 3e-3 * shape.area
        begin = end


def test_a_run_on_both_sides_of_the_antimeridian_is_in_one_place() -> None:
    shapes = [shapely.box(179.0, -18, 179.2, -17.8), shapely.box(-179.5, -18, -179.3, -17.8)]
    places = unpacked(page_data(units_at(shapes), NOTHING)["map"]["places"]).reshape(-1, 2) / 1e6
    assert abs(places[0, 0] - places[1, 0]) == pytest.approx(1.5)


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=1, max_size=20))
def test_places_differ_by_full_turns_only(places: list[tuple[float, float]]) -> None:
    units = units_at([shapely.Point(place).buffer(0.1) for place in places])
    units.centres[:] = places
    found = unpacked(page_data(units, NOTHING)["map"]["places"]).reshape(-1, 2) / 1e6
    turns = (found[:, 0] - units.centres[:, 0]) / 360.0
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-6)
    np.testing.assert_allclose(found[:, 1], units.centres[:, 1], atol=1e-6)
    assert np.ptp(found[:, 0]) <= 360.0
    assert -361.0 <= found[:, 0].min() <= found[:, 0].max() <= 541.0


def test_files_are_patterns_of_ids() -> None:
    found = page_data(units_at([shapely.box(i, 0, i + 1, 1) for i in range(5)]), NOTHING)
    assert found["files"]["values"] == ["chips/\0.png"]
    assert found["ids"][16:32] == f"{1:016x}"


def test_countries_and_states_are_categories() -> None:
    places = np.array(
        [[-105.0, 39.7], [2.35, 48.85], [28.2, -29.5], [24.0, -30.0], [-40.0, 30.0], [np.nan, 1.0], [255.0, 39.7]]
    )
    assert names_of(places) == ["Colorado", "France", "Lesotho", "South Africa", None, None, "Colorado"]
    units = units_at([shapely.box(2, 48, 3, 49), shapely.box(-105, 39, -104, 40)])
    assert list(with_place(units)[-1].values) == ["France", "Colorado"]
    assert with_place(units_at([shapely.box(2, 48, 3, 49)])) == []


def test_rows_of_a_table_are_places(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("plot,Lon,lat,cover,B4\n" + "".join(f"{i},{7 + i},46,{'ab'[i % 2]},{i * 3}\n" for i in range(8)))
    found = read_locations(path)
    assert found is not None
    assert found.centres[:, 0].tolist() == [7.0 + i for i in range(8)]
    assert kinds(found) == {"plot": "number", "cover": "category", "B4": "number"}
    drawn_ = read_locations(path, most=3)
    assert drawn_ is not None
    assert (len(drawn_), drawn_.total) == (3, 8)
    head = read_head(path)
    assert (head.total, len(head.rows), head.columns[1]) == (8, 8, "Lon")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert read_locations(tmp_path / "other.csv") is None


def test_categories_are_most_frequent_first() -> None:
    assert UnitColumn("x", "category", ["b", "a", "b", None, "c", "c"]).categories() == ["b", "c", "a"]


@pytest.mark.parametrize("name", ["image", "end", "start", "time", "outline"])
def test_which_image_or_days_a_chip_shows_is_no_stratum(tmp_path: Path, name: str) -> None:
    units = [{"kind": "dates", name: f"2020-0{1 + i // 3}-01", "region": f"field {i % 3}"} for i in range(6)]
    found = read_units(make(tmp_path, units))
    assert found.column(name).kind == "category"
    assert found.stratum is not None
    assert found.stratum.name == "region"
    (tmp_path / "other").mkdir()
    found = read_units(make(tmp_path / "other", [{name: unit[name]} for unit in units]))
    assert found.stratum is None
