"""Malformed, endless and enormous expression graphs and requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from local_tests.support.graphs import Graph, Ready, invoke

Expression = dict[str, Any]


def expression(value: Any, graph: Graph | None = None) -> Expression:
    return (graph or Graph()).expression(value)


def doubled(depth: int, seed: Any, step: Callable[[dict[str, str]], dict[str, Any]]) -> Expression:
    """A graph whose every level uses the one below twice: its result is 2 ** depth times the seed."""
    values = {str(level): step({"valueReference": str(level + 1)}) for level in range(depth)}
    return {"result": "0", "values": {**values, str(depth): seed}}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


def _mapped(inner: Any, length: float, graph: Graph, *names: str) -> Ready:
    sequence = invoke("List.sequence", start=1, end=length)
    return invoke("List.map", list=sequence, baseAlgorithm=graph.function(inner, *names))


def nested_maps() -> Expression:
    """5,000 ** 3 additions."""
    graph = Graph()

    def middle(y: Ready) -> Ready:
        return invoke("List.size", list=_mapped(lambda x: invoke("Number.add", left=x, right=y), 5000, graph, "x"))

    def outer(_: Ready) -> Ready:
        return invoke("List.size", list=_mapped(middle, 5000, graph, "y"))

    return expression(_mapped(outer, 5000, graph, "z"), graph)


def iterated(body: Callable[[Ready, Ready], Any], first: Any, times: int) -> Expression:
    graph = Graph()
    function = graph.function(body, "x", "found")
    sequence = invoke("List.sequence", start=1, end=times)
    return expression(invoke("List.iterate", list=sequence, function=function, first=first), graph)


def image_chain(length: int) -> Expression:
    """An image plus one, plus one, …: each step inside the next."""
    values = {
        str(level): call("Image.add", image1={"valueReference": str(level + 1)}, image2={"constantValue": 1})
        for level in range(length)
    }
    return {"result": "0", "values": {**values, str(length): call("Image.constant", value={"constantValue": 1})}}


CIRCLES: dict[str, Expression] = {
    "itself": {"result": "0", "values": {"0": {"valueReference": "0"}}},
    "each other": {"result": "0", "values": {"0": {"valueReference": "1"}, "1": {"valueReference": "0"}}},
    "a list": {"result": "0", "values": {"0": {"arrayValue": {"values": [{"valueReference": "0"}]}}}},
    "a function": {
        "result": "0",
        "values": {
            "0": {"functionInvocationValue": {"functionReference": "1", "arguments": {"a": {"constantValue": 1}}}},
            "1": {"functionDefinitionValue": {"argumentNames": ["a"], "body": "2"}},
            "2": {"functionInvocationValue": {"functionReference": "1", "arguments": {}}},
        },
    },
}  # fmt: skip

_EARTH = invoke("GeometryConstructors.BBox", west=-180, south=-90, east=180, north=90)
_ELEVATION = invoke("Image.load", id="USGS/SRTMGL1_003")
_ONE = invoke("Image.constant", value=1.5)
ONE = call("Image.constant", value={"constantValue": 1})
_DEGREE = invoke("GeometryConstructors.BBox", west=0, south=0, east=1, north=1)


def pair(node: dict[str, str]) -> dict[str, Any]:
    return {"arrayValue": {"values": [node, node]}}


def reduced(reducer: str, region: Ready, scale: float, **more: Any) -> Expression:
    return expression(
        invoke("Image.reduceRegion", image=_ONE, reducer=invoke(reducer), geometry=region, scale=scale, **more)
    )


ENORMOUS: dict[str, Expression] = {
    "repeat": expression(invoke("List.repeat", value=1, count=10**9)),
    "sequence": expression(invoke("List.sequence", start=0, end=10**9)),
    "mapped sequence": expression(_mapped(lambda x: x, 10**9, Graph(), "x")),
    "array": expression(invoke("Array.identity", size=10**6)),
    "array of copies": expression(
        invoke("Array.repeat", array=invoke("Array", values=[1, 2]), axis=0, copies=10**10)
    ),
    "lists in lists": doubled(60, {"constantValue": 1}, pair),
    "lists after lists": doubled(60, {"constantValue": [1]}, lambda x: call("List.cat", list=x, other=x)),
    "flattened": doubled(60, {"constantValue": [1]}, lambda x: call("List.flatten", list=pair(x))),
    "text": doubled(60, {"constantValue": "a"}, lambda x: call("String.cat", string1=x, string2=x)),
    "dictionaries": doubled(60, {"constantValue": 1}, lambda x: {"dictionaryValue": {"values": {"a": x, "b": x}}}),
    "bands": doubled(60, ONE, lambda x: call("Image.addBands", dstImg=x, srcImg=x)),
    "iterated lists": iterated(lambda x, found: [found, found], 1, 200),
    "iterated texts": iterated(lambda x, found: invoke("String.cat", string1=found, string2=found), "a", 200),
    "random points": expression(invoke("FeatureCollection.randomPoints", region=_EARTH, points=10**9)),
    "sample": expression(invoke("Image.sample", image=_ONE, region=_EARTH, scale=1, numPixels=10**9)),
    "the Earth at a metre": reduced("Reducer.mean", _EARTH, 1),
    "infinitely fine": reduced("Reducer.mean", _EARTH, 1e-300),
    "rectangle": expression(invoke("Image.sampleRectangle", image=_ELEVATION, region=_EARTH)),
    "a million images": expression(invoke("ImageCollection.load", id="USDA/NAIP/DOQQ")),
    "a million bands": expression(
        invoke("ImageCollection.toBands", collection=invoke("ImageCollection.load", id="USDA/NAIP/DOQQ"))
    ),
}  # fmt: skip
"""Graphs that need too much memory."""

ENDLESS: dict[str, Expression] = {
    "maps in maps": nested_maps(),
    "buffers of buffers": iterated(
        lambda x, found: invoke("Geometry.buffer", geometry=found, distance=1000),
        invoke("GeometryConstructors.Point", coordinates=[0, 0]),
        100_000,
    ),
    "the Earth at a metre, as asked": reduced("Reducer.mean", _EARTH, 1, maxPixels=1e18),
    "a list of a degree's pixels": reduced("Reducer.toList", _DEGREE, 5, maxPixels=1e18),
    "a join of everything with everything": expression(
        invoke(
            "Join.apply", join=invoke("Join.inner"), primary=invoke("ImageCollection.load", id="USDA/NAIP/DOQQ"),
            secondary=invoke("ImageCollection.load", id="USDA/NAIP/DOQQ"),
            condition=invoke("Filter.notEquals", leftField="system:index", rightField="system:index"),
        )
    ),
}  # fmt: skip
"""Graphs that do not end before the deadline of a request."""

PIXELS: dict[str, Expression] = {
    "a chain of a thousand": image_chain(1000),
    "a kernel of a planet": expression(
        invoke(
            "Image.convolve", image=_ELEVATION,
            kernel=invoke("Kernel.circle", radius=1e7, units="meters"),
        )
    ),
    "a kernel of pixels": expression(
        invoke("Image.convolve", image=_ONE, kernel=invoke("Kernel.square", radius=100_000, units="pixels"))
    ),
    "a neighbourhood": expression(
        invoke(
            "Image.reduceNeighborhood", image=_ONE, reducer=invoke("Reducer.median"),
            kernel=invoke("Kernel.square", radius=5000, units="pixels"),
        )
    ),
    "bands without end": ENORMOUS["bands"],
    "a projection without area": expression(invoke("Image.reproject", image=_ONE, crs="EPSG:4326", scale=1e-300)),
}  # fmt: skip
"""Pixels that cannot be had."""


def nested_json(depth: int) -> str:
    """An expression nested in its text, which a writer of JSON could not write."""
    inner = '{"arrayValue":{"values":[' * depth + '{"constantValue":1}' + "]}}" * depth
    return '{"expression":{"result":"0","values":{"0":' + inner + "}}}"


BODIES: dict[str, bytes] = {
    "no JSON": b"<html>",
    "half of it": json.dumps({"expression": ENORMOUS["text"]}).encode()[:-10],
    "a list": b"[1, 2]",
    "a text": b'"expression"',
    "no expression": b"{}",
    "null": b'{"expression": null}',
    "no values": b'{"expression": {"result": "0"}}',
    "not a number": b'{"expression": {"result": "0", "values": {"0": {"constantValue": NaN}}}}',
    "a number of 10,000 digits": b'{"expression": ' + b"1" * 10_000 + b"}",
    "not UTF-8": b'{"expression": "\xff\xfe"}',
    "deep brackets": b"[" * 1_000_000,
    "deep lists": nested_json(5000).encode(),
    "deeper lists": nested_json(200_000).encode(),
    "form data": b"expression=1&x=2",
    "gzip": b"\x1f\x8b\x08\x00" + bytes(100),
}  # fmt: skip
