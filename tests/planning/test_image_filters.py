"""Conditions as users type them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.errors import UsageError
from eechips.planning.imagery.image_filters import ConditionValue, PropertyCondition, PropertyFilter, parse_condition


@pytest.mark.parametrize(
    ("text", "name", "sign", "values"),
    [
        ("CLOUDY_PIXEL_PERCENTAGE < 20", "CLOUDY_PIXEL_PERCENTAGE", "<", (20,)),
        ("CLOUD_COVER<=2.5e1", "CLOUD_COVER", "<=", (25,)),
        ("  CLOUD_COVER   >=   -.5 ", "CLOUD_COVER", ">=", (-0.5,)),
        ("WRS_PATH = 34", "WRS_PATH", "=", (34,)),
        ("WRS_PATH == 34", "WRS_PATH", "=", (34,)),
        ("WRS_PATH != 34", "WRS_PATH", "!=", (34,)),
        ("WRS_PATH in (33, 34,35)", "WRS_PATH", "in", (33, 34, 35)),
        ("WRS_PATH IN(33)", "WRS_PATH", "in", (33,)),
        ("system:index > 5", "system:index", ">", (5,)),
        ("inside > 5", "inside", ">", (5,)),
    ],
)
def test_conditions_on_numbers_are_parsed(text: str, name: str, sign: str, values: tuple[Any, ...]) -> None:
    assert parse_condition(text).resolve(1.0) == PropertyFilter(name, sign, values)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("SPACECRAFT_NAME = Sentinel-2A", ("Sentinel-2A",)),
        ("SPACECRAFT_NAME = 'Sentinel-2A'", ("Sentinel-2A",)),
        ('TITLE = "a < b, and c"', ("a < b, and c",)),
        ('TITLE = "it\'s"', ("it's",)),
        ("PROCESSING_BASELINE >= 04.00", ("04.00",)),
        ("DATE_ACQUIRED < 2020-01-01", ("2020-01-01",)),
        ("TITLE = two words", ("two words",)),
        ("TITLE = ''", ("",)),
        ("NAME in (a, 'b, c', \"d\")", ("a", "b, c", "d")),
        ("MGRS_TILE in ('13TDE', 13SDD)", ("13TDE", "13SDD")),
    ],
)
def test_strings_are_unchanged(text: str, values: tuple[str, ...]) -> None:
    assert parse_condition(text).resolve("some text").values == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a condition: a condition is PROPERTY OP VALUE"),
        ("CLOUD_COVER", "is not a condition"),
        ("CLOUD_COVER ~ 5", "is not a condition"),
        ("5 < CLOUD_COVER", "is not a condition"),
        ("a.b() < 5", "is not a condition"),
        ("CLOUD_COVER <", "a value is missing"),
        ("CLOUD_COVER < 5 and SUN > 3", "is not a value; put text in quotes, and give several conditions separately"),
        ("CLOUD_COVER < 5 and more", "more than one condition: give each separately"),
        ("CLOUD_COVER = 5, 6", "= takes one value; for several: 'CLOUD_COVER in"),
        ("CLOUD_COVER in 5", "in takes values in parentheses"),
        ("CLOUD_COVER in (5", "in takes values in parentheses"),
        ("CLOUD_COVER in ()", "a value is missing"),
        ("CLOUD_COVER in (5,)", "a value is missing"),
        ("NAME = 'open", "is not a value"),
        ("NAME = 'a' b", "is not a value"),
        ("NAME = __import__('os')", "is not a value"),
        ("CLOUD_COVER =< 5", "is not a value"),
    ],
)
def test_invalid_conditions_are_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_condition(text)


def test_values_that_do_not_fit_the_property_are_refused() -> None:
    with pytest.raises(UsageError, match=r"CLOUD is a number, such as 12\.5, and few is none"):
        parse_condition("CLOUD < few").resolve(12.5)
    with pytest.raises(UsageError, match=r"CLOUD is a number, such as 12\.5, and 1e999 is none"):
        parse_condition("CLOUD < 1e999").resolve(12.5)
    with pytest.raises(UsageError, match='CLOUD is a number, such as 12, and "5" is none'):
        parse_condition("CLOUD < '5'").resolve(12)
    with pytest.raises(UsageError, match="is neither a number nor a text"):
        parse_condition("CLOUD < 5").resolve({"a": 1})
    with pytest.raises(UsageError, match="CLOUD is a list: write 'PROPERTY has VALUE'"):
        parse_condition("CLOUD = 5").resolve([1, 2])
    with pytest.raises(UsageError, match="CLOUD is no list; an image has 12"):
        parse_condition("CLOUD has 5").resolve(12)


@pytest.mark.parametrize(
    ("text", "example", "value"),
    [("BANDS has VH", ["VV"], "VH"), ("ORBITS has 7", [3, 4], 7), ("ORBITS HAS '7'", ["3"], "7"), ("A has 7", [], "7")],
)
def test_the_value_of_a_list_has_the_type_of_its_items(text: str, example: list[object], value: object) -> None:
    assert parse_condition(text).resolve(example) == PropertyFilter(text.split()[0], "has", (value,))


@given(
    name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_:.-]{0,20}", fullmatch=True).filter(lambda text: text.lower() != "in"),
    sign=st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "in", "has"]),
    texts=st.lists(
        st.text(st.characters(exclude_characters="\"'", codec="utf-8"), max_size=20), min_size=1, max_size=4
    ),
)
def test_conditions_round_trip_as_text(name: str, sign: str, texts: list[str]) -> None:
    words = tuple(ConditionValue(text, is_quoted=True) for text in (texts if sign == "in" else texts[:1]))
    condition = PropertyCondition(name, sign, words)
    assert parse_condition(str(condition)) == condition
    test = condition.resolve(["text"] if sign == "has" else "text")
    assert PropertyFilter.from_json(test.to_json()) == test


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_as_python_reads_it(value: float) -> None:
    (found,) = parse_condition(f"A < {value!r}").resolve(0.0).values
    assert found == value


@given(st.text())
def test_anything_else_is_refused_not_run(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_condition(text)
