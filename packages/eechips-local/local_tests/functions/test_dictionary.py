"""Dictionaries: the reference's examples, and Python's own dictionaries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.protocol.request_errors import InvalidError, TypeMismatchError
from eechips_local.values.values import Array
from local_tests.support.graphs import Graph, call, evaluate, invoke

BANDS = {"B1": 182, "B2": 219, "B3": 443}
dictionaries = st.dictionaries(st.text("abc", max_size=3), st.one_of(st.none(), st.integers(-9, 9)), max_size=5)


def on(name, dictionary=BANDS, **arguments):
    return call(f"Dictionary.{name}", dictionary=dictionary, **arguments)


def test_constructors():
    assert call("Dictionary", input=BANDS) == BANDS
    assert call("Dictionary", input=["B1", 182, "B2", 219, "B3", 443]) == BANDS
    assert call("Dictionary") == {}
    assert call("Dictionary.fromLists", keys=list(BANDS), values=list(BANDS.values())) == BANDS


@pytest.mark.parametrize("value", [["a"], [1, 2], 5, "a"])
def test_invalid_dictionaries_are_refused(value):
    with pytest.raises(InvalidError):
        call("Dictionary", input=value)


def test_combine():
    second = {"Region": "The Forest of Nisene Marks State Park", "B1": -9999}
    assert call("Dictionary.combine", first=BANDS, second=second, overwrite=False) == {**second, **BANDS}
    assert call("Dictionary.combine", first=BANDS, second=second) == {**BANDS, **second}


@given(dictionaries, dictionaries)
def test_combining_drops_nulls(first, second):
    combined = call("Dictionary.combine", first=first, second=second)
    for key in first.keys() | second.keys():
        expected = second.get(key) if second.get(key) is not None else first.get(key)
        assert combined.get(key) == expected
    assert None not in combined.values()


def test_get():
    assert on("get", key="B1") == 182
    assert on("get", key="Band_1", defaultValue=-9999) == -9999
    with pytest.raises(InvalidError) as error:
        on("get", key="Band_1")
    assert str(error.value) == "Dictionary.get: Dictionary does not contain key: 'Band_1'."
    assert on("getNumber", key="B1") == 182
    assert on("getString", {"a": "x"}, key="a") == "x"
    assert isinstance(on("getArray", {"a": [1, 2]}, key="a"), Array)
    with pytest.raises(TypeMismatchError):
        on("getString", key="B1")


def test_rename():
    assert on("rename", from_=["B2", "B3"], to=["Band_2", "Band_3"]) == {"B1": 182, "Band_2": 219, "Band_3": 443}
    assert on("rename", from_=["B3"], to=["B1"], overwrite=True) == {"B1": 443, "B2": 219}
    assert on("rename", from_=["B1", "B2"], to=["B2", "B1"]) == {"B1": 219, "B2": 182, "B3": 443}
    for arguments in ({"from_": ["B3"], "to": ["B1"]}, {"from_": ["B9"], "to": ["X"]}, {"from_": ["B1"], "to": []}):
        with pytest.raises(InvalidError):
            on("rename", **arguments)


def test_select_and_remove():
    assert on("select", selectors=["B1", "B2"]) == {"B1": 182, "B2": 219}
    assert on("select", selectors=["B[1-2]"]) == {"B1": 182, "B2": 219}
    assert on("select", selectors=["B1", "B2", "Region"], ignoreMissing=True) == {"B1": 182, "B2": 219}
    assert on("remove", selectors=["B2", "B3"]) == {"B1": 182}
    assert on("remove", selectors=["B2", "B3", "Region"], ignoreMissing=True) == {"B1": 182}
    for name in ("select", "remove"):
        with pytest.raises(InvalidError, match="Region"):
            on(name, selectors=["Region"])


def test_to_array():
    assert on("toArray", keys=["B1", "B2"]).values.tolist() == [182, 219]
    assert on("toArray").values.tolist() == [182, 219, 443]
    assert on("toArray", {"a": [1, 2], "b": [3, 4]}, axis=1).values.tolist() == [[1, 3], [2, 4]]


def test_lists_become_the_rows_of_an_array_as_charts_of_two_bands_need_them():
    """https://developers.google.com/earth-engine/guides/charts_array draws a series for each list."""
    lists = {"nir": [1, 2, 3], "swir": [4, 5, 6]}
    assert on("toArray", lists, keys=["swir", "nir"]).values.tolist() == [[4, 5, 6], [1, 2, 3]]
    with pytest.raises(InvalidError, match="same length"):
        on("toArray", {"a": [1, 2], "b": [3]})


def test_to_image():
    image = on("toImage")
    assert [band.name for band in image.bands] == ["B1", "B2", "B3"]
    assert [band.name for band in on("toImage", names=["B3", "B1"]).bands] == ["B3", "B1"]
    with pytest.raises(TypeMismatchError):
        on("toImage", {"a": "x"})


@given(dictionaries, st.text("abc", max_size=3))
def test_keys_and_values(dictionary, key):
    assert on("keys", dictionary) == sorted(dictionary)
    assert on("values", dictionary) == [dictionary[k] for k in sorted(dictionary)]
    assert on("size", dictionary) == len(dictionary)
    assert on("contains", dictionary, key=key) == (key in dictionary)
    assert on("set", dictionary, key=key, value=5) == {**dictionary, key: 5}


def test_values_of_keys():
    assert on("values", keys=["B3", "B1"]) == [443, 182]


def test_map():
    graph = Graph()
    double = graph.function(lambda key, value: invoke("Number.multiply", left=value, right=2), "key", "value")
    found = evaluate(invoke("Dictionary.map", dictionary=BANDS, baseAlgorithm=double), graph)
    assert found == {key: 2 * value for key, value in BANDS.items()}
    nothing = graph.function(lambda key, value: None, "key", "value")
    assert evaluate(invoke("Dictionary.map", dictionary=BANDS, baseAlgorithm=nothing), graph) == {}
