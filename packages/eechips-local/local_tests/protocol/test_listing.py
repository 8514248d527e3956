"""Filters of listings, on the examples of the reference and against plain Python."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values import list_filter
from eechips_local.values.list_filter import Subject


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp() * 1000


IMAGE = Subject(
    {
        "system:time_start": at("2020-01-15"),
        "CLOUDY_PIXEL_PERCENTAGE": 12.5,
        "classification": "urban",
        "size": 2,
        "clear": True,
    },
    shapely.box(0, 0, 2, 2),
)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        # https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/listAssets
        ('startTime>"2020-01-01T00:00:00+00:00" AND endTime<"2020-02-01T00:00:00+00:00"', True),
        ("properties.CLOUDY_PIXEL_PERCENTAGE<30", True),
        ("intersects(\"{'type':'Point','coordinates':[1,2]}\")", True),
        ('intersects("{\\"type\\":\\"Point\\",\\"coordinates\\":[1,2]}")', True),
        ('intersects("POINT (3 3)")', False),
        # https://developers.google.com/earth-engine/apidocs/ee-data-listassets
        (
            'properties.size>=1 AND properties.size<2 AND startTime >= "2019-01-01T00:00:00.000Z" AND '
            "endTime < \"2020-01-01T00:00:00.000Z\" AND intersects(\"{'type':'Point','coordinates':[0,0]}\")",
            False,
        ),
        ("properties.classification=urban", True),
        ('properties.classification = "rural"', False),
        ("properties.classification != rural", True),
        ("NOT properties.classification = rural", True),
        ("properties.clear = true", True),
        ("properties.missing = 1", False),
        ("properties.size = 3 OR properties.size = 2", True),
        # In AIP-160, OR binds more strongly than AND.
        ("properties.size = 3 AND properties.size = 2 OR properties.size = 2", False),
        ("(properties.size = 3 AND properties.size = 2) OR properties.size = 2", True),
        ('startTime = "2020-01-15T00:00:00Z"', True),
        ('startTime < "2020-01-15T00:00:00Z"', False),
        ('endTime <= "2020-01-15T00:00:00.000000123Z"', True),
        ("", True),
    ],
)
def test_filters(text: str, passes: bool) -> None:
    found = list_filter.parse(text)
    assert found.passes(IMAGE) is passes


@pytest.mark.parametrize(
    "text",
    ["properties.a", "properties.a =", "= 1", "a = 1", "properties.a ~ 1", "(properties.a = 1", "properties.a = 1)",
     "intersects(1)", 'intersects("POINT (1")', 'intersects("{}")', 'startTime > "yesterday"', '"a" = 1', '"', "AND",
     "properties.a = 1 properties.b = 2", "(" * 1000, 'startTime > "2020-01-01" AND', 'intersects("POINT EMPTY")'],
)  # fmt: skip
def test_malformed_filters_are_refused(text: str) -> None:
    with pytest.raises(InvalidError, match=r"Invalid (filter|region|time)"):
        list_filter.parse(text)


def test_stores_receive_the_date_range_of_a_filter() -> None:
    query = list_filter.parse(
        'startTime >= "2020-01-01T00:00:00Z" AND startTime < "2021-01-01T00:00:00Z" AND endTime < '
        '"2020-06-01T00:00:00Z" AND intersects("POINT (1 2)") AND properties.a = 1'
    ).query
    assert (query.start, query.end, query.bounds) == (at("2020-01-01"), at("2020-06-01"), (1, 2, 1, 2))
    assert list_filter.parse('NOT startTime >= "2020-01-01T00:00:00Z"').query.start is None
    assert list_filter.parse('startTime < "2020-01-01T00:00:00Z" OR properties.a = 1').query.end is None


SIGNS = {"=": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}


@given(
    st.floats(-1e6, 1e6, allow_nan=False), st.floats(-1e6, 1e6, allow_nan=False), st.sampled_from(sorted(SIGNS)),
)  # fmt: skip
def test_numbers_compare_as_python_s(value: float, bound: float, sign: str) -> None:
    found = list_filter.parse(f"properties.x {sign} {bound!r}").passes(Subject({"x": value}, None))
    assert found is getattr(value, SIGNS[sign])(bound)


@given(st.text(alphabet="abAND ORNOT()\"'=<>!.properties12", max_size=40))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        found = list_filter.parse(text)
    except InvalidError:
        return
    assert found.passes(IMAGE) in (True, False)


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), st.sampled_from(["Z", "+00:00", ""]))
def test_moments(moment: datetime, zone: str) -> None:
    expected = round(moment.replace(tzinfo=timezone.utc).timestamp() * 1000, 3)
    assert list_filter.moment(moment.isoformat() + zone) == pytest.approx(expected, abs=0.51)
