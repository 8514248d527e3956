"""Join.*, against plain loops over all pairs."""

from __future__ import annotations

from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from eechips_local.functions.conditions import joins as joins
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.filter_conditions import FilterCondition
from eechips_local.values.values import Collection, Feature, Geometry, Join
from local_tests.support.graphs import Ready, call, invoke


def features(rows: list[dict[str, Any]]) -> Collection:
    return Collection.of("Feature", [Feature(None, {"system:index": str(i), **row}) for i, row in enumerate(rows)])


def points(places: list[tuple[float, float]]) -> Collection:
    made = [Feature(Geometry(shapely.Point(p)), {"system:index": str(i)}) for i, p in enumerate(places)]
    return Collection.of("Feature", made)


def joined(join: Join, primary: Collection, secondary: Collection, condition: FilterCondition) -> list[Feature]:
    return list(join.apply(primary, secondary, condition))


def index(feature: Feature) -> int:
    return int(feature.properties["system:index"])


EQUAL = {"leftField": "k", "rightField": "k"}

keys = st.lists(st.one_of(st.integers(0, 4), st.sampled_from(["a", "b"]), st.none()), max_size=12)
numbers = st.lists(st.one_of(st.floats(-5, 5), st.none()), max_size=12)
places = st.lists(st.tuples(st.floats(-180, 180), st.floats(-80, 80)), max_size=8)


@given(keys, keys)
def test_equality_joins_are_those_of_all_pairs(left: list[Any], right: list[Any]) -> None:
    primary, secondary = features([{"k": k} for k in left]), features([{"k": k} for k in right])
    condition = call("Filter.equals", **EQUAL)
    expected = {i: [j for j, b in enumerate(right) if a is not None and a == b] for i, a in enumerate(left)}
    saved = joined(call("Join.saveAll", matchesKey="m", outer=True), primary, secondary, condition)
    assert {index(f): [index(m) for m in f.properties["m"]] for f in saved} == expected
    some = joined(call("Join.simple"), primary, secondary, condition)
    none = joined(call("Join.inverted"), primary, secondary, condition)
    assert [index(f) for f in some] == [i for i, found in expected.items() if found]
    assert [index(f) for f in none] == [i for i, found in expected.items() if not found]
    inner = joined(call("Join.inner"), primary, secondary, condition)
    assert [(index(f.properties["primary"]), index(f.properties["secondary"])) for f in inner] == [
        (i, j) for i, found in expected.items() for j in found
    ]
    assert all(f.geometry is None for f in inner)


@given(numbers, numbers, st.floats(0, 3))
def test_best_matches_have_the_least_difference(left: list[Any], right: list[Any], difference: float) -> None:
    primary, secondary = features([{"k": k} for k in left]), features([{"k": k} for k in right])
    condition = call("Filter.maxDifference", difference=difference, **EQUAL)
    best = joined(call("Join.saveBest", matchKey="m", measureKey="d", outer=False), primary, secondary, condition)
    expected = {}
    for i, a in enumerate(left):
        near = [abs(a - b) for b in right if a is not None and b is not None and abs(a - b) <= difference]
        if near:
            expected[i] = min(near)
    assert {index(f): f.properties["m"].properties["d"] for f in best} == expected


@given(places, places, st.floats(1e3, 5e6))
def test_spatial_joins_are_those_of_all_pairs(
    left: list[tuple[float, float]], right: list[tuple[float, float]], metres: float
) -> None:
    geod = Geod(ellps="WGS84")
    condition = call("Filter.withinDistance", distance=metres, leftField=".geo", rightField=".geo")
    saved = joined(
        call("Join.saveAll", matchesKey="m", measureKey="d", outer=True), points(left), points(right), condition
    )
    for feature, a in zip(saved, left, strict=True):
        far = [geod.inv(*a, *b)[2] for b in right]
        assert [index(m) for m in feature.properties["m"]] == [j for j, d in enumerate(far) if d <= metres]
        for match in feature.properties["m"]:
            assert match.properties["d"] == pytest.approx(far[index(match)], rel=1e-9, abs=1e-6)


def test_save_first_takes_the_first_in_order() -> None:
    primary = features([{"k": 1}, {"k": 2}, {"k": 3}])
    secondary = features([{"k": 1, "t": 5}, {"k": 1, "t": 3}, {"k": 1}, {"k": 2, "t": 1}])
    condition = call("Filter.equals", **EQUAL)

    def firsts(**options: Any) -> dict[int, Any]:
        found = joined(call("Join.saveFirst", matchKey="m", **options), primary, secondary, condition)
        return {index(f): index(f.properties["m"]) if "m" in f.properties else None for f in found}

    assert firsts() == {0: 0, 1: 3}
    assert firsts(ordering="t") == {0: 1, 1: 3}
    assert firsts(ordering="t", ascending=False) == {0: 0, 1: 3}
    assert firsts(outer=True) == {0: 0, 1: 3, 2: None}


def test_measures_need_a_condition_that_has_one() -> None:
    condition = call("Filter.equals", **EQUAL)
    for join in (
        call("Join.saveBest", matchKey="m", measureKey="d"),
        call("Join.inner", measureKey="d"),
        call("Join.saveAll", matchesKey="m", measureKey="d"),
    ):
        with pytest.raises(InvalidError, match="measure"):
            joined(join, features([{"k": 1}]), features([{"k": 1}]), condition)


def test_conditions_combine() -> None:
    primary = features([{"k": 1, "t": 10}, {"k": 2, "t": 20}])
    secondary = features([{"k": 1, "t": 11}, {"k": 1, "t": 90}, {"k": 2, "t": 18}])
    both = call(
        "Filter.and",
        filters=[
            invoke("Filter.equals", **EQUAL),
            invoke("Filter.maxDifference", difference=5, leftField="t", rightField="t"),
        ],
    )
    best = joined(call("Join.saveBest", matchKey="m", measureKey="d"), primary, secondary, both)
    assert [(index(f.properties["m"]), f.properties["m"].properties["d"]) for f in best] == [(0, 1), (2, 2)]
    unlike = call("Filter.not", filter=invoke("Filter.equals", **EQUAL))
    others = joined(call("Join.saveAll", matchesKey="m"), primary, secondary, unlike)
    assert [[index(m) for m in f.properties["m"]] for f in others] == [[2], [0, 1]]
    # A filter of one element judges the primary one.
    early = call("Filter.and", filters=[invoke("Filter.notNull", properties=["t"]), invoke("Filter.equals", **EQUAL)])
    assert len(joined(call("Join.inner"), primary, secondary, early)) == 3


def test_apply_evaluates_the_whole_graph() -> None:
    def collection(*values: int) -> Ready:
        return invoke("Collection", features=[invoke("Feature", metadata={"k": v}) for v in values])

    found = call(
        "Join.apply",
        join=invoke("Join.inner", primaryKey="a", secondaryKey="b"),
        primary=collection(1, 2, 3),
        secondary=collection(3, 1),
        condition=invoke("Filter.equals", **EQUAL),
    )
    assert [(f.properties["a"].properties["k"], f.properties["b"].properties["k"]) for f in found] == [(1, 1), (3, 3)]


def test_large_equality_joins_do_not_try_all_pairs() -> None:
    tried = 0

    def counted(a: Feature, b: Feature) -> bool:
        nonlocal tried
        tried += 1
        return bool(a.properties["k"] == b.properties["k"])

    made = call("Filter.equals", **EQUAL)
    condition = FilterCondition(matches=made.matches, pairs=counted, lookup=made.lookup)
    many = [{"k": i} for i in range(3000)]
    assert len(joined(joins.inner("a", "b", None), features(many), features(many), condition)) == 3000
    assert tried == 3000
