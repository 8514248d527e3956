"""Valid requests with something wrong in them: refused in Earth Engine's shape, never an internal error."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eechips_local.evaluation.request_processor import RequestProcessor
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.functions import load_functions
from eechips_local.protocol.messages import ServiceResponse, WorkerRequest
from eechips_local.stores import StoreConfig
from local_tests.support.graphs import Graph, Ready, invoke

POINT = invoke("GeometryConstructors.Point", coordinates=[-105.2, 39.6])
SQUARE = invoke("Geometry.bounds", geometry=invoke("Geometry.buffer", geometry=POINT, distance=127))
NAIP = invoke("ImageCollection.load", id="USDA/NAIP/DOQQ")
NEAR = invoke("Filter.intersects", leftField=".geo", rightValue=SQUARE)
IMAGES = invoke("Collection.filter", collection=NAIP, filter=NEAR)
MOSAIC = invoke("ImageCollection.mosaic", collection=IMAGES)


def chip() -> dict[str, Any]:
    clipped = invoke("Image.clip", input=MOSAIC, geometry=SQUARE)
    rgb = invoke("Image.select", input=clipped, bandSelectors=["R", "G", "B"])
    sized = invoke("Image.clipToBoundsAndScale", input=rgb, geometry=SQUARE, width=16, height=16)
    return Graph().expression(sized)


def series() -> dict[str, Any]:
    graph = Graph()
    dates = invoke("DateRange", start="2019-01-01", end="2019-03-01")
    within = invoke("Filter.dateRangeContains", leftValue=dates, rightField="system:time_start")
    images = invoke("ImageCollection.load", id="MODIS/061/MOD11A2")

    def row(image: Ready) -> Ready:
        mean = invoke("Image.reduceRegion", image=image, reducer=invoke("Reducer.mean"), geometry=SQUARE, scale=1000)
        return invoke("Feature", geometry=None, metadata=mean)

    found = invoke("Collection.filter", collection=images, filter=within)
    return graph.expression(
        invoke("Collection.map", collection=found, baseAlgorithm=graph.function(row, "image"), dropNulls=True)
    )


def words() -> dict[str, Any]:
    graph = Graph()
    squared = graph.function(lambda x: invoke("Number.pow", left=x, right=2), "x")
    numbers = invoke("List.map", list=invoke("List.sequence", start=1, end=5), baseAlgorithm=squared)
    return graph.expression({
        "sum": invoke("List.reduce", list=numbers, reducer=invoke("Reducer.sum")),
        "text": invoke("String.replace", input="a-b", regex="-", replacement="+"),
        "date": invoke("Date.format", date=invoke("Date.advance", date="2020-01-31", delta=1, unit="month")),
        "array": invoke("Array.add", left=invoke("Array", values=[[1, 2], [3, 4]]), right=1),
        "keys": invoke("Dictionary.keys", dictionary={"a": 1, "b": [1, None]}),
    })  # fmt: skip


REQUESTS = {"chip": chip(), "series": series(), "words": words()}
GRID = {
    "crsCode": "EPSG:32613",
    "affineTransform": {"scaleX": 1, "scaleY": -1, "translateX": 482_800, "translateY": 4_383_300},
    "dimensions": {"width": 16, "height": 16},
}


@pytest.fixture(scope="module")
def answer() -> Iterator[Callable[[str, dict[str, Any]], ServiceResponse]]:
    """Answers in this process as a worker does: on a deep stack, with limits of time and memory."""
    processor = RequestProcessor(StoreConfig(), ServiceLimits(seconds=2.0, memory=256 << 20, elements=500))
    recursion, stack = sys.getrecursionlimit(), threading.stack_size(256 << 20)
    sys.setrecursionlimit(20_000)

    with ThreadPoolExecutor(1) as pool:

        def run(operation: str, body: dict[str, Any]) -> ServiceResponse:
            return pool.submit(processor.process, WorkerRequest(operation, json.dumps(body).encode())).result()

        yield run
    sys.setrecursionlimit(recursion)
    threading.stack_size(stack)


@pytest.mark.parametrize("name", REQUESTS)
def test_the_requests_are_good_as_they_are(answer: Callable[..., ServiceResponse], name: str) -> None:
    assert answer("value:compute", {"expression": REQUESTS[name]}).status == 200


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something in a JSON value can be changed."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


CONSTANTS = (None, True, 0, -1, 1.5, 1e308, 2**53, "", "x", "\x00", "\ud800", [], [[]], {})
NODES = st.sampled_from([
    *(invoke(name).content for name in ("Image.pixelLonLat", "Reducer.mean", "Kernel.square", "Join.inner", "Date")),
    MOSAIC.content, SQUARE.content, POINT.content, NAIP.content, NEAR.content,
    *({"valueReference": key} for key in ("0", "body-0", "nothing")), {"argumentReference": "x"},
    *({"constantValue": value} for value in CONSTANTS), {"integerValue": "-9223372036854775808"},
    {"arrayValue": {}}, {"dictionaryValue": {"values": {"": {}}}}, {}, None, 5, "a",
])  # fmt: skip
NAMES = st.sampled_from([*sorted(load_functions()), "", "nothing", "functionName", "arguments", "constantValue"])


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    expression = deepcopy(REQUESTS[draw(st.sampled_from(sorted(REQUESTS)))])
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(expression))))
        inner: Any = expression
        for key in path[:-1]:
            inner = inner[key]
        what = draw(st.sampled_from(["node", "name", "remove", "copy", "number"]))
        if what == "remove":
            del inner[path[-1]]
            if not expression:
                break
        elif what == "node":
            inner[path[-1]] = deepcopy(draw(NODES))
        elif what == "name":
            inner[path[-1]] = draw(NAMES)
        elif what == "number":
            inner[path[-1]] = draw(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
        else:
            inner[path[-1]] = deepcopy(_at(expression, draw(st.sampled_from(list(places(expression))))))
    return expression


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutated(), st.sampled_from(["value:compute", "image:computePixels", "table:computeFeatures"]))
def test_every_mutated_request_gets_a_clear_error(
    answer: Callable[..., ServiceResponse], expression: dict[str, Any], operation: str
) -> None:
    body = {"expression": expression}
    if operation == "image:computePixels":
        body |= {"fileFormat": "NPY", "grid": GRID}
    found = answer(operation, body)
    if found.status == 200:
        return
    error = json.loads(found.content)["error"]
    assert (found.status, error["code"]) in ((400, 400), (404, 404)), error
    assert error["message"]


ODD = {
    "null": None, "true": True, "number": -2.5, "huge": 1e300, "text": "x", "empty": "", "list": [],
    "lists": [[1], ["a"]],
    "dictionary": {"a": None}, "image": MOSAIC, "images": IMAGES, "geometry": SQUARE, "filter": NEAR,
    "feature": invoke("Feature", geometry=POINT, metadata={"n": None}),
    "features": invoke("Collection", features=[]),
    "nothing": invoke("GeometryConstructors.MultiPoint", coordinates=[]),
    "date": invoke("Date", value=-1e15),
    "reducer": invoke("Reducer.group", reducer=invoke("Reducer.toList")),
    "array": invoke("Array", values=[[1, 2], [3, 4]]),
    "kernel": invoke("Kernel.fixed", width=1, height=2, weights=[[1], [2]]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ODD)
def test_every_function_on_one_thing_for_all_its_arguments(answer: Callable[..., ServiceResponse], kind: str) -> None:
    for name in sorted(load_functions()):
        signature = load_signatures()[name]
        for optional in (False, True):
            arguments = {a.name: ODD[kind] for a in signature.arguments if optional or not a.optional}
            found = answer("value:compute", {"expression": Graph().expression(invoke(name, **arguments))})
            assert found.status in (200, 400), (name, optional, found.content)


KERNEL = invoke("Kernel.square", radius=1)
FAR = invoke("Projection.translate", projection="EPSG:4326", x=1e300, y=1)
ARRAYS = invoke("Image.toArray", image=MOSAIC, axis=0)
FOUND: dict[str, tuple[str, Any, str]] = {
    "a kernel for a date": ("value:compute", invoke("Date", value=KERNEL), "<Kernel>"),
    "a kernel among coordinates": (
        "value:compute", invoke("GeometryConstructors.MultiPolygon", coordinates=[[[KERNEL]]]), "<Kernel>",
    ),
    "a kernel for names": (
        "value:compute", invoke("Filter.notNull", properties=["a", KERNEL, MOSAIC]), "['a', <Kernel>, <Image>]",
    ),
    "an image for a ring": (
        "value:compute", invoke("GeometryConstructors.Polygon", coordinates=[[[0, 0], [1, 0], [1, 1]], MOSAIC]),
        "Invalid coordinates",
    ),
    "an image for polygons": (
        "value:compute",
        invoke("GeometryConstructors.MultiPolygon", coordinates=[[[[0, 0], [1, 0], [1, 1]]], MOSAIC]),
        "Invalid coordinates",
    ),
    "a number for a list": (
        "value:compute", invoke("List.size", list=invoke("Array", values=5)), "Expected type: List",
    ),
    "a grid without end": (
        "value:compute",
        invoke("Geometry.coveringGrid", geometry=SQUARE, proj=FAR),
        "too far from the origin",
    ),
    "deep JSON": ("value:compute", invoke("String.decodeJSON", string="[" * 100_000), "too deeply nested."),
    "an array as a position": (
        "value:compute",
        invoke("Image.arrayGet", image=ARRAYS, position=ARRAYS),
        "must be scalar",
    ),
}  # fmt: skip
"""Requests that fuzzing found: they ended in an internal error, or in a message that shows Python's own objects."""


@pytest.mark.parametrize("name", FOUND)
def test_requests_found_by_fuzzing_get_clear_errors(answer: Callable[..., ServiceResponse], name: str) -> None:
    operation, value, part = FOUND[name]
    found = answer(operation, {"expression": Graph().expression(value)})
    message = json.loads(found.content)["error"]["message"]
    assert found.status == 400, message
    assert part in message
    assert " at 0x" not in message


def test_a_table_with_an_image_among_its_features_is_refused(answer: Callable[..., ServiceResponse]) -> None:
    graph = Graph()
    mapped = graph.function(
        lambda x: invoke("If", condition=invoke("Element.get", object=x, property="a"), trueCase=x, falseCase=MOSAIC),
        "x",
    )
    features = [invoke("Feature", geometry=POINT, metadata={"a": 1}), invoke("Feature", geometry=POINT, metadata={})]
    collection = invoke("Collection", features=features)
    expression = graph.expression(invoke("Collection.map", collection=collection, baseAlgorithm=mapped))
    found = answer("table:computeFeatures", {"expression": expression})
    assert found.status == 400
    assert "found one of Image" in json.loads(found.content)["error"]["message"]


@pytest.mark.parametrize("name", ["Number.gamma", "Number.digamma", "Number.trigamma"])
def test_special_functions_take_infinity(answer: Callable[..., ServiceResponse], name: str) -> None:
    for operand in (-1, 1):
        infinity = invoke("Number.divide", left=operand, right=0)
        argument = load_signatures()[name].arguments[0].name
        assert (
            answer("value:compute", {"expression": Graph().expression(invoke(name, **{argument: infinity}))}).status
            == 200
        )
