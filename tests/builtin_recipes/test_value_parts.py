"""Tests of options whose values have parts."""

from __future__ import annotations

import pytest

from eechips.builtin_recipes.recipe_options import DateColumn, PlaceColumns, TableColumn, divide_map, divide_number
from eechips.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WORLDCOVER", ("WORLDCOVER", None)),
        ("WORLDCOVER:Map", ("WORLDCOVER:Map", None)),
        ("WORLDCOVER:10,40", ("WORLDCOVER", (10, 40))),
        ("ESA/WorldCover/v200:Map:10, 40", ("ESA/WorldCover/v200:Map", (10, 40))),
        ("users/me/map:2020", ("users/me/map:2020", None)),  # a band may be called so
        ("users/me/map:2020:-1", ("users/me/map:2020", (-1,))),
    ],
)
def test_a_map_may_name_classes(text: str, expected: tuple[str, tuple[int, ...] | None]) -> None:
    assert divide_map(text) == expected


@pytest.mark.parametrize("text", ["users/me/map:b:1,1", "users/me/map:b:x", "users/me/map:b:"])
def test_classes_are_different_whole_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="class"):
        divide_map(text)


NAMES = ("lon", "lat", "id", "date")


def test_columns_are_named() -> None:
    assert PlaceColumns.parse("lon=X, lat=Y", NAMES) == PlaceColumns.parse({"lon": "X", "lat": "Y"}, NAMES)
    assert PlaceColumns.parse("", NAMES) == PlaceColumns()
    assert PlaceColumns.parse("lon=X, east,lat=Y", NAMES) == PlaceColumns(lon="X, east", lat="Y")
    dated = PlaceColumns.parse("id=plot,date=day:%d %b, %Y", NAMES)
    assert dated == PlaceColumns(id="plot", date=DateColumn("day", "%d %b, %Y"))
    with pytest.raises(UsageError, match="did you mean 'lon'"):
        PlaceColumns.parse("lom=X", NAMES)
    with pytest.raises(UsageError, match="write NAME=COLUMN"):
        PlaceColumns.parse("lon", NAMES)
    with pytest.raises(UsageError, match="`columns` Field ID: write NAME=COLUMN, as in columns='id=Field ID'"):
        PlaceColumns.parse("Field ID", NAMES)


def test_dates_may_have_a_format() -> None:
    assert DateColumn.parse("eo:date:%d/%m/%Y") == DateColumn("eo:date", "%d/%m/%Y")
    assert DateColumn.parse("eo:date") == DateColumn("eo:date")
    assert DateColumn.parse("system:time:T%H:%M") == DateColumn("system:time", "T%H:%M")
    assert DateColumn.parse("t:[%d/%b/%Y:%H:%M:%S]") == DateColumn("t", "[%d/%b/%Y:%H:%M:%S]")


def test_tables_have_a_usual_column() -> None:
    assert TableColumn.parse("my/zones:zone", "ECO_ID") == TableColumn("my/zones", "zone")
    assert TableColumn.parse("my/zones", "ECO_ID") == TableColumn("my/zones", "ECO_ID")


def test_numbers_may_be_followed_by_a_word() -> None:
    assert divide_number("`frames`", "4:spread") == (4.0, "spread")
    assert divide_number("`min_clear`", 0.8) == (0.8, None)
    assert divide_number("`min_clear`", "0.8:cs:0.7") == (0.8, "cs:0.7")
    for wrong in ("spread", "nan", "inf", "1e999:spread"):
        with pytest.raises(UsageError, match="`frames` must begin with a number"):
            divide_number("`frames`", wrong)
