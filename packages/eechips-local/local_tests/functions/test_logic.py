"""Choices, equality and types."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.lazy_values import Later, LazyMapping
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.functions.images.image_bands import constant
from eechips_local.functions.primitives.logic import describe
from local_tests.support.graphs import EmptyStore, Graph, call, evaluate, invoke


@pytest.mark.parametrize("condition", [True, 1, -0.5, "false", [0], {"a": 0}, invoke("Date", value=0)])
def test_true(condition):
    assert call("If", condition=condition, trueCase="yes", falseCase="no") == "yes"


@pytest.mark.parametrize("condition", [False, 0, 0.0, "", [], {}, None, invoke("Number.sqrt", input=-1)])
def test_false(condition):
    assert call("If", condition=condition, trueCase="yes", falseCase="no") == "no"


def test_only_the_chosen_case_is_computed():
    wrong = invoke("List.get", list=[], index=0)
    assert call("If", condition=True, trueCase=1, falseCase=wrong) == 1
    assert call("If", condition=False, trueCase=wrong) is None


def test_recursion_by_choice_ends():
    """The other case may be a value that could not be computed at all."""
    graph = Graph()
    shared = graph.reference(invoke("Number.parse", input="no number"))
    assert evaluate(invoke("If", condition=0, trueCase=shared, falseCase=7), graph) == 7


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [(1, 1.0, True), (1, "1", False), ([1, [2]], [1, [2]], True), ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
     (None, None, True), ("a", "a", True), ([], {}, False)],
)  # fmt: skip
def test_equality(left, right, equal):
    assert call("IsEqual", left=left, right=right) is equal


@pytest.mark.parametrize(
    ("value", "name"),
    [(1, "Integer"), (1.5, "Float"), ("a string", "String"), ([1, "a string"], "List"), ({}, "Dictionary"),
     (True, "Boolean"), (invoke("Date", value=0), "Date"), (invoke("Array", values=[1]), "Array")],
)  # fmt: skip
def test_types(value, name):
    assert call("ObjectType", value=value) == name


def test_describe_computes_the_properties_of_an_image_when_they_are_asked_for():
    computed = []

    def cloudiness() -> float:
        computed.append("cloudiness")
        return 7.5

    properties = LazyMapping({"cloudiness": Later(cloudiness), "system:id": "a/b"})
    image = replace(constant([3]), properties=properties)
    described = describe(Context(EmptyStore(), ServiceLimits()), image)
    assert described["id"] == "a/b"
    assert described["bands"][0]["id"] == "constant"
    assert computed == []
    assert described["properties"] == {"cloudiness": 7.5}
    assert computed == ["cloudiness"]


def test_describe_is_what_get_info_returns():
    assert call("Describe", input=[1, "a"]) == [1, "a"]
    projection = invoke("Projection", crs="EPSG:32613", transform=[10, 0, 5, 0, -10, 7])
    assert call("Describe", input=projection) == {
        "type": "Projection",
        "crs": "EPSG:32613",
        "transform": [10, 0, 5, 0, -10, 7],
    }
    (band,) = call("Describe", input=invoke("Image.constant", value=3))["bands"]
    assert band == {
        "id": "constant",
        "data_type": {"type": "PixelType", "precision": "int", "min": 3, "max": 3},
        "crs": "EPSG:4326",
        "crs_transform": [1, 0, 0, 0, 1, 0],
    }
