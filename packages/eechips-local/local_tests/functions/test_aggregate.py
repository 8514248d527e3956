"""Aggregations of a property, and tables of properties: the documented output, numpy, pandas."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Array, Collection, Feature
from local_tests.support.graphs import Graph, Ready, evaluate, invoke


def table(values: Sequence[Any], **more: Sequence[Any]) -> Ready:
    rows = [{"v": value, **{k: column[i] for k, column in more.items()}} for i, value in enumerate(values)]
    kept = [{key: value for key, value in row.items() if value is not None} for row in rows]
    return invoke("Collection", features=[invoke("Feature", geometry=None, metadata=row) for row in kept])


def aggregate(name: str, values: Sequence[Any], property: str = "v") -> Any:
    return evaluate(invoke(f"AggregateFeatureCollection.{name}", collection=table(values), property=property))


def test_stats_have_the_documented_keys() -> None:
    """https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_stats."""
    assert sorted(aggregate("stats", [1, 2, 4])) == [
        "max", "mean", "min", "sample_sd", "sample_var", "sum", "sum_sq", "total_count", "total_sd", "total_var",
        "valid_count", "weight_sum", "weighted_sum",
    ]  # fmt: skip


@given(st.lists(st.one_of(st.integers(-1000, 1000), st.floats(-1e4, 1e4)), min_size=2, max_size=20))
def test_numbers(values: list[float]) -> None:
    array = np.asarray(values, dtype=np.float64)
    assert aggregate("array", values) == values
    assert aggregate("count", values) == len(values)
    assert aggregate("min", values) == min(values)
    assert aggregate("max", values) == max(values)
    assert aggregate("sum", values) == pytest.approx(math.fsum(values), abs=1e-9)
    assert aggregate("mean", values) == pytest.approx(array.mean(), abs=1e-9)
    assert aggregate("total_var", values) == pytest.approx(array.var(), abs=1e-6)
    assert aggregate("sample_sd", values) == pytest.approx(array.std(ddof=1), abs=1e-6)
    assert aggregate("count_distinct", values) == len(set(values))
    stats = aggregate("stats", values)
    assert stats["sum_sq"] == pytest.approx((array**2).sum())
    assert stats["sample_var"] == pytest.approx(array.var(ddof=1), abs=1e-6)


def test_nulls_are_left_out() -> None:
    values = [None, 3, None, 5]
    assert aggregate("array", values) == [3, 5]
    assert aggregate("count", values) == 2
    assert aggregate("mean", values) == 4
    assert aggregate("first", values) is None
    assert aggregate("first", values[1:]) == 3


def test_nothing() -> None:
    assert [aggregate(name, [], "v") for name in ("array", "count", "sum", "histogram")] == [[], 0, 0, {}]
    assert [aggregate(name, [], "v") for name in ("first", "min", "mean", "total_sd")] == [None] * 4
    assert aggregate("sample_var", [1]) is None


def test_strings() -> None:
    values = ["fig", "pear", "fig"]
    assert aggregate("min", values) == "fig"
    assert aggregate("max", values) == "pear"
    assert aggregate("histogram", values) == {"fig": 2, "pear": 1}
    with pytest.raises(InvalidError, match=r"Collection.reduceColumns: .*String"):
        aggregate("sum", values)


def test_errors_of_all_aggregations_name_one_function() -> None:
    """``test_documented_rules`` has the recorded message, of ``aggregate_mean``."""
    graph = Graph()
    number = invoke("Number.parse", input="none")
    wrong = graph.function(lambda row: invoke("Element.set", object=row, key="v", value=number), "row")
    rows = invoke("Collection.map", collection=table([1]), baseAlgorithm=wrong)
    for name in ("array", "first", "mean", "stats"):
        with pytest.raises(InvalidError, match=r"^Collection\.reduceColumns: Error in map"):
            evaluate(invoke(f"AggregateFeatureCollection.{name}", collection=rows, property="v"), graph=graph)


def test_histogram_keys_are_written_as_java_does() -> None:
    assert aggregate("histogram", [10, 2, 10, 1.5]) == {"1.5": 1, "2": 1, "10": 2}


def test_more_than_the_limit_of_get_info() -> None:
    """The limit of 5,000 elements is of what is returned as elements, not of what is aggregated."""
    region = invoke("GeometryConstructors.Rectangle", coordinates=[0, 0, 1, 1])
    points = invoke("FeatureCollection.randomPoints", region=region, points=6000)
    ids = evaluate(invoke("AggregateFeatureCollection.array", collection=points, property="system:index"))
    assert ids == [str(i) for i in range(6000)]


class TestReduceColumns:
    def reduce(self, reducer: Ready, selectors: list[str], rows: Ready, **more: Any) -> Any:
        return evaluate(
            invoke("Collection.reduceColumns", collection=rows, reducer=reducer, selectors=selectors, **more)
        )

    def test_lists_of_tuples(self) -> None:
        rows = table([1, None, 3], s=["a", "b", "c"])
        two = invoke("Reducer.toList", tupleSize=2)
        assert self.reduce(two, ["v", "s"], rows) == {"list": [[1, "a"], [3, "c"]]}
        optional = invoke("Reducer.toList", tupleSize=2, numOptional=1)
        assert self.reduce(optional, ["s", "v"], rows) == {"list": [["a", 1], ["b", None], ["c", 3]]}

    def test_the_idioms_of_scripts(self) -> None:
        rows = table([3, 1, 2])
        frequencies = self.reduce(invoke("Reducer.frequencyHistogram"), ["v"], rows)
        assert frequencies == {"histogram": {"1": 1, "2": 1, "3": 1}}
        assert self.reduce(invoke("Reducer.minMax"), ["v"], rows) == {"min": 1, "max": 3}
        listed = self.reduce(invoke("Reducer.toList"), ["system:index"], rows)
        assert listed == {"list": ["0", "1", "2"]}

    def test_selectors_must_fit(self) -> None:
        with pytest.raises(InvalidError, match=r"Need 1 inputs for Reducer\.mean, got 2\."):
            self.reduce(invoke("Reducer.mean"), ["v", "w"], table([1]))
        with pytest.raises(InvalidError, match="needs 0 weight selectors"):
            self.reduce(invoke("Reducer.max"), ["v"], table([1]), weightSelectors=["w"])


class TestRandomColumn:
    def column(self, **more: Any) -> list[float]:
        rows = table(range(2000), k=[str(i % 7) for i in range(2000)])
        found: Collection = evaluate(invoke("Collection.randomColumn", collection=rows, **more))
        return [f.properties[more.get("columnName", "random")] for f in found]

    @pytest.mark.slow
    def test_uniform(self) -> None:
        numbers = self.column()
        assert all(0 <= n < 1 for n in numbers)
        assert len(set(numbers)) == 2000
        assert np.mean(numbers) == pytest.approx(0.5, abs=0.03)
        assert numbers == self.column()
        assert numbers != self.column(seed=1)

    def test_normal(self) -> None:
        numbers = self.column(distribution="normal", columnName="n")
        assert np.mean(numbers) == pytest.approx(0, abs=0.1)
        assert np.std(numbers) == pytest.approx(1, abs=0.06)

    def test_rows_of_one_key_get_one_number(self) -> None:
        assert sorted(Counter(self.column(rowKeys=["k"])).values()) == [285] * 2 + [286] * 5

    def test_refusals(self) -> None:
        with pytest.raises(InvalidError, match="distribution"):
            self.column(distribution="gamma")


def test_make_array_drops_what_is_no_number() -> None:
    rows = table([1, 2, None, "x"], w=[0.5, 1.5, 2.5, 3.5])
    found = list(evaluate(invoke("FeatureCollection.makeArray", collection=rows, properties=["v", "w"])))
    assert [f.properties["array"].values.tolist() for f in found] == [[1, 0.5], [2, 1.5]]
    assert all(isinstance(f.properties["array"], Array) for f in found)


def test_union_is_one_feature() -> None:
    rows = [
        invoke("Feature", geometry=invoke("GeometryConstructors.Rectangle", coordinates=box, geodesic=False))
        for box in ([0, 0, 2, 2], [1, 1, 3, 3])
    ]
    (found,) = evaluate(invoke("Collection.union", collection=invoke("Collection", features=rows)))
    assert isinstance(found, Feature)
    assert found.properties == {"system:index": "union_result"}
    assert found.geometry is not None
    assert found.geometry.shape.area == pytest.approx(7, rel=1e-6)


def test_geometry_of_a_collection() -> None:
    dots = [invoke("GeometryConstructors.Point", coordinates=[x, 1]) for x in (1, 5)]
    rows = invoke("Collection", features=[invoke("Feature", geometry=dot) for dot in dots])
    assert evaluate(invoke("Collection.geometry", collection=rows)).shape.geom_type == "MultiPoint"
