"""Lists: the reference's examples, and Python's own lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.functions.primitives.lists import shuffle
from eechips_local.protocol.request_errors import InvalidError, LimitError, TypeMismatchError
from eechips_local.values.values import Date, Filter
from local_tests.support.graphs import Graph, call, evaluate, invoke

items = st.lists(st.one_of(st.integers(-3, 3), st.sampled_from(["a", "b", ""]), st.floats(-2, 2)), max_size=8)
numbers = st.lists(st.integers(-5, 5), max_size=12)


def on(name, values, **arguments):
    return call(f"List.{name}", list=values, **arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"start": 0, "end": 5}, [0, 1, 2, 3, 4, 5]),
        ({"start": 0, "end": 10, "step": 2}, [0, 2, 4, 6, 8, 10]),
        ({"start": 0, "step": 2, "count": 6}, [0, 2, 4, 6, 8, 10]),
        ({"start": 0, "step": -2, "count": 6}, [0, -2, -4, -6, -8, -10]),
        ({"start": 0, "end": 10, "step": 2, "count": 3}, [0, 5, 10]),
        ({"start": 10, "count": 3}, [10, 11, 12]),
        ({"start": 3, "step": 2, "end": 6}, [3, 5]),
        ({"start": -1e9, "end": 1e9, "count": 3}, [-1000000000, 0, 1000000000]),
        ({"start": 0, "end": 0.3, "step": 0.1}, pytest.approx([0, 0.1, 0.2, 0.3])),
        ({"start": 5, "end": 0}, []),
        ({"start": 5, "end": 3, "step": -1}, [5, 4, 3]),
        ({"start": 1, "end": 9, "count": 1}, [1]),
    ],
)
def test_sequences(arguments, expected):
    assert call("List.sequence", **arguments) == expected


def test_a_sequence_of_999_elements():
    found = call("List.sequence", start=0, end=10, step=2, count=999)
    assert len(found) == 999
    assert found[-1] == pytest.approx(10)


def test_sequences_of_integers_are_integers():
    assert all(type(v) is int for v in call("List.sequence", start=1, end=12))


@pytest.mark.parametrize("arguments", [{"start": 0}, {"start": 0, "end": 5, "step": 0}, {"start": 0, "count": -1}])
def test_sequences_without_end(arguments):
    with pytest.raises(InvalidError):
        call("List.sequence", **arguments)


@pytest.mark.parametrize(
    ("start", "count", "other", "expected"),
    [
        (2, 1, None, [0, 1, 3, 4]),
        (-2, 1, None, [0, 1, 2, 4]),
        (1, 3, None, [0, 4]),
        (2, 0, ["X", "Y", "Z"], [0, 1, "X", "Y", "Z", 2, 3, 4]),
        (2, 3, ["X", "Y", "Z"], [0, 1, "X", "Y", "Z"]),
        (5, 1, [9], [0, 1, 2, 3, 4, 9]),
    ],
)
def test_splice(start, count, other, expected):
    arguments = {} if other is None else {"other": other}
    assert on("splice", [0, 1, 2, 3, 4], start=start, count=count, **arguments) == expected


def test_get():
    values = [5, 10, 15, 20, 25, 30]
    assert [on("get", values, index=i) for i in (1, 3, -1, -2, 5)] == [10, 20, 30, 25, 30]
    assert on("getNumber", values, index=0) == 5
    assert on("getString", ["a"], index=0) == "a"
    assert on("getArray", [[1, 2]], index=0).values.tolist() == [1, 2]


def test_an_index_out_of_range():
    with pytest.raises(InvalidError) as error:
        on("get", [1, 2, 3], index=5)
    assert str(error.value) == "List.get: List index must be between 0 and 2, or -3 and -1. Found 5."


def test_an_element_of_another_type():
    with pytest.raises(TypeMismatchError):
        on("getNumber", ["a"], index=0)


@given(numbers, st.integers(-15, 15), st.integers(-15, 15))
def test_positions_are_python_s(values, a, b):
    assert on("slice", values, start=a, end=b) == values[a:b]
    assert on("slice", values, start=a, step=2) == values[a::2]
    if -len(values) <= a < len(values):
        changed = list(values)
        changed[a] = 99
        assert on("set", values, index=a, element=99) == changed
        inserted = list(values)
        inserted.insert(a, 99)
        assert on("insert", values, index=a, element=99) == inserted
    if values and -len(values) <= min(a, b) <= max(a, b) < len(values):
        swapped = list(values)
        swapped[a], swapped[b] = swapped[b], swapped[a]
        assert on("swap", values, pos1=a, pos2=b) == swapped


@given(items, items)
def test_two_lists(a, b):
    assert on("cat", a, other=b) == a + b
    assert on("zip", a, other=b) == [list(pair) for pair in zip(a, b, strict=False)]
    assert on("containsAll", a, other=b) == all(v in a for v in b)
    assert on("removeAll", a, other=b) == [v for v in a if v not in b]
    assert on("equals", a, other=b) == (a == b)
    assert on("equals", a, other=list(a))


@given(items, st.one_of(st.integers(-3, 3), st.sampled_from(["a", "z"])))
def test_elements(values, element):
    assert on("contains", values, element=element) == (element in values)
    assert on("frequency", values, element=element) == values.count(element)
    assert on("indexOf", values, element=element) == (values.index(element) if element in values else -1)
    removed = list(values)
    if element in removed:
        removed.remove(element)
    assert on("remove", values, element=element) == removed
    assert on("replaceAll", values, oldval=element, newval="!") == ["!" if v == element else v for v in values]
    assert on("replace", values, oldval=element, newval="!").count("!") == min(values.count(element), 1)
    assert on("distinct", values) == list(dict.fromkeys(values))
    assert on("add", values, element=element) == [*values, element]
    assert on("size", values) == on("length", values) == len(values)


@given(st.lists(st.integers(0, 1), max_size=12), st.lists(st.integers(0, 1), max_size=3))
def test_sublists(values, target):
    places = [i for i in range(len(values) - len(target) + 1) if values[i : i + len(target)] == target]
    assert on("indexOfSublist", values, target=target) == (places[0] if places else -1)
    assert on("lastIndexOfSubList", values, target=target) == (places[-1] if places else -1)


@given(numbers)
def test_order(values):
    assert on("sort", values) == sorted(values)
    assert on("reverse", values) == values[::-1]
    keys = [-v for v in values]
    assert on("sort", values, keys=keys) == sorted(values, key=lambda v: -v)


def test_order_of_mixed_types():
    assert on("sort", ["b", 2, "a", 1.5]) == [1.5, 2, "a", "b"]


@given(numbers, st.integers(-30, 30))
def test_rotation(values, distance):
    rotated = on("rotate", values, distance=distance)
    assert all(rotated[(i + distance) % len(values)] == v for i, v in enumerate(values))
    assert len(rotated) == len(values)


def test_flatten():
    assert on("flatten", [1, [2, [3, []], 4], [[5]]]) == [1, 2, 3, 4, 5]


def test_unzip():
    assert on("unzip", [[1, "a"], [2, "b", 3]]) == [[1, 2], ["a", "b"]]
    with pytest.raises(TypeMismatchError):
        on("unzip", [1])


def test_join():
    assert on("join", ["a", 1, 2.5, True], separator="-") == "a-1-2.5-true"
    with pytest.raises(InvalidError):
        on("join", [[1]])


def test_map_and_iterate():
    graph = Graph()
    double = graph.function(lambda v: invoke("Number.multiply", left=v, right=2), "v")
    assert evaluate(invoke("List.map", list=[1, 2, 3], baseAlgorithm=double), graph) == [2, 4, 6]
    total = graph.function(lambda v, t: invoke("Number.add", left=v, right=t), "v", "t")
    assert evaluate(invoke("List.iterate", list=[1, 2, 3], function=total, first=10), graph) == 16


def test_nulls_of_a_map():
    graph = Graph()
    odd = graph.function(
        lambda v: invoke("If", condition=invoke("Number.mod", left=v, right=2), trueCase=v, falseCase=None), "v"
    )
    assert evaluate(invoke("List.map", list=[1, 2, 3], baseAlgorithm=odd), graph) == [1, None, 3]
    assert evaluate(invoke("List.map", list=[1, 2, 3], baseAlgorithm=odd, dropNulls=True), graph) == [1, 3]


def test_a_filter_tests_the_item():
    from eechips_local.evaluation.context import Context
    from eechips_local.functions.primitives.lists import filtered
    from local_tests.support.graphs import EmptyStore

    condition = Filter(lambda element: element.properties["item"] > 2)
    assert filtered(Context(EmptyStore()), [1, 3, 2, 4], condition) == [3, 4]


def test_a_filter_tests_the_properties_of_collections():
    """As geetools relies on (geetools/ee_image_collection.py, ``groupInterval``)."""
    empty, full = (
        invoke("Element.set", object=invoke("ImageCollection.fromImages", images=images), key="n", value=len(images))
        for images in ([], [invoke("Image.constant", value=1)])
    )
    condition = invoke("Filter.greaterThan", leftField="n", rightValue=0)
    (kept,) = evaluate(invoke("List.filter", list=[empty, full], filter=condition))
    assert kept.properties["n"] == 1


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20), st.integers(-(2**40), 2**40))
def test_shuffles_repeat(values, seed):
    assert on("shuffle", values, seed=seed) == on("shuffle", values, seed=seed)
    assert sorted(on("shuffle", values, seed=seed)) == sorted(values)
    assert sorted(on("shuffle", values, seed=False)) == sorted(values)


def test_shuffles_are_java_s():
    """The generator's first numbers after ``new Random(42)`` are known: 0, 3, 8, 4, 0, 5 of ``nextInt(10)``."""
    from eechips_local.values.randomness import JavaRandom

    generator = JavaRandom(42)
    assert [generator.below(10) for _ in range(6)] == [0, 3, 8, 4, 0, 5]
    assert shuffle(list(range(5)), None) == shuffle(list(range(5)), 0)


def test_reduce():
    assert on("reduce", [1, 2, None, 6], reducer=invoke("Reducer.mean")) == 3
    assert on("reduce", [1, 2, 6], reducer=invoke("Reducer.minMax")) == {"min": 1, "max": 6}
    assert on("reduce", [], reducer=invoke("Reducer.mean")) is None


def test_repeat():
    assert call("List.repeat", value=[1], count=2) == [[1], [1]]
    with pytest.raises(LimitError, match="User memory limit exceeded"):
        call("List.repeat", value=0, count=10**12)


def test_endless_sequences_are_refused():
    for arguments in ({"end": 1e18}, {"count": 10**10}, {"end": 1, "step": 1e-300}):
        with pytest.raises(LimitError):
            call("List.sequence", start=0, **arguments)


@pytest.mark.slow
def test_lists_that_double_are_refused():
    graph = Graph()
    value = call("List.sequence", start=1, end=1000)
    for _ in range(30):
        value = graph.reference(invoke("List.cat", list=value, other=value))
    with pytest.raises(LimitError):
        evaluate(value, graph)


@pytest.mark.slow
def test_nested_lists_that_double_are_refused_when_flattened():
    graph = Graph()
    value = graph.reference([1, 2])
    for _ in range(40):
        value = graph.reference([value, value])
    with pytest.raises(LimitError):
        evaluate(invoke("List.flatten", list=value), graph)


def test_dates_sort_among_themselves():
    dates = [invoke("Date", value="2020-02-01"), invoke("Date", value="2020-01-01")]
    assert on("sort", dates) == [Date(1577836800000), Date(1580515200000)]
