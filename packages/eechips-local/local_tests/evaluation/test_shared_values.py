"""Values that several nodes of a graph refer to: what is computed of them once, however often they are nested."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import shapely

from eechips_local.evaluation.asset_model import ImageAsset, Query
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.type_conversion import full_type_name
from eechips_local.functions.conditions.filter_logic import and_, not_, of_one, or_
from eechips_local.functions.neighborhoods.kernels import add
from eechips_local.functions.series.collections import merged as merged_with
from eechips_local.functions.vectors.geometry_constructors import multi_geometry
from eechips_local.protocol.request_errors import LimitError, MemoryLimitError
from eechips_local.values.kernel_weights import Kernel, Weights
from eechips_local.values.ordering import compare, distinct_key
from eechips_local.values.value_json import Encoder
from eechips_local.values.values import Collection, Feature, Filter, Geometry
from local_tests.support.graphs import EmptyStore, Graph, Ready, invoke

CLEAR = invoke("Filter.lessThan", leftField="cloud", rightValue=20)


class Counting(EmptyStore):
    """A store of an image collection of three images that counts how often it is asked."""

    id = "test/images"
    properties: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.lists = 0
        self.counts = 0

    def get(self, asset_id: str) -> Any:
        return self if asset_id == self.id else None

    def images(self, query: Query) -> Iterator[ImageAsset]:
        self.lists += 1
        yield from (
            ImageAsset(f"{self.id}/{n}", (), {"system:index": str(n), "cloud": 10.0 * n}, None) for n in range(3)
        )

    def count(self, query: Query) -> int:
        self.counts += 1
        return 3


def evaluate(store: Any, graph: Graph, value: Any) -> Any:
    return Evaluator(graph.expression(value), Context(store)).evaluate()


def merged(graph: Graph, times: int) -> Ready:
    """Three images, merged with themselves again and again."""
    images = graph.reference(invoke("ImageCollection.load", id=Counting.id))
    for _ in range(times):
        images = graph.reference(invoke("ImageCollection.merge", collection1=images, collection2=images))
    return images


def test_images_that_are_merged_with_themselves_are_counted_once() -> None:
    store, graph = Counting(), Graph()
    assert evaluate(store, graph, invoke("Collection.size", collection=merged(graph, 8))) == 3 * 2**8
    assert store.counts == 1


def test_images_that_are_merged_with_themselves_are_filtered_once() -> None:
    store, graph = Counting(), Graph()
    clear = invoke("Collection.filter", collection=merged(graph, 4), filter=CLEAR)
    assert evaluate(store, graph, invoke("Collection.size", collection=clear)) == 2 * 2**4
    assert store.lists == 1


def test_elements_are_copied_once_however_many_merges_follow() -> None:
    times: list[float] = []

    def clock() -> float:
        times.append(0.0)
        return 0.0

    context = Context(EmptyStore(), clock=clock)
    features = Collection.of("Feature", [Feature(None, {}), Feature(None, {"system:index": "a"})])
    merges = features
    for _ in range(9):
        merges = merged_with(context, merges, features)
    before = len(times)
    indices = [feature.properties["system:index"] for feature in merges]
    assert len(times) - before == len(indices) == 20  # the time is checked before each copy
    assert indices[:3] == ["1_1_1_1_1_1_1_1_1_0", "1_1_1_1_1_1_1_1_1_a", "1_1_1_1_1_1_1_1_2_0"]
    assert indices[-4:] == ["1_2_0", "1_2_a", "2_0", "2_a"]


def mixed(condition: Filter) -> Filter:
    return and_([or_([condition, not_(condition)]), not_(not_(condition))])


@pytest.mark.parametrize(
    ("combined", "passes"),
    [
        (lambda condition: and_([condition, condition]), True),
        (lambda condition: or_([condition, condition]), False),
        (mixed, True),
        (lambda condition: not_(mixed(not_(condition))), True),
    ],
)
def test_a_filter_that_is_combined_with_itself_asks_each_part_once(combined: Any, passes: bool) -> None:
    asked: list[Any] = []

    def matches(element: Any) -> bool:
        asked.append(element)
        return passes

    def narrow(query: Query) -> Query:
        asked.append(query)
        return query

    condition: Filter = of_one(matches, narrow=narrow)
    for _ in range(20):
        condition = combined(condition)
    assert condition.matches("an element") is passes
    assert condition.pairs is not None
    assert condition.pairs("primary", "secondary") is passes
    assert set(asked) == {"an element", "primary"}
    assert len(asked) <= 6  # by the first level, which has three parts
    condition.narrow(Query())
    assert len(asked) <= 7


class Described(dict[str, Any]):
    """A description that counts how often its values are looked at."""

    looked_at = 0

    def values(self) -> Any:
        self.looked_at += 1
        return super().values()


def test_a_kernel_that_is_added_to_itself_is_computed_and_described_once() -> None:
    edges: list[float] = []

    def weights(edge: float) -> Weights:
        edges.append(edge)
        return Weights(np.ones((1, 1)), 0, 0)

    description = Described(type="Kernel.square", units="meters")
    kernel = Kernel(weights, description)
    for _ in range(8):
        kernel = add(kernel, kernel, normalize=False)
    assert kernel.weights(10.0).values.tolist() == [[2.0**8]]
    assert edges == [10.0, 10.0]  # the two operands of the first sum
    assert Encoder(Context(EmptyStore())).encode(kernel)["type"] == "Kernel.add"
    assert description.looked_at == 1


def doubled_list() -> list[Any]:
    """A list of two that are the same, and so on: 2**40 elements."""
    nested: list[Any] = [1]
    for _ in range(40):
        nested = [nested, nested]
    return nested


def test_lists_in_lists_are_named_once_and_refused_where_they_are_compared() -> None:
    nested = doubled_list()
    assert full_type_name(nested) == 41 * "List<" + "Integer" + 41 * ">"
    assert compare(nested, nested) == 0
    with pytest.raises(MemoryLimitError, match="User memory limit exceeded"):
        distinct_key(nested)


def test_geometries_that_hold_one_twice_may_not_have_too_many_edges() -> None:
    line = Geometry(shapely.linestrings(np.zeros((600_000, 2))))
    with pytest.raises(LimitError, match=r"Geometry has too many edges \(2400000 > 2000000\)"):
        multi_geometry([line] * 4, None, None, None)
