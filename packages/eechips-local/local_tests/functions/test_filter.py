"""Filter.*: what passes, what a store is asked for, and what joins need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips_local.evaluation.asset_model import Query, Range
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.values.filter_conditions import FilterCondition
from eechips_local.values.values import WHOLE_EARTH, Collection, Date, Feature, Geometry
from local_tests.support.graphs import Ready, call, evaluate, invoke


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp() * 1000)


def point(x: float, y: float) -> Ready:
    return invoke("GeometryConstructors.Point", coordinates=[x, y])


def box(*edges: float) -> Ready:
    return invoke("GeometryConstructors.BBox", **dict(zip(("west", "south", "east", "north"), edges, strict=True)))


def condition(name: str, **arguments: Any) -> FilterCondition:
    made = call(f"Filter.{name}", **arguments)
    assert isinstance(made, FilterCondition)
    return made


def passes(name: str, element: Any, **arguments: Any) -> bool:
    return condition(name, **arguments).matches(element)


def feature(geometry: shapely.Geometry | None = None, **properties: Any) -> Feature:
    return Feature(None if geometry is None else Geometry(geometry), properties)


# Comparisons


@pytest.mark.parametrize(
    ("name", "a", "b", "expected"),
    [
        ("eq", 1, 1.0, True),
        ("eq", 1, "1", False),
        ("eq", "a", "a", True),
        ("eq", [1, 2], [1, 2.0], True),
        ("eq", True, 1, True),
        ("equals", 2, 3, False),
        ("neq", 2, 3, True),
        ("notEquals", "a", "a", False),
        ("lt", 1, 2.5, True),
        ("lt", "a", "b", True),
        ("lt", "a", 1, False),
        ("lessThan", 2, 2, False),
        ("lte", 2, 2, True),
        ("lessThanOrEquals", 3, 2, False),
        ("gt", 3, 2, True),
        ("greaterThan", "b", "a", True),
        ("gte", 2, 2, True),
        ("greaterThanOrEquals", 1, 2, False),
        ("stringContains", "abcd", "bc", True),
        ("stringContains", 5, "5", False),
        ("stringStartsWith", "abcd", "ab", True),
        ("stringEndsWith", "abcd", "ab", False),
        ("listContains", [1, "x"], "x", True),
        ("listContains", [1, "x"], 1.0, True),
    ],
)
def test_comparisons(name: str, a: Any, b: Any, expected: bool) -> None:
    assert passes(name, feature(p=a), leftField="p", rightValue=b) is expected
    assert passes(name, feature(p=b), rightField="p", leftValue=a) is expected
    assert passes(name, feature(p=a, q=b), leftField="p", rightField="q") is expected


def test_dates_are_numbers() -> None:
    # developers.google.com/earth-engine/apidocs/ee-filter-date has dates as system:time_start.
    element = feature(t=Date(ms("2021-07-10")))
    assert passes("gt", element, leftField="t", rightValue=ms("2021-07-01"))
    assert passes("lt", element, leftField="t", rightValue=invoke("Date", value="2021-08-01"))
    assert passes("eq", element, leftField="t", rightValue=ms("2021-07-10"))


@pytest.mark.parametrize("name", ["eq", "lt", "gt", "stringContains", "listContains", "hasType"])
def test_a_missing_property_fails(name: str) -> None:
    assert not passes(name, feature(), leftField="p", rightValue="x")
    assert not passes(name, feature(p=None), leftField="p", rightValue="x")


@pytest.mark.parametrize("name", ["neq", "lte", "gte", "notEquals"])
def test_negative_comparisons_pass_without_the_property(name: str) -> None:
    # "Creates a unary or binary filter that passes unless …"; the client sends these as Filter.not of the others.
    assert passes(name, feature(), leftField="p", rightValue=1)


def test_operands_are_checked() -> None:
    with pytest.raises(InvalidError, match=r"Filter\.lt"):
        condition("lt", leftField="p")
    for arguments in (
        {"leftField": "p", "leftValue": 1, "rightValue": 2},
        {"leftValue": 1, "rightValue": 2},
        {"leftField": "p", "rightField": "q", "rightValue": 2},
    ):
        with pytest.raises(InvalidError, match=r"Filter\.eq"):
            condition("eq", **arguments)


def test_logic() -> None:
    small, red = (
        invoke("Filter.lt", leftField="n", rightValue=5),
        invoke("Filter.eq", leftField="c", rightValue="red"),
    )
    both, one, none = feature(n=1, c="red"), feature(n=1, c="blue"), feature(n=9, c="blue")
    assert [passes("and", e, filters=[small, red]) for e in (both, one, none)] == [True, False, False]
    assert [passes("or", e, filters=[small, red]) for e in (both, one, none)] == [True, True, False]
    assert [passes("not", e, filter=small) for e in (both, one, none)] == [False, False, True]
    assert passes("always", none)
    assert not passes("never", both)


def test_has_type_as_in_its_reference() -> None:
    elements = [
        Feature(Geometry(shapely.box(0, 0, 1, 1)), {"x": 0}),
        Feature(Geometry(shapely.box(0, 0, 3, 3)), {"x": "foo"}),
        Feature(Geometry(shapely.Point(0, 0)), {}),
    ]

    def which(field: str, kind: str) -> list[int]:
        return [i for i, e in enumerate(elements) if passes("hasType", e, leftField=field, rightValue=kind)]

    assert which(".geo", "Point") == [2]
    assert which(".geo", "Polygon") == [0, 1]
    assert which(".geo", "Geometry") == [0, 1, 2]
    assert which("x", "Number") == [0]
    assert which("x", "String") == [1]


def test_null_range_and_geometry_filters() -> None:
    assert passes("notNull", feature(a=1, b=0), properties=["a", "b"])
    assert not passes("notNull", feature(a=1, b=None), properties=["a", "b"])
    assert passes("rangeContains", feature(a=5), field="a", minValue=5, maxValue=6)
    assert passes("rangeContains", feature(a="m"), field="a", minValue="a", maxValue="z")
    assert not passes("rangeContains", feature(a=7), field="a", minValue=5, maxValue=6)
    assert not passes("rangeContains", feature(), field="a", minValue=5, maxValue=6)
    assert passes("hasGeometry", feature(shapely.Point(0, 0)))
    assert not passes("hasGeometry", feature())


# Dates


def date_range(start: str, end: str) -> Ready:
    return invoke("DateRange", start=invoke("Date", value=start), end=invoke("Date", value=end))


def test_date_ranges_are_half_open() -> None:
    july = condition(
        "dateRangeContains", leftValue=date_range("2021-07-01", "2021-08-01"), rightField="system:time_start"
    )
    assert july.matches(Feature(None, {"system:time_start": ms("2021-07-01")}))
    assert july.matches(Feature(None, {"system:time_start": Date(ms("2021-07-31T23:59:59"))}))
    assert not july.matches(Feature(None, {"system:time_start": ms("2021-08-01")}))
    assert not july.matches(Feature(None, {}))


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), st.integers(1, 12), st.integers(1, 12))
def test_calendar_ranges_wrap(moment: datetime, first: int, last: int) -> None:
    element = Feature(None, {"system:time_start": ms(moment.replace(microsecond=0).isoformat())})
    months = range(first, last + 1) if first <= last else [*range(first, 13), *range(1, last + 1)]
    assert passes("calendarRange", element, start=first, end=last, field="month") is (moment.month in months)


@given(st.data(), st.sampled_from(("year", "month", "day_of_year", "hour")), st.integers(1, 800), st.booleans())
def test_calendar_ranges_ask_for_all_that_they_pass(data: Any, field: str, days: int, wraps: bool) -> None:
    begin = data.draw(st.datetimes(datetime(1999, 1, 1), datetime(2004, 1, 1)))
    moment = begin + data.draw(st.floats(0, days - 1e-6)) * timedelta(days=1)
    value = moment.timetuple().tm_yday if field == "day_of_year" else getattr(moment, field)
    first, last = value - data.draw(st.integers(0, min(value, 3))), value + data.draw(st.integers(0, 3))
    made = condition("calendarRange", start=last if wraps else first, end=first if wraps else last, field=field)
    time = ms(moment.isoformat())
    asked = Query(start=ms(begin.isoformat()), end=ms((begin + timedelta(days=days)).isoformat()) + 1)
    narrowed = made.narrow(asked).timed()
    if made.matches(Feature(None, {"system:time_start": time})):
        assert narrowed.start is not None
        assert narrowed.end is not None
        assert narrowed.start <= time < narrowed.end


def test_a_month_of_a_year_is_all_that_a_store_is_asked_for() -> None:
    """Scripts loop over years and months: each asked ERA5-Land for its 28,000 days, 5 seconds a month."""
    year = condition("calendarRange", start=2018, end=2018, field="year").narrow(Query())
    month = condition("calendarRange", start=6, end=6, field="month").narrow(year)
    assert month.ranges["system:time_start"].others  # the filter refuses what has no time
    assert (month.timed().start, month.timed().end) == (ms("2018-06-01"), ms("2018-07-01"))
    days = condition("calendarRange", start=32, end=59, field="day_of_year").narrow(year).timed()
    assert (days.start, days.end) == (ms("2018-02-01"), ms("2018-03-01"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("year", 2020),
        ("month", 2),
        ("day_of_month", 29),
        ("day_of_year", 60),
        ("day_of_week", 6),
        ("hour", 13),
        ("minute", 5),
    ],
)
def test_calendar_fields(field: str, value: int) -> None:
    element = Feature(None, {"system:time_start": ms("2020-02-29T13:05:00")})  # a Saturday
    assert passes("calendarRange", element, start=value, field=field)
    assert not passes("calendarRange", element, start=value + 1, field=field)
    with pytest.raises(InvalidError, match="Can't apply calendarRange filter to objects without a timestamp"):
        passes("calendarRange", feature(), start=value, field=field)


def test_days_of_the_year() -> None:
    element = Feature(None, {"system:time_start": ms("2020-02-29")})
    assert passes("dayOfYear", element, start=60, end=60)
    assert not passes("dayOfYear", element, start=61, end=70)
    with pytest.raises(InvalidError, match="calendar field"):
        condition("calendarRange", start=1, field="fortnight")


# Geometry


def test_spatial_relations() -> None:
    square = feature(shapely.box(0, 0, 2, 2))
    assert passes("intersects", square, leftField=".all", rightValue=invoke("Feature", geometry=point(1, 1)))
    assert passes("intersects", square, leftField=".geo", rightValue=invoke("Feature", geometry=point(1, 1)))
    assert not passes("intersects", square, leftField=".geo", rightValue=point(3, 3))
    assert passes("disjoint", square, leftField=".geo", rightValue=point(3, 3))
    assert passes("contains", square, leftField=".geo", rightValue=point(1, 1))
    assert passes("isContained", square, leftField=".geo", rightValue=box(-1, -1, 3, 3))
    assert not passes("isContained", square, leftField=".geo", rightValue=box(1, 1, 3, 3))
    assert not passes("intersects", feature(), leftField=".geo", rightValue=point(1, 1))
    assert passes("disjoint", feature(), leftField=".geo", rightValue=point(1, 1))


def test_collections_and_lists_of_features_are_regions_too() -> None:
    features = invoke(
        "Collection", features=[invoke("Feature", geometry=point(1, 1)), invoke("Feature", geometry=point(9, 9))]
    )
    assert passes("intersects", feature(shapely.box(0, 0, 2, 2)), leftField=".all", rightValue=features)
    with pytest.raises(EarthEngineError, match="Geometry"):
        condition("intersects", leftField=".all", rightValue=5)


def test_an_image_without_footprint_is_everywhere() -> None:
    anywhere = condition("intersects", leftField=".geo", rightValue=point(1, 1))
    assert anywhere.matches(Image((), {}))
    assert anywhere.matches(Image((), {}, WHOLE_EARTH))
    assert not anywhere.matches(Image((), {}, Geometry(shapely.box(5, 5, 6, 6))))


def test_geodesic_edges_count() -> None:
    # The great circle between these two rises above 50.5 degrees, the parallel does not.
    bowed = invoke("GeometryConstructors.Polygon", coordinates=[[[0, 50], [10, 50], [10, 45], [0, 45]]])
    straight = invoke(
        "GeometryConstructors.Polygon", coordinates=[[[0, 50], [10, 50], [10, 45], [0, 45]]], geodesic=False
    )
    above = feature(shapely.Point(5, 50.1))
    assert passes("intersects", above, leftField=".geo", rightValue=bowed)
    assert not passes("intersects", above, leftField=".geo", rightValue=straight)


def test_regions_across_the_antimeridian() -> None:
    region = box(179, 0, -179, 2)
    for x, expected in ((179.5, True), (-179.5, True), (178.5, False), (-178.5, False)):
        assert passes("intersects", feature(shapely.Point(x, 1)), leftField=".geo", rightValue=region) is expected
    assert condition("intersects", leftField=".geo", rightValue=region).narrow(Query()).bounds == (179, 0, -179, 2)


def test_distances_and_areas() -> None:
    here = feature(shapely.Point(0, 0))
    assert passes("withinDistance", here, distance=112_000, leftField=".geo", rightValue=point(1, 0))
    assert not passes("withinDistance", here, distance=111_000, leftField=".geo", rightValue=point(1, 0))
    assert not passes("withinDistance", feature(), distance=1e9, leftField=".geo", rightValue=point(1, 0))
    square = feature(shapely.box(0, 0, 1, 1))  # 12,308.8 km² on the ellipsoid
    assert passes("area", square, min=1.2e10, max=1.3e10)
    assert not passes("area", square, min=1.3e10, max=1.4e10)


@pytest.mark.slow
@given(st.floats(-180, 180), st.floats(-85, 85), st.floats(-180, 180), st.floats(-85, 85), st.floats(1, 2e6))
@settings(max_examples=60, deadline=None)
def test_quick_rejection_never_rejects_what_is_near(x: float, y: float, u: float, v: float, metres: float) -> None:
    distance = evaluate(invoke("Geometry.distance", left=point(x, y), right=point(u, v)))
    found = passes(
        "withinDistance", feature(shapely.Point(x, y)), distance=metres, leftField=".geo", rightValue=point(u, v)
    )
    assert found is (distance <= metres)


# What a store is asked for


def narrowed(name: str, **arguments: Any) -> Query:
    return condition(name, **arguments).narrow(Query())


def test_push_down_of_dates() -> None:
    span = date_range("2021-07-01", "2021-08-01")
    query = narrowed("dateRangeContains", leftValue=span, rightField="system:time_start")
    assert (query.start, query.end) == (ms("2021-07-01"), ms("2021-08-01"))
    assert narrowed("lt", leftField="system:time_start", rightValue=5) == Query(end=5)
    assert narrowed("gt", leftField="system:time_start", rightValue=5) == Query(start=5)
    assert narrowed("gt", rightField="system:time_start", leftValue=5) == Query(end=5)
    # Images without a date pass these: the store may not leave them out.
    unless_before = Query(ranges={"system:time_start": Range(least=5, others=True)})
    assert narrowed("gte", leftField="system:time_start", rightValue=5) == unless_before
    assert narrowed("dateRangeContains", leftValue=span, rightField="other") == Query()


def test_push_down_of_values() -> None:
    assert narrowed("eq", leftField="system:index", rightValue="a").equals == {"system:index": "a"}
    assert narrowed("equals", rightField="PATH", leftValue=44).equals == {"PATH": 44}
    assert narrowed("neq", leftField="PATH", rightValue=44) == Query()
    assert narrowed("eq", leftField="PATH", rightField="ROW") == Query()
    assert narrowed("eq", leftField="system:id", rightValue="x") == Query()


def test_push_down_of_ranges() -> None:
    assert narrowed("lt", leftField="CLOUDS", rightValue=20) == Query(ranges={"CLOUDS": Range(greatest=20)})
    assert narrowed("gt", leftValue=20, rightField="CLOUDS") == Query(ranges={"CLOUDS": Range(greatest=20)})
    assert narrowed("gt", leftField="CLOUDS", rightValue=20) == Query(ranges={"CLOUDS": Range(least=20)})
    # What has no number there passes these.
    others = Query(ranges={"CLOUDS": Range(greatest=20, others=True)})
    assert narrowed("lte", leftField="CLOUDS", rightValue=20) == others
    assert narrowed("not", filter=invoke("Filter.gt", leftField="CLOUDS", rightValue=20)) == others
    inside = narrowed("rangeContains", field="CLOUDS", minValue=10, maxValue=20)
    assert inside == Query(ranges={"CLOUDS": Range(10, 20)})
    several = [
        invoke("Filter.lt", leftField="CLOUDS", rightValue=20),
        invoke("Filter.gte", leftField="CLOUDS", rightValue=5),
    ]
    assert narrowed("and", filters=several) == Query(ranges={"CLOUDS": Range(5, 20)})
    assert narrowed("or", filters=several) == Query()
    assert narrowed("lt", leftField="CLOUDS", rightValue="20") == Query()
    assert narrowed("lt", leftField="system:version", rightValue=20) == Query()


def test_push_down_of_lists() -> None:
    assert narrowed("inList", rightField="PATH", leftValue=[44]) == Query(equals={"PATH": 44})
    assert narrowed("inList", rightField="TILE", leftValue=["12TUL"]) == Query(equals={"TILE": "12TUL"})
    assert narrowed("inList", rightField="PATH", leftValue=[47, 44, 45]) == Query(ranges={"PATH": Range(44, 47)})
    for index in ([], ["a"], ["a", "b"]):
        assert narrowed("inList", rightField="system:index", leftValue=index) == Query(indices=frozenset(index))
    for other in ([], [None], [True], ["a", "b"], [44, "b"], [invoke("Number.acos", input=2), 44]):
        assert narrowed("inList", rightField="PATH", leftValue=other) == Query()
    assert narrowed("inList", rightField="system:version", leftValue=[1, 2]) == Query()
    assert narrowed("listContains", leftField="PATHS", rightValue=44) == Query()
    assert narrowed("not", filter=invoke("Filter.inList", rightField="PATH", leftValue=[44])) == Query()


def test_push_down_of_regions() -> None:
    query = narrowed("intersects", leftField=".geo", rightValue=box(1, 2, 3, 4), maxError=None)
    assert query.bounds == (1, 2, 3, 4)
    assert narrowed("disjoint", leftField=".geo", rightValue=box(1, 2, 3, 4)) == Query()
    bounds = narrowed("withinDistance", leftField=".geo", rightValue=point(0, 0), distance=1000).bounds
    assert bounds is not None
    assert bounds[0] < -0.0089
    assert bounds[3] > 0.009
    two = condition(
        "and",
        filters=[
            invoke("Filter.intersects", leftField=".geo", rightValue=box(0, 0, 5, 5)),
            invoke("Filter.intersects", leftField=".geo", rightValue=box(3, 3, 9, 9)),
            invoke("Filter.eq", leftField="PATH", rightValue=44),
        ],
    )
    assert two.narrow(Query()) == Query(bounds=(3, 3, 5, 5), equals={"PATH": 44})


def test_a_choice_asks_the_store_for_what_holds_all_that_may_pass() -> None:
    """Filters of speckle in public code ask for one of two orbits, and composites for one of several seasons."""

    known = Query(start=1, bounds=(0, 0, 9, 9))

    def asked(*filters: Ready) -> Query:
        return condition("or", filters=list(filters)).narrow(known)

    def orbit(number: Any) -> Ready:
        return invoke("Filter.equals", leftField="orbit", rightValue=number)

    def season(start: float, end: float) -> Ready:
        span = invoke("DateRange", start=start, end=end)
        return invoke("Filter.dateRangeContains", leftValue=span, rightField="system:time_start")

    assert asked(orbit(7), orbit(7)) == replace(known, equals={"orbit": 7}, ranges={"orbit": Range(7, 7)})
    assert asked(orbit(7), orbit(9)) == replace(known, ranges={"orbit": Range(7, 9)})
    assert asked(orbit(7), orbit("a")) == asked(orbit(7), season(2, 3), orbit(7)) == asked() == known
    assert asked(season(4, 6), season(2, 3)) == replace(known, start=2, end=6)
    near = [invoke("Filter.intersects", leftField=".geo", rightValue=box(n, n, n + 1, n + 1)) for n in (1, 4)]
    assert asked(*near).bounds == (1, 1, 5, 5)
    never = invoke("Filter.and", filters=[orbit(1), orbit(2)])
    assert asked(never, orbit(3)).ranges == {"orbit": Range(1, 3)}
    assert asked(never, never).indices == frozenset()


def test_filtering_a_collection_asks_the_store_and_checks_again() -> None:
    asked: list[Query] = []

    def elements(query: Query) -> Iterator[Feature]:
        asked.append(query)
        yield from (Feature(Geometry(shapely.Point(x, 0)), {"system:index": str(x)}) for x in range(10))

    stored = Collection("Feature", elements)
    found = stored.filtered(condition("intersects", leftField=".geo", rightValue=box(2.5, -1, 5.5, 1)))
    assert [f.properties["system:index"] for f in found] == ["3", "4", "5"]
    assert asked == [Query(bounds=(2.5, -1, 5.5, 1))]


# Expressions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a == 1", True),
        ("a != 1", False),
        ("a >= 1 && b == 'x'", True),
        ("a > 1 || b == \"x\"", True),
        ("!(a > 1) && !(b != 'x')", True),
        ("1 <= a", True),
        ("a == -1.5e2", False),
        ("system:index == 'i-1'", True),
        ("a == 1 && b == 'y' || a == 1", True),
        ("a == 1 && (b == 'y' || a == 2)", False),
        ("a >= 1 AND a < 2", True),  # google/earthengine-catalog, examples/WRI/WRI_GPPD_power_plants_FeatureView.js
        ("a > 1 or not b == 'y'", True),  # the signature of Collection.filter
        ("b in ['x', \"z\"] and not a in (2, 3)", True),
        ("b in ['y']", False),
        ("order == 1 or and.a == 1 or notable == 1", False),
        ("not a == 2 and b == 'x and not y' or b == 'y'", False),
        ("not (a == 2 and b == 'y') and b in ['x), (y', 'x']", True),
        ("a < 1" + "0" * 5000 + " and a > -1" + "0" * 5000, True),
    ],
)  # fmt: skip
def test_expressions(text: str, expected: bool) -> None:
    element = Feature(None, {"a": 1, "b": "x", "system:index": "i-1"})
    assert call("Filter.expression", expression=text).matches(element) is expected


@pytest.mark.slow
@given(st.text(alphabet="ab1<>=!&|() '\"", max_size=30))
@settings(max_examples=150)
def test_any_text_is_a_filter_or_an_error(text: str) -> None:
    try:
        made: Any = call("Filter.expression", expression=text)
    except InvalidError as refused:
        made = str(refused)
    assert isinstance(made, FilterCondition) or made.startswith("Filter.expression: ")


@pytest.mark.parametrize(
    ("text", "token"),
    [("and == 1", 1), ("a <> 1", 3), ("a == and", 3), ("a in b", 3), ("a in [b]", 4), ("a in [1)", 5), ("a == 1 (", 4),
     ("a == 1 or", 5)],
)  # fmt: skip
def test_errors_number_the_token_that_is_wrong(text: str, token: int) -> None:
    with pytest.raises(InvalidError, match=f"at token {token}: "):
        call("Filter.expression", expression=text)


def test_deep_expressions_are_refused() -> None:
    with pytest.raises(InvalidError, match="nested"):
        call("Filter.expression", expression="!" * 5000 + "(a == 1)")


@pytest.mark.parametrize(
    ("name", "arguments", "span"),
    [
        ("lessThan", {"leftField": "system:index", "rightValue": "b"}, ("", "b")),
        ("greaterThan", {"leftField": "system:index", "rightValue": "b"}, ("b", None)),
        ("lessThan", {"leftValue": "b", "rightField": "system:index"}, ("b", None)),
        ("greaterThan", {"leftValue": "b", "rightField": "system:index"}, ("", "b")),
    ],
)
def test_names_are_asked_for_in_the_order_of_texts(name: str, arguments: Any, span: Any) -> None:
    made = condition(name, **arguments)
    asked = made.narrow(Query(first_index="a", last_index="c"))
    assert (asked.first_index, asked.last_index) == (max("a", span[0]), min("c", span[1] or "c"))
    other = made.contrary(Query())
    assert (other.first_index, other.last_index) == (span[1] or "", span[0] or None)
