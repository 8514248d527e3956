"""Collections: order, identity, laziness, indices of what is derived from others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.evaluation.asset_model import FeatureRow, Query
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.protocol.request_errors import InvalidError, LimitError
from local_tests.support.graphs import Graph, Ready, evaluate, invoke


def table(*rows: Mapping[str, Any]) -> Ready:
    return invoke("Collection", features=[invoke("Feature", geometry=None, metadata=dict(row)) for row in rows])


def numbered(count: int) -> Ready:
    return table(*({"v": i} for i in range(count)))


def column(value: Any, name: str = "v", graph: Graph | None = None) -> list[Any]:
    return [element.properties.get(name) for element in evaluate(value, graph)]


class Rows:
    """A stored table that counts what is read of it."""

    id = "test/table"
    properties: Mapping[str, Any] = {"title": "T"}
    columns: Mapping[str, str] = {"v": "Integer"}

    def __init__(self, count: int) -> None:
        self.count = count
        self.read = 0
        self.queries: list[Query] = []

    def rows(self, query: Query) -> Iterator[FeatureRow]:
        self.queries.append(query)
        for index in range(self.count):
            self.read += 1
            yield FeatureRow(f"{index:05d}", None, {"v": index})


class Store:
    def __init__(self, asset: Any) -> None:
        self.asset = asset

    def get(self, asset_id: str) -> Any:
        return self.asset if asset_id == self.asset.id else None

    def children(self, parent: str) -> tuple[str, ...]:
        return ()

    def describe(self) -> Mapping[str, Any]:
        return {}


def over(asset: Any, value: Any, graph: Graph | None = None, **limits: Any) -> Any:
    return Evaluator((graph or Graph()).expression(value), Context(Store(asset), ServiceLimits(**limits))).evaluate()


LOADED = invoke("Collection.loadTable", tableId="test/table")


class TestOrder:
    @given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=12), st.booleans())
    def test_sort_is_stable_and_puts_nulls_last(self, values: list[int | None], ascending: bool) -> None:
        rows = [{"n": i} if v is None else {"v": v, "n": i} for i, v in enumerate(values)]
        found = evaluate(invoke("Collection.limit", collection=table(*rows), key="v", ascending=ascending))
        having = [(v, i) for i, v in enumerate(values) if v is not None]
        having.sort(key=lambda pair: pair[0] if ascending else -pair[0])
        lacking = [i for i, v in enumerate(values) if v is None]
        assert [f.properties["n"] for f in found] == [i for _, i in having] + lacking

    def test_limit_and_to_list(self) -> None:
        assert column(invoke("Collection.limit", collection=numbered(9), limit=3)) == [0, 1, 2]
        part = evaluate(invoke("Collection.toList", collection=numbered(9), count=3, offset=7))
        assert [f.properties["v"] for f in part] == [7, 8]
        with pytest.raises(InvalidError, match="non-negative"):
            evaluate(invoke("Collection.limit", collection=numbered(3), limit=-1))

    def test_distinct_keeps_the_first(self) -> None:
        rows = table({"v": 1, "w": "a"}, {"v": 1, "w": "b"}, {"v": 1.0, "w": "a"}, {"w": "a"})
        assert column(invoke("Collection.distinct", collection=rows, properties="v"), "w") == ["a", "a"]
        assert column(invoke("Collection.distinct", collection=rows, properties=["v", "w"]), "w") == ["a", "b", "a"]

    def test_remap_drops_the_rest(self) -> None:
        made = invoke("Collection.remap", collection=numbered(4), lookupIn=[1, 3], lookupOut=[10, 30], columnName="v")
        assert column(made) == [10, 30]


class TestIndices:
    """https://developers.google.com/earth-engine/apidocs/ee-featurecollection-merge and -flatten."""

    def test_made_collections_count_from_0(self) -> None:
        assert column(numbered(3), "system:index") == ["0", "1", "2"]

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (["foo", "bar"], ["foo", "bar"]),
            (["foo", None], ["foo", "1"]),
            (["foo", "bar", "foo"], ["0", "1", "2"]),
            (["foo", "foo", None], ["0", "1", "2"]),
        ],
    )
    def test_given_ones_stay_where_each_is_there_once(self, given: list[str | None], expected: list[str]) -> None:
        """As geetools' test_to_table_any.yml and test_reduce_regions_by_dates.yml have them of the service."""
        features = [
            invoke("Feature", geometry=None, metadata={} if index is None else {"system:index": index})
            for index in given
        ]
        assert column(invoke("Collection", features=features), "system:index") == expected

    def test_merged(self) -> None:
        both = invoke("Collection.merge", collection1=numbered(2), collection2=numbered(1))
        assert column(both, "system:index") == ["1_0", "1_1", "2_0"]

    def test_flattened(self) -> None:
        graph = Graph()
        inner = graph.function(lambda e: invoke("Collection.limit", collection=numbered(2), limit=2), "e")
        nested = invoke("Collection.map", collection=numbered(2), baseAlgorithm=inner)
        assert column(invoke("Collection.flatten", collection=nested), "system:index", graph) == [
            "0_0", "0_1", "1_0", "1_1",
        ]  # fmt: skip
        direct = invoke("Collection.flatten", collection=invoke("Collection", features=[numbered(2), numbered(1)]))
        assert column(direct, "system:index") == ["0_0", "0_1", "1_0"]

    def test_collections_among_elements_have_no_geometry_for_filters(self) -> None:
        nested = invoke("Collection", features=[numbered(2), numbered(1)])

        def kept(condition: Ready) -> list[Any]:
            filtered = invoke("Collection.filter", collection=nested, filter=condition)
            return column(invoke("Collection.flatten", collection=filtered))

        point = invoke("GeometryConstructors.Point", coordinates=[0, 0])
        assert kept(invoke("Filter.intersects", leftField=".geo", rightValue=point)) == []
        assert kept(invoke("Filter.notNull", properties=[".geo"])) == []
        assert kept(invoke("Filter.hasGeometry")) == []
        assert kept(invoke("Filter.not", filter=invoke("Filter.hasGeometry"))) == [0, 1, 0]

    def test_mapped_elements_keep_theirs(self) -> None:
        graph = Graph()
        other = graph.function(lambda e: invoke("Feature", geometry=None, metadata={"system:index": "x"}), "e")
        made = invoke("Collection.map", collection=numbered(2), baseAlgorithm=other)
        assert column(made, "system:index", graph) == ["0", "1"]


class TestFunctions:
    def test_map_drops_nulls_if_asked(self) -> None:
        graph = Graph()
        odd = graph.function(
            lambda e: invoke(
                "If", condition=invoke("Number.mod", left=invoke("Element.get", object=e, property="v"), right=2),
                trueCase=e, falseCase=None,
            ),
            "e",
        )  # fmt: skip
        made = {"collection": numbered(5), "baseAlgorithm": odd}
        assert column(invoke("Collection.map", dropNulls=True, **made), graph=graph) == [1, 3]
        with pytest.raises(InvalidError, match="must return a Feature or Image"):
            column(invoke("Collection.map", **made), graph=graph)

    def test_iterate(self) -> None:
        graph = Graph()
        add = graph.function(
            lambda e, total: invoke("Number.add", left=invoke("Element.get", object=e, property="v"), right=total),
            "e", "total",
        )  # fmt: skip
        made = invoke("Collection.iterate", collection=numbered(5), function=add, first=100)
        assert evaluate(made, graph) == 110


class TestLaziness:
    def test_the_first_reads_one_row(self) -> None:
        rows = Rows(10**9)
        found = over(rows, invoke("Collection.first", collection=LOADED))
        assert found.properties == {"v": 0, "system:index": "00000"}
        assert rows.read == 1

    def test_mapping_is_on_demand(self) -> None:
        rows, graph = Rows(10**9), Graph()
        same = graph.function(lambda e: e, "e")
        mapped = invoke("Collection.map", collection=LOADED, baseAlgorithm=same)
        over(rows, invoke("Collection.toList", collection=mapped, count=5), graph)
        assert rows.read <= 7

    def test_elements_are_made_once(self) -> None:
        rows, graph = Rows(50), Graph()
        shared = graph.reference(LOADED)
        both = [invoke("Collection.size", collection=shared), invoke("Collection.first", collection=shared)]
        assert over(rows, both, graph)[0] == 50
        assert rows.read == 50

    def test_limits(self) -> None:
        with pytest.raises(LimitError, match="aborted after accumulating over 5000 elements"):
            over(Rows(6000), invoke("Collection.toList", collection=LOADED, count=10**6))

    def test_a_missing_table(self) -> None:
        with pytest.raises(InvalidError, match="'nowhere' not found"):
            over(Rows(1), invoke("Collection.loadTable", tableId="nowhere"))


def test_a_filter_may_be_text() -> None:
    assert column(invoke("Collection.filter", collection=numbered(5), filter="v > 2")) == [3, 4]


def _property(feature: Ready, name: str) -> Ready:
    return invoke("Element.get", object=feature, property=name)


def test_an_error_in_map_tells_the_element_however_often_the_elements_are_asked_for() -> None:
    """Two maps, the first of which fails at its second element; each asks for the first element beforehand."""
    graph = Graph()
    broken = invoke(
        "Collection.map",
        collection=table({"v": 1}, {"w": 2}, {"v": 3}),
        baseAlgorithm=graph.function(
            lambda f: invoke(
                "Element.set", object=f, key="x",
                value=invoke("Number.add", left=_property(f, "v"), right=1),
            ),
            "f",
        ),
    )  # fmt: skip
    again = invoke("Collection.map", collection=broken, baseAlgorithm=graph.function(lambda f: f, "g"))
    collection = evaluate(again, graph)
    expected = "Error in map(ID=1):\nNumber.add: Parameter 'left' is required and may not be null."
    for _ in range(2):
        with pytest.raises(InvalidError) as caught:
            list(collection)
        assert str(caught.value) == expected
    with pytest.raises(InvalidError) as caught:
        evaluate(invoke("Collection.size", collection=again), graph)
    assert str(caught.value) == f"Collection.size: {expected}"


def test_an_error_at_the_first_element_is_no_empty_collection() -> None:
    graph = Graph()
    broken = invoke(
        "Collection.map",
        collection=table({"w": 1}, {"v": 2}),
        baseAlgorithm=graph.function(
            lambda f: invoke("Feature", geometry=None, metadata={"x": invoke("Number.abs", input=_property(f, "v"))}),
            "f",
        ),
    )
    twice = invoke("Collection.map", collection=broken, baseAlgorithm=graph.function(lambda f: f, "g"))
    thrice = invoke("Collection.map", collection=twice, baseAlgorithm=graph.function(lambda f: f, "h"))
    with pytest.raises(InvalidError, match=r"Error in map\(ID=0\):"):
        evaluate(invoke("Collection.size", collection=thrice), graph)
